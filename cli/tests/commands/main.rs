//! The operator's commands, typed against both stand-ins. Each test checks what a command prints
//! and what it stores.

mod connections;
mod demo;
mod device;
mod doctor;
mod import;
mod json;
mod login;
mod operator;
#[cfg(target_os = "linux")]
mod program;
mod races;
mod stack;
mod typed;
