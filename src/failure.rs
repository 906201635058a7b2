//! What the outside services answer instead of what was asked for.
//!
//! A [`Refusal`] is Zoho's, a [`StoreError`] is AWS's. Neither holds a body or a secret.

use std::fmt;

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
