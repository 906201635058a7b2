//! The table that the benchmark prints: aligned text that is also valid Markdown.

use std::fmt::{self, Display};
use std::iter::once;

const HEADINGS: [&str; 5] = ["", "Token Keeper", "empty function", "aim", ""];

/// The headings and the rows.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

/// A figure, the empty function's figure, and the aim. The last two may be empty.
#[derive(Default)]
pub(crate) struct Row([String; HEADINGS.len()]);

impl Table {
    pub(crate) fn row(&mut self, what: impl Display, ours: impl Display) -> &mut Row {
        self.0.push(Row::default());
        let row = self.0.last_mut().expect("the row just pushed");
        row.0[0] = what.to_string();
        row.0[1] = ours.to_string();
        row
    }
}

impl Row {
    /// The empty function's figure.
    pub(crate) fn beside(&mut self, empty: impl Display) -> &mut Self {
        self.0[2] = empty.to_string();
        self
    }

    /// The aim, and whether the figure reaches it.
    pub(crate) fn aim(&mut self, aim: impl Display, met: bool) {
        self.0[3] = aim.to_string();
        self.0[4] = String::from(if met { "met" } else { "NOT MET" });
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = HEADINGS.map(str::to_owned);
        let rows = || once(&headings).chain(self.0.iter().map(|row| &row.0));
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let [w0, w1, w2, w3, w4] = std::array::from_fn(width);
        for (number, row) in rows().enumerate() {
            let [what, ours, empty, aim, met] = row;
            writeln!(f, "| {what:w0$} | {ours:>w1$} | {empty:>w2$} | {aim:>w3$} | {met:w4$} |")?;
            if number == 0 {
                writeln!(f, "|-{0:-<w0$}-|-{0:-<w1$}:|-{0:-<w2$}:|-{0:-<w3$}:|-{0:-<w4$}-|", "")?;
            }
        }
        Ok(())
    }
}
