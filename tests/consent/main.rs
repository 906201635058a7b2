//! The consent against both stand-ins, over the wire: an operator who types commands, a browser that follows links, and strangers who
//! send anything. Each test looks at what is stored afterwards.

mod commands;
mod doctor;
mod failures;
mod flow;
mod hostile;
mod import;
mod operator;
mod rules;
mod world;
