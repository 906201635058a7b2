//! The token endpoint with its two grants, and revocation. Refusals have HTTP status 200, as Zoho's
//! do.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::answers;
use super::parameters::Parameters;
use super::settings::{CountedPer, User};
use super::state::State;
use crate::digest;

enum Refused {
    With(&'static str),
    Throttled,
}

pub(super) fn answer(state: &mut State, data_center: &str, form: &Parameters) -> Response<Bytes> {
    match serve(state, data_center, form) {
        Ok(minted) => answers::status(200, &minted),
        Err(Refused::With(code)) => answers::refusal(code),
        Err(Refused::Throttled) => {
            answers::throttle(state.settings.throttle_status, state.settings.throttle_translated)
        }
    }
}

fn serve(state: &mut State, data_center: &str, form: &Parameters) -> Result<Value, Refused> {
    let (client_id, refresh_token) = (form.get("client_id"), form.get("refresh_token"));
    let client = state.client(data_center, client_id).ok_or(Refused::With("invalid_client"))?;
    if client.secrets[data_center] != form.get("client_secret") {
        return Err(Refused::With("invalid_client"));
    }
    let grant_type = form.get("grant_type");
    let self_client = client.redirect_uris.is_empty() && !client.device;
    let key = match (grant_type, state.settings.counted_per) {
        ("refresh_token", CountedPer::RefreshToken) => refresh_token,
        _ => client_id,
    };
    if state.throttles(key) {
        return Err(Refused::Throttled);
    }
    match grant_type {
        "refresh_token" => refresh(state, data_center, client_id, refresh_token),
        "authorization_code" => exchange(state, data_center, client_id, form),
        "client_credentials" if self_client => own(state, data_center, client_id, form),
        _ => Err(Refused::With("unsupported_grant_type")),
    }
}

fn refresh(state: &mut State, data_center: &str, client_id: &str, refresh_token: &str) -> Result<Value, Refused> {
    let mut grants =
        state.grants.iter().filter(|grant| grant.data_center == data_center && grant.client_id == client_id);
    let grant = grants.find(|grant| grant.refresh_token == refresh_token).ok_or(Refused::With("invalid_code"))?;
    let scopes = grant.scopes.clone();
    *state.mints.entry(refresh_token.to_owned()).or_default() += 1;
    let access_token = state.access_token_of(refresh_token);
    let mut answer = state.settings.minted(&access_token, &scopes);
    if state.settings.api_domain_on_refresh {
        answer["api_domain"] = json!(state.settings.api_domain(data_center));
    }
    Ok(answer)
}

/// The client's first attempt spends a code, even if the rest of the request is wrong.
fn exchange(state: &mut State, data_center: &str, client_id: &str, form: &Parameters) -> Result<Value, Refused> {
    let code = state.spend_code(data_center, client_id, form.get("code")).ok_or(Refused::With("invalid_code"))?;
    if code.redirect_uri.as_deref() != form.find("redirect_uri") {
        return Err(Refused::With("invalid_redirect_uri"));
    }
    if code.challenge.is_some_and(|challenge| challenge != digest::challenge(form.get("code_verifier"))) {
        return Err(Refused::With("invalid_code"));
    }
    Ok(first(state, data_center, client_id, &code.scopes, &code.user, code.offline))
}

/// The tokens that follow a consent.
pub(super) fn first(
    state: &mut State,
    data_center: &str,
    client_id: &str,
    scopes: &[String],
    user: &User,
    offline: bool,
) -> Value {
    let refresh_token = (offline && state.settings.exchange_yields_refresh_token)
        .then(|| state.grant(data_center, client_id, scopes.to_vec(), user.clone()));
    let access_token = match &refresh_token {
        Some(refresh_token) => state.access_token_of(refresh_token),
        None => state.access_token(data_center, scopes.to_vec(), user.clone()),
    };
    let mut answer = state.settings.minted(&access_token, scopes);
    answer["api_domain"] = json!(state.settings.api_domain(data_center));
    if let Some(refresh_token) = refresh_token {
        answer["refresh_token"] = json!(refresh_token);
    }
    answer
}

/// A token for the self client's own organisation. There is no refresh token. If a service has
/// several organisations, the request names one of them.
fn own(state: &mut State, data_center: &str, client_id: &str, form: &Parameters) -> Result<Value, Refused> {
    let asked: Vec<_> = form.get("scope").split(',').filter(|scope| !scope.is_empty()).collect();
    let service = asked.first().and_then(|scope| scope.split_once('.')).ok_or(Refused::With("invalid_scope"))?.0;
    let organisations = &state.settings.organisations;
    match form.find("soid") {
        None if organisations.iter().any(|soid| soid.split_once('.').is_some_and(|(name, _)| name == service)) => {
            return Err(Refused::With("missing_org_info"));
        }
        // Zoho does not document this answer.
        Some(soid) if !organisations.iter().any(|organisation| organisation == soid) => {
            return Err(Refused::With("invalid_org_info"));
        }
        _ => {}
    }
    let (scopes, user) = (state.granted(&asked), state.settings.user.clone());
    *state.mints.entry(client_id.to_owned()).or_default() += 1;
    let access_token = state.access_token(data_center, scopes.clone(), user);
    let mut answer = state.settings.minted(&access_token, &scopes);
    answer["api_domain"] = json!(state.settings.api_domain(data_center));
    Ok(answer)
}

pub(super) fn revoke(state: &mut State, data_center: &str, form: &Parameters) -> Response<Bytes> {
    let token = form.get("token");
    let known = state.grants.iter().any(|grant| grant.data_center == data_center && grant.refresh_token == token);
    if known && state.kill(token) {
        answers::status(200, &json!({"status": "success"}))
    } else {
        answers::page(400, "Bad request", "<p>This token cannot be revoked.</p>")
    }
}
