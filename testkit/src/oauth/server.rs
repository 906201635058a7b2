//! The endpoints: routes requests, knows the clients, and throttles them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::{Method, Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::refusal::Refusal;
use super::request::{Parameters, Seen, query, seen};
use super::rules::Rules;
use super::{consent, discovery, token};
use crate::clock::Clock;
use crate::wire::{Call, StandIn};

/// The window in which requests are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// A running server's memory.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) clients: HashMap<String, Client>,
    /// The requests so far, in their order.
    pub(super) seen: Vec<Seen>,
    /// The base URL.
    pub(super) url: String,
    pub(super) clock: Clock,
    windows: HashMap<String, (Timestamp, usize)>,
}

pub(super) struct Client {
    pub(super) secret: String,
    pub(super) redirect_uris: Vec<String>,
}

impl State {
    pub(super) fn new(name: &'static str, clock: Clock) -> Self {
        Self {
            rules: Rules::new(name),
            clients: HashMap::new(),
            seen: Vec::new(),
            url: String::new(),
            clock,
            windows: HashMap::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the server calls itself (RFC 8414 §2).
    pub(super) fn issuer(&self) -> String {
        format!("{}{}", self.url, self.rules.settings.issuer_path)
    }

    /// Counts a request of the client and says whether it is one too many.
    pub(super) fn throttles(&mut self, client_id: &str) -> bool {
        let now = self.now();
        let (since, requests) = self.windows.entry(client_id.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *requests) = (now, 0);
        }
        *requests += 1;
        *requests > self.rules.settings.requests_per_minute
    }
}

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

/// A JSON answer (200) that must not be cached (RFC 6749 §5.1).
pub(super) fn json(body: &BTreeMap<String, Value>) -> Response<Bytes> {
    let body = serde_json::to_string(body).expect("JSON with text keys");
    let response = Response::builder().header("content-type", "application/json").header("cache-control", "no-store");
    response.body(body.into()).expect("valid headers")
}
