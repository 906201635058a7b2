//! Checks over real HTTP that the OAuth stand-in keeps the rules of RFC 6749, 7636, 7009, 8414 and
//! 9207, and those in which providers differ.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use testkit::clock::Clock;
use testkit::oauth::refusal::{Refusal, dead_grant, dead_grant_page};
use testkit::oauth::{
    Authentication, Ends, EndsAccessToken, ExpiresIn, Grace, Iss, OAuth, Offline, Pkce, Rotation, Scope, Settings,
    Stale, rows,
};
use testkit::outside::Outside;
use testkit::wire::{Fault, Faults, Rule};
use url::Url;

const CALLBACK: &str = "https://app.example/callback";
/// A secret whose characters have to be escaped, and escaped twice for `Basic`.
const SECRET: &str = "a s+e:c/r%t";
/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

struct Wire {
    oauth: OAuth,
    clock: Clock,
    faults: Faults,
    http: reqwest::Client,
}

/// The answer of a token request.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    /// Status and code, in a few words.
    fn outcome(&self) -> String {
        if self.body["access_token"].is_string() {
            "minted".to_owned()
        } else {
            format!("{} {}", self.status, self.text("error"))
        }
    }
}

impl Wire {
    fn new() -> Self {
        let (clock, faults) = (Clock::at("2026-11-21T00:00:00Z"), Faults::new());
        let oauth = OAuth::start("oauth", clock.clone(), faults.clone());
        oauth.register("app", SECRET, &[CALLBACK]);
        oauth.register("other", "other-secret", &[CALLBACK]);
        let http = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { oauth, clock, faults, http }
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let wire = Self::new();
        wire.oauth.settings(change);
        wire
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.oauth.url())).form(form);
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a body");
        Answer { status, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
    }

    /// A request of `app`, which says who it is in the form.
    async fn token(&self, more: &[(&str, &str)]) -> Answer {
        let form: Vec<_> =
            [("client_id", "app"), ("client_secret", SECRET)].into_iter().chain(more.iter().copied()).collect();
        self.post("/token", &form).await
    }

    async fn refresh(&self, refresh_token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn exchange(&self, code: &str, verifier: Option<&str>) -> Answer {
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        self.token(&form).await
    }

    /// The user decides about a request with these parameters. Returns where the browser is sent,
    /// or the status of a page.
    async fn decide(&self, decision: &str, query: &[(&str, &str)]) -> Result<Url, u16> {
        let url = Url::parse_with_params(&format!("{}/decide", self.oauth.url()), query).expect("a URL");
        let response = self.http.post(url).form(&[("decision", decision)]).send().await.expect("an answer");
        let location = response.headers().get("location").ok_or_else(|| response.status().as_u16())?;
        Ok(location.to_str().expect("text").parse().expect("a URL"))
    }

    /// A code for a consent with PKCE.
    async fn code(&self) -> String {
        let location = self.decide("accept", &QUESTION).await.expect("a redirect");
        parameter(&location, "code").expect("a code")
    }

    /// The refresh token of a new grant.
    fn grant(&self) -> String {
        self.oauth.consent("app", &["read", "write"]).refresh_token.expect("a refresh token")
    }
}

const QUESTION: [(&str, &str); 7] = [
    ("response_type", "code"),
    ("client_id", "app"),
    ("redirect_uri", CALLBACK),
    ("scope", "read write"),
    ("state", "a state"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// The question with one parameter changed or, with an empty value, left out.
fn question(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = QUESTION.into_iter().filter(|(other, _)| *other != name);
    others.chain((!value.is_empty()).then_some((name, value))).collect()
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_consent_with_pkce_brings_tokens_with_the_scopes_and_lives_of_the_settings() {
    let wire = Wire::with(|settings| settings.withheld_scopes = vec!["write".to_owned()]);
    let page = Url::parse_with_params(&format!("{}/authorize", wire.oauth.url()), QUESTION).expect("a URL");
    let page = wire.http.get(page).send().await.expect("an answer").text().await.expect("a page");
    assert!(page.contains("action=\"/decide?response_type=code&amp;client_id=app"), "{page}");
    let location = wire.decide("accept", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "state").as_deref(), Some("a state"));
    assert_eq!(parameter(&location, "iss"), Some(wire.oauth.url()));
    let first = wire.exchange(&parameter(&location, "code").expect("a code"), Some(VERIFIER)).await;
    assert_eq!((first.status, first.text("token_type"), first.text("scope")), (200, "Bearer", "read"));
    assert_eq!(first.body["expires_in"], 3600);
    assert!(wire.oauth.access_token_lives(first.text("access_token")));
    assert!(wire.oauth.refresh_token_lives(first.text("refresh_token")));
    wire.pass(3600);
    assert!(!wire.oauth.access_token_lives(first.text("access_token")));
}

#[tokio::test]
async fn a_code_is_good_once_for_a_minute_for_its_client_address_and_verifier() {
    let wire = Wire::new();
    let code = wire.code().await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let other: Vec<_> = [("client_id", "other"), ("client_secret", "other-secret")].into_iter().chain(form).collect();
    assert_eq!(wire.post("/token", &other).await.outcome(), "400 invalid_grant");
    assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "minted");
    for wrong in [Some("a".repeat(43)), None] {
        let code = wire.code().await;
        assert_eq!(wire.exchange(&code, wrong.as_deref()).await.outcome(), "400 invalid_grant");
        assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "400 invalid_grant", "the attempt spent it");
    }
    let code = wire.code().await;
    assert_eq!(wire.exchange(&code, Some("short")).await.outcome(), "400 invalid_request");
    let elsewhere = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://app.example/"),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(wire.token(&elsewhere).await.outcome(), "400 invalid_grant");
    let code = wire.code().await;
    wire.pass(60);
    assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "400 invalid_grant");
}

#[tokio::test]
async fn a_code_that_is_used_twice_ends_what_it_brought() {
    let wire = Wire::new();
    let code = wire.code().await;
    let first = wire.exchange(&code, Some(VERIFIER)).await;
    let second = wire.refresh(first.text("refresh_token")).await;
    assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "400 invalid_grant");
    assert!(!wire.oauth.access_token_lives(second.text("access_token")));
    assert_eq!(wire.refresh(second.text("refresh_token")).await.outcome(), "400 invalid_grant");
}

#[tokio::test]
async fn a_wrong_question_is_refused_by_redirect_or_where_the_client_is_wrong_by_a_page() {
    let wire = Wire::new();
    for (name, value, code) in [
        ("response_type", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
    ] {
        let location = wire.decide("accept", &question(name, value)).await.expect("a redirect");
        assert_eq!(parameter(&location, "error").as_deref(), Some(code), "{name}={value}");
        assert_eq!(parameter(&location, "state").as_deref(), Some("a state"));
        assert_eq!(parameter(&location, "code"), None);
    }
    for (name, value) in [("client_id", "unknown"), ("redirect_uri", "https://evil.example"), ("redirect_uri", "")] {
        assert_eq!(wire.decide("accept", &question(name, value)).await, Err(400), "{name}={value}");
    }
    let twice: Vec<_> = QUESTION.into_iter().chain([("scope", "more")]).collect();
    let location = wire.decide("accept", &twice).await.expect("a redirect");
    assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_request"));
    let location = wire.decide("refuse", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn pkce_is_required_allowed_or_refused() {
    let wire = Wire::with(|settings| settings.pkce = Pkce::Allowed);
    let code = wire.code().await;
    assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "minted");
    let location = wire.decide("accept", &question("code_challenge", "")).await.expect("a redirect");
    let code = parameter(&location, "code").expect("a code");
    assert_eq!(wire.exchange(&code, Some(VERIFIER)).await.outcome(), "400 invalid_grant", "a verifier, no challenge");
    wire.oauth.settings(|settings| settings.pkce = Pkce::Off);
    let location = wire.decide("accept", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "error").as_deref(), Some("invalid_request"));
    let location = wire.decide("accept", &question("code_challenge", "")).await.expect("a redirect");
    let code = parameter(&location, "code").expect("a code");
    assert_eq!(wire.exchange(&code, None).await.outcome(), "minted");
}

#[tokio::test]
async fn a_client_says_once_who_it_is_in_a_way_that_the_server_accepts() {
    let wire = Wire::new();
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let refresh_token = wire.grant();
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh_token)];
    let basic = |secret: &str, form: &[(&str, &str)]| {
        wire.http.post(format!("{}/token", wire.oauth.url())).basic_auth("app", Some(secret)).form(form).send()
    };
    wire.oauth.settings(|settings| settings.rotation = Rotation::Never);
    assert_eq!(basic(&encoded, &form).await.expect("an answer").status(), 200);
    assert_eq!(wire.oauth.seen().last().expect("a request").authentication, Some(Authentication::Basic));
    for raw in [SECRET, "wrong"] {
        let refused = basic(raw, &form).await.expect("an answer");
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"token\"");
    }
    let both: Vec<_> = form.into_iter().chain([("client_id", "app"), ("client_secret", SECRET)]).collect();
    assert_eq!(basic(&encoded, &both).await.expect("an answer").status(), 401);
    assert_eq!(wire.post("/token", &form).await.outcome(), "401 invalid_client");
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "minted");
    wire.oauth.settings(|settings| settings.authentication = vec![Authentication::Basic]);
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "401 invalid_client");
    wire.oauth.settings(|settings| settings.authentication = vec![Authentication::Form]);
    assert_eq!(basic(&encoded, &form).await.expect("an answer").status(), 401);
    wire.oauth.register("app", "changed", &[CALLBACK]);
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "401 invalid_client");
    assert_eq!(wire.oauth.redeemed(&refresh_token), 2);
}

#[tokio::test]
async fn a_token_request_is_a_form_with_each_parameter_once_and_nothing_in_its_address() {
    let wire = Wire::new();
    let refresh_token = wire.grant();
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*refresh_token)];
    let twice: Vec<_> = form.into_iter().chain([("grant_type", "refresh_token")]).collect();
    assert_eq!(wire.token(&twice).await.outcome(), "400 invalid_request");
    assert_eq!(wire.token(&[]).await.outcome(), "400 invalid_request");
    assert_eq!(wire.token(&[("grant_type", "refresh_token")]).await.outcome(), "400 invalid_request");
    assert_eq!(wire.token(&[("grant_type", "password")]).await.outcome(), "400 unsupported_grant_type");
    assert_eq!(wire.post("/token?client_id=app", &form).await.outcome(), "400 invalid_request");
    let body = json!({"grant_type": "refresh_token"}).to_string();
    let request =
        wire.http.post(format!("{}/token", wire.oauth.url())).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.expect("an answer").status(), 400);
    assert_eq!(wire.oauth.redeemed(&refresh_token), 0);
}

#[tokio::test]
async fn a_refresh_may_ask_for_fewer_scopes_but_not_for_more() {
    let wire = Wire::with(|settings| settings.rotation = Rotation::Never);
    let refresh_token = wire.grant();
    let form = |scope| [("grant_type", "refresh_token"), ("refresh_token", &*refresh_token), ("scope", scope)];
    assert_eq!(wire.token(&form("read")).await.text("scope"), "read");
    assert_eq!(wire.token(&form("read delete")).await.outcome(), "400 invalid_scope");
}

#[tokio::test]
async fn a_refresh_rotates_never_sometimes_or_always() {
    let wire = Wire::with(|settings| settings.rotation = Rotation::Never);
    let never = wire.grant();
    assert_eq!(wire.refresh(&never).await.body["refresh_token"], Value::Null);
    wire.oauth.settings(|settings| settings.rotation = Rotation::Same);
    assert_eq!(wire.refresh(&never).await.text("refresh_token"), never);
    wire.oauth.settings(|settings| settings.rotation = Rotation::After(SignedDuration::from_hours(24)));
    let sometimes = wire.grant();
    wire.pass(24 * 3600 - 1);
    assert_eq!(wire.refresh(&sometimes).await.text("refresh_token"), sometimes);
    wire.pass(1);
    let next = wire.refresh(&sometimes).await.text("refresh_token").to_owned();
    assert_ne!(next, sometimes);
    assert_eq!(wire.refresh(&next).await.text("refresh_token"), next, "a day begins anew");
    wire.oauth.settings(|settings| settings.rotation = Rotation::Always);
    let newest = wire.refresh(&next).await.text("refresh_token").to_owned();
    assert_eq!(wire.oauth.newest(&sometimes).as_deref(), Some(&*newest));
    assert_eq!((wire.oauth.redeemed(&sometimes), wire.oauth.redeemed(&next)), (2, 2));
    assert_eq!(wire.oauth.refresh_tokens(), [never, newest]);
}

#[tokio::test]
async fn a_second_use_ends_the_whole_grant_or_is_only_refused() {
    for (stale, lives) in [(Stale::Kills, false), (Stale::Refused, true)] {
        let wire = Wire::with(|settings| settings.stale = stale);
        let (old, bystander) = (wire.grant(), wire.grant());
        let winner = wire.refresh(&old).await;
        assert!(!wire.oauth.refresh_token_lives(&old));
        assert_eq!(wire.refresh(&old).await.outcome(), "400 invalid_grant");
        assert_eq!(wire.oauth.family_lives(&old), lives, "{stale:?}");
        assert_eq!(wire.oauth.access_token_lives(winner.text("access_token")), lives, "{stale:?}");
        assert_eq!(wire.refresh(winner.text("refresh_token")).await.outcome() == "minted", lives, "{stale:?}");
        assert!(wire.oauth.refresh_token_lives(&bystander));
        assert_eq!(wire.oauth.redeemed(&old), 1);
    }
}

#[tokio::test]
async fn with_grace_by_time_the_old_token_is_good_for_as_long_after_its_first_use() {
    let wire = Wire::with(|settings| settings.grace = Grace::For(SignedDuration::from_mins(10)));
    let old = wire.grant();
    wire.pass(3600);
    let lost = wire.refresh(&old).await;
    wire.pass(599);
    let found = wire.refresh(&old).await;
    assert_ne!(lost.text("refresh_token"), found.text("refresh_token"));
    wire.pass(1);
    assert_eq!(wire.refresh(&old).await.outcome(), "400 invalid_grant");
    assert!(!wire.oauth.family_lives(&old), "after its grace it kills");
    assert_eq!(wire.oauth.redeemed(&old), 2);
}

#[tokio::test]
async fn with_grace_until_the_replacement_is_used_a_lost_answer_is_asked_for_again_whenever() {
    let wire = Wire::with(|settings| settings.grace = Grace::UntilUsed);
    let old = wire.grant();
    wire.refresh(&old).await;
    wire.pass(10 * 24 * 3600);
    let found = wire.refresh(&old).await;
    assert!(wire.oauth.refresh_token_lives(&old));
    let next = wire.refresh(found.text("refresh_token")).await;
    assert!(!wire.oauth.refresh_token_lives(&old));
    assert!(wire.oauth.refresh_token_lives(found.text("refresh_token")), "its own replacement is unused");
    assert_eq!(wire.refresh(&old).await.outcome(), "400 invalid_grant");
    assert!(!wire.oauth.refresh_token_lives(next.text("refresh_token")));
}

#[tokio::test]
async fn where_reuse_is_tolerated_every_token_of_the_family_stays_good() {
    let wire = Wire::with(|settings| settings.grace = Grace::Always);
    let old = wire.grant();
    let next = wire.refresh(&old).await;
    wire.pass(30 * 24 * 3600);
    for token in [&*old, next.text("refresh_token"), &*old] {
        assert_eq!(wire.refresh(token).await.outcome(), "minted");
    }
}

#[tokio::test]
async fn a_refresh_ends_the_access_token_before_it_never_at_once_or_later() {
    for (ends, at_once, later) in [
        (EndsAccessToken::No, true, true),
        (EndsAccessToken::AtOnce, false, false),
        (EndsAccessToken::After(SignedDuration::from_mins(10)), true, false),
    ] {
        let wire = Wire::with(|settings| settings.ends_access_token = ends);
        let first = wire.refresh(&wire.grant()).await;
        let second = wire.refresh(first.text("refresh_token")).await;
        let lives = |answer: &Answer| wire.oauth.access_token_lives(answer.text("access_token"));
        assert_eq!((lives(&first), lives(&second)), (at_once, true), "{ends:?}");
        wire.pass(600);
        assert_eq!((lives(&first), lives(&second)), (later, true), "{ends:?}");
    }
}

#[tokio::test]
async fn an_answer_states_the_life_in_many_ways_and_has_the_fields_of_the_provider() {
    let wire = Wire::with(|settings| settings.rotation = Rotation::Never);
    let refresh_token = wire.grant();
    for (stated, wanted) in [
        (ExpiresIn::Number, json!(3600)),
        (ExpiresIn::Text, json!("3600")),
        (ExpiresIn::Milliseconds, json!(3_600_000)),
        (ExpiresIn::Zero, json!(0)),
        (ExpiresIn::Absent, Value::Null),
    ] {
        wire.oauth.settings(|settings| settings.expires_in = stated);
        assert_eq!(wire.refresh(&refresh_token).await.body["expires_in"], wanted);
    }
    wire.oauth.settings(|settings| {
        settings.scope = Scope::Array;
        settings.token_type = None;
        settings.answer = BTreeMap::from([("hub_id".to_owned(), json!(7))]);
        settings.callback = vec![("realmId".to_owned(), "93414520000".to_owned())];
    });
    let answer = wire.refresh(&refresh_token).await.body;
    assert_eq!((&answer["scopes"], &answer["hub_id"]), (&json!(["read", "write"]), &json!(7)));
    assert_eq!((answer.get("scope"), answer.get("token_type")), (None, None));
    let location = wire.decide("accept", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "realmId").as_deref(), Some("93414520000"));
}

#[tokio::test]
async fn a_refresh_token_ends_by_idleness_by_age_or_with_its_grant_and_the_answer_says_when() {
    let day = 24 * 3600;
    let days = |days: i64| Some(SignedDuration::from_hours(24 * days));
    let wire = Wire::with(|settings| {
        settings.rotation = Rotation::Same;
        settings.idle_life = days(10);
        settings.refresh_token_life = days(15);
        settings.expiry_field = Some("refresh_token_expires_in".to_owned());
    });
    let (used, idle) = (wire.grant(), wire.grant());
    wire.pass(9 * day);
    assert_eq!(wire.refresh(&used).await.body["refresh_token_expires_in"], 6 * day);
    wire.pass(day);
    assert_eq!(wire.refresh(&idle).await.outcome(), "400 invalid_grant");
    wire.pass(5 * day - 1);
    assert_eq!(wire.refresh(&used).await.outcome(), "minted");
    wire.pass(1);
    assert!(!wire.oauth.refresh_token_lives(&used));
    wire.oauth.settings(|settings| {
        settings.rotation = Rotation::Always;
        settings.grant_life = days(20);
    });
    let mut token = wire.grant();
    for left in [10, 10, 6, 1] {
        let answer = wire.refresh(&token).await;
        assert_eq!(answer.body["refresh_token_expires_in"], left * day, "the shortest life counts");
        token = answer.text("refresh_token").to_owned();
        wire.pass(if left == 6 { 5 * day } else { 7 * day });
    }
    assert!(!wire.oauth.family_lives(&token));
}

#[tokio::test]
async fn too_many_requests_and_a_refresh_too_early_are_refused_and_cost_nothing() {
    let wire = Wire::with(|settings| {
        settings.requests_per_minute = 1;
        settings.earliest_refresh = Some(SignedDuration::from_mins(5));
    });
    let refresh_token = wire.grant();
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "400 access_denied");
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "429 slow_down");
    wire.pass(300);
    assert_eq!(wire.refresh(&refresh_token).await.outcome(), "minted");
}

#[tokio::test]
async fn an_answer_gets_lost_but_the_request_was_carried_out() {
    let losses: [fn() -> Fault; 4] = [
        || Fault::Drop { handled: true },
        || Fault::Truncate,
        || Fault::Replace(Refusal::empty(200).response()),
        || Fault::Replace(Refusal::html(502, "Bad gateway").response()),
    ];
    for loss in losses {
        let wire = Wire::new();
        let old = wire.grant();
        wire.faults.add(Rule::on("oauth", "refresh_token").about(&old).times(1), loss());
        let form = [
            ("client_id", "app"),
            ("client_secret", SECRET),
            ("grant_type", "refresh_token"),
            ("refresh_token", &*old),
        ];
        let sent = wire.http.post(format!("{}/token", wire.oauth.url())).form(&form).send().await;
        let body = match sent {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        assert!(!body.contains("access_token"), "{body}");
        assert_eq!((wire.oauth.redeemed(&old), wire.oauth.family_lives(&old)), (1, true));
        assert_eq!(wire.refresh(&old).await.outcome(), "400 invalid_grant");
    }
}

#[tokio::test]
async fn a_revocation_ends_a_token_a_grant_or_everything_of_the_user() {
    let client = [("client_id", "app"), ("client_secret", SECRET)];
    for (ends, access_token, replacement, newer) in
        [(Ends::Token, true, true, true), (Ends::Grant, false, false, true), (Ends::User, false, false, false)]
    {
        let wire = Wire::with(|settings| (settings.revocation, settings.grace) = (Some(ends), Grace::Always));
        let old = wire.grant();
        let next = wire.refresh(&old).await;
        let newer_grant = wire.grant();
        let form: Vec<_> = client.into_iter().chain([("token", &*old)]).collect();
        assert_eq!(wire.post("/revoke", &form).await.status, 200);
        assert!(!wire.oauth.refresh_token_lives(&old));
        assert_eq!(wire.oauth.access_token_lives(next.text("access_token")), access_token, "{ends:?}");
        assert_eq!(wire.oauth.refresh_token_lives(next.text("refresh_token")), replacement, "{ends:?}");
        assert_eq!(wire.oauth.refresh_token_lives(&newer_grant), newer, "{ends:?}");
    }
    let wire = Wire::new();
    let refresh_token = wire.grant();
    let mut form = vec![("client_id", "other"), ("client_secret", "other-secret"), ("token", &*refresh_token)];
    assert_eq!(wire.post("/revoke", &form).await.outcome(), "400 unauthorized_client");
    form[1].1 = "wrong";
    assert_eq!(wire.post("/revoke", &form).await.outcome(), "401 invalid_client");
    assert!(wire.oauth.refresh_token_lives(&refresh_token));
    let unknown: Vec<_> = client.into_iter().chain([("token", "unknown")]).collect();
    assert_eq!(wire.post("/revoke", &unknown).await.status, 200);
    wire.oauth.settings(|settings| settings.revocation = None);
    assert_eq!(wire.post("/revoke", &unknown).await.status, 404);
}

#[tokio::test]
async fn a_consent_gives_a_refresh_token_only_if_it_is_asked_for_as_the_provider_wants() {
    for (offline, query, given) in [
        (Offline::Always, question("scope", "read"), true),
        (Offline::Scope("offline_access"), question("scope", "read"), false),
        (Offline::Scope("offline_access"), question("scope", "read offline_access"), true),
        (Offline::Parameter("access_type", "offline"), question("access_type", "offline"), true),
        (Offline::Parameter("access_type", "offline"), question("scope", "read"), false),
        (Offline::Never, question("scope", "read"), false),
    ] {
        let wire = Wire::with(|settings| settings.offline = offline);
        let location = wire.decide("accept", &query).await.expect("a redirect");
        let first = wire.exchange(&parameter(&location, "code").expect("a code"), Some(VERIFIER)).await;
        assert_eq!(first.body["refresh_token"].is_string(), given, "{offline:?} {query:?}");
    }
}

#[tokio::test]
async fn the_issuer_is_discovered_in_both_places_and_named_in_the_redirect() {
    let wire = Wire::with(|settings| settings.issuer_path = "/realms/acme".to_owned());
    let url = wire.oauth.url();
    for path in ["/.well-known/oauth-authorization-server/realms/acme", "/realms/acme/.well-known/openid-configuration"]
    {
        let found = wire.http.get(format!("{url}{path}")).send().await.expect("an answer");
        let found: Value = serde_json::from_str(&found.text().await.expect("a body")).expect("JSON");
        assert_eq!(found["issuer"], format!("{url}/realms/acme"));
        let wanted = [
            ("authorization_endpoint", "/authorize"),
            ("token_endpoint", "/token"),
            ("revocation_endpoint", "/revoke"),
        ];
        for (name, path) in wanted {
            assert_eq!(found[name], format!("{url}{path}"));
        }
        assert_eq!(found["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(
            found["token_endpoint_auth_methods_supported"],
            json!(["client_secret_basic", "client_secret_post"])
        );
        assert_eq!(found["authorization_response_iss_parameter_supported"], true);
    }
    let location = wire.decide("refuse", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "iss"), Some(wire.oauth.issuer()));
    wire.oauth.settings(|settings| {
        settings.iss = Iss::Other("https://evil.example".to_owned());
        settings.oauth_metadata = false;
    });
    let location = wire.decide("accept", &QUESTION).await.expect("a redirect");
    assert_eq!(parameter(&location, "iss").as_deref(), Some("https://evil.example"));
    let absent = wire.http.get(format!("{url}/.well-known/oauth-authorization-server/realms/acme")).send().await;
    assert_eq!(absent.expect("an answer").status(), 404);
}

#[tokio::test]
async fn each_provider_says_in_its_own_way_that_a_grant_is_dead() {
    for name in rows::NAMES {
        let wire = Wire::with(|settings| *settings = rows::settings(name));
        wire.oauth.settings(|settings| settings.authentication = vec![Authentication::Form]);
        let refresh_token = wire.grant();
        assert_eq!(wire.refresh(&refresh_token).await.outcome(), "minted", "{name}");
        let dead = wire.grant();
        wire.oauth.kill(&dead);
        let answer = wire.refresh(&dead).await;
        let wanted = dead_grant(name);
        assert_eq!(
            (answer.status, answer.body),
            (wanted.status, serde_json::from_str(&wanted.body).expect("JSON")),
            "{name}"
        );
    }
    let wire = Wire::with(|settings| settings.dead_grant = dead_grant_page());
    let dead = wire.grant();
    wire.oauth.kill(&dead);
    let answer = wire.refresh(&dead).await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.body.as_str().is_some_and(|page| page.contains("<p>This request requires an active refresh_token</p>"))
    );
}

#[test]
fn a_world_has_an_oauth_server_once_it_is_asked_for() {
    let outside = Outside::start(&["eu"], Clock::at("2026-11-21T00:00:00Z"), Faults::new());
    assert_eq!(outside.aws.secret("token-keeper/clients/corp"), None);
    let refresh_token = outside.connect_corp("books");
    assert!(outside.oauth().refresh_token_lives(&refresh_token));
    assert_eq!(outside.refresh_token("books"), Some(refresh_token));
    outside.store_corp(&json!({"provider": "xero"}));
    let client = outside.aws.secret("token-keeper/clients/corp").expect("a client");
    let client: Value = serde_json::from_str(&client).expect("JSON");
    assert_eq!((&client["provider"], &client["issuer"]), (&json!("xero"), &json!(outside.oauth().url())));
}
