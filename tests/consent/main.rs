//! The consent against both stand-ins, over the wire: a browser that follows links, and strangers
//! who send anything. Each test checks what is stored afterwards.

mod account;
mod failures;
mod flow;
mod hostile;
mod other_providers;
mod rules;
