//! `token-keeper revoke`: ends a connection.
//!
//! First the provider revokes the refresh token, if that ends no other grant; then the secret is
//! removed, then the parameters. If the
//! command stops halfway, the same command finishes the work.

use jiff::SignedDuration;
use serde_json::json;
use token_keeper::connection::{
    Client, Credential, DataCenter, Grant, GrantSecret, Provider, SecretDocument, read_clients,
};
use token_keeper::failure::Refusal;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{ConnectionName, SecretName};
use token_keeper::ports::{
    Authorizer as _, Claims as _, Grants as _, Issuer as _, LeaseRemover as _, RECOVERY_DAYS, Revoked,
    SecretRemover as _,
};
use token_keeper::secret::RefreshToken;

use crate::console::{Console, Failure};
use crate::operator::Operator;

/// Where a connection's refresh token can be revoked.
enum Home {
    Zoho(DataCenter),
    Other {
        client: Client,
        provider: Provider,
    },
    /// Its client's secret is gone.
    Unknown,
}

impl Home {
    fn title(&self) -> &'static str {
        match self {
            Self::Zoho(_) => "Zoho",
            Self::Other { provider, .. } => provider.title(),
            Self::Unknown => "the provider",
        }
    }

    /// What a person has to do if nothing is revoked here.
    fn by_hand(&self) -> String {
        match self {
            Self::Unknown => {
                "Nothing was revoked: the client's secret is gone, so it is not known who the provider is. To \
                              end the refresh token, remove the app in the account there."
                    .to_owned()
            }
            _ => format!(
                "Nothing was revoked: {title} has no revocation that is known to end this refresh token alone, and another grant could end \
                 with it. To end it, remove the app in the account at {title}; that ends the app's other connections to this account, too.",
                title = self.title()
            ),
        }
    }
}

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
        let deleted = match self.secrets.read_one(&name).await?.content {
            Err(Flaw::NotFound) => {
                return Err(Failure::new(format!("there is no connection {connection}"), "see token-keeper list"));
            }
            found => matches!(found, Err(Flaw::Deleted)),
        };
        let question = format!(
            "End the connection {connection}? Its refresh token is revoked, if its provider can revoke it alone, and the parameter \
             {parameter} is removed. [y/N] "
        );
        if !yes && !console.terminal.confirm(&question).map_err(|error| Failure::new(error, "use --yes"))? {
            return Err(Failure::new("nothing was done, because nobody said yes", "use --yes where nobody can answer"));
        }
        if deleted {
            // Only a restored secret can be read. An earlier revoke may have stopped here, or a
            // person has deleted it, with a refresh token that still lives.
            self.secrets.restore(&name).await?;
        }
        let end = async || self.end_grant(connection, &name, console).await;
        let refresh_token = self.until_written(&name, end).await?;
        let until = self.source.now() + SignedDuration::from_hours(24 * RECOVERY_DAYS);
        console.say(&format!(
            "Secret {name} is marked for deletion. You can restore it until {}; it then needs a new consent:",
            until.strftime("%Y-%m-%d")
        ));
        console.say(&format!("  aws secretsmanager restore-secret --secret-id {name}"));
        self.leases.remove(connection).await?;
        console.answer(
            json!({"connection": connection.as_str(), "refresh_token": refresh_token, "secret": name.as_str(), "parameter": parameter}),
        );
        console.say(&format!("Parameter {parameter} is removed."));
        Ok(())
    }

    /// Revokes the refresh token, stores a version without it, and removes the secret. With the new
    /// version every open link is out of date, so no consent can store a refresh token in the
    /// secret that is about to go. Returns what became of the refresh token; `None` if somebody
    /// else was first.
    async fn end_grant(
        &self,
        connection: &ConnectionName,
        name: &SecretName,
        console: &Console<'_>,
    ) -> Result<Option<&'static str>, Failure> {
        let broken = |flaw: Flaw| Failure::from(Broken::secret(name, flaw));
        let version = match self.secrets.read_one(name).await?.content {
            // Just restored, and not everybody sees it yet.
            Err(Flaw::NotFound | Flaw::Deleted) => return Ok(None),
            found => found.map_err(broken)?,
        };
        let mut document = SecretDocument::parse(&version.text).map_err(broken)?;
        let table = &self.settings.data_centers;
        let secret = GrantSecret::of(connection.clone(), version.id.clone(), &document, table).map_err(broken)?;
        let home = self.home(&secret).await?;
        let (what, words) = match secret.credential() {
            None => ("none", "There is no refresh token to revoke.".to_owned()),
            Some(Credential::ClientCredentials { .. }) => (
                "none",
                "There is no refresh token to revoke. The last access token ends by itself within an hour; to stop the client itself, \
                 delete it in Zoho's API console."
                    .to_owned(),
            ),
            Some(Credential::RefreshToken(refresh_token)) => match self.revoke_at(refresh_token, &home).await? {
                Some(Revoked::Now) => (
                    "revoked",
                    format!(
                        "{} has revoked the refresh token and every access token made from it. This cannot be undone.",
                        home.title()
                    ),
                ),
                Some(Revoked::Unknown) => {
                    if let Home::Zoho(_) = home {
                        self.check_dead(&secret, name).await?;
                    }
                    let title = home.title();
                    ("unknown", format!("{title} does not know this refresh token: it was revoked or replaced before."))
                }
                None => ("not_revoked", home.by_hand()),
            },
        };
        console.say(&words);
        self.end_leftovers(name, &secret, &home).await?;
        if !matches!(home, Home::Zoho(_)) {
            self.end_claims(connection, &home).await?;
        }
        document.end_grant();
        let Some(version) = self.write(name, Some(&version.id), &document).await? else { return Ok(None) };
        match self.secrets.remove_unchanged(name, &version).await {
            Err(error) if error.overtaken() => Ok(None),
            removed => removed.map(|()| Some(what)).map_err(Failure::from),
        }
    }

    /// Ends the refresh tokens that consents have left in older versions of the secret, because
    /// they were cut off or could not publish.
    async fn end_leftovers(&self, name: &SecretName, secret: &GrantSecret, now: &Home) -> Result<(), Failure> {
        for text in self.secrets.leftovers(name).await? {
            let Ok(document) = SecretDocument::parse(&text) else { continue };
            let home = document.string("data_center").and_then(|home| self.settings.data_centers.get(home));
            let at = match (now, home) {
                (Home::Zoho(_), Some(home)) => &Home::Zoho(home.clone()),
                _ => now,
            };
            let left = document.string("refresh_token").map(RefreshToken::new);
            let current = secret.refresh_token().map(RefreshToken::expose);
            if let Some(left) = left.filter(|left| Some(left.expose()) != current) {
                self.revoke_at(&left, at).await?;
            }
        }
        Ok(())
    }

    /// Removes the claims on the connection's grants. One of them may have a refresh token that a
    /// run could not store.
    async fn end_claims(&self, connection: &ConnectionName, home: &Home) -> Result<(), Failure> {
        let claims = self.leases.claims(connection).await?;
        for kept in claims.iter().filter_map(|claim| claim.kept.as_ref()) {
            self.revoke_at(&kept.refresh_token, home).await?;
        }
        Ok(self.leases.unclaim(connection, &claims).await?)
    }

    /// Where a connection's refresh token can be revoked. Without its client's secret, a connection
    /// with a data centre is Zoho's.
    async fn home(&self, secret: &GrantSecret) -> Result<Home, Failure> {
        let prefix = &self.settings.prefix;
        let names: Vec<_> = secret.client().iter().map(|client| prefix.client(client.as_str())).collect();
        let clients = read_clients(&self.secrets.read(&names).await?, prefix);
        Ok(match (secret.clone().resolve(&clients, prefix), secret.data_center()) {
            (Ok(Grant { client, provider: provider @ Provider::Other(_), .. }), _) => Home::Other { client, provider },
            (_, Some(data_center)) => Home::Zoho(data_center.clone()),
            (Err(Broken { flaw: Flaw::NotFound | Flaw::Deleted, .. }) | Ok(_), None) => Home::Unknown,
            (Err(broken), None) => return Err(broken.into()),
        })
    }

    /// Revokes a refresh token. `None` if that cannot be done, or could end other grants.
    async fn revoke_at(&self, refresh_token: &RefreshToken, home: &Home) -> Result<Option<Revoked>, Failure> {
        let revoked = match home {
            Home::Zoho(data_center) => Some(self.issuer.zoho().revoke(refresh_token, data_center).await),
            Home::Other { client, provider } => self.issuer.revoke(refresh_token, client, provider).await,
            Home::Unknown => None,
        };
        revoked.transpose().map_err(|refusal| {
            let what = format!("{} did not revoke the refresh token ({refusal}); nothing was removed", home.title());
            let remedy = match refusal {
                Refusal::Throttled => "try again in ten minutes",
                _ => "try again in a few minutes",
            };
            Failure::new(what, remedy)
        })
    }

    /// Zoho's page for a token that it does not know could be anybody's page. So this asks for an
    /// access token: Zoho's refusal is proof.
    async fn check_dead(&self, secret: &GrantSecret, name: &SecretName) -> Result<(), Failure> {
        let prefix = &self.settings.prefix;
        let clients: Vec<_> = secret.client().iter().map(|client| prefix.client(client.as_str())).collect();
        let clients = read_clients(&self.secrets.read(&clients).await?, prefix);
        let why = match self.issuer.mint(&secret.clone().resolve(&clients, prefix)?).await {
            Err(Refusal::ConsentRequired { .. }) => return Ok(()),
            Ok(_) => "it still gives access tokens for it".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let what = format!("Zoho did not revoke the refresh token, and {why}; nothing was removed");
        let remedy = format!(
            "try again in a few minutes; if the client itself is gone at Zoho, its tokens are dead: aws secretsmanager delete-secret \
             --secret-id {name}"
        );
        Err(Failure::new(what, remedy))
    }
}
