//! What the answers of a token endpoint mean, by the row of its provider. Pure: status and body in,
//! a value or a refusal out.
//!
//! An error quotes nothing of a body except a code of plain characters.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::failure::Refusal;
use crate::http::{is_token, positive};
use crate::lease::Token;
use crate::ports::{Minted, Revoked};
use crate::provider::KeptFrom;
use crate::provider::refusal::{Class, class};
use crate::provider::server::Server;
use crate::secret::{AccessToken, RefreshToken};

/// The longest token that is accepted, in bytes: more than any parameter holds. The store refuses a
/// smaller one that it cannot hold, and the new refresh token beside it is not lost.
const MAX_TOKEN: usize = 8192;
/// How long an access token is taken to live at most, in seconds, if the answer does not say.
const UNSAID_LIFE_S: i64 = 3600;

/// Turns status and body into tokens or a refusal. `issued_at` is when the request was sent.
/// Statuses 3xx, 429 and 5xx decide alone; otherwise the rules of the row do.
///
/// # Errors
/// For everything except a 2xx JSON object with a usable `access_token` and no error. If the server
/// may have done what was asked, although its answer is of no use, it is [`Refusal::Unclear`] with
/// `at_once`.
pub fn classify(server: &Server, status: u16, body: &[u8], issued_at: Timestamp) -> Result<Minted, Refusal> {
    let profile = server.profile;
    let fields = accepted(server, status, body)?;
    let lost = |error: String| Err(Refusal::Unclear { error, at_once: true });
    let access_token = match fields.get("access_token") {
        None | Some(Value::Null) => return lost(format!("HTTP {status} without an access_token")),
        Some(Value::String(token)) if is_token(token, MAX_TOKEN) => AccessToken::new(token),
        Some(_) => return lost("an invalid access_token".to_owned()),
    };
    let refresh_token = match fields.get("refresh_token") {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) if token.is_empty() => None,
        Some(Value::String(token)) if is_token(token, MAX_TOKEN) => Some(RefreshToken::new(token)),
        Some(_) => return lost("an invalid refresh_token".to_owned()),
    };
    let life = match fields.get("expires_in").and_then(positive) {
        Some(seconds) => seconds.min(profile.access_token_life_s),
        None => profile.access_token_life_s.min(UNSAID_LIFE_S),
    };
    let ends = |seconds| issued_at.checked_add(SignedDuration::from_secs(seconds)).ok();
    let kept = kept(server, &fields);
    Ok(Minted {
        token: Token::new(access_token, issued_at, issued_at + SignedDuration::from_secs(life)),
        api_domain: server.api_domain(&kept),
        scope: scope(server, &fields),
        refresh_token,
        refresh_token_expires_at: profile
            .expiry_field
            .and_then(|field| fields.get(field).and_then(positive))
            .and_then(ends),
        kept,
    })
}

/// Turns status and body of a revocation into its result. A token that the server does not know
/// does not live either; RFC 7009 §2.2 has 200 for it.
///
/// # Errors
/// For every other answer: the token may still live.
pub fn revoked(server: &Server, status: u16, body: &[u8]) -> Result<Revoked, Refusal> {
    let fields: Value = serde_json::from_slice(body).unwrap_or_default();
    if (200..300).contains(&status) && !fields.as_object().is_some_and(is_refusal) {
        return Ok(Revoked::Now);
    }
    match accepted(server, status, body) {
        Err(Refusal::ConsentRequired { .. }) => Ok(Revoked::Unknown),
        _ if status == 400 && fields["error"] == "invalid_token" => Ok(Revoked::Unknown),
        Err(refusal @ (Refusal::OutOfOrder(_) | Refusal::Throttled | Refusal::Unclear { .. })) => Err(refusal),
        Err(refusal) => Err(Refusal::Unclear { error: refusal.to_string(), at_once: false }),
        Ok(_) => Err(Refusal::Unclear { error: format!("HTTP {status} without a success"), at_once: false }),
    }
}

/// The fields of an answer that is no refusal.
fn accepted(server: &Server, status: u16, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let success = (200..300).contains(&status);
    if let Some(refusal) = Refusal::of_status(status) {
        return Err(refusal);
    }
    let rules = server.profile.refusals;
    if status == 408 {
        // The server, or a proxy before it, was too slow: it may have done what was asked.
        return Err(refusal(Class::Lost, String::new(), format!("HTTP {status}"), false));
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        let what = if body.is_empty() { "an empty body" } else { "a body that is not a JSON object" };
        let class = class(rules, status, None, &String::from_utf8_lossy(body));
        return Err(refusal(class, format!("HTTP {status}"), format!("HTTP {status} with {what}"), success));
    };
    if success && !is_refusal(&fields) {
        return Ok(fields);
    }
    let code = code(&fields);
    let class = class(rules, status, Some(code), &words(&fields));
    let (code, what) = match code {
        "" => (format!("HTTP {status}"), format!("HTTP {status}")),
        code if is_code(code) => (code.to_owned(), format!("{code} (HTTP {status})")),
        _ => (format!("HTTP {status}"), format!("an error without a known code (HTTP {status})")),
    };
    // A token beside an error was issued all the same.
    Err(refusal(class, code, what, success && fields.contains_key("access_token")))
}

/// The refusal of a class. `code` gets into the document; `what` is for an answer that nobody
/// knows, and `issued` says whether that may have tokens in it.
fn refusal(class: Class, code: String, what: String, issued: bool) -> Refusal {
    match class {
        Class::Dead => Refusal::ConsentRequired { error: code },
        Class::Client => Refusal::Misconfigured { error: code },
        Class::Throttle => Refusal::Throttled,
        Class::Lost => Refusal::Unclear { error: what, at_once: true },
        Class::Passing => Refusal::Unclear { error: what, at_once: issued },
    }
}

/// Whether an object says that nothing was done. Slack says so with `ok`.
fn is_refusal(fields: &Map<String, Value>) -> bool {
    fields.get("error").is_some_and(|error| !error.is_null() && error != "")
        || fields.get("ok") == Some(&Value::Bool(false))
}

/// The error code, empty if there is none. `HubSpot` has one under another name.
fn code(fields: &Map<String, Value>) -> &str {
    let text = |field| fields.get(field).and_then(Value::as_str);
    text("error").or_else(|| text("status")).unwrap_or_default()
}

/// What is said beside the code.
fn words(fields: &Map<String, Value>) -> String {
    let text = |field| fields.get(field).and_then(Value::as_str);
    ["error_description", "message", "status"].into_iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// Letters, digits, `_`, `.` and `-`: a code, and no sentence.
fn is_code(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=40).contains(&text.len()) && text.bytes().all(plain)
}

/// The kept values of an answer. One that does not match its pattern is left out.
fn kept(server: &Server, fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let wanted = server.profile.kept.iter().filter(|kept| kept.from == KeptFrom::Answer);
    let found = wanted.filter_map(|kept| {
        let mut names = kept.name.split('.');
        let first = fields.get(names.next()?)?;
        let text = match names.try_fold(first, |value, name| value.get(name))? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        kept.pattern.matches(&text).then(|| (kept.name.to_owned(), text))
    });
    found.collect()
}

/// The granted scopes: a text, or a list of texts (`HubSpot`).
fn scope(server: &Server, fields: &Map<String, Value>) -> Option<String> {
    let separates = |c: char| c.is_whitespace() || server.scope_separator.contains(c);
    let texts: Vec<_> = match fields.get("scope").or_else(|| fields.get("scopes"))? {
        Value::String(text) => vec![text.as_str()],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let scopes = texts.iter().flat_map(|text| text.split(separates));
    let scopes: Vec<_> = scopes.filter(|scope| is_token(scope, MAX_TOKEN)).collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}
