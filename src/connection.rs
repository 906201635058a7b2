//! Data centres, and grants and clients as parsed from their secrets.
//!
//! Pure. Errors name secrets and fields, and never quote the text of a secret.

mod account;
mod data_center;
mod document;
mod provider;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use account::{Account, PROFILE_SCOPE, tells_account};
pub use data_center::{DataCenter, DataCenters};
pub use document::{KNOWN, SecretDocument, UniqueFields};
pub use provider::Provider;
pub use stored::{CLIENT_CREDENTIALS, GrantSecret};

use jiff::{SignedDuration, Timestamp};

use crate::flaw::{Broken, Flaw};
use crate::name::{ClientName, ConnectionName, Prefix, SecretName, VersionId};
use crate::provider::server::Server;
use crate::secret::{ClientSecret, RefreshToken, SecretText};

/// A secret as the store has it: its full name, and its text or why the text cannot be read.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// Its full name.
    pub name: SecretName,
    /// The current version, or why it cannot be read.
    pub content: Result<SecretVersion, Flaw>,
}

/// The current version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// Its `VersionId`.
    pub id: VersionId,
    /// Its text.
    pub text: SecretText,
}

/// What a connection holds: enough to mint access tokens for it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The operator's name for the authorised account.
    pub connection: ConnectionName,
    /// The `VersionId` of the secret that this was read from.
    pub version: VersionId,
    /// The version that links for it have: another one if refreshes have changed the secret since.
    pub link_version: VersionId,
    /// The client that the user agreed to.
    pub client: Client,
    /// Where its tokens come from.
    pub provider: Provider,
    /// Scopes recorded at the consent; may be empty in a hand-made secret.
    pub scopes: Vec<String>,
    /// What a token is asked for with; `None` until somebody has given consent.
    pub credential: Option<Credential>,
    /// Base URL of the account's APIs as recorded with the consent.
    pub api_domain: Option<String>,
    /// When somebody consented, if the secret says so.
    pub granted_at: Option<Timestamp>,
    /// Who consented at Zoho, if that could be told.
    pub account: Option<Account>,
    /// Values of another provider that callers of its API need, by name.
    pub kept: BTreeMap<String, String>,
    /// When the refresh token ends, if that is known.
    pub refresh_token_expires_at: Option<Timestamp>,
}

impl Grant {
    /// The refresh token, if tokens are asked for with one.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.credential.as_ref()?.refresh_token()
    }

    /// When a refresh token ends that was issued at `issued_at`: as its answer said, or as the
    /// provider's table tells; the earliest.
    pub fn end_of_refresh_token(&self, said: Option<Timestamp>, issued_at: Timestamp) -> Option<Timestamp> {
        let profile = self.provider.profile()?;
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        // Only a token that is never replaced ends because nobody uses it, and this one is used.
        let token = profile.token_days.map(|token| issued_at + days(token));
        let grant = profile.grant_days.zip(self.granted_at).map(|(grant, granted_at)| granted_at + days(grant));
        [said.or(token), grant].into_iter().flatten().min()
    }
}

/// What an access token is asked for with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// What a consent left (RFC 6749 §6).
    RefreshToken(RefreshToken),
    /// The client's own id and secret (RFC 6749 §4.4). Zoho takes them from self clients.
    ClientCredentials {
        /// The organisation, where the service has several: `ZohoCRM.600000434`.
        soid: Option<String>,
    },
}

impl Credential {
    /// The refresh token, if it is one.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        match self {
            Self::RefreshToken(refresh_token) => Some(refresh_token),
            Self::ClientCredentials { .. } => None,
        }
    }
}

/// A registered application with the one secret that is right for the grant's server.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id` (RFC 6749 §2.2).
    pub id: String,
    /// `client_secret`.
    pub secret: ClientSecret,
}

/// A registered application as stored: one client id, and perhaps one secret per data centre.
#[derive(Clone, Debug)]
pub struct ClientSecrets {
    /// `client_id`, the same in every data centre.
    pub id: String,
    /// The secret for every data centre that is not in `by_data_center`.
    pub common: Option<ClientSecret>,
    /// Secrets by data centre. They win over `common`.
    pub by_data_center: BTreeMap<String, ClientSecret>,
    /// The server of another provider; `None` for Zoho.
    pub server: Option<Arc<Server>>,
}

impl ClientSecrets {
    /// The client as the accounts server of `data_center` knows it, or `None` if there is no secret
    /// for it.
    pub fn for_data_center(&self, data_center: &str) -> Option<Client> {
        let secret = self.by_data_center.get(data_center).or(self.common.as_ref())?;
        Some(Client { id: self.id.clone(), secret: secret.clone() })
    }
}

/// Connections by name, each with its grant or why the grant cannot be used. Names that break the
/// rules are included.
pub type GrantsByName = BTreeMap<String, Result<Grant, Broken>>;

/// Clients by name, each as stored or why it cannot be used.
pub type Clients = BTreeMap<ClientName, Result<ClientSecrets, Broken>>;

/// Reads every client among `secrets`.
pub fn read_clients(secrets: &[StoredSecret], prefix: &Prefix) -> Clients {
    let mut clients = BTreeMap::new();
    for (name, secret) in under(secrets, &prefix.clients()) {
        // No connection can refer to a client whose name breaks the rules, so it is skipped.
        if let Ok(name) = name.parse::<ClientName>() {
            let client = secret.content.as_ref().map_err(Clone::clone);
            let client = client.and_then(|version| ClientSecrets::of(&SecretDocument::parse(&version.text)?));
            clients.insert(name, client.map_err(|flaw| Broken::secret(&secret.name, flaw)));
        }
    }
    clients
}

/// Reads every connection among `secrets` and joins it with its client.
pub fn read_grants(secrets: &[StoredSecret], prefix: &Prefix, table: &DataCenters) -> GrantsByName {
    let clients = read_clients(secrets, prefix);
    under(secrets, &prefix.grants())
        .map(|(name, secret)| {
            let grant = parse_grant(name, secret, table)
                .map_err(|flaw| Broken::secret(&secret.name, flaw))
                .and_then(|grant| grant.resolve(&clients, prefix));
            (name.to_owned(), grant)
        })
        .collect()
}

/// The names of the clients that the connections among `secrets` refer to.
pub fn clients_of(secrets: &[StoredSecret], prefix: &Prefix, table: &DataCenters) -> BTreeSet<ClientName> {
    under(secrets, &prefix.grants())
        .filter_map(|(name, secret)| parse_grant(name, secret, table).ok()?.client().cloned())
        .collect()
}

fn under<'s>(secrets: &'s [StoredSecret], path: &'s str) -> impl Iterator<Item = (&'s str, &'s StoredSecret)> {
    secrets.iter().filter_map(move |secret| Some((secret.name.as_str().strip_prefix(path)?, secret)))
}

fn parse_grant(name: &str, secret: &StoredSecret, table: &DataCenters) -> Result<GrantSecret, Flaw> {
    let connection = name.parse().map_err(Flaw::Name)?;
    let version = secret.content.as_ref().map_err(Clone::clone)?;
    GrantSecret::of(connection, version.id.clone(), &SecretDocument::parse(&version.text)?, table)
}
