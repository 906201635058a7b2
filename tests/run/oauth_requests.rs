//! What the other providers are asked, as bytes on the wire, and what becomes of an answer that
//! does not arrive whole.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::wire::{Bytes, Call, Fault, Faults, Request, Response, Rule, Server as Loopback, StandIn};
use testkit::world::{START, ZOHO_TIMEOUT};
use testkit::zoho::answers;
use token_keeper::connection::Client;
use token_keeper::failure::{Refusal, Silence};
use token_keeper::http::{Roots, client};
use token_keeper::oauth::OAuth;
use token_keeper::ports::Minted;
use token_keeper::ports::{Proof, Revoked};
use token_keeper::provider::server::Server;
use token_keeper::provider::table::find;
use token_keeper::secret::{AuthorizationCode, ClientSecret, CodeVerifier, RefreshToken};
use token_keeper::source::Source;

/// Gives every request the same answer and records the requests.
#[derive(Default)]
struct Parrot {
    answer: Mutex<Response<Bytes>>,
    asked: Mutex<Vec<Request<Bytes>>>,
}

impl StandIn for Parrot {
    fn identify(&self, _: &Request<Bytes>) -> Call {
        Call { service: "provider", operation: "any".to_owned(), subject: String::new() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        self.asked.lock().expect("the list").push(request.clone());
        self.answer.lock().expect("the answer").clone()
    }
}

struct Wire {
    parrot: Arc<Parrot>,
    faults: Faults,
    loopback: Loopback,
}

impl Wire {
    fn new() -> Self {
        let (parrot, faults) = (Arc::new(Parrot::default()), Faults::new());
        let loopback = Loopback::start(Arc::clone(&parrot), faults.clone());
        let wire = Self { parrot, faults, loopback };
        wire.answer(answers::status(200, &json!({"access_token": "at"})));
        wire
    }

    fn answer(&self, answer: Response<Bytes>) {
        *self.parrot.answer.lock().expect("the answer") = answer;
    }

    /// The server of a provider's client whose endpoints are here.
    fn server(&self, provider: &str, more: &Value) -> Server {
        let url = self.loopback.url();
        let mut secret = json!({"token_endpoint": format!("{url}/token?from=here")});
        if provider == "custom" {
            secret["authorization_endpoint"] = json!(format!("{url}/authorize"));
        }
        for (field, value) in more.as_object().expect("fields") {
            secret[field] = value.clone();
        }
        Server::of(find(provider).expect("a row"), |field| secret.get(field)).expect("a server")
    }

    async fn refresh(&self, server: &Server) -> Result<Minted, Refusal> {
        oauth().refresh(&app(), server, &RefreshToken::new("r+r")).await
    }

    /// The one request since the last call: method and address, authorization, and body.
    fn asked(&self) -> (String, Option<String>, String) {
        let asked = std::mem::take(&mut *self.parrot.asked.lock().expect("the list"));
        let [request] = asked.as_slice() else { panic!("one request, not {}", asked.len()) };
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(header("accept").as_deref(), Some("application/json"), "GitHub answers with a form without it");
        assert_eq!(header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
        assert!(header("user-agent").is_some_and(|agent| agent.starts_with("token-keeper/")));
        let body = String::from_utf8(request.body().to_vec()).expect("text");
        (format!("{} {}", request.method(), request.uri()), header("authorization"), body)
    }
}

fn oauth() -> OAuth {
    oauth_with(ZOHO_TIMEOUT)
}

fn oauth_with(timeout: Duration) -> OAuth {
    let start = START.parse().expect("a time");
    let http = client(Roots::BuiltIn, None).expect("a client");
    OAuth::new(http, timeout, Source::new(move || start, || [0; 32]))
}

fn app() -> Client {
    Client { id: "id:1".to_owned(), secret: ClientSecret::new("s& \u{e9}") }
}

fn proof() -> Proof {
    let redirect = Some(("https://callback.example/callback".to_owned(), CodeVerifier::new("ver-ifier")));
    Proof { code: AuthorizationCode::new("c/d"), redirect }
}

#[tokio::test]
async fn a_client_shows_who_it_is_in_the_form_or_in_the_header_and_never_in_the_url() {
    let wire = Wire::new();
    wire.refresh(&wire.server("github", &json!({}))).await.expect("a token");
    let form = "grant_type=refresh_token&refresh_token=r%2Br";
    let named = format!("{form}&client_id=id%3A1&client_secret=s%26+%C3%A9");
    assert_eq!(wire.asked(), ("POST /token?from=here".to_owned(), None, named));
    // RFC 6749 §2.3.1: both are form-encoded before they are joined: id%3A1:s%26+%C3%A9
    wire.refresh(&wire.server("xero", &json!({}))).await.expect("a token");
    let basic = Some("Basic aWQlM0ExOnMlMjYrJUMzJUE5".to_owned());
    assert_eq!(wire.asked(), ("POST /token?from=here".to_owned(), basic.clone(), form.to_owned()));
    wire.refresh(&wire.server("custom", &json!({}))).await.expect("a token");
    assert_eq!(wire.asked().1, basic);
    wire.refresh(&wire.server("custom", &json!({"client_authentication": "form"}))).await.expect("a token");
    assert_eq!(wire.asked().1, None);
}

#[tokio::test]
async fn the_parameters_of_a_row_are_in_every_token_request() {
    let wire = Wire::new();
    wire.refresh(&wire.server("shopify", &json!({}))).await.expect("a token");
    assert!(wire.asked().2.contains("&expiring=1&"), "without it no refresh token comes");
}

#[tokio::test]
async fn a_code_is_spent_with_its_redirect_uri_and_with_a_verifier_where_the_row_has_pkce() {
    let wire = Wire::new();
    let exchange = async |server: &Server, proof: &Proof| {
        oauth().exchange(&app(), server, proof).await.expect("a token");
        wire.asked().2
    };
    let code = "grant_type=authorization_code&code=c%2Fd";
    let redirected = format!("{code}&redirect_uri=https%3A%2F%2Fcallback.example%2Fcallback");
    let verified = format!("{redirected}&code_verifier=ver-ifier");
    assert_eq!(exchange(&wire.server("xero", &json!({})), &proof()).await, verified);
    assert_eq!(exchange(&wire.server("custom", &json!({"pkce": "required"})), &proof()).await, verified);
    assert_eq!(exchange(&wire.server("quickbooks", &json!({})), &proof()).await, redirected);
    assert_eq!(exchange(&wire.server("xero", &json!({})), &Proof { redirect: None, ..proof() }).await, code);
}

#[tokio::test]
async fn a_refresh_token_is_revoked_at_its_endpoint_and_nothing_is_sent_where_the_row_has_none() {
    let wire = Wire::new();
    wire.answer(answers::status(200, &json!({})));
    let endpoint = json!({"revocation_endpoint": format!("{}/revoke", wire.loopback.url())});
    let token = RefreshToken::new("r+r");
    let done = oauth().revoke(&app(), &wire.server("salesforce", &endpoint), &token).await;
    assert_eq!(done, Ok(Revoked::Now));
    let form = "token=r%2Br&token_type_hint=refresh_token&client_id=id%3A1&client_secret=s%26+%C3%A9";
    assert_eq!(wire.asked(), ("POST /revoke".to_owned(), None, form.to_owned()));
    for provider in ["google", "xero", "slack", "custom"] {
        let refused = oauth().revoke(&app(), &wire.server(provider, &json!({})), &token).await.expect_err("nothing");
        assert_eq!(refused.to_string(), "there is no revocation that ends this token alone");
    }
    assert!(wire.parrot.asked.lock().expect("the list").is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (wire, elsewhere) = (Wire::new(), Wire::new());
    wire.answer(answers::redirect(&elsewhere.loopback.url()));
    let refused = wire.refresh(&wire.server("xero", &json!({}))).await.expect_err("a redirect");
    assert_eq!(refused.to_string(), "HTTP 302: a redirect, not followed");
    assert!(elsewhere.parrot.asked.lock().expect("the list").is_empty());
}

#[tokio::test]
async fn an_answer_that_does_not_arrive_whole_leaves_open_whether_the_token_was_spent() {
    let wire = Wire::new();
    let server = wire.server("xero", &json!({}));
    let long = json!({"access_token": "at", "padding": "x".repeat(70_000)});
    for (status, at_once) in [(200, true), (400, false)] {
        wire.answer(answers::status(status, &long));
        let expected = Refusal::Unclear { error: "the answer is too long".to_owned(), at_once };
        assert_eq!(wire.refresh(&server).await.expect_err("too long"), expected);
    }
    wire.answer(answers::status(200, &json!({"access_token": "at"})));
    for (fault, silence) in [
        (Fault::Drop { handled: true }, Silence::Broken),
        (Fault::Truncate, Silence::Broken),
        (Fault::Hang { handled: true }, Silence::TimedOut),
    ] {
        wire.faults.add(Rule::service("provider").times(1), fault);
        assert_eq!(wire.refresh(&server).await.expect_err("no answer"), Refusal::OutOfOrder(silence));
    }
    drop(wire);
    let refused = oauth().refresh(&app(), &server, &RefreshToken::new("r")).await;
    assert_eq!(refused.expect_err("nobody there"), Refusal::OutOfOrder(Silence::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_connection_in_time_has_not_spent_the_token() {
    // It never answers the greeting of TLS.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let token_endpoint = format!("https://{}/token", mute.local_addr().expect("an address"));
    let mut server = Wire::new().server("xero", &json!({}));
    server.token_endpoint = token_endpoint;
    let oauth = oauth_with(Duration::from_secs(9));
    let refusal = oauth.refresh(&app(), &server, &RefreshToken::new("r")).await.expect_err("no connection");
    assert_eq!(refusal, Refusal::OutOfOrder(Silence::Unconnected));
    assert!(!refusal.perhaps_redeemed());
}

#[tokio::test]
async fn a_token_that_is_good_once_is_never_sent_over_a_connection_that_may_be_dead() {
    for (rotation, expected) in [("always", Some("close")), ("never", None)] {
        let wire = Wire::new();
        wire.answer(answers::status(200, &json!({"access_token": "at"})));
        let server = wire.server("custom", &json!({"rotation": rotation}));
        wire.refresh(&server).await.expect("tokens");
        let asked = std::mem::take(&mut *wire.parrot.asked.lock().expect("the list"));
        let connection = asked[0].headers().get("connection").map(|value| value.to_str().expect("text"));
        assert_eq!(connection, expected, "{rotation}");
    }
}
