//! The outside world as the use cases see it: narrow traits, each with what one use case may do at
//! one service, and the ways each can fail.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::connection::{Broken, Client, ConnectionName, DataCenter, Grant, StoredSecret};
use crate::lease::Lease;
use crate::pace::{Pace, Turn};
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier, RefreshToken, Text};

/// Grants and clients, to read. There is no way to write one here.
#[expect(async_fn_in_trait, reason = "a function serves one event at a time, so nothing here needs to be Send")]
pub trait Grants {
    /// Every connection's and client's secret.
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError>;
    /// The secrets of these full names; one that is not there is in the answer with that flaw.
    async fn read(&self, names: &[String]) -> Result<Vec<StoredSecret>, StoreError>;
}

/// Names of grants, without a look into one.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait GrantNames {
    /// The full names of the connections' secrets. One that was made or removed in the last minutes
    /// may still be missing or there.
    async fn names(&self) -> Result<Vec<String>, StoreError>;
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
    /// Creates the secret of this full name, with `version` as its `VersionId` (32 to 64
    /// characters).
    async fn create(&self, name: &str, text: &Text, version: &str) -> Result<(), StoreError>;
    /// Gives the secret a new version of this `VersionId`. The same version with the same text
    /// again does nothing; with another text it is refused ([`StoreError::exists`]).
    async fn replace(&self, name: &str, text: &Text, version: &str) -> Result<(), StoreError>;
}

/// Secrets, to remove: for the operator alone.
#[expect(async_fn_in_trait, reason = "see Grants")]
pub trait SecretRemover {
    /// Marks a secret for deletion. Until the end of `RECOVERY_DAYS` it can be restored.
    async fn remove(&self, name: &str) -> Result<(), StoreError>;
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

/// Why there is no token, by what has to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The refresh token is dead: somebody has to consent again.
    ConsentRequired {
        /// Zoho's code.
        error: String,
    },
    /// The client, its secret or the data centre is wrong: the operator has to correct it.
    Misconfigured {
        /// Zoho's code.
        error: String,
    },
    /// Too many requests: wait.
    Throttled,
    /// No answer, a broken connection or a 5xx: the data centre's own trouble. Try again later.
    OutOfOrder {
        /// What came instead of a token. Never a body.
        error: String,
        /// Whether one more try in the same run makes sense.
        at_once: bool,
    },
    /// An answer that is not understood. It says nothing about other connections. Try again later.
    Unclear {
        /// What came instead of a token. Never a body.
        error: String,
        /// Whether one more try in the same run makes sense.
        at_once: bool,
    },
}

impl Refusal {
    /// What Zoho said, in a word or a few of our own.
    pub fn word(&self) -> &str {
        match self {
            Self::ConsentRequired { error }
            | Self::Misconfigured { error }
            | Self::OutOfOrder { error, .. }
            | Self::Unclear { error, .. } => error,
            Self::Throttled => "too_many_requests",
        }
    }
}

/// An AWS call that failed, after every retry that made sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The action as an IAM policy names it: `ssm:PutParameter`.
    pub action: &'static str,
    /// AWS's error code, or what kept the call from being answered.
    pub code: String,
    /// AWS's own sentence where it is one that quotes no values; empty otherwise.
    pub detail: String,
}

/// AWS's words for too many calls: those that the SDK takes for such, so that none is tried again
/// by nobody.
const TOO_MANY_CALLS: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];
/// AWS's word for two updates of one parameter at the same moment.
const OVERLAPPED: &str = "TooManyUpdates";
/// The `code` of a call without an answer.
pub(crate) const NO_ANSWER: &str = "no answer";
/// The `code` of an answer that AWS does not give: a proxy's, perhaps.
pub(crate) const NOT_AWS: &str = "an answer that is none of AWS's";

/// What is wrong with a server's certificate. Nothing was sent to that server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Nobody who is trusted vouches for it.
    UnknownAuthority,
    /// Its time is over, by this machine's clock.
    Expired,
    /// Its time has not begun, by this machine's clock.
    NotValidYet,
    /// It names other hosts than the one that was asked.
    OtherHost,
    /// Anything else.
    Unusable,
}

impl Untrusted {
    const ALL: [Self; 5] = [Self::UnknownAuthority, Self::Expired, Self::NotValidYet, Self::OtherHost, Self::Unusable];

    /// What is said after "the server's certificate".
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "is not from a known authority",
            Self::Expired => "has expired",
            Self::NotValidYet => "is not valid yet",
            Self::OtherHost => "is for another host",
            Self::Unusable => "cannot be accepted",
        }
    }

    /// What to do about it, as an instruction.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "name a PEM file with the authority's certificate in AWS_CA_BUNDLE if the server, or a proxy before it, is \
                 your own; otherwise find out who answers there"
            }
            Self::Expired | Self::NotValidYet => {
                "set this machine's clock if it is wrong; otherwise the server's owner has to renew the certificate"
            }
            Self::OtherHost => {
                "check the host in AWS_ENDPOINT_URL and TOKEN_KEEPER_DATA_CENTERS: the certificate has to name it as a \
                 subject alternative name"
            }
            Self::Unusable => {
                "the server's owner has to replace it: it may be revoked, damaged, too weak, or an authority's own"
            }
        }
    }

    /// The one that an error's words tell of.
    pub(crate) fn told(error: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|untrusted| error.ends_with(&format!("certificate {}", untrusted.words())))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.action, self.code)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// Whether the version or the secret exists already, with another content.
    pub fn exists(&self) -> bool {
        self.code == "ResourceExistsException"
    }

    /// Whether AWS wants fewer calls a second.
    pub fn too_many_calls(&self) -> bool {
        TOO_MANY_CALLS.contains(&self.code.as_str())
    }

    /// Whether another update of the same parameter was under way.
    pub fn overlapped(&self) -> bool {
        self.code == OVERLAPPED
    }

    /// Whether AWS answered at all. If not, the call may have been carried out.
    pub fn answered(&self) -> bool {
        !matches!(self.code.as_str(), NO_ANSWER | NOT_AWS) && Untrusted::told(&self.code).is_none()
    }

    /// What to do about it, as an instruction.
    pub fn remedy(&self) -> String {
        let action = self.action;
        match self.code.as_str() {
            "AccessDeniedException" | "AccessDenied" => format!("allow {action} to the role or user that ran this"),
            "ResourceExistsException" => "somebody else stored it at the same moment: look at it, then try again".to_owned(),
            "InvalidKeyId" | "KMSAccessDeniedException" => {
                "allow the role kms:Encrypt and kms:Decrypt on the key, and check TOKEN_KEEPER_KMS_KEY_ID".to_owned()
            }
            code if code == OVERLAPPED || TOO_MANY_CALLS.contains(&code) => {
                "the next run tries again; raise the account's throughput setting for Parameter Store if it stays".to_owned()
            }
            "ParameterLimitExceeded" => {
                "the account has all the standard parameters that it may have in this Region: remove some, or set \
                 TOKEN_KEEPER_TIER to Intelligent-Tiering"
                    .to_owned()
            }
            "ValidationException" => {
                "check TOKEN_KEEPER_TIER: a Standard parameter holds 4,096 bytes, and an Advanced one never goes back".to_owned()
            }
            "HierarchyTypeMismatchException" | "ParameterTypeMismatch" => {
                "the parameter exists as another type: remove it".to_owned()
            }
            "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" | "InvalidAddress" => {
                "check TOKEN_KEEPER_QUEUE_URL: there is no such queue in this Region".to_owned()
            }
            "no credentials" => "set up AWS credentials, for example with `aws configure` or AWS_PROFILE".to_owned(),
            "no Region" => "set AWS_REGION, or give --region".to_owned(),
            "ExpiredTokenException" | "UnrecognizedClientException" => {
                "the credentials have ended or are no longer valid: log in again, or set up others".to_owned()
            }
            "InvalidSignatureException" => {
                "set this machine's clock, which may be off by five minutes; if it is right, the secret access key is not".to_owned()
            }
            NO_ANSWER => "check the Region, the network and AWS_ENDPOINT_URL; the next run tries again".to_owned(),
            code => Untrusted::told(code)
                .map_or("the next run tries again; see the AWS health page if it stays", Untrusted::remedy)
                .to_owned(),
        }
    }
}
