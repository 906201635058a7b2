//! One connection of the input, and why it is refused.
//!
//! No message quotes the input: if columns are mixed up, any of them can hold a secret.

use serde_json::{Map, Value, json};
use token_keeper::flaw::Flaw;
use token_keeper::name::{ClientName, ConnectionName, NameError};

use crate::console::Failure;

/// Columns that become fields of the secret.
pub(super) const FIELDS: [&str; 8] =
    ["client", "client_id", "client_secret", "provider", "data_center", "scopes", "refresh_token", "api_domain"];
/// Columns by which Zoho's SDKs identify a row; the best name comes first. Some SDKs write
/// `user_mail`.
const SDK_NAMES: [&str; 3] = ["user_name", "user_mail", "id"];

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
    /// Why this can be no connection, and the remedy, if that shows without the stored secrets.
    pub(super) unfit: Option<(&'static str, &'static str)>,
}

impl Row {
    pub(super) fn new(name: Value, fields: Map<String, Value>) -> Self {
        Self { name, fields, registered: None, unfit: None }
    }

    /// A row of columns, which `column` finds by name: ours, or those of Zoho's SDKs and of its
    /// token endpoint. All others are ignored.
    pub(super) fn of_columns(column: impl Fn(&str) -> Option<Value>) -> Self {
        let user = || SDK_NAMES.iter().find_map(|name| column(name)).map(connection_name);
        let name = column("connection").or_else(user).unwrap_or_default();
        let mut fields: Map<_, _> =
            FIELDS.iter().filter_map(|field| Some(((*field).to_owned(), column(field)?))).collect();
        if let Some(scopes) = column("scopes").or_else(|| column("scope")) {
            fields.insert("scopes".to_owned(), split(scopes));
        }
        let unfit = match (column("refresh_token"), column("error"), column("access_token")) {
            (None, Some(_), _) => Some((
                "it is an answer by which Zoho refused: it has an `error` and no refresh token",
                "a code works once, for a few minutes, in its own data centre: make a new one and let token-keeper grant exchange it",
            )),
            (None, None, Some(_)) => Some((
                "it has an access token but no refresh token, as Zoho answers a refresh or a consent without offline access",
                "import what Zoho answered when the code was exchanged; if that is lost, make a new grant with token-keeper connect or grant",
            )),
            _ => None,
        };
        Self { unfit, ..Self::new(name, fields) }
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

/// Scopes as text, separated by blanks or commas.
fn split(scopes: Value) -> Value {
    match &scopes {
        Value::String(text) => json!(text.split([' ', ',']).filter(|scope| !scope.is_empty()).collect::<Vec<_>>()),
        _ => scopes,
    }
}

/// Turns an SDK's user, a mail address as a rule, into a connection name.
fn connection_name(user: Value) -> Value {
    let user = match user {
        Value::String(user) => user.to_lowercase(),
        Value::Number(id) => id.to_string(),
        other => return other,
    };
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c) { c } else { '-' };
    let name: String = user.chars().map(plain).collect();
    json!(name.trim_start_matches(['-', '_', '.']))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_mail_address_becomes_a_name() {
        assert_eq!(connection_name(json!("Sales.Team+eu@Example.com")), "sales.team-eu-example.com");
        assert_eq!(connection_name(json!("_Ö1")), "1");
        assert_eq!(connection_name(json!(17)), "17");
    }
}
