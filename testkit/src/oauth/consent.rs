//! The authorization endpoint: a page that asks the user, and what follows the decision. The page's
//! form carries the page's query, so the server remembers nothing in between. It checks the
//! decision as it checked the question.

use bytes::Bytes;
use hyper::Response;
use url::form_urlencoded;

use super::refusal::Refusal;
use super::request::Parameters;
use super::rules::Agreed;
use super::settings::{Iss, Offline, Pkce};
use super::state::State;

/// The address to which the page's form is posted.
pub(super) const DECIDE: &str = "/decide";

/// A request that the page may show to a user.
struct Asked {
    client_id: String,
    redirect_uri: String,
    query: Parameters,
}

impl Asked {
    /// The request, or the answer that refuses it. Where the client or its address is wrong, nobody
    /// is redirected (RFC 6749 §4.1.2.1).
    fn parse(state: &State, query: &str) -> Result<Self, Box<Response<Bytes>>> {
        let query = Parameters::parse(query.as_bytes());
        let (client_id, redirect_uri) = (query.get("client_id").to_owned(), query.get("redirect_uri").to_owned());
        let Some(client) = state.clients.get(&client_id) else {
            return Err(Box::new(Refusal::html(400, "This application is unknown.").response()));
        };
        if !client.redirect_uris.contains(&redirect_uri) {
            return Err(Box::new(Refusal::html(400, "This application has another redirect URI.").response()));
        }
        let asked = Self { client_id, redirect_uri, query };
        match asked.flaw(state.rules.settings.pkce) {
            None => Ok(asked),
            Some(code) => Err(Box::new(asked.redirect(state, &[("error", code)]))),
        }
    }

    /// The error code of a request that is malformed.
    fn flaw(&self, pkce: Pkce) -> Option<&'static str> {
        let query = &self.query;
        let challenge = query.find("code_challenge");
        let proper = |challenge: &str| challenge.len() == 43 && query.get("code_challenge_method") == "S256";
        match query.find("response_type") {
            _ if query.repeated() => Some("invalid_request"),
            None => Some("invalid_request"),
            Some(response_type) if response_type != "code" => Some("unsupported_response_type"),
            Some(_) if challenge.is_some_and(|challenge| pkce == Pkce::Off || !proper(challenge)) => {
                Some("invalid_request")
            }
            Some(_) if challenge.is_none() && pkce == Pkce::Required => Some("invalid_request"),
            Some(_) => None,
        }
    }

    /// Redirects to the client with these parameters, the state, the issuer and the server's own
    /// values.
    fn redirect(&self, state: &State, parameters: &[(&str, &str)]) -> Response<Bytes> {
        let issuer = match &state.rules.settings.iss {
            Iss::Absent => None,
            Iss::Own => Some(state.issuer()),
            Iss::Other(other) => Some(other.clone()),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        query.extend_pairs(self.query.find("state").map(|state| ("state", state)));
        query.extend_pairs(issuer.map(|issuer| ("iss", issuer)));
        query.extend_pairs(state.rules.settings.callback.iter().map(|(name, value)| (name, value)));
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{joint}{}", self.redirect_uri, query.finish());
        let response = Response::builder().status(302).header("location", location).header("cache-control", "no-store");
        response.body(Bytes::new()).expect("a valid address")
    }
}

pub(super) fn ask(state: &State, query: &str) -> Response<Bytes> {
    let asked = match Asked::parse(state, query) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Consent</title></head>\
         <body><main><h1>Consent</h1><p id=\"question\">The application <code>{}</code> asks for <code>{}</code>.</p>\
         <form method=\"post\" action=\"{DECIDE}?{}\" aria-describedby=\"question\">\
         <button type=\"submit\" name=\"decision\" value=\"accept\">Accept</button> \
         <button type=\"submit\" name=\"decision\" value=\"refuse\">Refuse</button></form></main></body></html>\n",
        escape(&asked.client_id),
        escape(asked.query.get("scope")),
        escape(query),
    );
    let response = Response::builder().header("content-type", "text/html;charset=UTF-8");
    response.body(page.into()).expect("valid headers")
}

/// The field `user` says that somebody else sits at the browser.
pub(super) fn decide(state: &mut State, query: &str, form: &Parameters) -> Response<Bytes> {
    let asked = match Asked::parse(state, query) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    match form.get("decision") {
        "accept" => accept(state, &asked, form.find("user")),
        "refuse" => asked.redirect(state, &[("error", "access_denied")]),
        _ => Refusal::html(400, "Accept or refuse.").response(),
    }
}

fn accept(state: &mut State, asked: &Asked, user: Option<&str>) -> Response<Bytes> {
    let settings = &state.rules.settings;
    let mut scopes = settings.scopes(asked.query.get("scope"));
    let offline = match settings.offline {
        Offline::Always => true,
        Offline::Scope(name) => scopes.iter().any(|scope| scope == name),
        Offline::Parameter(name, value) => asked.query.get(name) == value,
        Offline::Never => false,
    };
    scopes.retain(|scope| !settings.withheld_scopes.contains(scope));
    let user = user.unwrap_or(&settings.user).to_owned();
    let agreed = Agreed { client_id: asked.client_id.clone(), user, scopes, offline };
    let now = state.now();
    let code = state.rules.code(now, agreed, &asked.redirect_uri, asked.query.find("code_challenge"));
    asked.redirect(state, &[("code", &code)])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
