//! `token-keeper revoke`: the end of a connection.

use jiff::SignedDuration;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::ConnectionName;
use token_keeper::connection::GrantSecret;
use token_keeper::ports::RECOVERY_DAYS;

use super::{Accounts, Clock, Console, Failure, LeaseStore, Operator, Random, Secrets};

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

impl<S: Secrets, Z: Accounts, L: LeaseStore, R: Random, N: Clock> Operator<S, Z, L, R, N> {
    pub(super) async fn revoke(&self, arguments: &Arguments, console: &dyn Console) -> Result<(), Failure> {
        let Arguments { connection, yes } = arguments;
        let name = self.settings.prefix.grant(connection.as_str());
        let parameter = self.settings.prefix.lease(connection.as_str());
        let mut found = self.secrets.read(std::slice::from_ref(&name)).await?;
        let found = found.pop().map_or(Err(Flaw::NotFound), |secret| secret.content);
        let flawed = |flaw: Flaw| Failure::new(Broken::secret(&name, flaw.clone()), flaw.remedy());
        let secret = match found {
            // What was broken off after the secret's removal is finished now.
            Err(Flaw::Deleted) => None,
            found => {
                let version = found.map_err(flawed)?;
                let text = version.text.expose();
                let table = &self.settings.data_centers;
                Some(GrantSecret::parse(connection.clone(), &version.id, text, table).map_err(flawed)?)
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
                    let what =
                        format!("Zoho did not revoke the refresh token ({}); nothing was removed", refusal.word());
                    Failure::new(what, "try again in some minutes")
                })?;
                console.show("Revoked at Zoho, together with every access token made from it. This cannot be undone.");
            } else {
                console.show("There was no refresh token to revoke.");
            }
            self.secrets.remove(&name).await?;
            let until = (self.now)() + SignedDuration::from_hours(24 * RECOVERY_DAYS);
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
