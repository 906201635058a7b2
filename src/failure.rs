//! How the outside services refuse or fail: a [`Refusal`] is a provider's, a [`StoreError`] is
//! AWS's.
//!
//! Neither holds a body or a secret. (The `Failure` of a command is the command line's.)

use std::fmt;

/// Why a provider gave no token. Each variant says what has to happen next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The refresh token is dead: somebody has to consent again.
    #[error("{error}")]
    ConsentRequired {
        /// The provider's code.
        error: String,
    },
    /// The client, its secret or the data centre is wrong: the operator has to correct it.
    #[error("{error}")]
    Misconfigured {
        /// The provider's code.
        error: String,
    },
    /// Too many requests: wait.
    #[error("too_many_requests")]
    Throttled,
    /// The server itself is in trouble. Try again later.
    #[error("{0}")]
    OutOfOrder(Silence),
    /// An answer that the program does not understand. It says nothing about other connections. Try
    /// again later.
    #[error("{error}")]
    Unclear {
        /// What came instead of a token. Never a body.
        error: String,
        /// Whether what was asked may have been done, and only the answer is of no use. Then one
        /// more try in the same run makes sense, unless a second use of the refresh token does
        /// harm.
        at_once: bool,
    },
}

/// How a server failed to give an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Its certificate was refused, so nothing was sent.
    #[error("the server's certificate {}", .0.words())]
    Untrusted(Untrusted),
    /// No answer within the time of a request. It may have minted a token.
    #[error("no answer in time")]
    TimedOut,
    /// No connection, so nothing was sent.
    #[error("the server cannot be reached")]
    Unreachable,
    /// No connection within the time for one, so nothing was sent.
    #[error("no connection in time")]
    Unconnected,
    /// A connection that broke.
    #[error("the connection broke before the answer was whole")]
    Broken,
    /// A server error.
    #[error("HTTP {0}")]
    ServerError(u16),
}

impl Refusal {
    /// What a token endpoint's status means alone, whatever the body says; `None` if the body
    /// decides.
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            500.. => Some(Self::OutOfOrder(Silence::ServerError(status))),
            429 => Some(Self::Throttled),
            300..400 => {
                Some(Self::Unclear { error: format!("HTTP {status}: a redirect, not followed"), at_once: false })
            }
            _ => None,
        }
    }

    /// Whether one more try in the same run makes sense. A time-out has already cost the connection
    /// enough time, and a certificate does not change within a second.
    pub fn passes_at_once(&self) -> bool {
        match self {
            Self::OutOfOrder(silence) => {
                !matches!(silence, Silence::Untrusted(_) | Silence::TimedOut | Silence::Unconnected)
            }
            Self::Unclear { at_once, .. } => *at_once,
            Self::ConsentRequired { .. } | Self::Misconfigured { .. } | Self::Throttled => false,
        }
    }

    /// Whether the refresh token may have been redeemed all the same. What is refused was not.
    pub fn perhaps_redeemed(&self) -> bool {
        match self {
            Self::OutOfOrder(silence) => {
                matches!(silence, Silence::TimedOut | Silence::Broken | Silence::ServerError(_))
            }
            Self::Unclear { at_once, .. } => *at_once,
            Self::ConsentRequired { .. } | Self::Misconfigured { .. } | Self::Throttled => false,
        }
    }

    /// What is wrong with the server's certificate, if that is the reason.
    pub fn untrusted(&self) -> Option<Untrusted> {
        match self {
            Self::OutOfOrder(Silence::Untrusted(untrusted)) => Some(*untrusted),
            _ => None,
        }
    }
}

/// What to do if a provider refuses a client with this code, as an instruction.
pub fn refused_client_remedy(code: &str) -> &'static str {
    match code {
        "missing_org_info" => {
            "the service has several organisations: say which one with `soid`, the service's name and the organisation's \
             id, such as ZohoCRM.600000434: token-keeper grant NAME --client-credentials --soid SERVICE.ID"
        }
        "invalid_scope" => {
            "correct `scopes`: the provider does not know one of them, or does not give it to this client (for Zoho's, type \
             token-keeper scopes)"
        }
        _ => {
            "compare client_id and client secret with the provider's console (for Zoho, the data centre's own client secret and \
             data_center, too); then type token-keeper refresh NAME --force, or wait an hour"
        }
    }
}

/// An AWS call that failed, after every retry that made sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} failed: {cause}")]
pub struct StoreError {
    /// The action as an IAM policy names it: `ssm:PutParameter`.
    pub action: &'static str,
    /// Why.
    pub cause: Cause,
}

/// Why an AWS call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// AWS refused it.
    Refused {
        /// AWS's error code.
        code: String,
        /// AWS's own sentence if it quotes no values; otherwise empty.
        detail: String,
    },
    /// AWS is out of order. It may have carried out the call.
    OutOfOrder {
        /// AWS's error code.
        code: String,
    },
    /// Something answered that is not AWS, for example a proxy.
    NotAws,
    /// Somebody else has changed it since it was read. Nothing was changed.
    Overtaken,
    /// No answer came. AWS may have carried out the call.
    NoAnswer,
    /// The server's certificate was refused, so nothing was sent.
    Untrusted(Untrusted),
    /// No credentials to sign the call, so nothing was sent.
    NoCredentials(NoCredentials),
    /// No Region is set, so nothing was sent.
    NoRegion,
}

/// Why there are no credentials, and what to do about it. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoCredentials {
    /// What is wrong.
    pub why: String,
    /// What to do about it, as an instruction.
    pub remedy: String,
}

impl Default for NoCredentials {
    fn default() -> Self {
        Self {
            why: "no credentials".to_owned(),
            remedy: "log in with `aws login` or `aws sso login`, or set up keys with `aws configure`".to_owned(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, detail } if detail.is_empty() => f.write_str(code),
            Self::Refused { code, detail } => write!(f, "{code} ({detail})"),
            Self::OutOfOrder { code } => f.write_str(code),
            Self::NotAws => f.write_str("something answered that is not AWS"),
            Self::Overtaken => f.write_str("somebody else was first"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Untrusted(untrusted) => write!(f, "the server's certificate {}", untrusted.words()),
            Self::NoCredentials(NoCredentials { why, .. }) => f.write_str(why),
            Self::NoRegion => f.write_str("no Region"),
        }
    }
}

/// AWS's error codes for too many calls. The list is the SDK's: for Parameter Store the SDK leaves
/// the retries of these to the pace, so the pace has to know all of them.
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
/// AWS's error code for two updates of one parameter at the same moment.
const OVERLAPPED: &str = "TooManyUpdates";

/// What is wrong with a server's certificate. Nothing was sent to that server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// No trusted authority has signed it.
    UnknownAuthority,
    /// It has expired, by this machine's clock.
    Expired,
    /// It is not valid yet, by this machine's clock.
    NotValidYet,
    /// It names other hosts, not the one that was asked.
    OtherHost,
    /// Anything else.
    Unusable,
}

impl Untrusted {
    /// The end of a sentence that starts with "the server's certificate".
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
                "if the server or a proxy before it is yours, set AWS_CA_BUNDLE to a PEM file with its authority's \
                 certificate; otherwise find out who answers there"
            }
            Self::Expired | Self::NotValidYet => {
                "set this machine's clock if it is wrong; otherwise the server's owner has to renew the certificate"
            }
            Self::OtherHost => {
                "check the host in AWS_ENDPOINT_URL and TOKEN_KEEPER_DATA_CENTERS: the certificate has to name it as a \
                 subject alternative name"
            }
            Self::Unusable => {
                "the server's owner has to replace it: it may be revoked, damaged, too weak, or the certificate of an \
                 authority"
            }
        }
    }
}

impl StoreError {
    /// AWS's refusal with this error code.
    pub fn refused(action: &'static str, code: impl Into<String>) -> Self {
        Self { action, cause: Cause::Refused { code: code.into(), detail: String::new() } }
    }

    /// AWS's error code, if AWS answered one.
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Refused { code, .. } | Cause::OutOfOrder { code } => Some(code),
            _ => None,
        }
    }

    /// Whether AWS answered one of these error codes.
    pub fn is_one_of(&self, codes: &[&str]) -> bool {
        self.code().is_some_and(|code| codes.contains(&code))
    }

    /// Whether somebody else was first: the secret exists, or has another version than was read.
    pub fn overtaken(&self) -> bool {
        self.cause == Cause::Overtaken
    }

    /// Whether AWS wants fewer calls a second.
    pub fn too_many_calls(&self) -> bool {
        self.is_one_of(&TOO_MANY_CALLS)
    }

    /// Whether another update of the same parameter was under way.
    pub fn overlapped(&self) -> bool {
        self.is_one_of(&[OVERLAPPED])
    }

    /// Whether the call certainly changed nothing that anybody reads.
    pub fn undone(&self) -> bool {
        // A new version of a secret is read only after another call has made it the current one.
        self.action == "secretsmanager:PutSecretValue"
            || !matches!(self.cause, Cause::NoAnswer | Cause::NotAws | Cause::OutOfOrder { .. })
    }

    /// What to do about it, as an instruction.
    pub fn remedy(&self) -> String {
        let (action, health) = (self.action, "the next run tries again; if this continues, see the AWS health page");
        let code = match &self.cause {
            Cause::Refused { code, .. } | Cause::OutOfOrder { code } => code.as_str(),
            Cause::Untrusted(untrusted) => return untrusted.remedy().to_owned(),
            Cause::NotAws => {
                return "find out what answers there: perhaps a proxy, or the server in AWS_ENDPOINT_URL".to_owned();
            }
            Cause::NoAnswer => {
                return "check the Region, the network and AWS_ENDPOINT_URL; the next run tries again".to_owned();
            }
            Cause::Overtaken => return "nothing was changed: look at what is stored now, then try again".to_owned(),
            Cause::NoCredentials(missing) => return missing.remedy.clone(),
            Cause::NoRegion => return "set AWS_REGION, or give --region".to_owned(),
        };
        match code {
            "LimitExceededException" if action.starts_with("secretsmanager:") => {
                "a secret has at most 20 staging labels and 100 versions of a day: remove labels, or wait a day"
                    .to_owned()
            }
            "AccessDeniedException" | "AccessDenied" => format!("allow {action} to the role or user that ran this"),
            "InvalidKeyId" | "KMSAccessDeniedException" => {
                "allow the role kms:Encrypt and kms:Decrypt on the key, and check TOKEN_KEEPER_KMS_KEY_ID".to_owned()
            }
            code if code == OVERLAPPED || TOO_MANY_CALLS.contains(&code) => {
                "the next run tries again; if this continues, raise the account's throughput setting for Parameter \
                 Store"
                    .to_owned()
            }
            "ParameterLimitExceeded" => {
                "the account has reached its limit of standard parameters in this Region: remove some, or set \
                 TOKEN_KEEPER_TIER to Intelligent-Tiering"
                    .to_owned()
            }
            "ValidationException" => {
                "check TOKEN_KEEPER_TIER: a Standard parameter holds 4,096 bytes, and an Advanced one cannot become \
                 Standard again"
                    .to_owned()
            }
            "HierarchyTypeMismatchException" | "ParameterTypeMismatch" => {
                "the parameter exists as another type: remove it".to_owned()
            }
            "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" | "InvalidAddress" => {
                "check TOKEN_KEEPER_QUEUE_URL: there is no such queue in this Region".to_owned()
            }
            "ExpiredTokenException" | "UnrecognizedClientException" => {
                "the credentials have expired or are not valid: log in again, or set up others".to_owned()
            }
            "InvalidSignatureException" => {
                "set this machine's clock: AWS allows a difference of five minutes; if the clock is right, the secret \
                 access key is wrong"
                    .to_owned()
            }
            _ => health.to_owned(),
        }
    }
}
