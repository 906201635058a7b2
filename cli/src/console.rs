//! What the commands know of a terminal, and how they fail.

use std::fmt::Display;
use std::io;
use std::path::Path;

use token_keeper::failure::StoreError;
use token_keeper::flaw::Broken;

/// The terminal, or its stand-in. Unless it says otherwise, nobody sits there.
pub trait Console {
    /// Shows one or more lines of a result.
    fn show(&self, text: &str);
    /// Asks for a secret and hides what is typed.
    ///
    /// # Errors
    /// If nothing can be read.
    fn ask_secret(&self, _prompt: &str) -> io::Result<String> {
        Err(io::Error::other("nobody can answer"))
    }
    /// Asks a yes-or-no question. If nobody can answer, the answer is no.
    ///
    /// # Errors
    /// If nothing can be read.
    fn confirm(&self, _question: &str) -> io::Result<bool> {
        Ok(false)
    }
    /// Reads a whole file or, without a path, what is piped in.
    ///
    /// # Errors
    /// If it cannot be read, or nothing is piped in.
    fn read_file(&self, _path: Option<&Path>) -> io::Result<Vec<u8>> {
        Err(io::Error::other("no file can be read here"))
    }
    /// Shows the progress of a long command.
    fn progress(&self, _done: usize, _all: usize) {}
    /// Width and colours for tables.
    fn look(&self) -> Look {
        Look { width: None, color: false }
    }
}

/// Width and colours for tables.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns of the terminal. Without a terminal, a table is as wide as it needs.
    pub width: Option<u16>,
    /// Whether to use colours.
    pub color: bool,
}

/// Why a command failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  -> {remedy}")]
pub struct Failure {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl Failure {
    pub(crate) fn new(what: impl Display, remedy: impl Display) -> Self {
        Self { what: what.to_string(), remedy: remedy.to_string() }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::new(&broken, broken.flaw.remedy())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(&error, error.remedy())
    }
}
