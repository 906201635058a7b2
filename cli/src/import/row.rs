//! One connection of the input, and why it is refused.
//!
//! No message quotes the input: if columns are mixed up, any of them can hold a secret.

use serde_json::{Map, Value};
use token_keeper::flaw::Flaw;
use token_keeper::name::{ClientName, ConnectionName, NameError};

use crate::console::Failure;

/// What to do about a flaw of the input.
impl From<Flaw> for Failure {
    fn from(flaw: Flaw) -> Self {
        let remedy = match &flaw {
            Flaw::Missing(field) if field == "connection" => {
                "give the connection's name, in the input or with --connection"
            }
            Flaw::Missing(field) if field == "data_center" => {
                "give the account's data centre, in the input or with --data-center"
            }
            Flaw::Missing(field) if field == "client" => "give `client_id` and `client_secret`, or --client",
            flaw => return Self::new(flaw, flaw.remedy()),
        };
        Self::new(&flaw, remedy)
    }
}

/// One connection of the input.
pub(super) struct Row {
    /// The connection's name, or null if the input has no name.
    pub(super) name: Value,
    /// The fields of its secret.
    pub(super) fields: Map<String, Value>,
    /// The client id of the input, if --client replaces it with a stored client.
    pub(super) registered: Option<Value>,
}

impl Row {
    pub(super) fn new(name: Value, fields: Map<String, Value>) -> Self {
        Self { name, fields, registered: None }
    }

    pub(super) fn connection(&self) -> Result<ConnectionName, Failure> {
        match &self.name {
            Value::Null => Err(Flaw::Missing("connection".to_owned()).into()),
            Value::String(name) if like_a_secret(name) => Err(mixed_up("connection")),
            Value::String(name) => name.parse().map_err(|error| misnamed("connection", error)),
            _ => Err(Flaw::WrongType { field: "connection".to_owned(), wanted: "a string" }.into()),
        }
    }

    /// The stored client that the row names, if any.
    pub(super) fn client(&self) -> Result<Option<ClientName>, Failure> {
        match self.text("client") {
            None => Ok(None),
            Some(name) if like_a_secret(name) => Err(mixed_up("client")),
            Some(name) => name.parse().map(Some).map_err(|error| misnamed("client", error)),
        }
    }

    /// A field's value, if it is text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }
}

/// Whether a name could be a client secret or a token. Everybody may see names.
fn like_a_secret(name: &str) -> bool {
    name.len() >= 32 && name.chars().all(|c| c.is_ascii_hexdigit() || c == '.')
}

fn misnamed(field: &str, error: NameError) -> Failure {
    Failure::new(format!("the field `{field}`: {error}"), Flaw::Name(error).remedy())
}

fn mixed_up(field: &str) -> Failure {
    Failure::new(format!("the field `{field}` looks like a secret"), "check whether you mixed up two fields")
}
