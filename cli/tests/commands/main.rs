//! The operator's commands, typed against both stand-ins. Each test checks what a command prints
//! and what it stores.

mod account;
mod connections;
mod credentials;
mod demo;
mod device;
mod doctor;
mod import;
mod import_stores;
mod json;
mod login;
mod operator;
mod other_providers;
#[cfg(target_os = "linux")]
mod program;
mod providers;
mod races;
mod scopes;
mod stack;
mod typed;
