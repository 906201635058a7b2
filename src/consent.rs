//! Use case 2: a consent, from an operator's link to a stored grant with its first lease.
//!
//! There is no table of open consents. A link says what it allows, signed and bound to the grant's
//! version. A consent changes that version, so each link works once. Zoho is asked only after every
//! check has passed, and the refresh token is stored before anything else is done with the answer.

mod key;
pub mod link;
mod stop;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

pub use key::{KeyRing, NoKey, read_signing_key};
pub use stop::Stop;

use self::link::{LinkError, STATE_LIFE, State, code_challenge, encode, hash, well_formed};
use crate::connection::{DataCenter, Grant, GrantSecret, SecretDocument, SecretVersion, read_clients};
use crate::failure::{Refusal, StoreError, Untrusted};
use crate::flaw::{Broken, Flaw};
use crate::lease::{Lease, Status, Token, whole_second};
use crate::name::{ConnectionName, VersionId};
use crate::notice::{self, Replaced};
use crate::ports::{Authorizer, Exchanged, Grants, Leases, Proof, Revoked, SecretWriter};
use crate::secret::{AuthorizationCode, RefreshToken, SigningKey};
use crate::settings::Settings;
use crate::source::Source;

/// How long a consent waits until its grant is stored. The callback function has 30 seconds in all, and
/// Zoho may take ten of them.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a consent waits until its first lease is published. Meanwhile somebody looks at an
/// empty page, and the callback function has 30 seconds in all.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(8);

/// The consents of one installation: settings, and the services that a consent needs.
pub struct Consent<S, Z, L> {
    /// What the operator chose.
    pub settings: Settings,
    /// Secrets Manager.
    pub secrets: S,
    /// Zoho.
    pub zoho: Z,
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

/// A redirect from Zoho, not checked yet.
#[derive(Debug)]
pub struct Callback {
    /// `state`.
    pub state: String,
    /// `code`, or the `error` that came instead.
    pub answer: Result<AuthorizationCode, String>,
    /// `accounts-server`.
    pub accounts_server: Option<String>,
}

/// A completed consent.
#[derive(Debug, PartialEq, Eq)]
pub struct Connected {
    /// The connection.
    pub connection: ConnectionName,
    /// Where the account lives.
    pub data_center: String,
    /// Scopes that were asked for, but not granted.
    pub withheld: Vec<String>,
    /// Whether the first lease is published already. If not, the next run does it.
    pub published: bool,
}

impl<S: Grants + SecretWriter, Z: Authorizer, L: Leases> Consent<S, Z, L> {
    /// Takes a ticket and sends the browser to Zoho. Reads the stores, writes nothing.
    ///
    /// # Errors
    /// Why the link is refused.
    pub async fn begin(&self, ticket: &str, redirect_uri: &str) -> Result<Begun, Stop> {
        let key = self.signing_key(ticket).await?;
        let mut ticket = key.open_ticket(ticket, self.source.now()).map_err(|error| stopped(error, Stop::Expired))?;
        let connection = &ticket.connection;
        let secret = self.current_grant(connection, &ticket.version, ticket.issued_at).await?;
        let data_center = self.settings.data_centers.get(&ticket.data_center).ok_or_else(|| Stop::Misconfigured {
            connection: connection.clone(),
            why: format!("the data centre {} is not in the callback's table", ticket.data_center),
        })?;
        let grant = self.resolve(connection, secret.parsed.at(data_center.clone())).await?;
        if grant.scopes.is_empty() {
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
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &grant.client.id)
            // Zoho wants commas here, and answers with blanks.
            .append_pair("scope", &grant.scopes.join(","))
            .append_pair("redirect_uri", redirect_uri)
            // Zoho gives a refresh token only with both. The second one is for users who have
            // agreed before.
            .append_pair("access_type", "offline")
            .append_pair("prompt", "consent")
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &key.seal_state(&state))
            .finish();
        info!(connection = grant.connection.as_str(), data_center = data_center.name, "consent begun");
        Ok(Begun { location: format!("{}/oauth/v2/auth?{query}", data_center.accounts_server), cookie })
    }

    /// Takes Zoho's redirect: checks everything, spends the code, stores the grant, publishes the
    /// first lease and revokes the refresh token that was replaced.
    ///
    /// # Errors
    /// Why the consent stops. Nothing was changed, except perhaps with [`Stop::NotStored`].
    pub async fn complete(
        &self,
        callback: Callback,
        cookies: &[Cookie],
        redirect_uri: &str,
    ) -> Result<Connected, Stop> {
        let key = self.signing_key(&callback.state).await?;
        let state =
            key.open_state(&callback.state, self.source.now()).map_err(|error| stopped(error, Stop::TooLate))?;
        let connection = state.ticket.connection.clone();
        if !cookies.iter().any(|sent| hash(&sent.value) == state.browser) {
            return Err(Stop::OtherBrowser(connection));
        }
        let code = callback.answer.map_err(|error| match error.as_str() {
            "access_denied" => Stop::Declined(connection.clone()),
            _ => Stop::SentBack(connection.clone()),
        })?;
        let secret = self.current_grant(&connection, &state.ticket.version, state.ticket.issued_at).await?;
        let home = match &callback.accounts_server {
            Some(server) => self.settings.data_centers.by_accounts_server(server),
            None => self.settings.data_centers.get(&state.ticket.data_center),
        };
        let home = home.ok_or_else(|| Stop::UnknownDataCenter(connection.clone()))?.clone();
        let from = &secret.parsed.data_center().name;
        if secret.parsed.refresh_token().is_some() && home.name != *from && !state.ticket.allow_move {
            return Err(Stop::Moved { connection, from: from.clone(), to: home.name });
        }
        let proof = Proof { code, redirect: Some((redirect_uri.to_owned(), key.code_verifier(&state))) };
        self.redeem(secret, home, &proof).await
    }

    /// Spends a code, stores the grant, publishes the first lease and revokes the refresh token that
    /// was replaced.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn redeem(&self, secret: CurrentGrant, home: DataCenter, proof: &Proof) -> Result<Connected, Stop> {
        let CurrentGrant { connection, version: read, since, mut document, parsed } = secret;
        let replaced = parsed.refresh_token().map(|replaced| (replaced.clone(), parsed.data_center().clone()));
        let (connected, granted_before) = (replaced.is_some(), document.granted_at());
        let grant = self.resolve(&connection, parsed.at(home.clone())).await?;
        let Exchanged { minted, refresh_token } = match self.zoho.exchange(&grant.client, &home, proof).await {
            Ok(exchanged) => exchanged,
            Err(refusal) => {
                // The same redirect may have come twice, and the other request was first.
                if let Refusal::ConsentRequired { .. } = refusal {
                    self.current_grant(&connection, &read, since).await?;
                }
                return Err(refused(&connection, &home, &refusal));
            }
        };
        let refresh_token = refresh_token.ok_or_else(|| Stop::NoRefreshToken(connection.clone()))?;
        let asked = grant.scopes;
        let scopes = match &minted.scope {
            Some(scope) => scope.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
            None => asked.clone(),
        };
        let api_domain = minted.api_domain;
        // The same time as in the first lease: a lease from before shows that this one is missing.
        let granted_at = Some(minted.token.issued_at);
        let grant = Grant { scopes, refresh_token: Some(refresh_token.clone()), api_domain, granted_at, ..grant };
        document.grant(&grant);
        let stored = self.store(&grant, &refresh_token, &document, &read, since);
        let version = timeout(STORE_PATIENCE, stored).await.unwrap_or_else(|_| {
            error!(
                connection = connection.as_str(),
                "Secrets Manager took too long: not known whether the new grant is stored"
            );
            Err(Stop::NotStored { connection: connection.clone(), revoked: false })
        })?;
        // From here on the consent is valid, whatever happens.
        let grant = Grant { version, ..grant };
        let replaced = replaced.filter(|(replaced, _)| replaced.expose() != refresh_token.expose());
        let before = Before { version: read, connected, granted_at: granted_before };
        let published = self.publish(&grant, minted.token, &before).await;
        // If the new lease is not published, programs still read the old token, which would end
        // with the replaced refresh token.
        if replaced.is_some() && !published {
            warn!(
                connection = connection.as_str(),
                "the replaced refresh token was not revoked: programs still need its token"
            );
        } else if let Some((replaced, at)) = replaced
            && let Err(refusal) = self.zoho.revoke(&replaced, &at).await
        {
            warn!(
                connection = connection.as_str(),
                error = %refusal,
                "the replaced refresh token was not revoked"
            );
        }
        let withheld: Vec<_> = asked.into_iter().filter(|scope| !grant.scopes.contains(scope)).collect();
        info!(
            connection = connection.as_str(),
            data_center = home.name,
            published,
            withheld = withheld.join(" "),
            "connected"
        );
        Ok(Connected { connection, data_center: home.name, withheld, published })
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
        if current.id != *version {
            return Err(overtaken(connection, &current, since));
        }
        let broken = |flaw| flawed(connection, &Broken::secret(&name, flaw));
        let document = SecretDocument::parse(&current.text).map_err(broken)?;
        let data_centers = &self.settings.data_centers;
        let parsed = GrantSecret::of(connection.clone(), current.id.clone(), &document, data_centers);
        let parsed = parsed.map_err(broken)?;
        Ok(CurrentGrant { connection: connection.clone(), version: current.id, since, document, parsed })
    }

    async fn resolve(&self, connection: &ConnectionName, secret: GrantSecret) -> Result<Grant, Stop> {
        let prefix = &self.settings.prefix;
        let names: Vec<_> = secret.client().iter().map(|client| prefix.client(client.as_str())).collect();
        let clients = self.secrets.read(&names).await.map_err(|error| unread(&error))?;
        let clients = read_clients(&clients, prefix);
        secret.resolve(&clients, prefix).map_err(|broken| flawed(connection, &broken))
    }

    /// Stores a new grant in place of the version `read`, and returns its version. After an error
    /// it reads the secret, to find out whether the grant was stored. A refresh token that is
    /// certainly not stored is revoked: nobody could use it, and Zoho allows a user only twenty.
    async fn store(
        &self,
        grant: &Grant,
        refresh_token: &RefreshToken,
        document: &SecretDocument,
        read: &VersionId,
        since: Timestamp,
    ) -> Result<VersionId, Stop> {
        let connection = &grant.connection;
        let name = self.settings.prefix.grant(connection.as_str());
        let why = match self.secrets.replace(&name, &document.text(), read).await {
            Ok(version) => return Ok(version),
            Err(why) => why,
        };
        let stop = match self.secrets.read_one(&name).await.map(|secret| secret.content) {
            Ok(Ok(current)) if holds(&current, refresh_token) => return Ok(current.id),
            Ok(Ok(current)) if why.overtaken() => Some(overtaken(connection, &current, since)),
            Ok(Ok(_)) if why.undone() => None,
            Ok(Err(Flaw::NotFound | Flaw::Deleted)) if why.undone() => Some(Stop::Gone(connection.clone())),
            _ => {
                error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                    "not known whether the new grant is stored");
                return Err(Stop::NotStored { connection: connection.clone(), revoked: false });
            }
        };
        // Zoho has just issued it, so a page that says "unknown" is not Zoho's.
        let revoked = self.zoho.revoke(refresh_token, &grant.data_center).await;
        let error = match &revoked {
            Ok(Revoked::Now) => None,
            Ok(Revoked::Unknown) => Some("Zoho says that it does not know it".to_owned()),
            Err(refusal) => Some(refusal.to_string()),
        };
        let revoked = error.is_none();
        if let Some(error) = error {
            warn!(connection = connection.as_str(), error, "the unused refresh token was not revoked");
        }
        let Some(stop) = stop else {
            error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                "the new grant could not be stored");
            return Err(Stop::NotStored { connection: connection.clone(), revoked });
        };
        Err(stop)
    }

    /// Publishes the first lease, in place of one of the grant `read` or an older one. If that
    /// fails, the refresher's next run sees the new version of the grant and mints.
    async fn publish(&self, grant: &Grant, token: Token, before: &Before) -> bool {
        let late = |_| Err("Parameter Store took too long".to_owned());
        let published = timeout(PUBLISH_PATIENCE, self.try_to_publish(grant.clone(), token, before)).await;
        let published = published.unwrap_or_else(late);
        if let Err(error) = &published {
            let connection = grant.connection.as_str();
            warn!(connection, error, "connected, but the first token was not published");
        }
        published.is_ok()
    }

    async fn try_to_publish(&self, mut grant: Grant, token: Token, before: &Before) -> Result<(), String> {
        let connection = grant.connection.clone();
        let words = |error: StoreError| error.to_string();
        let last = self.lease(&connection).await?;
        match self.newer_than(&grant, before).await {
            None => {}
            // Somebody has changed the secret and kept this grant.
            Some(Newer { version, same_grant: true }) => grant.version = version,
            // A newer consent. Its own lease is right, and may have come just now.
            Some(Newer { version, .. }) => {
                let newest = self.lease(&connection).await?;
                let published = newest.is_some_and(|newest| newest.grant_version == version);
                let missing = "there is a newer consent, and its token is not published yet";
                return if published { Ok(()) } else { Err(missing.to_owned()) };
            }
        }
        let lease = Lease::active(&grant, token, None);
        let description = notice::consented(&connection, &lease, before.replaced(last.as_ref()));
        let turn = self.leases.pace().turn().await;
        let written = self.leases.publish(turn, &connection, &lease, &description).await.map_err(words)?;
        if written == last.map_or(0, |last| last.version) + 1 {
            return Ok(());
        }
        // Somebody else has written meanwhile. If that was a newer consent, its lease is right.
        sleep(self.settings.settling).await;
        let overwritten = self.leases.read_version(&connection, written - 1).await.map_err(words)?;
        let newer = self.newer_than(&grant, before).await.map(|newer| newer.version);
        if let Some(right) = overwritten.filter(|lease| Some(&lease.grant_version) == newer.as_ref()) {
            let turn = self.leases.pace().another().await;
            self.leases.publish(turn, &connection, &right, notice::QUIET).await.map_err(words)?;
        }
        Ok(())
    }

    /// What is published. A parameter that holds no lease, or the lease of a newer program, is an
    /// error: it is left alone.
    async fn lease(&self, connection: &ConnectionName) -> Result<Option<Lease>, String> {
        let leases = self.leases.read(std::slice::from_ref(connection)).await;
        let lease = leases.map_err(|error| error.to_string())?.remove(connection.as_str());
        lease.transpose().map_err(|broken| broken.to_string())
    }

    /// The version that has replaced this grant already.
    async fn newer_than(&self, grant: &Grant, before: &Before) -> Option<Newer> {
        let name = self.settings.prefix.grant(grant.connection.as_str());
        let current = self.secrets.read_one(&name).await.ok()?.content.ok()?;
        if current.id == grant.version || current.id == before.version {
            return None;
        }
        let same_grant = grant.refresh_token.as_ref().is_some_and(|token| holds(&current, token));
        Some(Newer { version: current.id, same_grant })
    }
}

/// A version that came after a consent.
struct Newer {
    version: VersionId,
    /// Whether it has the refresh token of that consent.
    same_grant: bool,
}

/// What a consent replaces.
struct Before {
    version: VersionId,
    /// Whether there was a refresh token.
    connected: bool,
    granted_at: Option<Timestamp>,
}

impl Before {
    /// Whether it was dead, as far as the newest lease says. A lease of another version counts if it
    /// called the grant dead after somebody had consented to it.
    fn replaced(&self, last: Option<&Lease>) -> Replaced {
        let death = last.and_then(|last| match &last.status {
            Status::ConsentRequired(trouble) => Some((last, trouble.since)),
            _ => None,
        });
        let dead = death.is_some_and(|(last, since)| {
            last.grant_version == self.version || self.granted_at.is_some_and(|granted_at| granted_at <= since)
        });
        match (self.connected, dead) {
            (false, _) => Replaced::Nothing,
            (true, true) => Replaced::Dead,
            (true, false) => Replaced::Living,
        }
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

fn stopped(error: LinkError, expired: fn(ConnectionName) -> Stop) -> Stop {
    match error {
        LinkError::NotOurs => Stop::NotOurs,
        LinkError::Expired(connection) => expired(connection),
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

/// Logs the flaw for the operator. People outside the operator's organisation read the page: it says
/// what is wrong, but not in which secret, and nothing of AWS's account.
fn flawed(connection: &ConnectionName, broken: &Broken) -> Stop {
    error!(
        connection = connection.as_str(),
        error = %broken,
        remedy = broken.flaw.remedy(),
        "no consent is possible"
    );
    Stop::Misconfigured { connection: connection.clone(), why: broken.flaw.in_public() }
}

fn refused(connection: &ConnectionName, home: &DataCenter, refusal: &Refusal) -> Stop {
    warn!(
        connection = connection.as_str(),
        data_center = home.name,
        error = %refusal,
        remedy = refusal.untrusted().map(Untrusted::remedy),
        "the code was not exchanged"
    );
    match refusal {
        Refusal::ConsentRequired { .. } => Stop::CodeRefused(connection.clone()),
        Refusal::Misconfigured { error } => Stop::Misconfigured {
            connection: connection.clone(),
            why: format!("Zoho refuses the client in the data centre {} ({error})", home.name),
        },
        Refusal::Throttled | Refusal::OutOfOrder { .. } | Refusal::Unclear { .. } => {
            Stop::ZohoOutOfOrder(connection.clone())
        }
    }
}
