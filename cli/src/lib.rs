//! The operator's command line: its commands and their answers.
//!
//! Results go to standard output. Errors go to standard error, each with a remedy. Secrets come
//! from a prompt or from standard input, never from an argument: everybody on the machine can read
//! arguments.

mod text;
pub mod client;
pub mod connect;
pub mod doctor;
pub mod grant;
pub mod import;
pub mod list;
pub mod local;
pub mod login;
pub mod refresh;
pub mod revoke;
pub mod token;

use std::fmt::Display;
use std::io;
use std::path::Path;

use clap::{CommandFactory as _, Parser, Subcommand};
use token_keeper::address::BaseUrl;
use token_keeper::aws::{ParameterStore, Publishing, SecretsManager};
use token_keeper::connection::SecretDocument;
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::failure::StoreError;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{SecretName, VersionId};
use token_keeper::ports::{Grants as _, SecretWriter as _};
use token_keeper::run::brake::Brakes;
use token_keeper::run::{Refresher, Settings};
use token_keeper::source::Source;
use token_keeper::zoho::Zoho;
use url::Url;

/// Keeps Zoho OAuth access tokens fresh in AWS SSM Parameter Store.
#[derive(Debug, Parser)]
#[command(
    name = "token-keeper",
    version,
    after_help = "Region and credentials come from the same places as for the AWS CLI: AWS_REGION, AWS_PROFILE and so on. Settings \
                  come from the same variables as for the functions: TOKEN_KEEPER_PREFIX and so on.\n\n\
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
    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Write a log to standard error
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Manage the applications registered in Zoho's API console
    #[command(subcommand)]
    Client(ClientCommand),
    /// Make the link that an administrator opens to connect a Zoho account
    Connect(connect::Arguments),
    /// Make a link for each connection that needs a new consent
    Reconnect(connect::AgainArguments),
    /// Connect an account with a self client's code, without a browser
    Grant(grant::Arguments),
    /// Take over refresh tokens that you already have
    Import(import::Arguments),
    /// Show every connection, how long its token lives, and what to do
    #[command(alias = "status")]
    List,
    /// Print a live access token and nothing else
    Token(token::Arguments),
    /// Check the installation, without asking Zoho for a token
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
    /// Whether `--json` changes its answer.
    fn answers_programs(&self) -> bool {
        use Command::{Client, Connect, Doctor, List, Reconnect, Refresh};
        matches!(self, Client(ClientCommand::List) | Connect(_) | Reconnect(_) | List | Doctor(_) | Refresh(_))
    }

    /// Whether it says first where it looks: if nothing is found there, or the wrong thing, the Region
    /// or the prefix may be wrong.
    fn says_where(&self) -> bool {
        self.answers_programs() || matches!(self, Self::Revoke(_))
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

/// An installation, with everything that the commands use of it.
pub struct Operator {
    /// The settings that the functions have too.
    pub settings: Settings,
    /// How leases are published.
    pub publishing: Publishing,
    /// The callback function's public base URL, if the environment has it.
    pub callback_url: Option<BaseUrl>,
    /// Secrets Manager.
    pub secrets: SecretsManager,
    /// Zoho.
    pub zoho: Zoho,
    /// Parameter Store.
    pub leases: ParameterStore,
    /// The time, and random bytes.
    pub source: Source,
    /// The Region of both stores, if it is known.
    pub region: Option<String>,
    /// The AWS profile, if one was named.
    pub profile: Option<String>,
}

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
    what: String,
    remedy: String,
}

impl Failure {
    fn new(what: impl Display, remedy: impl Display) -> Self {
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

impl Operator {
    /// Runs one command.
    ///
    /// # Errors
    /// What failed, with its remedy.
    pub async fn run(self, cli: Cli, console: &dyn Console) -> Result<(), Failure> {
        let json = cli.json;
        if json && !cli.command.answers_programs() {
            return Err(Failure::new("this command has no answer in JSON", "leave --json out; nothing was done"));
        }
        // First, so that an error shows where it comes from.
        if !json && cli.command.says_where() {
            console.show(&self.place());
        }
        match cli.command {
            Command::Client(ClientCommand::Add(arguments)) => self.add_client(&arguments, console).await,
            Command::Client(ClientCommand::List) => self.list_clients(json, console).await,
            Command::Client(ClientCommand::Remove(arguments)) => self.remove_client(&arguments, console).await,
            Command::Connect(arguments) => self.connect(arguments, json, console).await,
            Command::Reconnect(arguments) => self.reconnect(&arguments, json, console).await,
            Command::Grant(arguments) => self.grant(arguments, console).await,
            Command::Import(arguments) => self.import(&arguments, console).await,
            Command::List => self.list(json, console).await,
            Command::Token(arguments) => self.token(&arguments, console).await,
            Command::Doctor(arguments) => self.doctor(&arguments, json, console).await,
            Command::Refresh(arguments) => self.refresh(arguments, json, console).await,
            Command::Revoke(arguments) => self.revoke(&arguments, console).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "token-keeper", &mut script);
                console.show(String::from_utf8_lossy(&script).trim_end());
                Ok(())
            }
        }
    }

    /// Where the command looks: another Region or prefix is another installation.
    fn place(&self) -> String {
        let region = self.region.as_ref().map_or("no Region".to_owned(), |region| format!("Region {region}"));
        let profile = self.profile.as_ref().map(|profile| format!(", AWS profile {profile}")).unwrap_or_default();
        format!("{region}, prefix {}{profile}", self.settings.prefix.as_str())
    }

    /// A new `VersionId`.
    fn new_version(&self) -> VersionId {
        VersionId::of_bytes(self.source.random())
    }

    /// The refresher of this installation.
    fn refresher(self) -> Refresher<SecretsManager, Zoho, ParameterStore> {
        let Self { settings, secrets, zoho, leases, source, .. } = self;
        Refresher { settings, grants: secrets, issuer: zoho, leases, source, brakes: Brakes::default() }
    }

    /// The consent of this installation.
    fn consent(self, key: KeyRing) -> Consent<SecretsManager, Zoho, ParameterStore> {
        let Self { settings: Settings { prefix, data_centers, .. }, secrets, zoho, leases, source, .. } = self;
        Consent { prefix, data_centers, secrets, zoho, leases, source, key }
    }

    /// Refuses a data centre that is not in the table.
    fn check_data_center(&self, name: Option<&str>) -> Result<(), Failure> {
        let table = &self.settings.data_centers;
        let Some(unknown) = name.filter(|name| table.get(name).is_none()) else { return Ok(()) };
        let remedy = format!("use one of {}, or add it to TOKEN_KEEPER_DATA_CENTERS", table.names());
        Err(Failure::new(format!("{unknown} is not a known data centre"), remedy))
    }

    /// Reads a secret's document and its version. `None` if the secret does not exist.
    async fn document(&self, name: &SecretName) -> Result<Option<(SecretDocument, VersionId)>, Failure> {
        let broken = |flaw: Flaw| Failure::from(Broken::secret(name, flaw));
        match self.secrets.read_one(name).await?.content {
            Ok(version) => Ok(Some((SecretDocument::parse(&version.text).map_err(broken)?, version.id))),
            Err(Flaw::NotFound) => Ok(None),
            Err(flaw) => Err(broken(flaw)),
        }
    }

    /// Creates a secret, or stores a new version of an existing one.
    async fn write(&self, name: &SecretName, exists: bool, document: &SecretDocument) -> Result<VersionId, StoreError> {
        let (version, text) = (self.new_version(), document.text());
        if exists {
            self.secrets.replace(name, &text, &version).await?;
        } else {
            self.secrets.create(name, &text, &version).await?;
        }
        Ok(version)
    }
}
