//! Zoho's token endpoint over HTTPS: the only file that knows Zoho's JSON.
//!
//! Zoho refuses with HTTP 200, so the status alone decides little. No redirect is followed and
//! every body is bounded. An error quotes nothing of a body except a code of small letters.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;

use crate::address::origin;
use crate::connection::{Client, DataCenter, Grant};
use crate::failure::{Refusal, Silence};
use crate::http::untrusted;
use crate::lease::{MAX_LIFE, Token, whole_second};
use crate::ports::{Authorizer, Exchanged, Issuer, Minted, Proof, Revoked};
use crate::secret::{AccessToken, RefreshToken};
use crate::source::Source;

/// How long one request may take from first to last byte. Zoho answers in well under a second when
/// it is healthy.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body that is read, in bytes. A token answer has some 400.
const MAX_BODY: usize = 64 * 1024;
/// The longest access token that is accepted, in bytes: more would not fit into a standard
/// parameter.
const MAX_TOKEN: usize = 2048;

/// A client of the accounts servers.
pub struct Zoho {
    http: reqwest::Client,
    timeout: Duration,
    source: Source,
}

impl Zoho {
    /// A client whose requests each end after `timeout`.
    pub fn new(http: reqwest::Client, timeout: Duration, source: Source) -> Self {
        Self { http, timeout, source }
    }

    /// Asks a token endpoint. The clock is read before the request is sent, so that the expiry is
    /// never too late.
    async fn token(&self, at: &DataCenter, form: &[(&str, &str)]) -> Result<Exchanged, Refusal> {
        let issued_at = whole_second(self.source.now());
        let (status, body) = self.post(format!("{}/oauth/v2/token", at.accounts_server), form).await?;
        let Answer { access_token, life, api_domain, scope, refresh_token } = classify(status, &body)?;
        let token = Token::new(access_token, issued_at, issued_at + life);
        let minted = Minted { token, api_domain, scope };
        Ok(Exchanged { minted, refresh_token })
    }

    /// Posts a form. The parameters go into the body, where no log keeps them.
    async fn post(&self, url: String, form: &[(&str, &str)]) -> Result<(u16, Vec<u8>), Refusal> {
        let mut response =
            self.http.post(url).timeout(self.timeout).form(form).send().await.map_err(|error| unanswered(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY {
                return Err(Refusal::Unclear { error: "the answer is too long".to_owned(), at_once: false });
            }
        }
        Ok((status, body))
    }
}

impl Issuer for Zoho {
    async fn refresh(&self, grant: &Grant) -> Result<Minted, Refusal> {
        let Some(refresh_token) = &grant.refresh_token else {
            return Err(Refusal::Unclear { error: "there is no refresh token yet".to_owned(), at_once: false });
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &grant.client.id),
            ("client_secret", grant.client.secret.expose()),
            ("refresh_token", refresh_token.expose()),
        ];
        // Zoho does not rotate refresh tokens, so a refresh token in this answer is ignored.
        Ok(self.token(&grant.data_center, &form).await?.minted)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Authorizer for Zoho {
    async fn exchange(&self, client: &Client, at: &DataCenter, proof: &Proof) -> Result<Exchanged, Refusal> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &client.id),
            ("client_secret", client.secret.expose()),
            ("code", proof.code.expose()),
        ];
        if let Some((redirect_uri, verifier)) = &proof.redirect {
            form.extend([("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose())]);
        }
        self.token(at, &form).await
    }

    async fn revoke(&self, refresh_token: &RefreshToken, at: &DataCenter) -> Result<Revoked, Refusal> {
        let url = format!("{}/oauth/v2/token/revoke", at.accounts_server);
        let (status, body) = self.post(url, &[("token", refresh_token.expose())]).await?;
        revoked(status, &body)
    }
}

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
    if status >= 500 {
        return Err(Refusal::OutOfOrder(Silence::ServerError(status)));
    }
    if (300..400).contains(&status) {
        return unclear(format!("HTTP {status}: a redirect, not followed"), false);
    }
    if status == 429 {
        return Err(Refusal::Throttled);
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
            code @ ("invalid_client" | "invalid_client_secret" | "invalid_redirect_uri") if success => {
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
        Some(token) if is_token(token) => AccessToken::new(token),
        Some(_) => return unclear("an invalid access_token".to_owned(), false),
        None => return unclear(format!("HTTP {status} without an access_token"), true),
    };
    Ok(Answer {
        access_token,
        life: life(fields.get("expires_in_sec"), fields.get("expires_in")),
        api_domain: text("api_domain").and_then(origin),
        scope: text("scope").filter(|scope| !scope.is_empty()).map(str::to_owned),
        refresh_token: text("refresh_token").filter(|token| is_token(token)).map(RefreshToken::new),
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

/// `expires_in_sec`, else `expires_in`, else an hour; never more than an hour. Old answers have
/// seconds in the first and milliseconds in the second. If the first is missing, the limit of an
/// hour makes the milliseconds harmless.
fn life(expires_in_sec: Option<&Value>, expires_in: Option<&Value>) -> SignedDuration {
    let seconds = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    [expires_in_sec, expires_in]
        .into_iter()
        .flatten()
        .filter_map(seconds)
        .find(|&seconds| seconds > 0)
        .map_or(MAX_LIFE, |seconds| SignedDuration::from_secs(seconds).min(MAX_LIFE))
}

/// Small letters and underscores: an error code, and nothing that could be a secret.
fn is_code(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Characters that a header carries unchanged.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A request without a whole answer.
fn unanswered(error: &reqwest::Error) -> Refusal {
    Refusal::OutOfOrder(match untrusted(error) {
        Some(untrusted) => Silence::Untrusted(untrusted),
        None if error.is_timeout() => Silence::TimedOut,
        None if error.is_connect() => Silence::Unreachable,
        None => Silence::Broken,
    })
}
