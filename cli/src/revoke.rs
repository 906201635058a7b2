//! `token-keeper revoke`: ends a connection.
//!
//! First Zoho revokes the refresh token, then the secret is removed, then the parameters. If the
//! command stops halfway, the same command finishes the work.

use jiff::SignedDuration;
use serde_json::json;
use token_keeper::connection::{GrantSecret, SecretDocument};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::ConnectionName;
use token_keeper::ports::{Authorizer as _, Grants as _, LeaseRemover as _, RECOVERY_DAYS, SecretRemover as _};

use crate::console::{Console, Failure};
use crate::operator::Operator;

/// Which connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper revoke crm-test --yes")]
pub struct Arguments {
    /// The connection
    pub connection: ConnectionName,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

impl Operator {
    pub(super) async fn revoke(&self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let Arguments { connection, yes } = arguments;
        let name = self.settings.prefix.grant(connection.as_str());
        let parameter = self.settings.prefix.lease(connection.as_str());
        let broken = |flaw: Flaw| Failure::from(Broken::secret(&name, flaw));
        let secret = match self.secrets.read_one(&name).await?.content {
            // An earlier revoke stopped after it had removed the secret: remove the parameters now.
            Err(Flaw::Deleted) => None,
            Err(Flaw::NotFound) => {
                return Err(Failure::new(format!("there is no connection {connection}"), "see token-keeper list"));
            }
            found => {
                let version = found.map_err(broken)?;
                let document = SecretDocument::parse(&version.text).map_err(broken)?;
                let table = &self.settings.data_centers;
                Some(GrantSecret::of(connection.clone(), version.id, &document, table).map_err(broken)?)
            }
        };
        let question = format!(
            "End the connection {connection}? Its refresh token is revoked at Zoho, and the parameter {parameter} is removed. [y/N] "
        );
        if !yes && !console.terminal.confirm(&question).map_err(|error| Failure::new(error, "use --yes"))? {
            return Err(Failure::new("nothing was done, because nobody said yes", "use --yes where nobody can answer"));
        }
        if let Some(secret) = &secret {
            if let Some(refresh_token) = secret.refresh_token() {
                self.zoho.revoke(refresh_token, secret.data_center()).await.map_err(|refusal| {
                    let what = format!("Zoho did not revoke the refresh token ({refusal}); nothing was removed");
                    Failure::new(what, "try again in a few minutes")
                })?;
                console.say(
                    "Zoho has revoked the refresh token and every access token made from it. This cannot be undone.",
                );
            } else {
                console.say("There was no refresh token to revoke.");
            }
            self.secrets.remove(&name).await?;
            let until = self.source.now() + SignedDuration::from_hours(24 * RECOVERY_DAYS);
            console.say(&format!(
                "Secret {name} is marked for deletion. You can restore it until {}, but its refresh token stays dead:",
                until.strftime("%Y-%m-%d")
            ));
            console.say(&format!("  aws secretsmanager restore-secret --secret-id {name}"));
        }
        self.leases.remove(connection).await?;
        console.answer(
            json!({"connection": connection.as_str(), "secret": name.as_str(), "parameter": parameter.as_str()}),
        );
        console.say(&format!("Parameter {parameter} is removed."));
        Ok(())
    }
}
