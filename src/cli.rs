//! The operator's command line: what may be typed, and what is answered.
//!
//! Results go to standard output and troubles to standard error, each with a remedy. Secrets come by prompt or standard input,
//! never as an argument, because everybody on the machine can read those.

pub mod client;
pub mod connect;
pub mod local;

use std::fmt::Display;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::ports::{Authorizer, Grants, Leases, SecretWriter, StoreError};
use crate::refresh::Settings;
use crate::secret::Text;

/// Keeps Zoho OAuth access tokens fresh in AWS SSM Parameter Store.
#[derive(Debug, Parser)]
#[command(
    name = "token-keeper",
    version,
    after_help = "Region and credentials are the AWS CLI's: AWS_REGION, AWS_PROFILE and so on. Settings are the functions': \
                  TOKEN_KEEPER_PREFIX and so on.\n\nStart with: token-keeper client add --help"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The applications registered in Zoho's API console
    #[command(subcommand)]
    Client(ClientCommand),
    /// Make a link with which an administrator connects a Zoho account
    Connect(connect::Arguments),
}

/// What to do with a client.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Store a client, or one more secret of it
    Add(client::Arguments),
}

/// An installation as the operator reaches it.
pub struct Operator<S, Z, L, Random, Now> {
    /// The same as the functions'.
    pub settings: Settings,
    /// The callback function's public base URL, if the environment says it.
    pub callback_url: Option<String>,
    /// Secrets Manager.
    pub secrets: S,
    /// Zoho.
    pub zoho: Z,
    /// Parameter Store.
    pub leases: L,
    /// 32 random bytes, fit for cryptography.
    pub random: Random,
    /// The time.
    pub now: Now,
}

/// Asks for a secret by this prompt.
pub type Ask<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;
/// Shows lines of a result.
pub type Show<'a> = &'a dyn Fn(&str);

/// A command that did not do it, and what to do about that.
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

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(&error, error.remedy())
    }
}

impl<S, Z, L, Random, Now> Operator<S, Z, L, Random, Now>
where
    S: Grants + SecretWriter,
    Z: Authorizer,
    L: Leases,
    Random: Fn() -> [u8; 32],
    Now: Fn() -> Timestamp,
{
    /// Does what the command line says.
    ///
    /// # Errors
    /// What was not done, with its remedy.
    pub async fn run(self, cli: Cli, ask: Ask<'_>, show: Show<'_>) -> Result<(), Failure> {
        match cli.command {
            Command::Client(ClientCommand::Add(arguments)) => self.add_client(&arguments, ask, show).await,
            Command::Connect(arguments) => self.connect(arguments, show).await,
        }
    }

    /// A `VersionId` that no other version has.
    fn new_version(&self) -> String {
        let bytes = (self.random)();
        format!("{:032x}", bytes.first_chunk().copied().map_or(0, u128::from_be_bytes))
    }

    /// Stores a secret under a name that is not taken, or a new version of it.
    async fn write(&self, name: &str, exists: bool, text: &Text) -> Result<String, StoreError> {
        let version = self.new_version();
        if exists {
            self.secrets.replace(name, text, &version).await?;
        } else {
            self.secrets.create(name, text, &version).await?;
        }
        Ok(version)
    }
}
