//! The operator's commands against both stand-ins, as typed. Each test looks at what is shown and what is stored afterwards.

mod connections;
mod demo;
mod doctor;
mod import;
mod login;
mod operator;
mod typed;
