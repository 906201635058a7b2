//! Use case 2: a consent, from an operator's link to a stored grant with its first lease.
//!
//! There is no table of open consents. A link says what it allows, signed and bound to the grant's
//! version. A consent changes that version, so each link works once. The provider is asked only
//! after every check has passed. The refresh token is stored before anything else is done with the
//! answer, but for one question: whose account it is.

mod accept;
mod key;
pub mod link;
mod publish;
mod request;
mod stop;

use std::collections::BTreeMap;

use jiff::Timestamp;
use tracing::{error, info, warn};

pub use key::{KeyRing, NoKey, read_signing_key};
pub use stop::{Stop, Stopped};

use self::link::{LinkError, STATE_LIFE, State, Ticket, code_challenge, encode, hash, well_formed};
use self::request::authorization_request;
use crate::connection::{
    Account, DataCenter, Grant, GrantSecret, Provider, SecretDocument, SecretVersion, read_clients,
};
use crate::failure::StoreError;
use crate::flaw::{Broken, Flaw};
use crate::lease::whole_second;
use crate::name::{ConnectionName, VersionId};
use crate::ports::{Authorizer, Grants, Leases, Proof, SecretWriter};
use crate::provider::KeptFrom;
use crate::secret::{AuthorizationCode, RefreshToken, SigningKey};
use crate::settings::Settings;
use crate::source::Source;

/// The consents of one installation: settings, and the services that a consent needs.
pub struct Consent<S, Z, L> {
    /// What the operator chose.
    pub settings: Settings,
    /// Secrets Manager.
    pub secrets: S,
    /// The providers.
    pub issuer: Z,
    /// Parameter Store.
    pub leases: L,
    /// The time, and random bytes.
    pub source: Source,
    /// The signing key.
    pub key: KeyRing,
}

/// A consent that has begun: where the browser goes, and the cookie that it brings back.
#[derive(Debug)]
pub struct Begun {
    /// The authorization request (RFC 6749 §4.1.1).
    pub location: String,
    /// The cookie that binds the state to this browser.
    pub cookie: Cookie,
}

/// A cookie that lives as long as its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name. It is different in each round trip, so that two links can be open at the same
    /// time.
    pub name: String,
    /// Its value. Random.
    pub value: String,
}

/// A redirect from a provider, not checked yet.
#[derive(Debug)]
pub struct Callback {
    /// `state`.
    pub state: String,
    /// `code`, or the `error` that came instead.
    pub answer: Result<AuthorizationCode, String>,
    /// `accounts-server`, from Zoho.
    pub accounts_server: Option<String>,
    /// `iss`: which server says that it sends this (RFC 9207).
    pub issuer: Option<String>,
    /// Parameters that other providers' rows [keep](crate::provider::Kept), by name.
    pub kept: BTreeMap<String, String>,
}

/// A completed consent.
#[derive(Debug, PartialEq, Eq)]
pub struct Connected {
    /// The connection.
    pub connection: ConnectionName,
    /// The provider's name for people.
    pub provider: &'static str,
    /// Where the account lives at Zoho.
    pub data_center: Option<String>,
    /// Whose account it is, if that could be told.
    pub account: Option<Account>,
    /// Scopes that were asked for, but not granted.
    pub withheld: Vec<String>,
    /// Whether the first lease is published already. If not, the next run does it.
    pub published: bool,
}

impl<S: Grants + SecretWriter, Z: Authorizer, L: Leases> Consent<S, Z, L> {
    /// Takes a ticket and sends the browser to the provider. Reads the stores, writes nothing.
    ///
    /// # Errors
    /// Why the link is refused.
    pub async fn begin(&self, ticket: &str, redirect_uri: &str) -> Result<Begun, Stopped> {
        let key = self.signing_key(ticket).await?;
        let ticket = key.open_ticket(ticket, self.source.now()).map_err(|error| stopped(error, Stop::Expired))?;
        let at = Stopped::at(ticket.title());
        self.ask(&key, ticket, redirect_uri).await.map_err(at)
    }

    async fn ask(&self, key: &SigningKey, mut ticket: Ticket, redirect_uri: &str) -> Result<Begun, Stop> {
        let connection = &ticket.connection;
        let secret = self.current_grant(connection, &ticket.version, ticket.issued_at).await?;
        let data_center = match ticket.data_center.as_str() {
            "" => None,
            name => Some(self.settings.data_centers.get(name).ok_or_else(|| Stop::Misconfigured {
                connection: connection.clone(),
                why: format!("the data centre {name} is not in the callback's table"),
            })?),
        };
        let grant = self.grant_at(&secret, data_center).await?;
        ticket.check_provider(&grant)?;
        if grant.scopes.is_empty() && grant.provider.data_center().is_some() {
            let secret = self.settings.prefix.grant(connection.as_str());
            return Err(flawed(connection, &Broken::secret(&secret, Flaw::Missing("scopes".to_owned()))));
        }
        let nonce = encode(&self.source.random()[..16]);
        // The callback does not delete the cookie, so that a reload of the last page shows what
        // happened.
        let name = format!("token-keeper-{}", &nonce[..8]);
        let cookie = Cookie { name, value: encode(&self.source.random()) };
        ticket.expires_at = whole_second(self.source.now()) + STATE_LIFE;
        let state = State { ticket, nonce, browser: hash(&cookie.value) };
        let challenge = code_challenge(&key.code_verifier(&state));
        let request = authorization_request(&grant, redirect_uri, &key.seal_state(&state), &challenge);
        let location = request.ok_or_else(|| Stop::Misconfigured {
            connection: grant.connection.clone(),
            why: format!("consents of {} are not made with a link", grant.provider.title()),
        })?;
        let (connection, provider) = (grant.connection.as_str(), grant.provider.name());
        info!(connection, provider, data_center = data_center.map(|at| &at.name), "consent begun");
        Ok(Begun { location, cookie })
    }

    /// Takes the provider's redirect: checks everything, spends the code, stores the grant,
    /// publishes the first lease and revokes the refresh token that was replaced.
    ///
    /// # Errors
    /// Why the consent stops. Nothing was changed, except perhaps with [`Stop::NotStored`].
    pub async fn complete(
        &self,
        callback: Callback,
        cookies: &[Cookie],
        redirect_uri: &str,
    ) -> Result<Connected, Stopped> {
        let key = self.signing_key(&callback.state).await?;
        let state =
            key.open_state(&callback.state, self.source.now()).map_err(|error| stopped(error, Stop::TooLate))?;
        let at = Stopped::at(state.ticket.title());
        // Boxed, because it is the largest future of the program.
        Box::pin(self.take(&key, state, callback, cookies, redirect_uri)).await.map_err(at)
    }

    async fn take(
        &self,
        key: &SigningKey,
        state: State,
        callback: Callback,
        cookies: &[Cookie],
        redirect_uri: &str,
    ) -> Result<Connected, Stop> {
        let connection = state.ticket.connection.clone();
        if !cookies.iter().any(|sent| hash(&sent.value) == state.browser) {
            return Err(Stop::OtherBrowser(connection));
        }
        let code = match callback.answer {
            Ok(code) => code,
            Err(error) if error == "access_denied" => return Err(Stop::Declined(connection)),
            Err(error) if is_about_scopes(&error) => {
                let secret = self.current_grant(&connection, &state.ticket.version, state.ticket.issued_at).await?;
                return Err(scope_refused(&connection, secret.parsed.scopes()));
            }
            Err(_) => return Err(Stop::SentBack(connection)),
        };
        let secret = self.current_grant(&connection, &state.ticket.version, state.ticket.issued_at).await?;
        let home = match (state.ticket.data_center.as_str(), &callback.accounts_server) {
            ("", _) => None,
            (_, Some(server)) => Some(self.settings.data_centers.by_accounts_server(server)),
            (name, None) => Some(self.settings.data_centers.get(name)),
        };
        let home = home.map(|home| home.ok_or_else(|| Stop::UnknownDataCenter(connection.clone()))).transpose()?;
        if let Some(home) = home {
            secret.check_move(home, state.ticket.allow_move)?;
        }
        let mut grant = self.grant_at(&secret, home).await?;
        state.ticket.check_provider(&grant)?;
        grant.kept = kept(&grant, callback.issuer.as_deref(), callback.kept)?;
        let proof = Proof { code, redirect: Some((redirect_uri.to_owned(), key.code_verifier(&state))) };
        self.redeem(secret, grant, &proof, state.ticket.allow_other_account).await
    }

    /// The key, if the text looks like a signed one.
    async fn signing_key(&self, text: &str) -> Result<SigningKey, Stop> {
        well_formed(text).ok_or(Stop::NotOurs)?;
        self.key.get(&self.secrets, &self.settings.prefix, self.source.now()).await.map_err(|why| {
            error!(error = %why, remedy = why.remedy(), "no link can be checked");
            Stop::StoreOutOfOrder
        })
    }

    /// The connection's secret, if it still has this `version`. If not, the connection may have a
    /// new consent `since` the link was made.
    ///
    /// # Errors
    /// Why no consent can begin or end.
    pub async fn current_grant(
        &self,
        connection: &ConnectionName,
        version: &VersionId,
        since: Timestamp,
    ) -> Result<CurrentGrant, Stop> {
        let name = self.settings.prefix.grant(connection.as_str());
        let current = match self.secrets.read_one(&name).await.map_err(|error| unread(&error))?.content {
            Ok(current) => current,
            Err(Flaw::NotFound | Flaw::Deleted) => return Err(Stop::Gone(connection.clone())),
            Err(flaw) => return Err(flawed(connection, &Broken::secret(&name, flaw))),
        };
        let document = SecretDocument::parse(&current.text);
        let link = document.as_ref().map_or_else(|_| current.id.clone(), |document| document.link_version(&current.id));
        if link != *version {
            return Err(overtaken(connection, &current, since));
        }
        let broken = |flaw| flawed(connection, &Broken::secret(&name, flaw));
        let document = document.map_err(broken)?;
        let data_centers = &self.settings.data_centers;
        let parsed = GrantSecret::of(connection.clone(), current.id.clone(), &document, data_centers);
        let parsed = parsed.map_err(broken)?;
        if document.field("account").is_some() && parsed.account().is_none() {
            let wanted = "an object with Zoho's `id` of a user";
            return Err(broken(Flaw::WrongType { field: "account".to_owned(), wanted }));
        }
        Ok(CurrentGrant { connection: connection.clone(), version: current.id, since, document, parsed })
    }

    /// Joins the secret with its client.
    async fn resolve(&self, connection: &ConnectionName, secret: GrantSecret) -> Result<Grant, Stop> {
        let prefix = &self.settings.prefix;
        let names: Vec<_> = secret.client().iter().map(|client| prefix.client(client.as_str())).collect();
        let clients = self.secrets.read(&names).await.map_err(|error| unread(&error))?;
        let clients = read_clients(&clients, prefix);
        secret.resolve(&clients, prefix).map_err(|broken| flawed(connection, &broken))
    }
}

/// Whether a version of a secret has this refresh token.
fn holds(version: &SecretVersion, refresh_token: &RefreshToken) -> bool {
    let document = SecretDocument::parse(&version.text);
    document.is_ok_and(|document| document.string("refresh_token") == Some(refresh_token.expose()))
}

/// The current version of a connection's secret.
pub struct CurrentGrant {
    connection: ConnectionName,
    version: VersionId,
    /// When the link was made.
    since: Timestamp,
    document: SecretDocument,
    parsed: GrantSecret,
}

impl CurrentGrant {
    /// Checks that an account in this data centre may be connected: a connected one stays where it
    /// is, unless it may move.
    ///
    /// # Errors
    /// [`Stop::Moved`].
    pub fn check_move(&self, home: &DataCenter, allow_move: bool) -> Result<(), Stop> {
        let from = self.parsed.data_center().filter(|_| self.parsed.refresh_token().is_some());
        match from {
            Some(from) if from.name != home.name && !allow_move => {
                Err(Stop::Moved { connection: self.connection.clone(), from: from.name.clone(), to: home.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// What the redirect brings for the grant. It is checked before the code is spent: a redirect of
/// another server, or without a value that is needed, goes no further.
fn kept(
    grant: &Grant,
    issuer: Option<&str>,
    mut brought: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Stop> {
    let mut found = BTreeMap::new();
    let Provider::Other(server) = &grant.provider else { return Ok(found) };
    let connection = &grant.connection;
    if let (Some(ours), Some(sent)) = (&server.issuer, issuer)
        && ours != sent
    {
        return Err(Stop::OtherIssuer(connection.clone()));
    }
    for kept in server.profile.kept.iter().filter(|kept| kept.from == KeptFrom::Callback) {
        match brought.remove(kept.name).filter(|value| kept.pattern.matches(value)) {
            Some(value) => drop(found.insert(kept.name.to_owned(), value)),
            None if kept.needed => {
                return Err(Stop::Incomplete { connection: connection.clone(), missing: kept.name, revoked: None });
            }
            None => {}
        }
    }
    Ok(found)
}

impl Ticket {
    /// Checks that the client is still of the provider that the link was made for: else a code of
    /// one would go to another.
    fn check_provider(&self, grant: &Grant) -> Result<(), Stop> {
        let now = grant.provider.profile().map_or("", |profile| profile.name);
        if self.provider == now { Ok(()) } else { Err(Stop::Superseded(self.connection.clone())) }
    }
}

fn stopped(error: LinkError, expired: fn(ConnectionName) -> Stop) -> Stopped {
    match error {
        LinkError::NotOurs => Stop::NotOurs.into(),
        LinkError::Expired(ticket) => {
            let at = Stopped::at(ticket.title());
            at(expired(ticket.connection))
        }
    }
}

/// The link is for another version than the current one.
fn overtaken(connection: &ConnectionName, current: &SecretVersion, since: Timestamp) -> Stop {
    let granted_at = SecretDocument::parse(&current.text).ok().and_then(|document| document.granted_at());
    if granted_at.is_some_and(|granted_at| granted_at >= since) {
        Stop::AlreadyConnected(connection.clone())
    } else {
        Stop::Superseded(connection.clone())
    }
}

fn unread(error: &StoreError) -> Stop {
    error!(%error, remedy = error.remedy(), "the connection could not be read");
    Stop::StoreOutOfOrder
}

/// Logs the flaw for the operator. People outside the operator's organisation read the page: it
/// says what is wrong, but not in which secret, and nothing of AWS's account.
fn flawed(connection: &ConnectionName, broken: &Broken) -> Stop {
    error!(
        connection = connection.as_str(),
        error = %broken,
        remedy = broken.flaw.remedy(),
        "no consent is possible"
    );
    Stop::Misconfigured { connection: connection.clone(), why: broken.flaw.in_public() }
}

/// Whether an error is about a scope. Zoho's pages and users report three spellings of the code.
fn is_about_scopes(error: &str) -> bool {
    let code = error.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    ["invalid_scope", "invalid_oauth_scope", "invalid_oauthscope"].contains(&code.as_str())
}

fn scope_refused(connection: &ConnectionName, scopes: &[String]) -> Stop {
    warn!(connection = connection.as_str(), scopes = scopes.join(" "), "the provider refuses one of the scopes");
    Stop::ScopeRefused { connection: connection.clone(), scopes: scopes.to_vec() }
}
