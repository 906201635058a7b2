//! Tables, counts and ends, as several commands show them.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

use crate::console::{Failure, Look};

/// An empty table with these headings.
pub(super) fn table(look: Look, headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = look.width {
        table.set_width(width);
    }
    if look.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    table
}

/// `1 connection`, `2 connections`.
pub(super) fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Fails if connections need somebody, after the answer has said what each needs.
pub(super) fn attention(connections: usize) -> Result<(), Failure> {
    if connections == 0 {
        return Ok(());
    }
    let what = format!("attention needed: {}", counted(connections, "connection"));
    Err(Failure::new(what, "do what is written for each"))
}
