//! Data centres, and grants and clients as parsed from their secrets.
//!
//! Everything here is pure. Text from a secret never reaches an error: errors name secrets and fields only.

mod data_center;
mod document;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

pub use data_center::{DataCenter, DataCenters};
pub use data_center::{base_url, web_url};
pub use document::GrantSecret;

use crate::flaw::{Broken, Flaw};
use crate::name::{ClientName, ConnectionName, Prefix};
use crate::secret::{ClientSecret, RefreshToken, Text};

/// A secret as the store has it: its full name and its text, or what stands in the way of the text.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// `{prefix}/connections/{connection}` or `{prefix}/clients/{client}`.
    pub name: String,
    /// The newest version, or the flaw that hides it.
    pub content: Result<SecretVersion, Flaw>,
}

/// The current version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// Its `VersionId`.
    pub id: String,
    /// Its text.
    pub text: Text,
}

/// What a connection holds: enough to mint access tokens for it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The operator's name for the authorised account.
    pub connection: ConnectionName,
    /// The `VersionId` of the secret that this was read from.
    pub version: String,
    /// The client that the user agreed to.
    pub client: Client,
    /// Where the account lives.
    pub data_center: DataCenter,
    /// Scopes recorded when consent was given; may be empty in a hand-made secret.
    pub scopes: Vec<String>,
    /// `None` until somebody has given consent.
    pub refresh_token: Option<RefreshToken>,
    /// Base URL of the account's APIs as recorded with the consent.
    pub api_domain: Option<String>,
}

/// A registered application with the one secret that is right for the grant's data centre.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id` (RFC 6749 §2.2).
    pub id: String,
    /// `client_secret`.
    pub secret: ClientSecret,
}

/// A registered application as stored: one client id, and perhaps one secret per data centre.
#[derive(Clone, Debug)]
pub struct ClientSecrets {
    /// `client_id`, the same in every data centre.
    pub id: String,
    /// The secret where no data centre's own is given.
    pub common: Option<ClientSecret>,
    /// Secrets by data centre; these win.
    pub by_data_center: BTreeMap<String, ClientSecret>,
}

impl ClientSecrets {
    /// The client as the accounts server of `data_center` knows it, or `None` if there is no secret for it.
    pub fn for_data_center(&self, data_center: &str) -> Option<Client> {
        let secret = self.by_data_center.get(data_center).or(self.common.as_ref())?;
        Some(Client { id: self.id.clone(), secret: secret.clone() })
    }
}

/// Connections by name, each with its grant or why there is none. A name that breaks the rules stands as it was found.
pub type Grants = BTreeMap<String, Result<Grant, Broken>>;

/// Clients by name, each as stored or why it cannot be used.
pub type Clients = BTreeMap<ClientName, Result<ClientSecrets, Broken>>;

/// Reads every client among `secrets`.
pub fn read_clients(secrets: &[StoredSecret], prefix: &Prefix) -> Clients {
    let mut clients = BTreeMap::new();
    for (name, secret) in under(secrets, &prefix.client("")) {
        // A client whose name breaks the rules cannot be referred to, so nothing is lost by passing over it.
        if let Ok(name) = name.parse::<ClientName>() {
            let client = secret.content.as_ref().map_err(Clone::clone);
            let client = client.and_then(|version| ClientSecrets::parse(version.text.expose()));
            clients.insert(name, client.map_err(|flaw| Broken::secret(&secret.name, flaw)));
        }
    }
    clients
}

/// Reads every connection among `secrets` and joins it with its client.
pub fn read_grants(secrets: &[StoredSecret], prefix: &Prefix, table: &DataCenters) -> Grants {
    let clients = read_clients(secrets, prefix);
    under(secrets, &prefix.grant(""))
        .map(|(name, secret)| {
            let grant = parse_grant(name, secret, table)
                .map_err(|flaw| Broken::secret(&secret.name, flaw))
                .and_then(|grant| grant.resolve(&clients, |client| prefix.client(client.as_str())));
            (name.to_owned(), grant)
        })
        .collect()
}

/// The names of the clients that the connections among `secrets` refer to.
pub fn clients_of(secrets: &[StoredSecret], prefix: &Prefix, table: &DataCenters) -> BTreeSet<ClientName> {
    under(secrets, &prefix.grant(""))
        .filter_map(|(name, secret)| parse_grant(name, secret, table).ok()?.client().cloned())
        .collect()
}

/// The text of a grant's secret after a consent. Fields that are not the consent's stay as they are.
///
/// # Panics
/// If `text` is no JSON object; one that was read as a grant is.
pub fn granted(text: &Text, grant: &Grant, granted_at: Timestamp) -> Text {
    let mut fields: Value = serde_json::from_str(text.expose()).expect("a grant's text");
    let moved = fields["data_center"] != grant.data_center.name.as_str();
    let fields = fields.as_object_mut().expect("a grant's object");
    if moved {
        fields.remove("api_domain");
    }
    let mut set = |field: &str, value: Value| fields.insert(field.to_owned(), value);
    set("data_center", json!(grant.data_center.name));
    set("scopes", json!(grant.scopes));
    set("refresh_token", json!(grant.refresh_token.as_ref().map(RefreshToken::expose)));
    set("granted_at", json!(granted_at));
    if let Some(api_domain) = &grant.api_domain {
        set("api_domain", json!(api_domain));
    }
    Text::new(json!(fields).to_string())
}

fn under<'s>(secrets: &'s [StoredSecret], path: &'s str) -> impl Iterator<Item = (&'s str, &'s StoredSecret)> {
    secrets.iter().filter_map(move |secret| Some((secret.name.strip_prefix(path)?, secret)))
}

fn parse_grant(name: &str, secret: &StoredSecret, table: &DataCenters) -> Result<GrantSecret, Flaw> {
    let connection = name.parse().map_err(Flaw::Name)?;
    let version = secret.content.as_ref().map_err(Clone::clone)?;
    GrantSecret::parse(connection, &version.id, version.text.expose(), table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_keeps_fields_of_others_and_forgets_the_api_domain_of_another_data_center() {
        let table = DataCenters::default();
        let before = r#"{"client_id":"c","client_secret":"s","data_center":"eu","api_domain":"https://www.zohoapis.eu","note":[1]}"#;
        let secret = GrantSecret::parse("crm".parse().expect("a name"), "v", before, &table).expect("a grant");
        let grant = secret.resolve(&Clients::new(), |_| String::new()).expect("a grant");
        let grant = Grant { refresh_token: Some(RefreshToken::new("r")), api_domain: None, ..grant };
        let check = |data_center: &str, api_domain: Option<&str>| {
            let data_center = table.get(data_center).expect("a data centre").clone();
            let text = granted(&Text::new(before), &Grant { data_center, ..grant.clone() }, Timestamp::UNIX_EPOCH);
            let fields: Value = serde_json::from_str(text.expose()).expect("JSON");
            assert_eq!((fields["note"].clone(), fields["client_secret"].clone()), (json!([1]), json!("s")));
            assert_eq!(fields["api_domain"].as_str(), api_domain);
        };
        check("eu", Some("https://www.zohoapis.eu"));
        check("us", None);
    }
}
