//! What Zoho's pages leave open or the field reports differently: each is a switch, and the program must be right either way.

use serde_json::{Value, json};

/// How Zoho behaves. The default is what its documentation says.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a quirk of its own")]
pub struct Settings {
    /// Access-token requests that are served in ten minutes; the next is throttled. Documented: 10.
    pub requests_per_window: usize,
    /// By what the requests for a refresh are counted. Codes are always counted per client.
    pub counted_per: CountedPer,
    /// Live access tokens of one refresh token; one more silently kills the oldest. Documented: 10, 15 or 30.
    pub live_access_tokens: usize,
    /// Live refresh tokens of one user; one more silently deletes the oldest. Documented: 20.
    pub refresh_tokens_per_user: usize,
    /// Answers as of old: `expires_in_sec` in seconds, and then `expires_in` in milliseconds.
    pub expires_in_milliseconds: bool,
    /// Whether the answer to a refresh names the `api_domain`; the answer to a code always does.
    pub api_domain_on_refresh: bool,
    /// An `api_domain` other than the data centre's own.
    pub api_domain: Option<String>,
    /// Whether an offline consent yields a refresh token. `false` is the commonest failure in the field.
    pub exchange_yields_refresh_token: bool,
    /// Whether a throttled request is answered in the user's language, the error code included.
    pub throttle_translated: bool,
    /// The HTTP status of the throttle's answer: 400 or 200.
    pub throttle_status: u16,
    /// Scopes that are not granted although a consent asks for them.
    pub withheld_scopes: Vec<String>,
    /// The user's home data centre, to which every consent moves; `None` is the one where it starts.
    pub home: Option<String>,
    /// Whether the redirect after a consent names the `accounts-server`.
    pub redirect_names_accounts_server: bool,
}

/// What the throttle counts; Zoho's pages disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedPer {
    /// As the CRM pages say.
    RefreshToken,
    /// As the accounts pages say.
    Client,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_per_window: 10,
            counted_per: CountedPer::RefreshToken,
            live_access_tokens: 15,
            refresh_tokens_per_user: 20,
            expires_in_milliseconds: false,
            api_domain_on_refresh: true,
            api_domain: None,
            exchange_yields_refresh_token: true,
            throttle_translated: false,
            throttle_status: 400,
            withheld_scopes: Vec::new(),
            home: None,
            redirect_names_accounts_server: true,
        }
    }
}

impl Settings {
    /// The host that answers name for API calls.
    pub(super) fn api_domain(&self, data_center: &str) -> String {
        let top_level = match data_center {
            "us" => "com",
            "au" => "com.au",
            "cn" => "com.cn",
            other => other,
        };
        self.api_domain.clone().unwrap_or_else(|| format!("https://www.zohoapis.{top_level}"))
    }

    /// The fields that every successful answer of the token endpoint has.
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
