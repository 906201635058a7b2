//! One data centre's accounts server: routes requests and reads their parameters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::{Method, Request, Response};
use serde_json::json;

use super::parameters::Parameters;
use super::state::State;
use super::{answers, consent, device, token};
use crate::wire::{Call, StandIn};

pub(super) struct Accounts {
    data_center: String,
    state: Arc<Mutex<State>>,
}

impl Accounts {
    pub(super) fn new(data_center: &str, state: Arc<Mutex<State>>) -> Self {
        Self { data_center: data_center.to_owned(), state }
    }
}

enum Endpoint {
    Token,
    Revoke,
    Auth,
    Decide,
    ServerInfo,
    UserInfo,
    DeviceCode,
    DeviceToken,
    DevicePage,
    DeviceDecide,
    Other,
}

impl Endpoint {
    fn of(request: &Request<Bytes>) -> Self {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/oauth/v2/token") => Self::Token,
            (&Method::POST, "/oauth/v2/token/revoke") => Self::Revoke,
            (&Method::GET, "/oauth/v2/auth") => Self::Auth,
            (&Method::POST, consent::DECIDE) => Self::Decide,
            (&Method::GET, "/oauth/serverinfo") => Self::ServerInfo,
            (&Method::GET, "/oauth/user/info") => Self::UserInfo,
            (&Method::POST, "/oauth/v3/device/code") => Self::DeviceCode,
            (&Method::POST, "/oauth/v3/device/token") => Self::DeviceToken,
            (&Method::GET, device::PAGE) => Self::DevicePage,
            (&Method::POST, device::PAGE) => Self::DeviceDecide,
            _ => Self::Other,
        }
    }
}

impl StandIn for Accounts {
    fn identify(&self, request: &Request<Bytes>) -> Call {
        let form = Parameters::parse(request.body());
        let client_id = || Parameters::parse(query(request).as_bytes()).get("client_id").to_owned();
        let (operation, subject) = match Endpoint::of(request) {
            Endpoint::Token => match form.get("grant_type") {
                "refresh_token" => ("refresh_token", form.get("refresh_token").to_owned()),
                "authorization_code" => ("authorization_code", form.get("code").to_owned()),
                "client_credentials" => ("client_credentials", form.get("client_id").to_owned()),
                _ => ("other", String::new()),
            },
            Endpoint::Revoke => ("revoke", form.get("token").to_owned()),
            Endpoint::Auth => ("auth", client_id()),
            Endpoint::Decide => ("decide", client_id()),
            Endpoint::ServerInfo => ("serverinfo", String::new()),
            Endpoint::UserInfo => ("userinfo", bearer(request).to_owned()),
            Endpoint::DeviceCode => ("device_code", form.get("client_id").to_owned()),
            Endpoint::DeviceToken => ("device_token", form.get("code").to_owned()),
            Endpoint::DevicePage => ("device", String::new()),
            Endpoint::DeviceDecide => ("decide", form.get("user_code").to_owned()),
            Endpoint::Other => ("other", String::new()),
        };
        Call { service: "zoho", operation: operation.to_owned(), subject }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut state = self.state.lock().expect("no test panics while it holds the state");
        // The token endpoints read only the body. A program that puts secrets into the URL must
        // fail.
        let form = Parameters::parse(request.body());
        match Endpoint::of(request) {
            Endpoint::Token => token::answer(&mut state, &self.data_center, &form),
            Endpoint::Revoke => token::revoke(&mut state, &self.data_center, &form),
            Endpoint::Auth => consent::ask(&state, &self.data_center, query(request)),
            Endpoint::Decide => consent::decide(&mut state, &self.data_center, query(request), &form),
            Endpoint::ServerInfo => {
                let locations: HashMap<_, _> = state.accounts.iter().cloned().collect();
                answers::status(200, &json!({"result": "success", "locations": locations}))
            }
            Endpoint::UserInfo => match state.user_of(&self.data_center, bearer(request)) {
                Ok(user) => answers::status(
                    200,
                    &json!({"First_Name": "Ann", "Email": user.email, "Last_Name": "Example", "Display_Name": "Ann", "ZUID": user.id}),
                ),
                Err(code) => answers::status(401, &json!({"response": "error", "cause": code})),
            },
            Endpoint::DeviceCode => device::code(&mut state, &self.data_center, &form),
            Endpoint::DeviceToken => device::token(&mut state, &self.data_center, &form),
            Endpoint::DevicePage => {
                device::page(&mut state, Parameters::parse(query(request).as_bytes()).get("user_code"))
            }
            Endpoint::DeviceDecide => device::answer_decision(&mut state, form.get("user_code"), form.get("decision")),
            Endpoint::Other => answers::page(404, "Not found", "<p>There is nothing here.</p>"),
        }
    }
}

/// The access token of a request for an API.
fn bearer(request: &Request<Bytes>) -> &str {
    let header = request.headers().get("authorization").and_then(|header| header.to_str().ok());
    header.and_then(|header| header.strip_prefix("Zoho-oauthtoken ")).unwrap_or_default()
}

fn query(request: &Request<Bytes>) -> &str {
    request.uri().query().unwrap_or_default()
}
