//! Switches for behaviour that Zoho's pages leave open, or that users report differently. The
//! program must be right with every setting.

use serde_json::{Value, json};

/// How Zoho behaves. The default follows its documentation.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a quirk of its own")]
pub struct Settings {
    /// Access-token requests that succeed within ten minutes. The next is throttled. Documented:
    /// 10.
    pub requests_per_window: usize,
    /// How refresh requests are counted. Codes are always counted per client.
    pub counted_per: CountedPer,
    /// Live access tokens of one refresh token. One more silently kills the oldest. Documented: 10;
    /// older pages say 15 or 30.
    pub live_access_tokens: usize,
    /// Live refresh tokens of one user. One more silently deletes the oldest. Documented: 20.
    pub refresh_tokens_per_user: usize,
    /// Answers in the old form: `expires_in_sec` in seconds, and `expires_in` in milliseconds. The
    /// device flow's `expires_in` and `interval` are in milliseconds then.
    pub expires_in_milliseconds: bool,
    /// Whether the answer to a refresh has `api_domain`. The answer to a code always has it.
    pub api_domain_on_refresh: bool,
    /// An `api_domain` other than the data centre's own.
    pub api_domain: Option<String>,
    /// Whether an offline consent gives a refresh token. `false` is the most common failure in
    /// practice.
    pub exchange_yields_refresh_token: bool,
    /// Whether a throttled request is answered in the user's language, with a translated error
    /// code.
    pub throttle_translated: bool,
    /// The HTTP status of the throttle's answer: 400 or 200.
    pub throttle_status: u16,
    /// Scopes that Zoho does not grant even if a consent asks for them.
    pub withheld_scopes: Vec<String>,
    /// The scopes that Zoho knows. A consent that asks for another one is refused. `None`: all.
    pub known_scopes: Option<Vec<String>>,
    /// The code with which a refusal of scopes is sent to the client. `None`: Zoho shows a page of
    /// its own and does not redirect, as it mostly does.
    pub scope_error: Option<&'static str>,
    /// The user's home data centre, to which every consent moves. `None`: the data centre where it
    /// starts.
    pub home: Option<String>,
    /// Whether the redirect after a consent has `accounts-server`.
    pub redirect_names_accounts_server: bool,
    /// Who sits at the browser, and so agrees from now on.
    pub user: User,
    /// The organisations of the self clients' owner. With more than one, a request with client
    /// credentials has to name one (`soid`).
    pub organisations: Vec<String>,
}

/// A user of Zoho.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Zoho's id of the user.
    pub id: u64,
    /// The user's e-mail address.
    pub email: String,
}

impl User {
    /// The user with this address. The id follows from it.
    pub fn with_email(email: &str) -> Self {
        let id = email.bytes().fold(60_000_000, |id: u64, byte| (id * 31 + u64::from(byte)) % 100_000_000);
        Self { id, email: email.to_owned() }
    }
}

/// What the throttle counts by. Zoho's pages disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedPer {
    /// As the CRM documentation says.
    RefreshToken,
    /// As the accounts documentation says.
    Client,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_per_window: 10,
            counted_per: CountedPer::RefreshToken,
            live_access_tokens: 10,
            refresh_tokens_per_user: 20,
            expires_in_milliseconds: false,
            api_domain_on_refresh: true,
            api_domain: None,
            exchange_yields_refresh_token: true,
            throttle_translated: false,
            throttle_status: 400,
            withheld_scopes: Vec::new(),
            known_scopes: None,
            scope_error: None,
            home: None,
            redirect_names_accounts_server: true,
            user: User { id: 60_012_345, email: "ann@example.com".to_owned() },
            organisations: vec!["ZohoCRM.600000434".to_owned()],
        }
    }
}

impl Settings {
    /// The host for API calls that answers name.
    pub(super) fn api_domain(&self, data_center: &str) -> String {
        let top_level = match data_center {
            "us" => "com",
            "au" => "com.au",
            "cn" => "com.cn",
            other => other,
        };
        self.api_domain.clone().unwrap_or_else(|| format!("https://www.zohoapis.{top_level}"))
    }

    /// The fields of every successful answer of the token endpoint.
    pub(super) fn minted(&self, access_token: &str, scopes: &[String]) -> Value {
        let mut answer = json!({
            "access_token": access_token,
            "scope": scopes.join(" "),
            "token_type": "Bearer",
            "expires_in": 3600,
        });
        if self.expires_in_milliseconds {
            answer["expires_in_sec"] = json!(3600);
            answer["expires_in"] = json!(3_600_000);
        }
        answer
    }
}
