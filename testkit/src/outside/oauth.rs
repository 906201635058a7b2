//! What the programs meet of a provider other than Zoho.

use serde_json::{Value, json};

use super::{Asked, BASE, Outside, grant_name};
use crate::oauth::OAuth;

/// The client id of `corp`.
pub const CORP_ID: &str = "c11e27-1d-0f-c02p";
/// The secret of `corp`. Its characters have to be escaped.
pub const CORP_SECRET: &str = "c11e27:5ec2e7+0f/c02p";
/// The scope of a connection of `corp`.
pub const CORP_SCOPE: &str = "accounts.read";

impl Outside {
    /// The OAuth server. The first call starts it, registers the client `corp`, and stores it as
    /// that of a custom provider.
    pub fn oauth(&self) -> &OAuth {
        self.oauth.get_or_init(|| {
            let oauth = OAuth::start("oauth", self.clock.clone(), self.faults.clone());
            oauth.register(CORP_ID, CORP_SECRET, &[&format!("{BASE}/callback")]);
            self.store_corp_at(&oauth, &json!({}));
            oauth
        })
    }

    /// Stores the client `corp` anew, with these fields added or replaced: `{"provider": "xero"}`.
    /// Its endpoints stay those of the OAuth server.
    pub fn store_corp(&self, fields: &Value) {
        self.store_corp_at(self.oauth(), fields);
    }

    fn store_corp_at(&self, oauth: &OAuth, fields: &Value) {
        let url = oauth.url();
        let client = json!({
            "provider": "custom",
            "client_id": CORP_ID,
            "client_secret": CORP_SECRET,
            "issuer": oauth.issuer(),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "revocation_endpoint": format!("{url}/revoke"),
        });
        self.aws.put_secret("token-keeper/clients/corp", &with(client, fields).to_string());
    }

    /// A user consents at the OAuth server, and the operator stores the grant. Returns the refresh
    /// token.
    ///
    /// # Panics
    /// Never: the server always gives one.
    pub fn connect_corp(&self, connection: &str) -> String {
        let minted = self.oauth().consent(CORP_ID, &[CORP_SCOPE]);
        let refresh_token = minted.refresh_token.expect("a refresh token");
        self.store_of_corp(connection, &json!({"refresh_token": refresh_token}));
        refresh_token
    }

    /// Stores a grant of client `corp`, with these fields added or replaced. Returns its version.
    pub fn store_of_corp(&self, connection: &str, fields: &Value) -> String {
        self.oauth();
        let grant = with(json!({"client": "corp", "scopes": [CORP_SCOPE]}), fields);
        self.aws.put_secret(&grant_name(connection), &grant.to_string())
    }

    /// The operator's link for a connection of client `corp`. Stores the connection if it is new.
    ///
    /// # Panics
    /// If the connection's name breaks the rules.
    pub fn link_of_corp(&self, connection: &str, allow_other_account: bool) -> String {
        if self.grant(connection).is_null() {
            self.store_of_corp(connection, &json!({}));
        }
        let client = self.aws.secret("token-keeper/clients/corp").expect("a client");
        let client: Value = serde_json::from_str(&client).expect("a client in JSON");
        let provider = client["provider"].as_str().expect("a provider");
        self.ticket(connection, Asked { data_center: "", allow_other_account, ..Asked::default() }, provider)
    }
}

fn with(mut document: Value, fields: &Value) -> Value {
    for (field, value) in fields.as_object().expect("an object of fields") {
        document[field] = value.clone();
    }
    document
}
