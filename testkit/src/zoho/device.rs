//! The device flow of non-browser applications (RFC 8628, with Zoho's words): device codes, polls,
//! and the page where the user types the user code and decides.

use bytes::Bytes;
use hyper::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::answers;
use super::consent::{error_page, escape};
use super::parameters::Parameters;
use super::state::{Decision, Device, State};
use super::token::first;

/// The address of the page, and to which its form is posted.
pub(super) const PAGE: &str = "/oauth/v3/device";
/// How long a code waits for the user.
const LIFE: SignedDuration = SignedDuration::from_secs(300);
/// The shortest time between two polls.
const INTERVAL: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn code(state: &mut State, data_center: &str, form: &Parameters) -> Response<Bytes> {
    let client_id = form.get("client_id");
    if !state.client(data_center, client_id).is_some_and(|client| client.device) {
        return answers::refusal("invalid_client");
    }
    if state.throttles(client_id) {
        return answers::throttle(state.settings.throttle_status, state.settings.throttle_translated);
    }
    if form.get("grant_type") != "device_request" {
        return answers::refusal("unsupported_grant_type");
    }
    let scopes: Vec<_> = form.get("scope").split(',').map(str::to_owned).collect();
    if scopes.iter().any(|scope| scope.is_empty() || scope.contains(' ')) {
        return answers::refusal("invalid_scope");
    }
    let user_code = state.user_code();
    let device_code = state.ask(Device {
        user_code: user_code.clone(),
        data_center: data_center.to_owned(),
        client_id: client_id.to_owned(),
        scopes,
        offline: form.get("access_type") == "offline",
        prompt: form.get("prompt") == "consent",
        expires: state.now() + LIFE,
        polled: None,
        decision: None,
    });
    let own = state.accounts.iter().find(|(name, _)| name == data_center);
    let page = format!("{}{PAGE}", own.map_or("", |(_, url)| url));
    let unit = if state.settings.expires_in_milliseconds { 1000 } else { 1 };
    answers::status(
        200,
        &json!({
            "user_code": user_code,
            "device_code": device_code,
            "verification_url": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": LIFE.as_secs() * unit,
            "interval": INTERVAL.as_secs() * unit,
        }),
    )
}

pub(super) fn token(state: &mut State, data_center: &str, form: &Parameters) -> Response<Bytes> {
    answers::status(200, &poll(state, data_center, form).unwrap_or_else(|code| json!({ "error": code })))
}

/// Before the user has decided, only the data centre that gave the code knows it; afterwards that
/// one, and the user's own.
fn poll(state: &mut State, data_center: &str, form: &Parameters) -> Result<Value, &'static str> {
    let (now, client_id, code) = (state.now(), form.get("client_id"), form.get("code"));
    let client = state.client(data_center, client_id).filter(|client| client.device).ok_or("invalid_client")?;
    if client.secrets[data_center] != form.get("client_secret") {
        return Err("invalid_client");
    }
    if form.get("grant_type") != "device_token" {
        return Err("unsupported_grant_type");
    }
    let device = state.device(code).filter(|device| device.client_id == client_id).ok_or("invalid_code")?;
    let home = match &device.decision {
        Some(Decision::Accepted { home, .. }) => home.clone(),
        _ => device.data_center.clone(),
    };
    if ![&home, &device.data_center].contains(&&data_center.to_owned()) {
        return Err("invalid_code");
    }
    let before = device.polled.replace(now);
    if before.is_some_and(|before| now.duration_since(before) < INTERVAL) {
        return Err("slow_down");
    }
    match &device.decision {
        None if now >= device.expires => return Err("expired"),
        None => return Err("authorization_pending"),
        Some(Decision::Refused) => return Err("access_denied"),
        Some(Decision::Accepted { .. }) if home != data_center => {
            return Ok(json!({"user_location": home, "error": "other_dc"}));
        }
        Some(Decision::Accepted { .. }) => {}
    }
    // A code gives its tokens once, also if the answer is lost.
    let device = state.forget_device(code).ok_or("invalid_code")?;
    let Some(Decision::Accepted { user, offline, .. }) = device.decision else { return Err("invalid_code") };
    let scopes = state.granted(&device.scopes);
    Ok(first(state, data_center, client_id, &scopes, &user, offline))
}

/// Asks for the user code, or for the decision about the one in the query.
pub(super) fn page(state: &mut State, user_code: &str) -> Response<Bytes> {
    if user_code.is_empty() {
        let form = format!(
            "<form action=\"{PAGE}\"><label>Code <input name=\"user_code\" autocomplete=\"off\"></label> \
             <button type=\"submit\">Verify</button></form>"
        );
        return answers::page(200, "Connect a device", &form);
    }
    let Some(device) = state.device_of_user(user_code) else { return error_page("invalid_user_code") };
    let scopes: Vec<_> = device.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
    let body = format!(
        "<p id=\"question\">The application <code>{}</code> asks for access to your account:</p><ul>{}</ul>\
         <form method=\"post\" action=\"{PAGE}\" aria-describedby=\"question\">\
         <input type=\"hidden\" name=\"user_code\" value=\"{}\">\
         <button type=\"submit\" name=\"decision\" value=\"accept\">Accept</button> \
         <button type=\"submit\" name=\"decision\" value=\"refuse\">Refuse</button></form>",
        escape(&device.client_id),
        scopes.concat(),
        escape(user_code),
    );
    answers::page(200, "Consent", &body)
}

pub(super) fn answer_decision(state: &mut State, user_code: &str, decision: &str) -> Response<Bytes> {
    let decided = match decision {
        "accept" => decide(state, user_code, true),
        "refuse" => decide(state, user_code, false),
        _ => Err("invalid_decision"),
    };
    match decided {
        Ok(()) => answers::page(200, "Done", "<p>You can go back to the device.</p>"),
        Err(code) => error_page(code),
    }
}

/// The user decides once, before the code expires.
pub(super) fn decide(state: &mut State, user_code: &str, accept: bool) -> Result<(), &'static str> {
    let now = state.now();
    let (home, user) = (state.settings.home.clone(), state.settings.user.clone());
    let device = state.device_of_user(user_code).filter(|device| device.decision.is_none() && now < device.expires);
    let device = device.ok_or("invalid_user_code")?;
    if !accept {
        device.decision = Some(Decision::Refused);
        return Ok(());
    }
    let home = home.unwrap_or_else(|| device.data_center.clone());
    let (client_id, asked, prompt) = (device.client_id.clone(), device.offline, device.prompt);
    let first = state.consents(&home, &client_id);
    let offline = asked && (first || prompt);
    let device = state.device_of_user(user_code).ok_or("invalid_user_code")?;
    device.decision = Some(Decision::Accepted { home, user, offline });
    Ok(())
}
