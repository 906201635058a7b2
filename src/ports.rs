//! The outside services as narrow traits. Each trait has what one use case may do at one service.
//!
//! It knows no SDK, no HTTP and no JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::claim::Claim;
use crate::connection::{Account, Client, DataCenter, Grant, Provider, SecretDocument, SecretVersion, StoredSecret};
use crate::failure::{Refusal, StoreError};
use crate::flaw::{Broken, Flaw};
use crate::lease::{Lease, Token};
use crate::name::{ConnectionName, SecretName, VersionId};
use crate::pace::{Pace, Turn};
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier, DeviceCode, RefreshToken, SecretText};

/// Reads grants and clients. Nothing here can write one.
#[expect(async_fn_in_trait, reason = "a function serves one event at a time, so nothing here needs to be Send")]
pub trait Grants {
    /// Every connection's and client's secret.
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError>;
    /// The secrets with these full names. A missing one is in the answer as [`Flaw::NotFound`].
    async fn read(&self, names: &[SecretName]) -> Result<Vec<StoredSecret>, StoreError>;
    /// One secret. A missing one has [`Flaw::NotFound`] as its content.
    async fn read_one(&self, name: &SecretName) -> Result<StoredSecret, StoreError> {
        let mut secrets = self.read(std::slice::from_ref(name)).await?;
        Ok(secrets.pop().unwrap_or_else(|| StoredSecret { name: name.clone(), content: Err(Flaw::NotFound) }))
    }
}

/// Lists the names of grants, and reads none of the grants.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait GrantNames {
    /// The full names of the connections' secrets. A secret made in the last minutes may be
    /// missing; one removed in the last minutes may still be listed.
    async fn names(&self) -> Result<Vec<SecretName>, StoreError>;
}

/// A queue that brings its messages back to the function, in batches. A message may come twice.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Queue {
    /// Sends these messages. It tries all of them, even if one fails.
    async fn send(&self, messages: &[String]) -> Result<(), Unsent>;
}

/// Messages that a queue did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// How many.
    pub messages: usize,
    /// Why the queue did not take one of them.
    pub error: StoreError,
}

/// Replaces a version of a secret by the next one. The refresher may do only this, and only for
/// connections whose provider rotates refresh tokens.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretReplacer {
    /// The last version that a writer has put aside. A writer that was cut off has not made it the
    /// current one.
    async fn put_aside(&self, name: &SecretName) -> Result<Option<SecretVersion>, StoreError>;
    /// Gives the secret this text in place of the version `read`, and returns the new version. If
    /// somebody else has replaced that version, nothing changes ([`StoreError::overtaken`]).
    async fn replace(&self, name: &SecretName, text: &SecretText, read: &VersionId) -> Result<VersionId, StoreError>;
    /// Makes the successor of a refresh token current if a refresh of the version `read` has put it
    /// aside and was cut off. Returns whether it did.
    async fn complete_refresh(&self, name: &SecretName, read: &VersionId) -> Result<bool, StoreError> {
        let Some(SecretVersion { id, text }) = self.put_aside(name).await? else { return Ok(false) };
        // Only a refresh lets the links of the version before live on.
        let refreshed = id == VersionId::after(read, &text)
            && SecretDocument::parse(&text).is_ok_and(|document| document.link_version(&id) != id);
        if refreshed {
            self.replace(name, &text, read).await?;
        }
        Ok(refreshed)
    }
}

/// Writes secrets: for consent and the operator, never for the refresher.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretWriter: SecretReplacer {
    /// Creates the secret of this full name, and returns its version. If it exists, nothing changes
    /// ([`StoreError::overtaken`]).
    async fn create(&self, name: &SecretName, text: &SecretText) -> Result<VersionId, StoreError>;
}

/// Claims: who may send a refresh token that is good for one use.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Claims {
    /// Creates a claim. If there is one of its name, nothing changes ([`StoreError::overtaken`]).
    async fn claim(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError>;
    /// Gives a claim that exists another text.
    async fn rewrite(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError>;
    /// Every claim on a connection's grants, in any order.
    async fn claims(&self, connection: &ConnectionName) -> Result<Vec<Claim>, StoreError>;
    /// Removes these claims. A missing one counts as removed.
    async fn unclaim(&self, connection: &ConnectionName, claims: &[Claim]) -> Result<(), StoreError>;
}

/// Removes secrets: for the operator only.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretRemover {
    /// Marks a secret for deletion. It can be restored for [`RECOVERY_DAYS`].
    async fn remove(&self, name: &SecretName) -> Result<(), StoreError>;
    /// The same, if the secret still has the version that was `read`. If it has a newer one, it
    /// stays ([`StoreError::overtaken`]).
    async fn remove_unchanged(&self, name: &SecretName, read: &VersionId) -> Result<(), StoreError>;
    /// Takes back the mark for deletion.
    async fn restore(&self, name: &SecretName) -> Result<(), StoreError>;
    /// The texts of the version before the current one, and of the last version that a writer has
    /// put aside. A consent that was cut off may have left a refresh token in one of them.
    async fn leftovers(&self, name: &SecretName) -> Result<Vec<SecretText>, StoreError>;
}

/// How long a removed secret can be restored, in days (`RecoveryWindowInDays`).
pub const RECOVERY_DAYS: i64 = 30;

/// Removes leases: for the operator only.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait LeaseRemover {
    /// Removes what is published for a connection: document and bare token. A missing one counts as
    /// removed.
    async fn remove(&self, connection: &ConnectionName) -> Result<(), StoreError>;
}

/// Leases by connection, each with the lease or why it cannot be read. A connection without a lease
/// is absent.
pub type Published = BTreeMap<String, Result<Lease, Broken>>;

/// Reads and replaces leases.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Leases {
    /// Every lease.
    async fn list(&self) -> Result<Published, StoreError>;
    /// The leases of these connections.
    async fn read(&self, connections: &[ConnectionName]) -> Result<Published, StoreError>;
    /// The document of this version; `None` if it is gone or is not a lease.
    async fn read_version(&self, connection: &ConnectionName, version: i64) -> Result<Option<Lease>, StoreError>;
    /// The pace of writing. A run takes a turn before it asks for a token, so that each minted
    /// token can be stored.
    fn pace(&self) -> &Pace;
    /// Publishes a lease with a new token, and returns the document's version. The document is
    /// written last: it is the commit. It gets this [description](crate::notice).
    async fn publish(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError>;
    /// Rewrites the document for a change of status, as `publish` does.
    async fn mark(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError>;
}

/// The providers' token endpoints.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Issuer {
    /// Asks for an access token, with a refresh token (RFC 6749 §6) or the client's own credentials
    /// (§4.4). Sends nothing for a grant that awaits a consent. Another refresh token in the answer
    /// replaces the grant's: the caller has to store it.
    async fn mint(&self, grant: &Grant) -> Result<Minted, Refusal>;
    /// The longest time that one request may take.
    fn timeout(&self) -> Duration;
}

/// The providers' endpoints for consents and revocations.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Authorizer {
    /// Spends an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5). It is sent once, because a
    /// code is good for one exchange.
    async fn exchange(&self, client: &Client, at: &Provider, proof: &Proof) -> Result<Minted, Refusal>;
    /// Revokes a refresh token (RFC 7009) and with it its access tokens. `None` if the provider has
    /// no revocation that ends this token alone: then nothing is sent, because a newer grant could
    /// end too.
    async fn revoke(
        &self,
        refresh_token: &RefreshToken,
        client: &Client,
        at: &Provider,
    ) -> Option<Result<Revoked, Refusal>>;
    /// Whose account at Zoho an access token is for. The token needs the scope
    /// [`PROFILE_SCOPE`](crate::connection::PROFILE_SCOPE).
    async fn account(&self, token: &AccessToken, at: &DataCenter) -> Result<Account, Refusal>;
}

/// Zoho's endpoints of the device flow (RFC 8628): for the operator only.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait DeviceAuthorizer {
    /// Asks for a code that a user can agree to (RFC 8628 §3.1), for the grant's client and scopes.
    async fn ask(&self, grant: &Grant, at: &DataCenter) -> Result<DeviceAuthorization, Refusal>;
    /// Asks once whether the user has decided (RFC 8628 §3.4).
    async fn poll(&self, client: &Client, at: &DataCenter, code: &DeviceCode) -> Result<Polled, Refusal>;
}

/// What a user needs to decide (RFC 8628 §3.2). The texts can be shown: they are printable, and the
/// pages are `https`, or `http` on loopback.
#[derive(Clone, Debug)]
pub struct DeviceAuthorization {
    /// What the program polls with.
    pub device_code: DeviceCode,
    /// What the user types.
    pub user_code: String,
    /// Where the user types it.
    pub page: String,
    /// A page that knows the user code already.
    pub complete_page: Option<String>,
    /// How long the codes wait for the user.
    pub life: Duration,
    /// The shortest time between two polls.
    pub interval: Duration,
}

/// What became of a device code so far (RFC 8628 §3.5).
#[derive(Clone, Debug)]
pub enum Polled {
    /// The user has agreed, and these are the tokens. They come once.
    Granted(Minted),
    /// The user has not decided.
    Pending,
    /// This poll came too early.
    SlowDown,
    /// The user has agreed, and lives in the data centre of this name. Only that one has the
    /// tokens.
    OtherDataCenter(String),
    /// The user said no.
    Denied,
    /// Nobody has decided in time.
    Expired,
}

/// Why a refresh token no longer works after a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The provider has revoked it.
    Now,
    /// The provider does not know it. Perhaps it was revoked before.
    Unknown,
}

/// What the exchange of a code needs.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The code from the redirect.
    pub code: AuthorizationCode,
    /// The redirect URI of the authorization request and the PKCE verifier; `None` for a self
    /// client's code.
    pub redirect: Option<(String, CodeVerifier)>,
}

/// A new access token and what came with it, as the provider returned it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token. The clock is read before the request, so that the expiry is never too late.
    pub token: Token,
    /// Base URL of the account's APIs, if the answer said so.
    pub api_domain: Option<String>,
    /// Scopes separated by blanks, if the answer said so.
    pub scope: Option<String>,
    /// A refresh token. Zoho leaves it out of a consent's answer if the user has agreed before and
    /// was not asked again. Providers that rotate send one with each refresh.
    pub refresh_token: Option<RefreshToken>,
    /// When the refresh token ends, if the answer said so.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// Values that callers of the provider's API need, by name. Each fits its pattern.
    pub kept: BTreeMap<String, String>,
}

impl Minted {
    /// A token with which nothing came.
    pub fn new(token: Token) -> Self {
        Self {
            token,
            api_domain: None,
            scope: None,
            refresh_token: None,
            refresh_token_expires_at: None,
            kept: BTreeMap::new(),
        }
    }

    /// The scopes that were granted, of those that were `asked` for. What cannot be stored as a
    /// scope is left out.
    pub fn scopes(&self, asked: &[String]) -> Vec<String> {
        let Some(granted) = &self.scope else { return asked.to_vec() };
        let scopes = granted.split(|c: char| c.is_whitespace() || c == ',').filter(|scope| !scope.is_empty());
        scopes.filter(|scope| scope.bytes().all(|byte| byte.is_ascii_graphic())).map(str::to_owned).collect()
    }
}
