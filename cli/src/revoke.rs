//! `token-keeper revoke`: the end of a connection.

use jiff::SignedDuration;
use token_keeper::connection::{GrantSecret, SecretDocument};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::ConnectionName;
use token_keeper::ports::{Authorizer as _, Grants as _, LeaseRemover as _, RECOVERY_DAYS, SecretRemover as _};

use super::{Console, Failure, Operator};

/// Which connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper revoke crm-test --yes")]
pub struct Arguments {
    /// The connection
    pub connection: ConnectionName,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

impl Operator {
    pub(super) async fn revoke(&self, arguments: &Arguments, console: &dyn Console) -> Result<(), Failure> {
        let Arguments { connection, yes } = arguments;
        let name = self.settings.prefix.grant(connection.as_str());
        let parameter = self.settings.prefix.lease(connection.as_str());
        let broken = |flaw: Flaw| Failure::from(Broken::secret(&name, flaw));
        let secret = match self.secrets.read_one(&name).await?.content {
            // What was broken off after the secret's removal is finished now.
            Err(Flaw::Deleted) => None,
            found => {
                let version = found.map_err(broken)?;
                let document = SecretDocument::parse(&version.text).map_err(broken)?;
                let table = &self.settings.data_centers;
                Some(GrantSecret::of(connection.clone(), version.id, &document, table).map_err(broken)?)
            }
        };
        let question = format!(
            "End the connection {connection}? Its refresh token dies at Zoho, and programs lose the parameter {parameter}. [y/N] "
        );
        if !yes && !console.confirm(&question).map_err(|error| Failure::new(error, "say --yes"))? {
            return Err(Failure::new("nothing was done", "say --yes where nobody can be asked"));
        }
        if let Some(secret) = &secret {
            if let Some(refresh_token) = secret.refresh_token() {
                self.zoho.revoke(refresh_token, secret.data_center()).await.map_err(|refusal| {
                    let what = format!("Zoho did not revoke the refresh token ({refusal}); nothing was removed");
                    Failure::new(what, "try again in some minutes")
                })?;
                console.show("Revoked at Zoho, together with every access token made from it. This cannot be undone.");
            } else {
                console.show("There was no refresh token to revoke.");
            }
            self.secrets.remove(&name).await?;
            let until = self.source.now() + SignedDuration::from_hours(24 * RECOVERY_DAYS);
            console.show(&format!(
                "Secret {name} is marked for deletion. Until {} it can be restored, without a live refresh token:",
                until.strftime("%Y-%m-%d")
            ));
            console.show(&format!("  aws secretsmanager restore-secret --secret-id {name}"));
        }
        self.leases.remove(connection).await?;
        console.show(&format!("Parameter {parameter} is removed."));
        Ok(())
    }
}
