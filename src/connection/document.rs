//! From a secret's text to a grant or a client, with an error for each way in which an operator can get it wrong.
//!
//! A flaw names fields, never their values: what stands in a secret stays there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::data_center::base_url;
use super::{Client, ClientSecrets, Clients, DataCenter, DataCenters, Grant};
use crate::flaw::{Broken, Flaw};
use crate::name::{ClientName, ConnectionName};
use crate::secret::{ClientSecret, RefreshToken};

/// A connection's secret before its client is known.
#[derive(Debug)]
pub struct GrantSecret {
    connection: ConnectionName,
    version: String,
    client: ClientReference,
    data_center: DataCenter,
    scopes: Vec<String>,
    refresh_token: Option<RefreshToken>,
    api_domain: Option<String>,
}

#[derive(Debug)]
enum ClientReference {
    Named(ClientName),
    Inline(Client),
}

/// The fields as they come: every value is checked by hand, because serde's own messages quote what they refuse.
#[derive(Deserialize)]
struct GrantFields {
    client: Option<Value>,
    client_id: Option<Value>,
    client_secret: Option<Value>,
    data_center: Option<Value>,
    scopes: Option<Value>,
    refresh_token: Option<Value>,
    api_domain: Option<Value>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names in the secret")]
struct ClientFields {
    client_id: Option<Value>,
    client_secret: Option<Value>,
    client_secrets: Option<Value>,
}

impl GrantSecret {
    /// Reads the secret `{prefix}/connections/{connection}`.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn parse(connection: ConnectionName, version: &str, text: &str, table: &DataCenters) -> Result<Self, Flaw> {
        let fields: GrantFields = object(text)?;
        let name = needed("data_center", fields.data_center)?;
        let data_center = table.get(&name).ok_or_else(|| Flaw::UnknownDataCenter(table.names()))?.clone();
        let client = match (string("client", fields.client)?, &fields.client_id, &fields.client_secret) {
            (Some(name), None, None) => ClientReference::Named(name.parse().map_err(Flaw::Name)?),
            (Some(_), ..) => return Err(Flaw::TwoClients),
            (None, None, None) => return Err(Flaw::Missing("client".to_owned())),
            (None, ..) => {
                let id = needed("client_id", fields.client_id)?;
                let secret = ClientSecret::new(needed("client_secret", fields.client_secret)?);
                ClientReference::Inline(Client { id, secret })
            }
        };
        let scopes = match fields.scopes {
            None => Vec::new(),
            Some(Value::Array(scopes)) => {
                scopes.into_iter().map(|scope| needed("scopes", Some(scope))).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(Flaw::WrongType { field: "scopes".to_owned(), wanted: "an array of strings" }),
        };
        let api_domain = match string("api_domain", fields.api_domain)? {
            None => None,
            Some(text) => Some(base_url(&text).ok_or(Flaw::ApiDomain)?),
        };
        let refresh_token = string("refresh_token", fields.refresh_token)?.map(RefreshToken::new);
        Ok(Self { connection, version: version.to_owned(), client, data_center, scopes, refresh_token, api_domain })
    }

    /// The client that it refers to by name, if its own is not inline.
    pub fn client(&self) -> Option<&ClientName> {
        match &self.client {
            ClientReference::Named(name) => Some(name),
            ClientReference::Inline(_) => None,
        }
    }

    /// Where the account lives, as recorded.
    pub fn data_center(&self) -> &DataCenter {
        &self.data_center
    }

    /// The refresh token, if somebody has given consent.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    /// The same with an account that lives elsewhere.
    #[must_use]
    pub fn at(self, data_center: DataCenter) -> Self {
        Self { data_center, ..self }
    }

    /// Joins it with its client.
    ///
    /// # Errors
    /// If the client is not among `clients`, is itself broken, or has no secret for the data centre.
    pub fn resolve(self, clients: &Clients, secret_name: impl Fn(&ClientName) -> String) -> Result<Grant, Broken> {
        let Self { connection, version, client, data_center, scopes, refresh_token, api_domain } = self;
        let client = match client {
            ClientReference::Inline(client) => client,
            ClientReference::Named(name) => {
                let broken = |flaw| Broken::secret(&secret_name(&name), flaw);
                let client =
                    clients.get(&name).ok_or_else(|| broken(Flaw::NotFound))?.as_ref().map_err(Clone::clone)?;
                client
                    .for_data_center(&data_center.name)
                    .ok_or_else(|| broken(Flaw::NoSecretFor(data_center.name.clone())))?
            }
        };
        Ok(Grant { connection, version, client, data_center, scopes, refresh_token, api_domain })
    }
}

impl ClientSecrets {
    /// Reads the secret `{prefix}/clients/{client}`.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let fields: ClientFields = object(text)?;
        let id = needed("client_id", fields.client_id)?;
        let common = string("client_secret", fields.client_secret)?.map(ClientSecret::new);
        let by_data_center = match fields.client_secrets {
            None => BTreeMap::new(),
            Some(Value::Object(secrets)) => secrets
                .into_iter()
                .map(|(data_center, secret)| {
                    let secret = needed(&format!("client_secrets.{data_center}"), Some(secret))?;
                    Ok((data_center, ClientSecret::new(secret)))
                })
                .collect::<Result<_, Flaw>>()?,
            Some(_) => return Err(Flaw::WrongType { field: "client_secrets".to_owned(), wanted: "a JSON object" }),
        };
        Ok(Self { id, common, by_data_center })
    }
}

fn object<T: for<'text> Deserialize<'text>>(text: &str) -> Result<T, Flaw> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Flaw::NotJson { line: error.line(), column: error.column() })?;
    if !value.is_object() {
        return Err(Flaw::NotAnObject);
    }
    // All fields take any value, so that the only refusal left is a field that is there twice.
    serde_json::from_str(text).map_err(|_| Flaw::Duplicate)
}

fn string(field: &str, value: Option<Value>) -> Result<Option<String>, Flaw> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(Flaw::Empty(field.to_owned())),
        Some(Value::String(text)) if !text.chars().all(|c| c.is_ascii_graphic()) => {
            Err(Flaw::WhiteSpace(field.to_owned()))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Flaw::WrongType { field: field.to_owned(), wanted: "a string" }),
    }
}

fn needed(field: &str, value: Option<Value>) -> Result<String, Flaw> {
    string(field, value)?.ok_or_else(|| Flaw::Missing(field.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Result<Grant, String> {
        let acme = r#"{"client_id":"1000.ACME","client_secret":"common","client_secrets":{"eu":"european"}}"#;
        let clients = [
            ("acme", ClientSecrets::parse(acme).map_err(|flaw| Broken::secret("k/clients/acme", flaw))),
            (
                "half",
                ClientSecrets::parse(r#"{"client_id":"1000.HALF","client_secrets":{"us":"american"}}"#)
                    .map_err(|flaw| Broken::secret("k/clients/half", flaw)),
            ),
            ("bad", ClientSecrets::parse("{").map_err(|flaw| Broken::secret("k/clients/bad", flaw))),
        ];
        let clients = clients.map(|(name, client)| (name.parse().expect("a name"), client)).into();
        let connection: ConnectionName = "crm".parse().expect("a name");
        GrantSecret::parse(connection, "v1", text, &DataCenters::default())
            .map_err(|flaw| Broken::secret("k/connections/crm", flaw))
            .and_then(|grant| grant.resolve(&clients, |name| format!("k/clients/{name}")))
            .map_err(|broken| broken.to_string())
    }

    #[test]
    fn a_whole_grant_is_read_and_the_data_centers_own_secret_wins() {
        let text = r#"{"client":"acme","data_center":"eu","scopes":["A.all","B.read"],"refresh_token":"1000.r",
                       "api_domain":"https://www.zohoapis.eu/","granted_at":"2026-11-21T00:00:00Z","note":["mine"]}"#;
        let read = grant(text).expect("a grant");
        assert_eq!((read.client.id.as_str(), read.client.secret.expose()), ("1000.ACME", "european"));
        assert_eq!(read.scopes, ["A.all", "B.read"]);
        assert_eq!(read.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
        assert_eq!(read.refresh_token.expect("a refresh token").expose(), "1000.r");
        let american = grant(r#"{"client":"acme","data_center":"us"}"#).expect("a grant");
        assert_eq!(american.client.secret.expose(), "common");
        assert!(american.refresh_token.is_none(), "awaiting consent is no error");
    }

    #[test]
    fn one_hand_made_secret_is_enough() {
        let text = r#"{"client_id":"1000.C","client_secret":"s","refresh_token":"1000.r","data_center":"us"}"#;
        assert_eq!(grant(text).expect("a grant").client.secret.expose(), "s");
    }

    #[test]
    fn each_flaw_is_named_with_its_secret_and_its_field() {
        let check = |text: &str, expected: &str| {
            let error = grant(text).expect_err(text);
            assert!(error.ends_with(expected), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        };
        check("", "secret k/connections/crm: not JSON: it breaks off or goes wrong at line 1, column 0");
        check("hush", "not JSON: it breaks off or goes wrong at line 1, column 1");
        check(r#"{"client":"hush""#, "line 1, column 16");
        check(r#""hush""#, "not a JSON object");
        check("[]", "not a JSON object");
        check("{}", "the field `data_center` is missing");
        check(r#"{"data_center":"mars"}"#, "the data centre is not one of ae, au, ca, cn, eu, in, jp, sa, sg, uk, us");
        check(r#"{"data_center":7}"#, "the field `data_center` is not a string");
        check(r#"{"data_center":"eu"}"#, "the field `client` is missing");
        check(r#"{"data_center":"eu","client":"Hush"}"#, "a name is made of a-z, 0-9, '-', '_' and '.', not of 'H'");
        check(r#"{"data_center":"eu","client":"nobody"}"#, "secret k/clients/nobody: there is no secret of this name");
        check(
            r#"{"data_center":"eu","client":"bad"}"#,
            "secret k/clients/bad: not JSON: it breaks off or goes wrong at line 1, column 1",
        );
        check(
            r#"{"data_center":"eu","client":"half"}"#,
            "secret k/clients/half: it has no client secret for the data centre eu",
        );
        check(
            r#"{"data_center":"eu","client":"acme","client_id":"hush"}"#,
            "both `client` and `client_id`/`client_secret` are given",
        );
        check(r#"{"data_center":"eu","client_id":"hush"}"#, "the field `client_secret` is missing");
        check(r#"{"data_center":"eu","client_secret":"hush"}"#, "the field `client_id` is missing");
        check(
            r#"{"data_center":"eu","client_id":"c","client_secret":["hush"]}"#,
            "the field `client_secret` is not a string",
        );
        check(r#"{"data_center":"eu","client":"acme","refresh_token":""}"#, "the field `refresh_token` is empty");
        check(
            r#"{"data_center":"eu","client":"acme","refresh_token":"hush\n"}"#,
            "the field `refresh_token` contains white space or another character that no such value has",
        );
        check(
            r#"{"data_center":"eu","client":"acme","refresh_token":{"hush":1}}"#,
            "the field `refresh_token` is not a string",
        );
        check(
            r#"{"data_center":"eu","client":"acme","scopes":"hush"}"#,
            "the field `scopes` is not an array of strings",
        );
        check(r#"{"data_center":"eu","client":"acme","scopes":[1]}"#, "the field `scopes` is not a string");
        check(
            r#"{"data_center":"eu","client":"acme","api_domain":"http://hush"}"#,
            "the field `api_domain` is not a URL such as https://www.zohoapis.eu",
        );
        check(r#"{"data_center":"eu","client":"acme","client":"hush"}"#, "a field occurs twice");
    }

    #[test]
    fn a_flawed_client_is_named_by_field_too() {
        let check = |text: &str, expected: &str| {
            assert_eq!(ClientSecrets::parse(text).expect_err(text).to_string(), expected);
        };
        check(r#"{"client_secret":"s"}"#, "the field `client_id` is missing");
        check(r#"{"client_id":"c","client_secrets":"s"}"#, "the field `client_secrets` is not a JSON object");
        check(r#"{"client_id":"c","client_secrets":{"eu":5}}"#, "the field `client_secrets.eu` is not a string");
    }

    #[test]
    fn a_secret_of_64_kilobytes_is_read() {
        let text = format!(r#"{{"client":"acme","data_center":"eu","padding":"{}"}}"#, "x".repeat(65_400));
        assert!(grant(&text).is_ok());
    }
}
