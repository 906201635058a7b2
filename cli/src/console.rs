//! What the commands know of a terminal, and how they fail.

use std::cell::{Cell, OnceCell};
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Value, json};
use token_keeper::failure::StoreError;
use token_keeper::flaw::Broken;
use tokio::time::sleep;

/// The version of the answers that programs read.
pub const SCHEMA: u64 = 1;

/// The terminal, or its stand-in. Unless it says otherwise, nobody sits there.
pub trait Terminal {
    /// Writes lines to standard output.
    ///
    /// # Errors
    /// If they cannot be written.
    fn print(&self, text: &str) -> io::Result<()>;
    /// Writes lines to standard error. If that fails, nobody can be told.
    fn note(&self, _text: &str) {}
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
    /// From now on, Ctrl-C waits until this is called with `false`, or until the command ends:
    /// something has begun that only the command can finish.
    fn finish_first(&self, _on: bool) {}
    /// Shows the progress of a long command.
    fn progress(&self, _done: usize, _all: usize) {}
    /// Waits. A stand-in may let the time pass at once.
    fn wait(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(sleep(time))
    }
    /// Width and colours for tables.
    fn look(&self) -> Look {
        Look { width: None, color: false }
    }
}

/// What a command says. People read words. A program (`--json`) reads one JSON object on standard
/// output; words that it would miss go to standard error.
///
/// If something cannot be written, the command still finishes what it has begun. It fails at its
/// end.
pub(crate) struct Console<'t> {
    pub(crate) terminal: &'t dyn Terminal,
    json: bool,
    answered: Cell<bool>,
    lost: OnceCell<io::Error>,
}

impl<'t> Console<'t> {
    pub(crate) fn new(terminal: &'t dyn Terminal, json: bool) -> Self {
        Self { terminal, json, answered: Cell::new(false), lost: OnceCell::new() }
    }

    /// The answer, for people.
    pub(crate) fn show(&self, text: &str) {
        if !self.json {
            self.print(text);
        }
    }

    /// What is not the answer: what was done, or what to do meanwhile.
    pub(crate) fn say(&self, text: &str) {
        if self.json { self.terminal.note(text) } else { self.print(text) }
    }

    /// The same answer as a JSON object, for programs. It gets the field `schema`.
    pub(crate) fn answer(&self, mut answer: Value) {
        if self.json {
            if answer.get("schema").is_none() {
                answer["schema"] = json!(SCHEMA);
            }
            self.answered.set(true);
            self.print(&answer.to_string());
        }
    }

    /// The answer of a command that failed.
    pub(crate) fn answer_failure(&self, Failure { what, remedy }: &Failure) {
        self.answer(json!({"error": what, "remedy": remedy}));
    }

    /// Whether a program has its answer already.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether something could not be written.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Fails if something could not be written. A reader that has seen enough, such as `head`, is
    /// no failure.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.lost.get() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                format!("the answer cannot be written to standard output: {error}"),
                "write it elsewhere; what the command has done stays done",
            )),
            _ => Ok(()),
        }
    }

    fn print(&self, text: &str) {
        if !self.is_lost()
            && let Err(error) = self.terminal.print(text)
        {
            let _first = self.lost.set(error);
        }
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
