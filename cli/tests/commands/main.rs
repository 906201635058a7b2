//! The operator's commands, typed against both stand-ins. Each test checks what a command prints
//! and what it stores.

mod connections;
mod demo;
mod doctor;
mod import;
mod login;
mod operator;
mod stack;
mod typed;
