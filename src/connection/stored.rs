//! A connection's or a client's secret as a value: what the fields of its document mean.
//!
//! Flaws name fields, never their values.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::document::text;
use super::{
    Account, Client, ClientSecrets, Clients, Credential, DataCenter, DataCenters, Grant, Provider, SecretDocument,
};
use crate::address::origin;
use crate::flaw::{Broken, Flaw};
use crate::name::{ClientName, ConnectionName, Prefix, VersionId};
use crate::provider::server::Server;
use crate::provider::{ZOHO, table};
use crate::secret::{ClientSecret, RefreshToken};

/// The `grant_type` of a connection that asks for tokens with its client's own credentials.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// A connection's secret, not joined with its client yet.
#[derive(Clone, Debug)]
pub struct GrantSecret {
    connection: ConnectionName,
    version: VersionId,
    link_version: VersionId,
    client: ClientReference,
    /// Zoho only.
    data_center: Option<DataCenter>,
    scopes: Vec<String>,
    credential: Option<Credential>,
    api_domain: Option<String>,
    granted_at: Option<Timestamp>,
    account: Option<Account>,
    kept: BTreeMap<String, String>,
    refresh_token_expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum ClientReference {
    Named(ClientName),
    Inline(ClientSecrets),
}

impl GrantSecret {
    /// Reads the document of `{prefix}/connections/{connection}`.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn of(
        connection: ConnectionName,
        version: VersionId,
        document: &SecretDocument,
        table: &DataCenters,
    ) -> Result<Self, Flaw> {
        let unknown = || Flaw::UnknownDataCenter(table.names());
        let data_center = document.optional("data_center")?;
        let data_center = data_center.map(|name| table.get(&name).cloned().ok_or_else(unknown)).transpose()?;
        let inline = document.field("client_id").or_else(|| document.field("client_secret")).is_some();
        let client = match (document.optional("client")?, inline) {
            (Some(name), false) => ClientReference::Named(name.parse().map_err(Flaw::Name)?),
            (Some(_), true) => return Err(Flaw::TwoClients),
            (None, false) => return Err(Flaw::Missing("client".to_owned())),
            (None, true) => {
                document.needed("client_id")?;
                document.needed("client_secret")?;
                ClientReference::Inline(ClientSecrets::of(document)?)
            }
        };
        let scopes = match document.field("scopes") {
            None => Vec::new(),
            Some(Value::Array(scopes)) => scopes.iter().map(|scope| text("scopes", scope)).collect::<Result<_, _>>()?,
            Some(_) => return Err(Flaw::WrongType { field: "scopes".to_owned(), wanted: "an array of strings" }),
        };
        let api_domain = match document.optional("api_domain")? {
            None => None,
            Some(text) => Some(origin(&text).ok_or(Flaw::ApiDomain)?),
        };
        let credential = credential(document, &scopes)?;
        let granted_at = document.granted_at();
        let kept = match document.field("kept") {
            None => BTreeMap::new(),
            Some(Value::Object(kept)) => kept
                .iter()
                .map(|(name, value)| Ok((name.clone(), text(&format!("kept.{name}"), value)?)))
                .collect::<Result<_, Flaw>>()?,
            Some(_) => return Err(Flaw::WrongType { field: "kept".to_owned(), wanted: "a JSON object" }),
        };
        let refresh_token_expires_at = document.string("refresh_token_expires_at").and_then(|time| time.parse().ok());
        // Only a consent has to understand it.
        let account = document.account();
        let link_version = document.link_version(&version);
        Ok(Self {
            connection,
            version,
            link_version,
            client,
            data_center,
            scopes,
            credential,
            api_domain,
            granted_at,
            account,
            kept,
            refresh_token_expires_at,
        })
    }

    /// The name of the client; `None` if the client is inline.
    pub fn client(&self) -> Option<&ClientName> {
        match &self.client {
            ClientReference::Named(name) => Some(name),
            ClientReference::Inline(_) => None,
        }
    }

    /// The data centre that the secret names.
    pub fn data_center(&self) -> Option<&DataCenter> {
        self.data_center.as_ref()
    }

    /// The values that callers of the provider's API need, by name.
    pub fn kept(&self) -> &BTreeMap<String, String> {
        &self.kept
    }

    /// The refresh token, if somebody has given consent.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.credential.as_ref()?.refresh_token()
    }

    /// The scopes that a consent asks for.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// What a token is asked for with, if there is something.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Whose account it is, if that could be told.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The same secret for an account in this data centre.
    #[must_use]
    pub fn at(self, data_center: DataCenter) -> Self {
        Self { data_center: Some(data_center), ..self }
    }

    /// Joins it with its client.
    ///
    /// # Errors
    /// If the client is not among `clients`, is itself broken, or has no secret for the data
    /// centre; or if the secret does not fit the client's provider.
    pub fn resolve(self, clients: &Clients, prefix: &Prefix) -> Result<Grant, Broken> {
        let own = prefix.grant(self.connection.as_str());
        let (secrets, of) = match &self.client {
            ClientReference::Inline(secrets) => (secrets, own.clone()),
            ClientReference::Named(name) => {
                let of = prefix.client(name.as_str());
                let secrets = clients.get(name).ok_or_else(|| Broken::secret(&of, Flaw::NotFound))?;
                (secrets.as_ref().map_err(Clone::clone)?, of)
            }
        };
        let (client, provider) = match &secrets.server {
            None => {
                let missing = || Broken::secret(&own, Flaw::Missing("data_center".to_owned()));
                let data_center = self.data_center.ok_or_else(missing)?;
                let client = secrets.for_data_center(&data_center.name);
                let client = client.ok_or_else(|| Broken::secret(&of, Flaw::NoSecretFor(data_center.name.clone())))?;
                (client, Provider::Zoho(data_center))
            }
            Some(_) if matches!(self.credential, Some(Credential::ClientCredentials { .. })) => {
                return Err(Broken::secret(&own, Flaw::OnlyZoho("grant_type".to_owned())));
            }
            Some(server) => {
                let missing = || Broken::secret(&of, Flaw::Missing("client_secret".to_owned()));
                let secret = secrets.common.clone().ok_or_else(missing)?;
                (Client { id: secrets.id.clone(), secret }, Provider::Other(Arc::clone(server)))
            }
        };
        Ok(Grant {
            connection: self.connection,
            version: self.version,
            link_version: self.link_version,
            client,
            provider,
            scopes: self.scopes,
            credential: self.credential,
            api_domain: self.api_domain,
            granted_at: self.granted_at,
            account: self.account,
            kept: self.kept,
            refresh_token_expires_at: self.refresh_token_expires_at,
        })
    }
}

/// What a token is asked for with: a refresh token, or the client's own credentials. Another
/// `grant_type` beside a refresh token belongs to the operator.
fn credential(document: &SecretDocument, scopes: &[String]) -> Result<Option<Credential>, Flaw> {
    let refresh_token = document.optional("refresh_token")?.map(RefreshToken::new);
    match (document.string("grant_type"), refresh_token) {
        (Some(CLIENT_CREDENTIALS), Some(_)) => Err(Flaw::TwoCredentials),
        // A refresh token has its scopes from the consent; here each request names them.
        (Some(CLIENT_CREDENTIALS), None) if scopes.is_empty() => Err(Flaw::Missing("scopes".to_owned())),
        (Some(CLIENT_CREDENTIALS), None) => {
            Ok(Some(Credential::ClientCredentials { soid: document.optional("soid")? }))
        }
        (_, refresh_token) => Ok(refresh_token.map(Credential::RefreshToken)),
    }
}

impl ClientSecrets {
    /// Reads the document of `{prefix}/clients/{client}`.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn of(document: &SecretDocument) -> Result<Self, Flaw> {
        let id = document.needed("client_id")?;
        let common = document.optional("client_secret")?.map(ClientSecret::new);
        let by_data_center = match document.field("client_secrets") {
            None => BTreeMap::new(),
            Some(Value::Object(secrets)) => secrets
                .iter()
                .map(|(data_center, secret)| {
                    let secret = text(&format!("client_secrets.{data_center}"), secret)?;
                    Ok((data_center.clone(), ClientSecret::new(secret)))
                })
                .collect::<Result<_, Flaw>>()?,
            Some(_) => return Err(Flaw::WrongType { field: "client_secrets".to_owned(), wanted: "a JSON object" }),
        };
        let server = match document.optional("provider")?.as_deref() {
            None | Some(ZOHO) => None,
            Some(name) => {
                let profile = table::find(name).ok_or_else(|| Flaw::UnknownProvider(table::names()))?;
                Some(Arc::new(Server::of(profile, |field| document.field(field))?))
            }
        };
        Ok(Self { id, common, by_data_center, server })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::SecretText;

    fn grant(text: &str) -> Result<Grant, String> {
        let acme = r#"{"client_id":"1000.ACME","client_secret":"common","client_secrets":{"eu":"european"}}"#;
        let half = r#"{"client_id":"1000.HALF","client_secrets":{"us":"american"}}"#;
        let prefix: Prefix = "k".parse().expect("a prefix");
        let clients = [("acme", acme), ("half", half), ("bad", "{")].map(|(name, text)| {
            let client = client(text).map_err(|flaw| Broken::secret(&prefix.client(name), flaw));
            (name.parse().expect("a name"), client)
        });
        let clients = clients.into();
        let connection: ConnectionName = "crm".parse().expect("a name");
        SecretDocument::parse(&SecretText::new(text))
            .and_then(|document| GrantSecret::of(connection, VersionId::new("v1"), &document, &DataCenters::default()))
            .map_err(|flaw| Broken::secret(&prefix.grant("crm"), flaw))
            .and_then(|grant| grant.resolve(&clients, &prefix))
            .map_err(|broken| broken.to_string())
    }

    fn client(text: &str) -> Result<ClientSecrets, Flaw> {
        ClientSecrets::of(&SecretDocument::parse(&SecretText::new(text))?)
    }

    #[test]
    fn a_whole_grant_is_read_and_the_data_centers_own_secret_wins() {
        let text = r#"{"client":"acme","data_center":"eu","scopes":["A.all","B.read"],"refresh_token":"1000.r",
                       "api_domain":"https://www.zohoapis.eu/","granted_at":"2026-11-21T00:00:00Z","note":["mine"]}"#;
        let read = grant(text).expect("a grant");
        assert_eq!((read.client.id.as_str(), read.client.secret.expose()), ("1000.ACME", "european"));
        assert_eq!(read.scopes, ["A.all", "B.read"]);
        assert_eq!(read.api_domain.as_deref(), Some("https://www.zohoapis.eu"));
        assert_eq!(read.refresh_token().expect("a refresh token").expose(), "1000.r");
        let american = grant(r#"{"client":"acme","data_center":"us"}"#).expect("a grant");
        assert_eq!(american.client.secret.expose(), "common");
        assert!(american.credential.is_none(), "awaiting consent is no error");
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
        check("{}", "the field `client` is missing");
        check(r#"{"client":"acme"}"#, "secret k/connections/crm: the field `data_center` is missing");
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
            "the field `refresh_token` contains white space or another character that it cannot have",
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
        assert!(grant(r#"{"data_center":"eu","client":"acme","note":1,"note":2}"#).is_ok(), "the operator's own field");
    }

    #[test]
    fn a_flawed_client_is_named_by_field_too() {
        let check = |text: &str, expected: &str| {
            assert_eq!(client(text).expect_err(text).to_string(), expected);
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

    #[test]
    fn a_consent_keeps_fields_of_others_and_forgets_the_api_domain_of_another_data_center() {
        let before = r#"{"client_id":"c","client_secret":"s","data_center":"eu","api_domain":"https://www.zohoapis.eu","note":[1]}"#;
        let credential = Some(Credential::RefreshToken(RefreshToken::new("r")));
        let grant = Grant { credential, api_domain: None, ..grant(before).expect("a grant") };
        let check = |data_center: &str, api_domain: Option<&str>| {
            let data_center = DataCenters::default().get(data_center).expect("a data centre").clone();
            let mut document = SecretDocument::parse(&SecretText::new(before)).expect("a document");
            document.grant(&Grant {
                provider: Provider::Zoho(data_center),
                granted_at: Some(Timestamp::UNIX_EPOCH),
                ..grant.clone()
            });
            let fields: Value = serde_json::from_str(document.text().expose()).expect("JSON");
            assert_eq!((fields["note"].clone(), fields["client_secret"].clone()), (json!([1]), json!("s")));
            assert_eq!(fields["api_domain"].as_str(), api_domain);
        };
        check("eu", Some("https://www.zohoapis.eu"));
        check("us", None);
    }

    #[test]
    fn a_secret_for_a_data_center_is_never_lost() {
        for before in [r#"{"client_id":"c"}"#, r#"{"client_id":"c","client_secrets":null}"#] {
            let mut document = SecretDocument::parse(&SecretText::new(before)).expect("a document");
            document.set_within("client_secrets", "eu", json!("s"));
            let client = ClientSecrets::of(&document).expect("a client");
            assert_eq!(client.for_data_center("eu").expect("a secret").secret.expose(), "s", "{before}");
        }
    }
}
