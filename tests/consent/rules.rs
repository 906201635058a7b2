//! Rules for any input: signatures, PKCE, and places where no secret may appear.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::log::Kept;
use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;
use token_keeper::consent::link::{State, Ticket, code_challenge};
use token_keeper::lambda::callback::{NotHttp, Request};
use token_keeper::name::VersionId;
use token_keeper::secret::{CodeVerifier, SigningKey};
use token_keeper::telemetry;
use tracing_subscriber::util::SubscriberInitExt as _;

use testkit::browser::{Browser, header, title};
use testkit::world::{BASE, EU_SECRET, SIGNING_KEY, World, lease_name};

fn start() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().expect("a time")
}

fn key() -> SigningKey {
    SigningKey::new(SIGNING_KEY)
}

fn ticket() -> Ticket {
    Ticket {
        connection: "crm-prod".parse().expect("a name"),
        version: VersionId::new("1d0b14e4-8fed-4b01-8164-bb7b2b9b3e3a"),
        data_center: "eu".to_owned(),
        provider: String::new(),
        allow_move: false,
        allow_other_account: false,
        issued_at: start(),
        expires_at: start() + SignedDuration::from_hours(1),
    }
}

fn state() -> State {
    State { ticket: ticket(), nonce: "nonce".to_owned(), browser: "hash".to_owned() }
}

#[test]
fn the_code_challenge_is_the_one_of_rfc_7636_appendix_b() {
    let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(code_challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

#[test]
fn a_verifier_has_the_form_of_rfc_7636_and_differs_in_each_consent() {
    let verifier = key().code_verifier(&state());
    assert_eq!(verifier.expose().len(), 43);
    assert!(verifier.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
    let other = key().code_verifier(&State { nonce: "another".to_owned(), ..state() });
    assert_ne!(verifier.expose(), other.expose());
}

#[test]
fn a_signed_text_is_accepted_until_it_expires_and_only_for_its_purpose() {
    let (key, end) = (key(), ticket().expires_at);
    let second = SignedDuration::from_secs(1);
    let sealed = key.seal_ticket(&ticket());
    assert_eq!(key.open_ticket(&sealed, end - second), Ok(ticket()));
    assert!(key.open_ticket(&sealed, end).is_err());
    assert!(key.open_state(&sealed, start()).is_err());
    let sealed = key.seal_state(&state());
    assert_eq!(key.open_state(&sealed, end - second), Ok(state()));
    assert!(key.open_state(&sealed, end).is_err());
    assert!(key.open_ticket(&sealed, start()).is_err());
}

#[test]
fn a_signed_text_with_one_changed_character_is_refused() {
    let sealed = key().seal_state(&state());
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";
    for (at, right) in sealed.char_indices() {
        for wrong in alphabet.chars().filter(|&wrong| wrong != right) {
            let changed = format!("{}{wrong}{}", &sealed[..at], &sealed[at + 1..]);
            assert!(key().open_state(&changed, start()).is_err(), "{wrong:?} at {at}");
        }
        assert!(key().open_state(&sealed[..at], start()).is_err(), "cut off at {at}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic_or_is_accepted(text in ".{0,300}", tail in "[A-Za-z0-9_-]{43}") {
        for text in [text.clone(), format!("{text}.{tail}"), format!("{}.{tail}", key().seal_ticket(&ticket()))] {
            prop_assert!(key().open_ticket(&text, start()).is_err());
            prop_assert!(key().open_state(&text, start()).is_err());
        }
    }

    #[test]
    fn a_signed_value_is_read_back_unchanged(
        connection in "[a-z0-9][a-z0-9_.-]{0,63}", version in ".{1,64}", nonce in ".{0,40}", allow_move: bool
    ) {
        let ticket = Ticket { connection: connection.parse().expect("a name"), version: VersionId::new(version), allow_move, ..ticket() };
        prop_assert_eq!(key().open_ticket(&key().seal_ticket(&ticket), start()), Ok(ticket.clone()));
        let state = State { ticket, nonce, ..state() };
        prop_assert_eq!(key().open_state(&key().seal_state(&state), start()), Ok(state));
    }

    #[test]
    fn no_event_makes_the_function_panic(path in ".{0,60}", query in ".{0,200}", cookie in ".{0,80}", method in ".{0,8}") {
        let event = json!({"version": "2.0", "rawPath": path, "rawQueryString": query, "cookies": [cookie],
            "requestContext": {"domainName": "consent.example", "http": {"method": method}}});
        let request = Request::of_event(&event).expect("an HTTP event");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let status = runtime.block_on(async {
            let world = World::new().await;
            world.respond(&request).await.status
        });
        prop_assert!([204, 400, 404, 405].contains(&status));
    }
}

#[test]
fn cookies_come_from_the_list_or_else_from_the_header() {
    let event = |cookies: Value| {
        json!({"rawPath": "/callback", "cookies": cookies, "headers": {"cookie": "a=1; b=2", "host": "consent.example"},
            "requestContext": {"domainName": "consent.example", "http": {"method": "GET"}}})
    };
    let cookies = |list: Value| Request::of_event(&event(list)).expect("an HTTP event").cookies;
    assert_eq!(cookies(json!(["c=3", "d=4"])), ["c=3", "d=4"]);
    assert_eq!(cookies(Value::Null), ["a=1; b=2"]);
    let mut bare = event(Value::Null);
    bare["headers"] = Value::Null;
    assert_eq!(Request::of_event(&bare).expect("an HTTP event").cookies, [""; 0]);
}

#[tokio::test]
async fn every_event_file_of_the_callback_is_answered() {
    let world = World::new().await;
    for (file, status) in [("callback-http-api.json", 400), ("callback-function-url.json", 400)] {
        let text = std::fs::read_to_string(format!("{}/events/{file}", env!("CARGO_MANIFEST_DIR"))).expect("an event");
        let request = Request::of_event(&serde_json::from_str(&text).expect("JSON")).expect("an HTTP event");
        assert!(request.domain.is_some());
        let answer = token_keeper::lambda::callback::respond(&request, &world.consent, None).await.into_event();
        assert_eq!(answer["statusCode"], status, "{file}");
        assert_eq!(answer["headers"]["cache-control"], "no-store", "{file}");
        assert!(answer["body"].as_str().is_some_and(|body| body.contains("This link is not valid")), "{file}");
    }
    for event in [json!({}), json!("x"), json!({"rawPath": "/callback"}), json!({"connections": ["crm-prod"]})] {
        assert_eq!(Request::of_event(&event).err(), Some(NotHttp), "{event}");
    }
}

#[tokio::test]
async fn the_base_url_may_have_a_path_and_defaults_to_the_requests_domain() {
    let world = World::new().await;
    let link = world.link("crm-prod");
    let mut request = Browser::default().request(&link);
    request.domain = Some("abc.lambda-url.eu-central-1.on.aws".to_owned());
    let response = token_keeper::lambda::callback::respond(&request, &world.consent, None).await;
    assert!(
        header(&response, "location")
            .contains("redirect_uri=https%3A%2F%2Fabc.lambda-url.eu-central-1.on.aws%2Fcallback&")
    );
    request.path = "/prod/connect".to_owned();
    let base = "https://api.example/prod".parse().expect("a base URL");
    let response = token_keeper::lambda::callback::respond(&request, &world.consent, Some(&base)).await;
    assert!(header(&response, "location").contains("redirect_uri=https%3A%2F%2Fapi.example%2Fprod%2Fcallback&"));
    request.domain = None;
    let response = token_keeper::lambda::callback::respond(&request, &world.consent, None).await;
    assert_eq!(title(&response), "Not found", "a function that does not know its address does not redirect");
    // Without HTTPS, as on a loopback address, browsers refuse the prefix and the attribute.
    let (request, base) = (Browser::default().request(&link), "http://localhost:8765".parse().expect("a base URL"));
    let local = token_keeper::lambda::callback::respond(&request, &world.consent, Some(&base)).await;
    assert!(
        local.cookies[0].starts_with("token-keeper-") && local.cookies[0].ends_with("SameSite=Lax"),
        "{:?}",
        local.cookies
    );
}

#[tokio::test]
async fn no_secret_reaches_a_log_a_page_or_a_description_at_any_level() {
    for terminal in [false, true] {
        let log = Kept::default();
        let writer = log.clone();
        let guard = telemetry::subscriber(Some("TRACE"), terminal, move || writer.clone()).set_default();
        let world = World::new().await;
        let mut said = String::new();
        let mut secrets = vec![EU_SECRET.to_owned(), SIGNING_KEY.to_owned()];
        for fault in [
            None,
            Some((Rule::on("zoho", "authorization_code"), Fault::Respond(answers::refusal("invalid_client")))),
            Some((
                Rule::on("zoho", "authorization_code"),
                Fault::Respond(answers::status(200, &json!({"error": EU_SECRET}))),
            )),
            Some((Rule::on("zoho", "authorization_code"), Fault::Drop { handled: true })),
            Some((Rule::on("zoho", "revoke"), Fault::Respond(answers::server_error(EU_SECRET)))),
            Some((
                Rule::on("secretsmanager", "PutSecretValue"),
                Fault::Respond(testkit::aws::error("ValidationException", EU_SECRET)),
            )),
            Some((
                Rule::on("ssm", "PutParameter"),
                Fault::Respond(testkit::aws::error("ValidationException", EU_SECRET)),
            )),
        ] {
            // Another test may have met a log line first, while nobody listened.
            tracing::callsite::rebuild_interest_cache();
            let browser = Browser::default();
            let link = world.link("crm-prod");
            let zoho = browser.begin(&world, &link).await;
            let callback = browser.decide(&zoho, "accept").await;
            secrets.extend(browser.cookies.borrow().values().cloned());
            let code = callback.split('&').find_map(|pair| pair.strip_prefix("code=")).expect("a code");
            secrets.push(code.to_owned());
            if let Some((rule, fault)) = fault {
                world.faults.add(rule, fault);
            }
            let page = browser.open(&world, &callback).await;
            said.push_str(&page.body);
            world.faults.clear();
            secrets.extend(world.zoho.refresh_tokens());
            let document = world.document("crm-prod").unwrap_or(Value::Null);
            secrets.extend(document["access_token"].as_str().map(str::to_owned));
        }
        drop(guard);
        said.push_str(&log.text());
        let versions = world.aws.parameter_versions(&lease_name("crm-prod"));
        said.extend(versions.into_iter().map(|version| version.description.expect("a description")));
        for word in [
            "consent begun",
            "connected",
            "the code was not exchanged",
            "the new grant could not be stored",
            "has a new consent",
        ] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        for secret in &secrets {
            assert!(!said.contains(secret.as_str()), "a secret in: {said}");
        }
        assert!(!said.contains(BASE), "an address with a ticket or a state");
    }
}
