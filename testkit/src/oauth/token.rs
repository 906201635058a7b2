//! The token endpoint with its two grants, and revocation.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{Claimed, Parameters, client, is_form};
use super::rules::{Minted, Refused};
use super::settings::{ExpiresIn, Scope, Settings};
use super::state::State;

pub(super) fn answer(state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
    match serve(state, request) {
        Ok(minted) => json_answer(&fields(&state.rules.settings, &minted, state.now())),
        Err(refusal) => refusal.response(),
    }
}

fn serve(state: &mut State, request: &Request<Bytes>) -> Result<Minted, Refusal> {
    let form = form(request)?;
    let client_id = authenticated(state, request, &form)?;
    if state.throttles(&client_id) {
        return Err(state.rules.settings.throttled.clone());
    }
    let now = state.now();
    let minted = match form.find("grant_type") {
        Some("authorization_code") => {
            let (code, redirect_uri) = (needed(&form, "code")?, needed(&form, "redirect_uri")?);
            let verifier = form.find("code_verifier");
            if verifier.is_some_and(|verifier| !is_verifier(verifier)) {
                return Err(invalid_request("code_verifier has 43 to 128 unreserved characters"));
            }
            state.rules.exchange(now, &client_id, code, redirect_uri, verifier)
        }
        Some("refresh_token") => {
            let scopes = form.find("scope").map(|scope| state.rules.settings.scopes(scope));
            state.rules.refresh(now, &client_id, needed(&form, "refresh_token")?, scopes)
        }
        Some(_) => return Err(Refusal::error(400, "unsupported_grant_type", "this grant type is not served")),
        None => return Err(invalid_request("grant_type is missing")),
    };
    minted.map_err(|refused| match refused {
        Refused::Dead => state.rules.settings.dead_grant.clone(),
        Refused::TooEarly => state.rules.settings.too_early.clone(),
        Refused::Code => Refusal::error(400, "invalid_grant", "the code is no good, or what comes with it"),
        Refused::Scope => Refusal::error(400, "invalid_scope", "not all of these scopes were granted"),
    })
}

/// The form of a request. Nothing may stand in the address, where logs would show it.
fn form(request: &Request<Bytes>) -> Result<Parameters, Refusal> {
    if !is_form(request) {
        return Err(invalid_request("a form in the body is wanted, and no query"));
    }
    let form = Parameters::parse(request.body());
    if form.repeated() { Err(invalid_request("a parameter comes twice")) } else { Ok(form) }
}

fn authenticated(state: &State, request: &Request<Bytes>, form: &Parameters) -> Result<String, Refusal> {
    let accepted = &state.rules.settings.authentication;
    let known = |claimed: &Claimed| {
        accepted.contains(&claimed.way)
            && state.clients.get(&claimed.client_id).is_some_and(|client| client.secret == claimed.secret)
    };
    let claimed = client(request, form).filter(known);
    claimed.map(|claimed| claimed.client_id).ok_or_else(|| state.rules.settings.wrong_client.clone())
}

fn needed<'f>(form: &'f Parameters, name: &str) -> Result<&'f str, Refusal> {
    form.find(name).ok_or_else(|| invalid_request(&format!("{name} is missing")))
}

fn invalid_request(description: &str) -> Refusal {
    Refusal::error(400, "invalid_request", description)
}

/// RFC 7636 §4.1.
fn is_verifier(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// The fields of a success.
fn fields(settings: &Settings, minted: &Minted, now: Timestamp) -> BTreeMap<String, Value> {
    let seconds = minted.life.as_secs();
    let expires_in = match settings.expires_in {
        ExpiresIn::Number => Some(json!(seconds)),
        ExpiresIn::Text => Some(json!(seconds.to_string())),
        ExpiresIn::Milliseconds => Some(json!(1000 * seconds)),
        ExpiresIn::Zero => Some(json!(0)),
        ExpiresIn::Absent => None,
    };
    let (scope, scopes) = match settings.scope {
        Scope::Text => (Some(json!(minted.scopes.join(&settings.scope_separator.to_string()))), None),
        Scope::Array => (None, Some(json!(minted.scopes))),
        Scope::Absent => (None, None),
    };
    let ends = minted.refresh_token_ends.map(|ends| json!(ends.duration_since(now).as_secs()));
    let fields = [
        ("access_token", Some(json!(minted.access_token))),
        ("token_type", settings.token_type.as_ref().map(|token_type| json!(token_type))),
        ("expires_in", expires_in),
        ("refresh_token", minted.refresh_token.as_ref().map(|refresh_token| json!(refresh_token))),
        ("scope", scope),
        ("scopes", scopes),
        (settings.expiry_field.as_deref().unwrap_or_default(), settings.expiry_field.as_ref().and(ends)),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    fields.chain(settings.answer.clone()).collect()
}

/// RFC 7009. A token that nobody knows is fine; another client's is refused.
pub(super) fn revoke(state: &mut State, request: &Request<Bytes>) -> Response<Bytes> {
    let Some(ends) = state.rules.settings.revocation else {
        return Refusal::html(404, "There is nothing here.").response();
    };
    let revoked = form(request).and_then(|form| {
        let client_id = authenticated(state, request, &form)?;
        let (now, token) = (state.now(), needed(&form, "token")?);
        let foreign = |_| Refusal::error(400, "unauthorized_client", "this token is another client's");
        state.rules.revoke(now, &client_id, token, ends).map_err(foreign)
    });
    match revoked {
        Ok(()) => Refusal::empty(200).response(),
        Err(refusal) => refusal.response(),
    }
}

/// A JSON answer (200) that must not be cached (RFC 6749 §5.1).
pub(super) fn json_answer(body: &BTreeMap<String, Value>) -> Response<Bytes> {
    let body = serde_json::to_string(body).expect("JSON with text keys");
    let response = Response::builder().header("content-type", "application/json").header("cache-control", "no-store");
    response.body(body.into()).expect("valid headers")
}
