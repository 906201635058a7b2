//! What Zoho's answers mean. Pure: status and body in, a value or a refusal out.
//!
//! Zoho refuses with HTTP 200, so the status alone decides little. An error quotes nothing of a
//! body except a code of small letters.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::address::origin;
use crate::connection::Account;
use crate::failure::{Refusal, Silence};
use crate::http::{is_token, positive};
use crate::lease::{MAX_LIFE, Token};
use crate::ports::{Minted, Revoked};
use crate::secret::{AccessToken, RefreshToken};

/// The longest token that is accepted, in bytes: more would not fit into a standard parameter.
pub(super) const MAX_TOKEN: usize = 2048;

/// A token endpoint's success.
#[derive(Debug)]
pub struct Answer {
    /// The token.
    pub access_token: AccessToken,
    /// How long it lives after the request: never more than an hour.
    pub life: SignedDuration,
    /// Base URL of the account's APIs.
    pub api_domain: Option<String>,
    /// Scopes separated by blanks.
    pub scope: Option<String>,
    /// Only for a code, and not always then.
    pub refresh_token: Option<RefreshToken>,
}

impl Answer {
    /// The tokens of a request that was sent at this time.
    pub(super) fn issued(self, issued_at: Timestamp) -> Minted {
        let Self { access_token, life, api_domain, scope, refresh_token } = self;
        let token = Token::new(access_token, issued_at, issued_at + life);
        Minted { api_domain, scope, refresh_token, ..Minted::new(token) }
    }
}

/// Turns status and body into a token or a refusal. Statuses 3xx, 429 and 5xx decide alone;
/// otherwise the body decides first.
///
/// # Errors
/// For everything except a 2xx JSON object with an `access_token` and no `error`. A refusal of the
/// grant or the client counts only with 2xx: with another status it may come from a proxy or an
/// outage.
pub fn classify(status: u16, body: &[u8]) -> Result<Answer, Refusal> {
    let unclear = |error: String, at_once| Err(Refusal::Unclear { error, at_once });
    let success = (200..300).contains(&status);
    if let Some(refusal) = Refusal::of_status(status) {
        return Err(refusal);
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        let what = if body.is_empty() { "an empty body" } else { "a body that is not a JSON object" };
        return unclear(format!("HTTP {status} with {what}"), success);
    };
    let text = |field| fields.get(field).and_then(Value::as_str);
    if fields.get("error").is_some_and(|error| !error.is_null()) {
        return match text("error").unwrap_or_default() {
            // Zoho's code is invalid_code. invalid_grant is from RFC 6749; a proxy or portal may
            // use it.
            code @ ("invalid_code" | "invalid_grant") if success => {
                Err(Refusal::ConsentRequired { error: code.to_owned() })
            }
            code @ ("invalid_client"
            | "invalid_client_secret"
            | "invalid_redirect_uri"
            | "invalid_scope"
            | "missing_org_info")
                if success =>
            {
                Err(Refusal::Misconfigured { error: code.to_owned() })
            }
            // Zoho translates the texts of a throttle, so the field `status` beside them decides.
            _ if text("status") == Some("failure") => Err(Refusal::Throttled),
            code if is_code(code) => unclear(format!("{code} (HTTP {status})"), false),
            _ => unclear(format!("an error without a known code (HTTP {status})"), false),
        };
    }
    if !success {
        return unclear(format!("HTTP {status}"), false);
    }
    let access_token = match text("access_token") {
        Some(token) if is_token(token, MAX_TOKEN) => AccessToken::new(token),
        Some(_) => return unclear("an invalid access_token".to_owned(), false),
        None => return unclear(format!("HTTP {status} without an access_token"), true),
    };
    Ok(Answer {
        access_token,
        life: life(fields.get("expires_in_sec"), fields.get("expires_in")),
        api_domain: text("api_domain").and_then(origin),
        scope: text("scope").filter(|scope| !scope.is_empty()).map(str::to_owned),
        refresh_token: text("refresh_token").filter(|token| is_token(token, MAX_TOKEN)).map(RefreshToken::new),
    })
}

/// Turns status and body of a revocation into its result. Zoho's throttle has status 400 as well,
/// so only a 400 without JSON may be Zoho's page for a token that it does not know. Its text is not
/// documented. Whoever needs certainty asks for an access token.
///
/// # Errors
/// For every other answer: the token may still live.
pub fn revoked(status: u16, body: &[u8]) -> Result<Revoked, Refusal> {
    let answer = serde_json::from_slice::<Value>(body);
    let word = |field: &str| answer.as_ref().ok()?.get(field)?.as_str();
    let page = answer.is_err() && (body.is_empty() || body.trim_ascii_start().starts_with(b"<"));
    match (status, word("status")) {
        (200..300, Some("success")) if word("error").is_none() => Ok(Revoked::Now),
        (400, None) if page => Ok(Revoked::Unknown),
        (_, Some("failure")) => Err(Refusal::Throttled),
        _ => match classify(status, body) {
            Err(refusal @ (Refusal::OutOfOrder(_) | Refusal::Throttled | Refusal::Unclear { .. })) => Err(refusal),
            Err(refusal) => Err(Refusal::Unclear { error: refusal.to_string(), at_once: false }),
            Ok(_) => Err(Refusal::Unclear { error: format!("HTTP {status} without a success"), at_once: false }),
        },
    }
}

/// Reads whose account an access token is for (`ZUID`, `Email`).
///
/// # Errors
/// For everything except a 2xx JSON object with an id.
pub(super) fn account(status: u16, body: &[u8]) -> Result<Account, Refusal> {
    if status >= 500 {
        return Err(Refusal::OutOfOrder(Silence::ServerError(status)));
    }
    let fields = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let id = match &fields["ZUID"] {
        Value::Number(id) => id.to_string(),
        id => id.as_str().unwrap_or_default().to_owned(),
    };
    let account = Account::new(&id, fields["Email"].as_str()).filter(|_| (200..300).contains(&status));
    account.ok_or_else(|| Refusal::Unclear { error: format!("HTTP {status} without a user's id"), at_once: false })
}

/// `expires_in_sec`, else `expires_in`, else an hour; never more than an hour. Old answers have
/// seconds in the first and milliseconds in the second. If the first is missing, the limit of an
/// hour makes the milliseconds harmless.
fn life(expires_in_sec: Option<&Value>, expires_in: Option<&Value>) -> SignedDuration {
    [expires_in_sec, expires_in]
        .into_iter()
        .flatten()
        .find_map(positive)
        .map_or(MAX_LIFE, |seconds| SignedDuration::from_secs(seconds).min(MAX_LIFE))
}

/// Small letters and underscores: an error code, and nothing that could be a secret.
fn is_code(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
