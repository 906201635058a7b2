//! The documents that describe the server: RFC 8414, and `OpenID` Connect Discovery. They stand in
//! different places if the issuer has a path.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::settings::{Authentication, Iss, Pkce};
use super::state::State;
use super::token::json_answer;

pub(super) fn answer(state: &State, path: &str) -> Response<Bytes> {
    let settings = &state.rules.settings;
    let issuer_path = &settings.issuer_path;
    let oauth = settings.oauth_metadata && path == format!("/.well-known/oauth-authorization-server{issuer_path}");
    let openid = settings.openid_configuration && path == format!("{issuer_path}/.well-known/openid-configuration");
    if oauth || openid {
        json_answer(&document(state))
    } else {
        Refusal::html(404, "There is nothing here.").response()
    }
}

fn document(state: &State) -> BTreeMap<String, Value> {
    let settings = &state.rules.settings;
    let url = &state.url;
    let ways = settings.authentication.iter().map(|way| match way {
        Authentication::Basic => "client_secret_basic",
        Authentication::Form => "client_secret_post",
    });
    let ways: Vec<_> = ways.collect();
    let mut document = BTreeMap::from([
        ("issuer", json!(state.issuer())),
        ("authorization_endpoint", json!(format!("{url}/authorize"))),
        ("token_endpoint", json!(format!("{url}/token"))),
        ("token_endpoint_auth_methods_supported", json!(ways)),
        ("response_types_supported", json!(["code"])),
        ("grant_types_supported", json!(["authorization_code", "refresh_token"])),
        ("authorization_response_iss_parameter_supported", json!(settings.iss != Iss::Absent)),
    ]);
    if settings.revocation.is_some() {
        document.insert("revocation_endpoint", json!(format!("{url}/revoke")));
        document.insert("revocation_endpoint_auth_methods_supported", json!(ways));
    }
    if settings.pkce != Pkce::Off {
        document.insert("code_challenge_methods_supported", json!(["S256"]));
    }
    let document = document.into_iter().map(|(name, value)| (name.to_owned(), value));
    document.chain(settings.metadata.clone()).collect()
}
