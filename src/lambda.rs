//! Events in, use case, answer out: one module for each function.

pub mod callback;
mod pages;
pub mod refresher;
