//! The operator's command line: its commands and their answers.
//!
//! Answers go to standard output: words for people, or one JSON object for programs. Errors go to
//! standard error, each with a remedy. Secrets come from a prompt or from standard input, never
//! from an argument: everybody on the machine can read arguments.

pub mod console;
pub mod stack;
pub mod operator;
mod text;
pub mod providers;
pub mod login;
pub mod local;
pub mod scopes;
pub mod prepare;
mod connected;
pub mod device;
pub mod server;
pub mod client;
pub mod connect;
mod credentials;
pub mod grant;
pub mod import;
pub mod list;
pub mod token;
pub mod refresh;
pub mod doctor;
pub mod revoke;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;
use url::Url;

use crate::console::Console;
pub use crate::console::{Failure, Look, Terminal};
pub use crate::operator::Operator;
use crate::stack::{Stack, Unread};

/// Keeps OAuth access tokens of Zoho and other providers fresh in AWS SSM Parameter Store.
#[derive(Debug, Parser)]
#[command(
    name = "token-keeper",
    version,
    after_help = "Region and credentials come from the same places as for the AWS CLI: AWS_REGION, AWS_PROFILE and so on. Settings \
                  come from the parameter /PREFIX/settings, which the stack writes. The variables of the functions win over it: \
                  TOKEN_KEEPER_CALLBACK_URL and so on.\n\n\
                  A command ends with 0 when all is well, with 1 when something failed or needs you, and with 2 when it was typed wrong or a setting is wrong.\n\n\
                  Start with: token-keeper client add --help"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// First part of the name of every secret and parameter, instead of `TOKEN_KEEPER_PREFIX`
    #[arg(long, global = true, value_name = "PREFIX", help_heading = "Global options")]
    pub prefix: Option<String>,
    /// AWS profile. Wins over keys in the environment
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub profile: Option<String>,
    /// AWS Region
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub region: Option<String>,
    /// AWS endpoint, for an emulator
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub endpoint_url: Option<Url>,
    /// Print one JSON object, for programs. What else is said goes to standard error
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Write a log to standard error
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Manage the applications registered at Zoho and other providers
    #[command(subcommand)]
    Client(ClientCommand),
    /// Make the link that an administrator opens to connect an account
    Connect(connect::Arguments),
    /// Make a link for each connection that needs a new consent
    Reconnect(connect::AgainArguments),
    /// Connect a self client's organisation, with a code or the client's own credentials
    Grant(grant::Arguments),
    /// Show the scopes that Zoho documents
    Scopes(scopes::Arguments),
    /// Show the OAuth providers that the program knows
    Providers(providers::Arguments),
    /// Take over refresh tokens that you already have
    Import(import::Arguments),
    /// Show every connection, how long its token lives, and what to do
    #[command(alias = "status")]
    List(list::Arguments),
    /// Print a live access token and nothing else
    Token(token::Arguments),
    /// Check the installation, without asking a provider for a token
    Doctor(doctor::Arguments),
    /// Run the refresher from this machine
    Refresh(refresh::Arguments),
    /// End a connection: revoke its refresh token, remove its secret and its parameters
    Revoke(revoke::Arguments),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  token-keeper completions bash > /etc/bash_completion.d/token-keeper")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it uses the stack's settings. A program that reads tokens may call `token`, and may
    /// not be allowed to read them.
    pub fn uses_settings(&self) -> bool {
        !matches!(self, Self::Token(_) | Self::Scopes(_) | Self::Providers(_) | Self::Completions { .. })
    }

    /// Whether it needs the stack's settings to be right: it writes, and with the defaults it could
    /// move a token to another key or tier.
    fn writes(&self) -> bool {
        match self {
            Self::Refresh(arguments) => !arguments.dry_run,
            Self::Connect(arguments) => !arguments.void,
            Self::Client(ClientCommand::Add(_)) | Self::Grant(_) | Self::Import(_) => true,
            // What ends something must never wait for a setting.
            Self::Revoke(_)
            | Self::Client(ClientCommand::List | ClientCommand::Remove(_))
            | Self::Reconnect(_)
            | Self::List(_)
            | Self::Token(_)
            | Self::Scopes(_)
            | Self::Providers(_)
            | Self::Doctor(_)
            | Self::Completions { .. } => false,
        }
    }

    /// Whether it may send a secret to Zoho.
    fn sends_secrets(&self) -> bool {
        self.writes() || matches!(self, Self::Revoke(_))
    }

    /// Whether it says first where it looks: if nothing is found there, or the wrong thing, the
    /// Region or the prefix may be wrong.
    fn says_where(&self) -> bool {
        use Command::{Client, Connect, Doctor, List, Reconnect, Refresh, Revoke};
        matches!(
            self,
            Client(ClientCommand::List) | Connect(_) | Reconnect(_) | List(_) | Doctor(_) | Refresh(_) | Revoke(_)
        )
    }
}

/// What to do with a client.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Store a client, or add a secret to a stored client
    Add(client::Arguments),
    /// Show every client and the connections that use it
    List,
    /// Remove a client that no connection uses
    Remove(client::RemoveArguments),
}

impl Operator {
    /// Runs one command.
    ///
    /// # Errors
    /// What failed, with its remedy.
    pub async fn run(self, cli: Cli, terminal: &dyn Terminal) -> Result<(), Failure> {
        let console = &Console::new(terminal, cli.json);
        // First, so that an error shows where it comes from.
        if cli.command.says_where() {
            console.say(&self.place());
        }
        // Boxed, because it is as large as all commands.
        let done = Box::pin(self.carry_out(cli.command, console)).await;
        if let Err(failure) = &done
            && !console.has_answered()
        {
            console.answer_failure(failure);
        }
        match (console.check(), done) {
            (Err(lost), Err(failure)) => Err(Failure::new(format!("{}; {}", failure.what, lost.what), failure.remedy)),
            (check, done) => check.and(done),
        }
    }

    async fn carry_out(self, command: Command, console: &Console<'_>) -> Result<(), Failure> {
        match (&self.stack, &command) {
            (_, Command::Doctor(_)) => {}
            (Ok(Some(Stack { parameter, data_centers: Some(theirs), .. })), command) if command.sends_secrets() => {
                return Err(Failure::new(
                    format!("the stack has data centres that are not set here (parameter {parameter}): {theirs}"),
                    format!(
                        "if these hosts may get refresh tokens and client secrets: export TOKEN_KEEPER_DATA_CENTERS='{theirs}'; nothing \
                         was done"
                    ),
                ));
            }
            (Ok(_), _) => {}
            (Err(Unread::Failed(error)), _) => return Err(error.clone().into()),
            (Err(Unread::Unusable { what, remedy }), command) if command.writes() => {
                return Err(Failure::new(what, format!("{remedy}; nothing was done")));
            }
            (Err(Unread::Unusable { what, remedy }), _) => {
                console.terminal.note(&format!("The stack's settings are not used: {what}\n  -> {remedy}"));
            }
        }
        match command {
            Command::Client(ClientCommand::Add(arguments)) => self.add_client(&arguments, console).await,
            Command::Client(ClientCommand::List) => self.list_clients(console).await,
            Command::Client(ClientCommand::Remove(arguments)) => self.remove_client(&arguments, console).await,
            Command::Connect(arguments) => Box::pin(self.connect(arguments, console)).await,
            Command::Reconnect(arguments) => self.reconnect(&arguments, console).await,
            Command::Grant(arguments) => Box::pin(self.grant(&arguments, console)).await,
            Command::Scopes(arguments) => scopes::show(&arguments, console),
            Command::Providers(arguments) => providers::show(&arguments, console),
            Command::Import(arguments) => self.import(&arguments, console).await,
            Command::List(arguments) => self.list(&arguments, console).await,
            Command::Token(arguments) => self.token(&arguments, console).await,
            Command::Doctor(arguments) => self.doctor(&arguments, console).await,
            Command::Refresh(arguments) => self.refresh(arguments, console).await,
            Command::Revoke(arguments) => self.revoke(&arguments, console).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "token-keeper", &mut script);
                let script = String::from_utf8_lossy(&script);
                console.show(script.trim_end());
                console.answer(json!({"script": script}));
                Ok(())
            }
        }
    }
}
