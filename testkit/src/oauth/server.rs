//! The endpoints: which request goes where.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::{Method, Request, Response};

use super::refusal::Refusal;
use super::request::{Parameters, query, seen};
use super::state::State;
use super::{consent, discovery, token};
use crate::wire::{Call, StandIn};

/// The server behind the wire.
pub(super) struct Endpoints {
    service: &'static str,
    state: Arc<Mutex<State>>,
}

impl Endpoints {
    pub(super) fn new(service: &'static str, state: Arc<Mutex<State>>) -> Self {
        Self { service, state }
    }
}

enum Endpoint {
    Authorize,
    Decide,
    Token,
    Revoke,
    Metadata,
    Other,
}

impl Endpoint {
    fn of(request: &Request<Bytes>) -> Self {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/authorize") => Self::Authorize,
            (&Method::POST, consent::DECIDE) => Self::Decide,
            (&Method::POST, "/token") => Self::Token,
            (&Method::POST, "/revoke") => Self::Revoke,
            (&Method::GET, path) if path.contains("/.well-known/") => Self::Metadata,
            _ => Self::Other,
        }
    }
}

impl StandIn for Endpoints {
    fn identify(&self, request: &Request<Bytes>) -> Call {
        let form = Parameters::parse(request.body());
        let client_id = || Parameters::parse(query(request).as_bytes()).get("client_id").to_owned();
        let (operation, subject) = match Endpoint::of(request) {
            Endpoint::Authorize => ("authorize", client_id()),
            Endpoint::Decide => ("decide", client_id()),
            Endpoint::Token => match form.get("grant_type") {
                "refresh_token" => ("refresh_token", form.get("refresh_token").to_owned()),
                "authorization_code" => ("authorization_code", form.get("code").to_owned()),
                _ => ("other", String::new()),
            },
            Endpoint::Revoke => ("revoke", form.get("token").to_owned()),
            Endpoint::Metadata => ("metadata", request.uri().path().to_owned()),
            Endpoint::Other => ("other", String::new()),
        };
        Call { service: self.service, operation: operation.to_owned(), subject }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let operation = self.identify(request).operation;
        let mut state = self.state.lock().expect("no test panics while it holds the state");
        state.seen.push(seen(request, &operation));
        match Endpoint::of(request) {
            Endpoint::Authorize => consent::ask(&state, query(request)),
            Endpoint::Decide => consent::decide(&mut state, query(request), &Parameters::parse(request.body())),
            Endpoint::Token => token::answer(&mut state, request),
            Endpoint::Revoke => token::revoke(&mut state, request),
            Endpoint::Metadata => discovery::answer(&state, request.uri().path()),
            Endpoint::Other => Refusal::html(404, "There is nothing here.").response(),
        }
    }
}
