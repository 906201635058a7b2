//! Zoho's answers, row by row, as bytes on the wire: the form of the request, and the class of each
//! answer.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::wire::{Bytes, Call, Fault, Faults, Request, Response, Rule, Server, StandIn};
use testkit::zoho::answers;
use token_keeper::connection::{DataCenters, Grant};
use token_keeper::failure::{Refusal, Silence};
use token_keeper::issuer::Providers;
use token_keeper::ports::{Issuer as _, Minted};
use token_keeper::source::Source;

use testkit::world::{START, ZOHO_TIMEOUT, grant_of};

/// Gives every request the same answer and records the requests.
#[derive(Default)]
struct Parrot {
    answer: Mutex<Response<Bytes>>,
    asked: Mutex<Vec<Request<Bytes>>>,
}

impl StandIn for Parrot {
    fn identify(&self, _: &Request<Bytes>) -> Call {
        Call { service: "zoho", operation: "any".to_owned(), subject: String::new() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        self.asked.lock().expect("the list").push(request.clone());
        self.answer.lock().expect("the answer").clone()
    }
}

struct Wire {
    parrot: Arc<Parrot>,
    faults: Faults,
    server: Server,
}

impl Wire {
    fn new() -> Self {
        let parrot = Arc::new(Parrot::default());
        let faults = Faults::new();
        let server = Server::start(Arc::clone(&parrot), faults.clone());
        Self { parrot, faults, server }
    }

    fn grant(&self) -> Grant {
        let mut table = DataCenters::default();
        table.extend(&format!("eu={}", self.server.url())).expect("a loopback entry");
        let text = r#"{"client_id":"1000.id","client_secret":"s&s","refresh_token":"1000.r+r","data_center":"eu"}"#;
        grant_of(text, &table)
    }

    async fn ask(&self) -> Result<Minted, Refusal> {
        let start = START.parse().expect("a time");
        Providers::new(
            token_keeper::http::client(token_keeper::http::Roots::BuiltIn, None).expect("a client"),
            ZOHO_TIMEOUT,
            Source::new(move || start, || [0; 32]),
        )
        .mint(&self.grant())
        .await
    }

    async fn ask_and_get(&self, answer: Response<Bytes>) -> Result<Minted, Refusal> {
        *self.parrot.answer.lock().expect("the answer") = answer;
        self.ask().await
    }
}

fn ok(body: &Value) -> Response<Bytes> {
    answers::status(200, body)
}

fn dead(error: &str) -> Refusal {
    Refusal::ConsentRequired { error: error.to_owned() }
}

fn ours(error: &str) -> Refusal {
    Refusal::Misconfigured { error: error.to_owned() }
}

fn unclear(error: &str, at_once: bool) -> Refusal {
    Refusal::Unclear { error: error.to_owned(), at_once }
}

#[tokio::test]
async fn the_request_is_a_form_in_the_body_and_nothing_in_the_url() {
    let wire = Wire::new();
    wire.ask_and_get(ok(&json!({"access_token": "1000.a"}))).await.expect("a token");
    let asked = wire.parrot.asked.lock().expect("the list");
    let [request] = asked.as_slice() else { panic!("one request, not {}", asked.len()) };
    assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/oauth/v2/token"));
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(
        request.body(),
        "grant_type=refresh_token&client_id=1000.id&client_secret=s%26s&refresh_token=1000.r%2Br"
    );
    assert!(request.headers()["user-agent"].to_str().expect("text").starts_with("token-keeper/"));
}

#[tokio::test]
async fn every_form_of_success_gives_a_token_with_a_plausible_life() {
    let wire = Wire::new();
    let check = async |body: Value, life: i64, api_domain: Option<&str>, scope: Option<&str>| {
        let mut answer = json!({"access_token": "1000.a", "token_type": "Bearer"});
        for (field, value) in body.as_object().expect("fields") {
            answer[field] = value.clone();
        }
        let minted = wire.ask_and_get(ok(&answer)).await.expect("a token");
        assert_eq!(minted.token.access_token.expose(), "1000.a");
        assert_eq!(minted.token.issued_at.to_string(), START, "counted from before the request");
        assert_eq!(minted.token.expires_at.duration_since(minted.token.issued_at).as_secs(), life, "{body}");
        assert_eq!((minted.api_domain.as_deref(), minted.scope.as_deref()), (api_domain, scope), "{body}");
    };
    check(json!({}), 3600, None, None).await;
    check(json!({"expires_in": 3600}), 3600, None, None).await;
    check(json!({"expires_in": 1800}), 1800, None, None).await;
    check(json!({"expires_in": "1800"}), 1800, None, None).await;
    check(json!({"expires_in": 3_600_000}), 3600, None, None).await;
    check(json!({"expires_in": 3_600_000, "expires_in_sec": 3600}), 3600, None, None).await;
    check(json!({"expires_in": 3_600_000, "expires_in_sec": 900}), 900, None, None).await;
    check(json!({"expires_in": 7200}), 3600, None, None).await;
    check(json!({"expires_in": 0}), 3600, None, None).await;
    check(json!({"expires_in": -5}), 3600, None, None).await;
    check(json!({"expires_in": null}), 3600, None, None).await;
    check(json!({"expires_in": {"odd": 1}}), 3600, None, None).await;
    check(json!({"error": null}), 3600, None, None).await;
    check(json!({"scope": "A.all B.read"}), 3600, None, Some("A.all B.read")).await;
    check(json!({"api_domain": "https://www.zohoapis.eu"}), 3600, Some("https://www.zohoapis.eu"), None).await;
    check(json!({"api_domain": "https://www.zohoapis.eu/"}), 3600, Some("https://www.zohoapis.eu"), None).await;
    check(json!({"api_domain": "https://sandbox.zohoapis.eu"}), 3600, Some("https://sandbox.zohoapis.eu"), None).await;
    check(json!({"api_domain": "http://www.zohoapis.eu"}), 3600, None, None).await;
    check(json!({"api_domain": "https://u@www.zohoapis.eu"}), 3600, None, None).await;
    check(json!({"api_domain": 7}), 3600, None, None).await;
}

#[tokio::test]
async fn every_refusal_is_classified_by_its_body_first() {
    let wire = Wire::new();
    let check = async |answer: Response<Bytes>, expected: Refusal| {
        let what = format!("{} {:?}", answer.status(), answer.body());
        assert_eq!(wire.ask_and_get(answer).await.expect_err(&what), expected, "{what}");
    };
    // A dead grant: only on 2xx.
    check(answers::refusal("invalid_code"), dead("invalid_code")).await;
    check(answers::status(201, &json!({"error": "invalid_code"})), dead("invalid_code")).await;
    check(answers::refusal("invalid_grant"), dead("invalid_grant")).await;
    check(ok(&json!({"error": "invalid_code", "access_token": "1000.a"})), dead("invalid_code")).await;
    check(answers::status(400, &json!({"error": "invalid_code"})), unclear("invalid_code (HTTP 400)", false)).await;
    check(answers::status(401, &json!({"error": "invalid_grant"})), unclear("invalid_grant (HTTP 401)", false)).await;
    // Our own configuration: only on 2xx.
    for code in ["invalid_client", "invalid_client_secret", "invalid_redirect_uri"] {
        check(answers::refusal(code), ours(code)).await;
        check(answers::status(400, &json!({"error": code})), unclear(&format!("{code} (HTTP 400)"), false)).await;
    }
    // Throttled: in any language, on 200 and 400.
    check(answers::throttled(), Refusal::Throttled).await;
    check(answers::throttled_translated(), Refusal::Throttled).await;
    check(ok(&json!({"error": "Access Denied", "status": "failure"})), Refusal::Throttled).await;
    check(ok(&json!({"error": "\u{62d2}\u{7edd}\u{8bbf}\u{95ee}", "status": "failure"})), Refusal::Throttled).await;
    check(answers::status(429, &json!({})), Refusal::Throttled).await;
    // Passing: a 5xx is passing, whatever its body says.
    check(answers::server_error("invalid_code"), Refusal::OutOfOrder(Silence::ServerError(500))).await;
    check(answers::status(503, &json!({"error": "invalid_client"})), Refusal::OutOfOrder(Silence::ServerError(503)))
        .await;
    check(answers::html(), unclear("HTTP 200 with a body that is not a JSON object", true)).await;
    check(answers::empty(), unclear("HTTP 200 with an empty body", true)).await;
    check(ok(&json!(["access_token"])), unclear("HTTP 200 with a body that is not a JSON object", true)).await;
    check(answers::without_access_token(), unclear("HTTP 200 without an access_token", true)).await;
    check(ok(&json!({"access_token": ""})), unclear("an invalid access_token", false)).await;
    check(ok(&json!({"access_token": "a\r\nX: y"})), unclear("an invalid access_token", false)).await;
    check(ok(&json!({"access_token": "a".repeat(3000)})), unclear("an invalid access_token", false)).await;
    check(ok(&json!({"error": "general_error"})), unclear("general_error (HTTP 200)", false)).await;
    check(answers::status(400, &json!({"error": "slow_down"})), unclear("slow_down (HTTP 400)", false)).await;
    // The other errors of RFC 6749 §5.2.
    for code in ["invalid_request", "unauthorized_client", "unsupported_grant_type", "invalid_scope"] {
        check(answers::status(400, &json!({"error": code})), unclear(&format!("{code} (HTTP 400)"), false)).await;
    }
    // A text that is not a code is never repeated in an error: it could be anything.
    check(ok(&json!({"error": "s3cr3t.1000.abc"})), unclear("an error without a known code (HTTP 200)", false)).await;
    check(ok(&json!({"error": {"code": 1}})), unclear("an error without a known code (HTTP 200)", false)).await;
    check(answers::status(404, &json!({})), unclear("HTTP 404", false)).await;
    check(ok(&json!({"padding": "x".repeat(70_000)})), unclear("the answer is too long", false)).await;
}

#[tokio::test]
async fn a_broken_connection_is_a_passing_fault_and_a_hung_one_is_not_tried_again_at_once() {
    let wire = Wire::new();
    let check = async |fault: Fault, expected: Refusal| {
        wire.faults.add(Rule::service("zoho").times(1), fault.clone());
        let answer = wire.ask_and_get(ok(&json!({"access_token": "1000.a"}))).await;
        assert_eq!(answer.expect_err("a refusal"), expected, "{fault:?}");
    };
    check(Fault::Drop { handled: false }, Refusal::OutOfOrder(Silence::Broken)).await;
    check(Fault::Drop { handled: true }, Refusal::OutOfOrder(Silence::Broken)).await;
    check(Fault::Truncate, Refusal::OutOfOrder(Silence::Broken)).await;
    check(Fault::Hang { handled: false }, Refusal::OutOfOrder(Silence::TimedOut)).await;

    let gone = wire.grant();
    drop(wire);
    let start = START.parse().expect("a time");
    let answer = Providers::new(
        token_keeper::http::client(token_keeper::http::Roots::BuiltIn, None).expect("a client"),
        ZOHO_TIMEOUT,
        Source::new(move || start, || [0; 32]),
    )
    .mint(&gone)
    .await;
    assert_eq!(answer.expect_err("a refusal"), Refusal::OutOfOrder(Silence::Unreachable));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (wire, elsewhere) = (Wire::new(), Wire::new());
    let answer = wire.ask_and_get(answers::redirect(&elsewhere.server.url())).await;
    let Err(Refusal::Unclear { error, at_once: false }) = answer else { panic!("{answer:?}") };
    assert!(error.ends_with("a redirect, not followed"), "{error}");
    assert!(elsewhere.parrot.asked.lock().expect("the list").is_empty());
}
