//! A terminal that plays the operator, and functions that type commands at it.

use std::cell::RefCell;
use std::path::Path;

use clap::Parser as _;
use testkit::world::{Adapters, BASE, REGION, World};
use token_keeper::aws::read_text;
use token_keeper::config::Config;
use token_keeper::settings::Settings;
use token_keeper_cli::stack::configure;
use token_keeper_cli::{Cli, Look, Operator, Terminal};

/// A terminal that answers `answer` when it is asked for a secret, and `yes` when asked to confirm.
#[derive(Default)]
pub(crate) struct Typed {
    pub(crate) answer: String,
    pub(crate) yes: bool,
    /// The content of any file that a command reads.
    pub(crate) file: Vec<u8>,
    pub(crate) width: Option<u16>,
    /// Standard output.
    pub(crate) shown: RefCell<String>,
    /// Standard error.
    pub(crate) noted: RefCell<String>,
}

impl Terminal for Typed {
    fn print(&self, text: &str) -> std::io::Result<()> {
        self.shown.borrow_mut().extend([text, "\n"]);
        Ok(())
    }

    fn note(&self, text: &str) {
        self.noted.borrow_mut().extend([text, "\n"]);
    }

    fn ask_secret(&self, _: &str) -> std::io::Result<String> {
        Ok(self.answer.clone())
    }

    fn confirm(&self, question: &str) -> std::io::Result<bool> {
        self.print(question)?;
        Ok(self.yes)
    }

    fn read_file(&self, _: Option<&Path>) -> std::io::Result<Vec<u8>> {
        Ok(self.file.clone())
    }

    fn look(&self) -> Look {
        Look { width: self.width, color: false }
    }
}

/// Types a command. Returns what it shows, or its error.
pub(crate) async fn type_in(world: &World, command: &str, answer: &str) -> Result<String, String> {
    let console = Typed { answer: answer.to_owned(), width: Some(80), ..Typed::default() };
    // Boxed, because it is part of the future of most tests.
    Box::pin(run(world, command, &console)).await?;
    Ok(console.shown.into_inner())
}

/// Types a command at this terminal.
pub(crate) async fn run(world: &World, command: &str, console: &dyn Terminal) -> Result<(), String> {
    run_words(world, &command.split_whitespace().collect::<Vec<_>>(), console).await
}

/// Types a command with arguments that may contain blanks.
pub(crate) async fn run_words(world: &World, words: &[&str], console: &dyn Terminal) -> Result<(), String> {
    let arguments = words.iter().map(|word| word.replace("BASE", BASE));
    let cli = Cli::try_parse_from(["token-keeper".to_owned()].into_iter().chain(arguments));
    let cli = cli.map_err(|error| error.to_string())?;
    let Config { settings: Settings { prefix, settling, .. }, .. } = world.config();
    let parameter = prefix.settings();
    let stored =
        if cli.command.uses_settings() { read_text(&world.shared().await, &parameter).await } else { Ok(None) };
    let configured = configure(&world.environment(), &parameter, stored);
    let (config, stack) = configured.map_err(|problems| problems.to_string())?;
    // Reads see writes at once here, so nothing waits.
    let config = Config { settings: Settings { settling, ..config.settings }, ..config };
    let (Adapters { secrets, leases, issuer, .. }, source) = world.process_with(&config).await;
    let Config { settings, publishing, callback_url, .. } = config;
    let region = Some(REGION.to_owned());
    let operator =
        Operator { settings, publishing, callback_url, stack, secrets, issuer, leases, source, region, profile: None };
    // Boxed, because the compiler's default limit is too low for futures nested this deep.
    Box::pin(operator.run(cli, console)).await.map_err(|failure| failure.to_string())
}
