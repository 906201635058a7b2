//! What can be wrong with a secret or a parameter, and how to fix it.
//!
//! A flaw names fields, never their values.

use crate::name::{NameError, SecretName};

/// A secret or parameter with a flaw. It stops the work on a connection before Zoho is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {flaw}")]
pub struct Broken {
    /// `secret {name}` or `parameter {name}`.
    pub subject: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl Broken {
    /// A flaw of a secret.
    pub fn secret(name: &SecretName, flaw: Flaw) -> Self {
        Self { subject: format!("secret {name}"), flaw }
    }

    /// A flaw of a parameter.
    pub fn parameter(name: &str, flaw: Flaw) -> Self {
        Self { subject: format!("parameter {name}"), flaw }
    }
}

/// What can be wrong with a secret or a parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The text is not JSON.
    #[error("not JSON: it breaks off or goes wrong at line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON, but an array, a string, …
    #[error("not a JSON object")]
    NotAnObject,
    /// A needed field is absent.
    #[error("the field `{0}` is missing")]
    Missing(String),
    /// A field is `""`.
    #[error("the field `{0}` is empty")]
    Empty(String),
    /// A field has another JSON type.
    #[error("the field `{field}` is not {wanted}")]
    WrongType {
        /// The field.
        field: String,
        /// The JSON type it should have.
        wanted: &'static str,
    },
    /// A field that has a meaning, but not for this provider.
    #[error("the field `{field}` is not for the provider {provider}")]
    NotTaken {
        /// The field.
        field: &'static str,
        /// The provider's name in the table.
        provider: &'static str,
    },
    /// A parameter of every authorization request that the program sets itself.
    #[error("the field `authorization_parameters` has `{0}`, which this program sets itself")]
    Reserved(&'static str),
    /// A value with a blank or a line break in it, perhaps from pasting.
    #[error("the field `{0}` contains white space or another character that it cannot have")]
    WhiteSpace(String),
    /// The same field twice.
    #[error("a field occurs twice")]
    Duplicate,
    /// `client` beside `client_id` or `client_secret`.
    #[error("both `client` and `client_id`/`client_secret` are given")]
    TwoClients,
    /// `refresh_token` beside `grant_type`.
    #[error("both `refresh_token` and the `grant_type` client_credentials are given")]
    TwoCredentials,
    /// A data centre that is not in the table.
    #[error("the data centre is not one of {0}")]
    UnknownDataCenter(String),
    /// A provider that is not in the table.
    #[error("the provider is not one of {0}")]
    UnknownProvider(String),
    /// A field that only Zoho's connections may have.
    #[error("the field `{0}` goes with Zoho only")]
    OnlyZoho(String),
    /// `api_domain` is not a base URL.
    #[error("the field `api_domain` is not a URL such as https://www.zohoapis.eu")]
    ApiDomain,
    /// The name of the secret, or of the client it refers to, breaks the rules for names.
    #[error("{0}")]
    Name(NameError),
    /// The client has no secret for the grant's data centre.
    #[error("it has no client secret for the data centre {0}")]
    NoSecretFor(String),
    /// A signing key of fewer than 32 characters.
    #[error("it is shorter than 32 characters, which is too weak to sign with")]
    WeakKey,
    /// Stored as binary.
    #[error("it is stored as binary, not as text")]
    Binary,
    /// No secret has this name.
    #[error("there is no secret of this name")]
    NotFound,
    /// Marked for deletion.
    #[error("it is marked for deletion")]
    Deleted,
    /// AWS refused to return it. The text is AWS's sentence, which names the caller and the action.
    #[error("access denied{0}")]
    Denied(String),
    /// KMS refused to decrypt it.
    #[error("its key refuses to decrypt it ({0})")]
    Key(String),
    /// AWS gave another error for this one.
    #[error("AWS answered {0}")]
    Aws(String),
    /// The parameter holds something other than a lease.
    #[error("it is not a lease document: {0}")]
    NotALease(&'static str),
    /// A lease written by a newer version of this program.
    #[error("it is a lease of schema {0}, and this version of the program reads only schema 1")]
    NewerSchema(u64),
}

impl Flaw {
    /// What to do about it, as an instruction.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotJson { .. } | Self::NotAnObject | Self::Duplicate => {
                "store one JSON object, each field once".to_owned()
            }
            Self::Missing(field) | Self::Empty(field) => format!("put a value into `{field}`"),
            Self::WrongType { field, wanted } => format!("make `{field}` {wanted}"),
            Self::NotTaken { field, provider } => {
                format!(
                    "remove `{field}`, or correct `provider`: token-keeper providers {provider} shows what it takes"
                )
            }
            Self::Reserved(parameter) => format!("remove `{parameter}` from `authorization_parameters`"),
            Self::WhiteSpace(field) => format!("paste the value of `{field}` again, without blanks or line breaks"),
            Self::TwoClients => "keep `client`, or keep `client_id` and `client_secret`".to_owned(),
            Self::TwoCredentials => "keep one of them".to_owned(),
            Self::UnknownDataCenter(_) => {
                "correct `data_center`, or add the new one to TOKEN_KEEPER_DATA_CENTERS".to_owned()
            }
            Self::UnknownProvider(_) => {
                "correct `provider`, or take custom and give its endpoints: token-keeper providers".to_owned()
            }
            Self::OnlyZoho(field) => format!("remove `{field}`, or use a client of Zoho's"),
            Self::ApiDomain => "correct `api_domain` or leave it out".to_owned(),
            Self::Name(_) => "use a name that follows the rules".to_owned(),
            Self::NoSecretFor(data_center) => {
                format!("add `client_secrets.{data_center}` from Zoho's API console, or a common `client_secret`")
            }
            Self::WeakKey => "store a random string of 32 characters or more".to_owned(),
            Self::Binary => "store it again as a string".to_owned(),
            Self::NotFound => "create it, or correct the name that refers to it".to_owned(),
            Self::Deleted => "restore it (aws secretsmanager restore-secret), or let AWS delete it".to_owned(),
            Self::Denied(_) => "allow the role or user that ran this to read it".to_owned(),
            Self::Key(_) => "allow kms:Decrypt on its key to the role or user that ran this".to_owned(),
            Self::Aws(_) => "the next run tries again; if this continues, see the AWS health page".to_owned(),
            Self::NotALease(_) => {
                "it was left alone; remove the parameter, or choose another TOKEN_KEEPER_PREFIX".to_owned()
            }
            Self::NewerSchema(_) => "it was left alone; update this program".to_owned(),
        }
    }

    /// What is wrong, for people outside the operator's organisation: without AWS's own sentence,
    /// which names a role and an account.
    pub fn in_public(&self) -> String {
        match self {
            Self::Denied(_) => Self::Denied(String::new()).to_string(),
            Self::Aws(_) => "AWS does not return it".to_owned(),
            flaw => flaw.to_string(),
        }
    }

    /// Whether the flaw may go away by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Aws(_))
    }
}
