//! The outside world as the use cases see it: narrow traits, each with what one use case may do at
//! one service.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::connection::{Client, DataCenter, Grant, StoredSecret};
use crate::failure::{Refusal, StoreError};
use crate::flaw::{Broken, Flaw};
use crate::lease::Lease;
use crate::name::{ConnectionName, SecretName, VersionId};
use crate::pace::{Pace, Turn};
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier, RefreshToken, SecretText};

/// Grants and clients, to read. There is no way to write one here.
#[expect(async_fn_in_trait, reason = "a function serves one event at a time, so nothing here needs to be Send")]
pub trait Grants {
    /// Every connection's and client's secret.
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError>;
    /// The secrets of these full names; one that is not there is in the answer with that flaw.
    async fn read(&self, names: &[SecretName]) -> Result<Vec<StoredSecret>, StoreError>;
    /// One secret. If it is not there, that is its flaw.
    async fn read_one(&self, name: &SecretName) -> Result<StoredSecret, StoreError> {
        let mut secrets = self.read(std::slice::from_ref(name)).await?;
        Ok(secrets.pop().unwrap_or_else(|| StoredSecret { name: name.clone(), content: Err(Flaw::NotFound) }))
    }
}

/// Names of grants, without a look into one.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait GrantNames {
    /// The full names of the connections' secrets. One that was made or removed in the last minutes
    /// may still be missing or there.
    async fn names(&self) -> Result<Vec<SecretName>, StoreError>;
}

/// A queue whose messages come back to the function, each as one of a batch, and each perhaps
/// twice.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Queue {
    /// Sends these messages. All are tried, whatever becomes of one.
    async fn send(&self, messages: &[String]) -> Result<(), Unsent>;
}

/// Messages that a queue did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// How many.
    pub messages: usize,
    /// Why not one of them.
    pub error: StoreError,
}

/// Secrets, to write: for consent and the operator, never for the refresher.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretWriter {
    /// Creates the secret of this full name, with this `VersionId`.
    async fn create(&self, name: &SecretName, text: &SecretText, version: &VersionId) -> Result<(), StoreError>;
    /// Gives the secret a new version of this `VersionId`. The same version with the same text
    /// again does nothing; with another text it is refused ([`StoreError::exists`]).
    async fn replace(&self, name: &SecretName, text: &SecretText, version: &VersionId) -> Result<(), StoreError>;
}

/// Secrets, to remove: for the operator alone.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretRemover {
    /// Marks a secret for deletion. Until the end of `RECOVERY_DAYS` it can be restored.
    async fn remove(&self, name: &SecretName) -> Result<(), StoreError>;
}

/// How long a removed secret can be restored, in days (`RecoveryWindowInDays`).
pub const RECOVERY_DAYS: i64 = 30;

/// Leases, to remove: for the operator alone.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait LeaseRemover {
    /// Removes what is published of a connection, document and bare token. What is not there counts
    /// as removed.
    async fn remove(&self, connection: &ConnectionName) -> Result<(), StoreError>;
}

/// Leases by connection. One that cannot be read stands with the reason; one that does not exist is
/// absent.
pub type Published = BTreeMap<String, Result<Lease, Broken>>;

/// Leases, to read and to replace.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Leases {
    /// Every lease.
    async fn list(&self) -> Result<Published, StoreError>;
    /// The leases of these connections.
    async fn read(&self, connections: &[ConnectionName]) -> Result<Published, StoreError>;
    /// The document that was written as this version; `None` if it is not kept any more.
    async fn read_version(&self, connection: &ConnectionName, version: i64) -> Result<Option<Lease>, StoreError>;
    /// The pace of writing. A turn is taken before a token is asked for: what is minted can be
    /// stored.
    fn pace(&self) -> &Pace;
    /// Publishes a lease with a new token, in place of `last`, and answers the document's version.
    /// The document is written last: it is the commit, and its description tells the operator what
    /// is [news](crate::notice).
    async fn publish(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        last: Option<&Lease>,
    ) -> Result<i64, StoreError>;
    /// Rewrites the document for a change of status, as `publish` does.
    async fn mark(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        last: Option<&Lease>,
    ) -> Result<i64, StoreError>;
}

/// Zoho's token endpoint.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Issuer {
    /// Asks for an access token (RFC 6749 §6). Sends nothing for a grant without a refresh token.
    async fn refresh(&self, grant: &Grant) -> Result<Minted, Refusal>;
    /// How long one request takes at the most.
    fn timeout(&self) -> Duration;
}

/// Zoho's endpoints that only a consent needs.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait Authorizer {
    /// Spends an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5). Never tried twice: a code is
    /// good for one exchange.
    async fn exchange(&self, client: &Client, at: &DataCenter, proof: &Proof) -> Result<Exchanged, Refusal>;
    /// Revokes a refresh token (RFC 7009) and with it its access tokens. One that Zoho does not
    /// know counts as revoked.
    async fn revoke(&self, refresh_token: &RefreshToken, at: &DataCenter) -> Result<(), Refusal>;
}

/// What a code is exchanged with.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The code from the redirect.
    pub code: AuthorizationCode,
    /// The redirect URI that the code was asked with; none for a self client's code.
    pub redirect: Option<(String, CodeVerifier)>,
}

/// What a code was exchanged for.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The first access token.
    pub minted: Minted,
    /// The refresh token. Zoho leaves it out if the user had agreed before and was not asked again.
    pub refresh_token: Option<RefreshToken>,
}

/// A new access token as Zoho answered.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token.
    pub access_token: AccessToken,
    /// When it was asked for: read before the request was sent, so that the expiry is never too
    /// late.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Base URL of the account's APIs, if the answer said so.
    pub api_domain: Option<String>,
    /// Scopes separated by blanks, if the answer said so.
    pub scope: Option<String>,
}
