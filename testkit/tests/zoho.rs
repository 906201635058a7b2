//! Checks over real HTTP that the Zoho stand-in does what Zoho's documents say, as far as Token
//! Keeper relies on it.

use bytes::Bytes;
use hyper::Response;
use jiff::SignedDuration;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use testkit::clock::Clock;
use testkit::wire::{Call, Fault, Faults, Rule};
use testkit::zoho::{CountedPer, Settings, Zoho, answers};
use url::{Url, form_urlencoded};

const CALLBACK: &str = "https://app.example/callback";
const SCOPE: &str = "ZohoCRM.modules.ALL";
/// Verifiers with their challenges: the pair of RFC 7636, appendix B, and one of 56 characters, the
/// first length whose padding needs a second SHA-256 block.
const PKCE: [Row; 2] = [
    ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
    ("a-verifier-whose-padding-takes-a-block-of-its-own-456789", "HO4DqG5qsixlTDvV-jpSy6j4duINBjl0uLy6E5RMl-E"),
];

type Row = (&'static str, &'static str);

/// Two data centres. `app` is registered in both, `local` only in the United States.
struct Wire {
    zoho: Zoho,
    clock: Clock,
    faults: Faults,
    http: reqwest::Client,
}

impl Wire {
    fn new() -> Self {
        let (clock, faults) = (Clock::at("2026-11-21T00:00:00Z"), Faults::new());
        let zoho = Zoho::start(&["us", "eu"], clock.clone(), faults.clone());
        zoho.register("app", &[CALLBACK], &[("us", "us-secret"), ("eu", "eu-secret")]);
        zoho.register("local", &[CALLBACK], &[("us", "us-secret")]);
        let http = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { zoho, clock, faults, http }
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn post(&self, data_center: &str, path: &str, form: &[(&str, &str)]) -> (u16, String) {
        let request = self.http.post(format!("{}{path}", self.zoho.accounts(data_center))).form(form);
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// The token endpoint's answer. `more` replaces or adds to what `app` sends by default.
    async fn token(&self, data_center: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let secret = format!("{data_center}-secret");
        let usual = [("client_id", "app"), ("client_secret", &secret)];
        let form: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
        let (status, body) = self.post(data_center, "/oauth/v2/token", &form).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    async fn refresh(&self, data_center: &str, refresh_token: &str) -> (u16, Value) {
        self.token(data_center, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn minted(&self, data_center: &str, refresh_token: &str) -> String {
        text(&self.refresh(data_center, refresh_token).await.1, "access_token")
    }

    async fn exchange(&self, data_center: &str, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let form = [&[("grant_type", "authorization_code"), ("code", code)], more].concat();
        self.token(data_center, &form).await
    }

    /// Posts the decision about a consent. Returns the status and the redirect's target, if any.
    async fn decide(&self, data_center: &str, query: &[(&str, &str)], decision: &str) -> (u16, Option<String>) {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let url = format!("{}/oauth/v2/decide?{query}", self.zoho.accounts(data_center));
        let response = self.http.post(url).form(&[("decision", decision)]).send().await.expect("an answer");
        let location = response.headers().get("location").map(|to| to.to_str().expect("text").to_owned());
        (response.status().as_u16(), location)
    }

    /// Accepts the consent. Returns the code in the redirect.
    async fn accepted(&self, data_center: &str, query: &[(&str, &str)]) -> String {
        let (_, location) = self.decide(data_center, query, "accept").await;
        let location = Url::parse(&location.expect("a redirect")).expect("a URL");
        let code = location.query_pairs().find(|(name, _)| name == "code");
        code.expect("a code").1.into_owned()
    }
}

/// The non-browser application `tv`, registered in both data centres.
impl Wire {
    fn with_device() -> Self {
        let wire = Self::new();
        wire.zoho.register("tv", &[], &[("us", "us-secret"), ("eu", "eu-secret")]);
        wire.zoho.allow_device("tv");
        wire
    }

    /// The answer to a request for a device code. `more` replaces or adds to what `tv` sends.
    async fn device_code(&self, data_center: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let usual = [
            ("grant_type", "device_request"),
            ("client_id", "tv"),
            ("scope", SCOPE),
            ("access_type", "offline"),
            ("prompt", "consent"),
        ];
        let form: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
        let (status, body) = self.post(data_center, "/oauth/v3/device/code", &form).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// A device code with its user code.
    async fn device(&self, data_center: &str) -> (String, String) {
        let (_, answer) = self.device_code(data_center, &[]).await;
        (text(&answer, "device_code"), text(&answer, "user_code"))
    }

    async fn poll(&self, data_center: &str, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let secret = format!("{data_center}-secret");
        let usual = [("grant_type", "device_token"), ("client_id", "tv"), ("client_secret", &secret), ("code", code)];
        let form: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
        let (status, body) = self.post(data_center, "/oauth/v3/device/token", &form).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

/// A request for offline consent of `app`. `changes` replace or add parameters; an empty value
/// removes one.
fn request(changes: &[Row]) -> Vec<Row> {
    let usual = [
        ("response_type", "code"),
        ("client_id", "app"),
        ("scope", SCOPE),
        ("redirect_uri", CALLBACK),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("state", "a b&c"),
    ];
    let kept = usual.into_iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    kept.chain(changes.iter().copied().filter(|(_, value)| !value.is_empty())).collect()
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

fn refused(code: &str) -> (u16, Value) {
    (200, json!({ "error": code }))
}

#[tokio::test]
async fn a_refresh_gives_a_token_for_an_hour_and_the_refresh_token_stays() {
    let wire = Wire::new();
    let refresh_token = wire.zoho.consent("eu", "app", &[SCOPE, "ZohoCRM.users.READ"]);
    let (status, answer) = wire.refresh("eu", &refresh_token).await;
    let access_token = text(&answer, "access_token");
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"access_token": access_token, "scope": format!("{SCOPE} ZohoCRM.users.READ"), "token_type": "Bearer",
            "api_domain": "https://www.zohoapis.eu", "expires_in": 3600})
    );
    assert_eq!(access_token.len(), 70);
    assert_ne!(wire.minted("eu", &refresh_token).await, access_token);
    assert_eq!(wire.zoho.mints(&refresh_token), 2);
    wire.pass(3599);
    assert!(wire.zoho.access_token_lives(&access_token));
    wire.pass(1);
    assert!(!wire.zoho.access_token_lives(&access_token));
    assert!(wire.zoho.refresh_token_lives(&refresh_token));
}

#[tokio::test]
async fn a_refusal_has_status_200_and_its_code_in_the_body() {
    let wire = Wire::new();
    let alive = wire.zoho.consent("us", "app", &[SCOPE]);
    let killed = wire.zoho.consent("us", "app", &[SCOPE]);
    wire.zoho.kill(&killed);
    let check = async |data_center: &str, more: &[(&str, &str)], code: &str| {
        let form = [&[("grant_type", "refresh_token"), ("refresh_token", &alive)], more].concat();
        assert_eq!(wire.token(data_center, &form).await, refused(code), "{data_center} {more:?}");
    };
    check("us", &[("client_id", "nobody")], "invalid_client").await;
    check("us", &[("client_secret", "eu-secret")], "invalid_client").await;
    check("eu", &[("client_id", "local")], "invalid_client").await;
    check("us", &[("client_id", "local")], "invalid_code").await;
    check("us", &[("refresh_token", &killed)], "invalid_code").await;
    check("us", &[("grant_type", "password")], "unsupported_grant_type").await;
    check("eu", &[], "invalid_code").await;
    wire.zoho.change_secret("app", "us", "new");
    check("us", &[], "invalid_client").await;

    let in_the_url =
        format!("/oauth/v2/token?client_id=app&client_secret=new&grant_type=refresh_token&refresh_token={alive}");
    assert_eq!(wire.post("us", &in_the_url, &[]).await, (200, json!({"error": "invalid_client"}).to_string()));
    assert_eq!(wire.zoho.mints(&alive), 0);
    assert_eq!(wire.token("us", &[("client_secret", "new")]).await, refused("unsupported_grant_type"));
}

#[tokio::test]
async fn the_eleventh_request_is_throttled_and_asking_again_extends_the_block() {
    let wire = Wire::new();
    let refresh_token = wire.zoho.consent("us", "app", &[SCOPE]);
    for _ in 0..10 {
        wire.minted("us", &refresh_token).await;
    }
    let throttled = async || {
        let (status, answer) = wire.refresh("us", &refresh_token).await;
        assert_eq!(answer["status"], "failure", "{answer}");
        (status, text(&answer, "error"))
    };
    wire.pass(599);
    assert_eq!(throttled().await, (400, "Access Denied".to_owned()));
    wire.pass(599);
    wire.zoho.settings(|settings| {
        settings.throttle_translated = true;
        settings.throttle_status = 200;
    });
    assert_eq!(throttled().await, (200, "Åtkomst nekad".to_owned()));
    wire.pass(600);
    wire.minted("us", &refresh_token).await;
    assert_eq!(wire.zoho.mints(&refresh_token), 11);
}

#[tokio::test]
async fn requests_are_counted_per_refresh_token_or_per_client() {
    for (counted_per, served) in [(CountedPer::RefreshToken, [2, 2]), (CountedPer::Client, [2, 0])] {
        let wire = Wire::new();
        wire.zoho.settings(|settings| {
            settings.requests_per_window = 2;
            settings.counted_per = counted_per;
        });
        let refresh_tokens = [(); 2].map(|()| wire.zoho.consent("us", "app", &[SCOPE]));
        for refresh_token in refresh_tokens.iter().flat_map(|refresh_token| [refresh_token; 3]) {
            wire.refresh("us", refresh_token).await;
        }
        assert_eq!(refresh_tokens.map(|refresh_token| wire.zoho.mints(&refresh_token)), served, "{counted_per:?}");
    }
}

#[tokio::test]
async fn one_token_too_many_silently_ends_the_oldest() {
    let wire = Wire::new();
    wire.zoho.settings(|settings| settings.live_access_tokens = 2);
    let refresh_tokens: Vec<_> = (0..20).map(|_| wire.zoho.consent("us", "app", &[SCOPE])).collect();
    let elsewhere = wire.zoho.consent("eu", "app", &[SCOPE]);
    let mut access_tokens = Vec::new();
    for _ in 0..3 {
        access_tokens.push(wire.minted("us", &refresh_tokens[0]).await);
    }
    let live = || access_tokens.iter().map(|token| wire.zoho.access_token_lives(token)).collect::<Vec<_>>();
    assert_eq!(live(), [false, true, true]);

    let newest = wire.zoho.consent("us", "local", &[SCOPE]);
    assert_eq!(live(), [false; 3]);
    assert_eq!(wire.zoho.refresh_tokens(), [&refresh_tokens[1..], &[elsewhere, newest]].concat());
    assert_eq!(wire.refresh("us", &refresh_tokens[0]).await, refused("invalid_code"));
}

#[tokio::test]
async fn a_code_works_once_in_time_and_only_with_the_values_of_its_request() {
    let wire = Wire::new();
    wire.zoho.settings(|settings| settings.requests_per_window = 100);
    let redirect_uri = ("redirect_uri", CALLBACK);
    let code = || wire.zoho.code("eu", "app", &[SCOPE], Some(CALLBACK));
    let check = async |data_center: &str, code: &str, more: &[(&str, &str)], refusal: Option<&str>| {
        let (status, answer) = wire.exchange(data_center, code, more).await;
        assert_eq!((status, answer["error"].as_str()), (200, refusal), "{more:?} {answer}");
        assert_eq!(answer["refresh_token"].is_string(), refusal.is_none(), "{more:?} {answer}");
    };
    let twice = code();
    check("us", &twice, &[redirect_uri], Some("invalid_code")).await;
    check("eu", &twice, &[redirect_uri], None).await;
    check("eu", &twice, &[redirect_uri], Some("invalid_code")).await;
    check("eu", &code(), &[], Some("invalid_redirect_uri")).await;
    check("eu", &code(), &[("redirect_uri", "https://app.example/")], Some("invalid_redirect_uri")).await;
    check("eu", &wire.zoho.code("eu", "app", &[SCOPE], None), &[], None).await;

    for (verifier, challenge) in PKCE {
        let asked = request(&[("code_challenge", challenge), ("code_challenge_method", "S256")]);
        for (verifier, refusal) in [(verifier, None), (challenge, Some("invalid_code"))] {
            let code = wire.accepted("eu", &asked).await;
            check("eu", &code, &[redirect_uri, ("code_verifier", verifier)], refusal).await;
        }
    }

    let (in_time, late) = (code(), code());
    wire.pass(119);
    check("eu", &in_time, &[redirect_uri], None).await;
    wire.pass(1);
    check("eu", &late, &[redirect_uri], Some("invalid_code")).await;
}

#[tokio::test]
async fn answers_vary_as_zohos_do() {
    // For each change: the named field in the answer to a refresh, then in the answer to a code.
    let check = async |change: fn(&mut Settings), field: &str, expected: [Value; 2]| {
        let wire = Wire::new();
        wire.zoho.settings(change);
        let scopes = [SCOPE, "ZohoCRM.users.READ"];
        let (_, refreshed) = wire.refresh("us", &wire.zoho.consent("us", "app", &scopes)).await;
        let (_, exchanged) = wire.exchange("us", &wire.zoho.code("us", "app", &scopes, None), &[]).await;
        assert!(refreshed["access_token"].is_string() && exchanged["access_token"].is_string());
        assert_eq!([&refreshed[field], &exchanged[field]], [&expected[0], &expected[1]], "{field}");
    };
    let both = |value: Value| [value.clone(), value];
    check(|settings| settings.expires_in_milliseconds = true, "expires_in", both(json!(3_600_000))).await;
    check(|settings| settings.expires_in_milliseconds = true, "expires_in_sec", both(json!(3600))).await;
    check(|settings| settings.exchange_yields_refresh_token = false, "refresh_token", both(Value::Null)).await;
    check(|settings| settings.withheld_scopes = vec![SCOPE.to_owned()], "scope", both(json!("ZohoCRM.users.READ")))
        .await;
    check(
        |settings| settings.api_domain = Some("https://a.example/".into()),
        "api_domain",
        both(json!("https://a.example/")),
    )
    .await;
    let only_with_a_code = [Value::Null, json!("https://www.zohoapis.com")];
    check(|settings| settings.api_domain_on_refresh = false, "api_domain", only_with_a_code).await;
}

#[tokio::test]
async fn revoking_ends_a_refresh_token_with_its_access_tokens() {
    let wire = Wire::new();
    let refresh_token = wire.zoho.consent("us", "app", &[SCOPE]);
    let access_token = wire.minted("us", &refresh_token).await;
    let revoke = async |data_center: &str| {
        wire.post(data_center, "/oauth/v2/token/revoke", &[("token", refresh_token.as_str())]).await
    };
    assert_eq!(revoke("eu").await.0, 400);
    assert_eq!(revoke("us").await, (200, json!({"status": "success"}).to_string()));
    assert!(!wire.zoho.refresh_token_lives(&refresh_token) && !wire.zoho.access_token_lives(&access_token));
    let (status, body) = revoke("us").await;
    assert!(status == 400 && body.starts_with("<!doctype html>"), "{status} {body}");
}

#[tokio::test]
async fn a_consent_comes_back_to_the_registered_redirect_uri() {
    let wire = Wire::new();
    let accounts: String = form_urlencoded::byte_serialize(wire.zoho.accounts("us").as_bytes()).collect();
    let (status, location) = wire.decide("us", &request(&[]), "accept").await;
    let location = location.expect("a redirect");
    let rest = location.strip_prefix(&format!("{CALLBACK}?state=a+b%26c&code=")).expect("state and code first");
    let (code, rest) = rest.split_once('&').expect("more after the code");
    assert_eq!((status, rest), (302, &*format!("location=us&accounts-server={accounts}&")));
    assert!(wire.exchange("us", code, &[("redirect_uri", CALLBACK)]).await.1["refresh_token"].is_string());

    let denied = format!("{CALLBACK}?error=access_denied&state=a+b%26c");
    assert_eq!(wire.decide("us", &request(&[]), "refuse").await, (302, Some(denied)));

    for change in [
        ("client_id", "nobody"),
        ("redirect_uri", "https://elsewhere.example/callback"),
        ("response_type", "token"),
        ("scope", ""),
    ] {
        assert_eq!(wire.decide("us", &request(&[change]), "accept").await, (400, None), "{change:?}");
    }
    assert_eq!(wire.decide("eu", &request(&[("client_id", "local")]), "accept").await, (400, None));
}

#[tokio::test]
async fn a_scope_that_zoho_does_not_know_is_refused_on_its_own_page_or_in_the_redirect() {
    let wire = Wire::new();
    wire.zoho.settings(|settings| settings.known_scopes = Some(vec![SCOPE.to_owned()]));
    let unknown = request(&[("scope", "ZohoCRM.modules.ALL,ZohoCRM.modulse.READ")]);
    assert_eq!(wire.decide("us", &unknown, "accept").await, (400, None));
    assert!(wire.decide("us", &request(&[]), "accept").await.1.is_some());
    wire.zoho.settings(|settings| settings.scope_error = Some("invalid_scope"));
    let refused = format!("{CALLBACK}?error=invalid_scope&state=a+b%26c");
    assert_eq!(wire.decide("us", &unknown, "accept").await, (302, Some(refused)));
    assert!(wire.decide("us", &request(&[]), "accept").await.1.is_some_and(|to| to.contains("code=")));
}

#[tokio::test]
async fn the_consent_page_is_a_form_that_carries_the_request() {
    let wire = Wire::new();
    let query = "response_type=code&client_id=app&scope=A.b.C,<i>&redirect_uri=https://app.example/callback&state=s";
    let url = Url::parse(&format!("{}/oauth/v2/auth?{query}", wire.zoho.accounts("us"))).expect("a URL");
    let page = wire.http.get(url.clone()).send().await.expect("an answer").text().await.expect("a page");
    let action = format!("/oauth/v2/decide?{}", url.query().expect("a query").replace('&', "&amp;"));
    for part in [&*format!("method=\"post\" action=\"{action}\""), "value=\"accept\"", "value=\"refuse\"", "&lt;i&gt;"]
    {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

#[tokio::test]
async fn only_a_first_or_prompted_offline_consent_gives_a_refresh_token() {
    let wire = Wire::new();
    for (changes, yields) in [
        (&[("access_type", "")][..], false),
        (&[("client_id", "local"), ("prompt", "")], true),
        (&[("client_id", "local"), ("prompt", "")], false),
        (&[("client_id", "local")], true),
    ] {
        let asked = request(changes);
        let client_id = asked.iter().find(|(name, _)| *name == "client_id").expect("a client");
        let code = wire.accepted("us", &asked).await;
        let (_, answer) = wire.exchange("us", &code, &[*client_id, ("redirect_uri", CALLBACK)]).await;
        assert!(wire.zoho.access_token_lives(&text(&answer, "access_token")));
        assert_eq!(answer["refresh_token"].is_string(), yields, "{changes:?}");
    }
}

#[tokio::test]
async fn a_user_from_another_data_center_moves_the_consent_there() {
    let wire = Wire::new();
    wire.zoho.settings(|settings| {
        settings.home = Some("eu".to_owned());
        settings.redirect_names_accounts_server = false;
    });
    let (_, location) = wire.decide("us", &request(&[]), "accept").await;
    assert!(location.as_ref().is_some_and(|to| to.ends_with("&location=eu&")), "{location:?}");
    let code = wire.accepted("us", &request(&[])).await;
    assert_eq!(wire.exchange("us", &code, &[("redirect_uri", CALLBACK)]).await, refused("invalid_code"));
    assert!(wire.exchange("eu", &code, &[("redirect_uri", CALLBACK)]).await.1["refresh_token"].is_string());

    let info = wire.http.get(format!("{}/oauth/serverinfo", wire.zoho.accounts("us"))).send().await;
    let info = info.expect("an answer").text().await.expect("a body");
    let info: Value = serde_json::from_str(&info).expect("JSON");
    let (us, eu) = (wire.zoho.accounts("us"), wire.zoho.accounts("eu"));
    assert_eq!(info, json!({"result": "success", "locations": {"us": us, "eu": eu}}));
    assert_eq!(wire.zoho.data_centers(), format!("us={us},eu={eu}"));
}

#[tokio::test]
async fn every_call_is_named_and_may_be_answered_by_a_fault() {
    let wire = Wire::new();
    let check = async |operation: &str, subject: &str, answer: Response<Bytes>| {
        wire.faults.clear();
        wire.faults.forget_calls();
        let expected = (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).expect("text"));
        wire.faults.add(Rule::on("zoho", operation).about(subject), Fault::Respond(answer));
        let form = [("grant_type", operation), ("refresh_token", subject), ("code", subject), ("token", subject)];
        let path = match operation {
            "revoke" => "/oauth/v2/token/revoke".to_owned(),
            "decide" => format!("/oauth/v2/decide?client_id={subject}"),
            "device_code" => "/oauth/v3/device/code".to_owned(),
            "device_token" => "/oauth/v3/device/token".to_owned(),
            _ => "/oauth/v2/token".to_owned(),
        };
        assert_eq!(wire.post("us", &path, &form).await, expected, "{operation}");
        let call = Call { service: "zoho", operation: operation.to_owned(), subject: subject.to_owned() };
        assert_eq!(wire.faults.calls(), [call]);
    };
    check("refresh_token", "1000.r", answers::html()).await;
    check("refresh_token", "1000.r", answers::server_error("invalid_code")).await;
    check("refresh_token", "1000.r", answers::empty()).await;
    check("refresh_token", "1000.r", answers::without_access_token()).await;
    check("refresh_token", "1000.r", answers::throttled()).await;
    check("refresh_token", "1000.r", answers::throttled_translated()).await;
    check("authorization_code", "1000.c", answers::refusal("invalid_code")).await;
    check("revoke", "1000.t", answers::status(503, &json!({}))).await;
    check("decide", "app", answers::redirect("https://elsewhere.example")).await;
    check("device_code", "", answers::empty()).await;
    check("device_token", "1000.d", answers::refusal("slow_down")).await;
    check("other", "", answers::empty()).await;
}

#[tokio::test]
async fn a_token_tells_whose_account_it_is_at_home_and_with_the_scope() {
    let wire = Wire::new();
    let ask = async |data_center: &str, token: &str| {
        let request = wire.http.get(format!("{}/oauth/user/info", wire.zoho.accounts(data_center)));
        let answer = request.header("authorization", format!("Zoho-oauthtoken {token}")).send().await;
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        (status, body)
    };
    let grant = wire.zoho.consent("us", "app", &[SCOPE, "AaaServer.profile.READ"]);
    let token = wire.minted("us", &grant).await;
    let (status, ann) = ask("us", &token).await;
    assert_eq!((status, &ann["ZUID"], &ann["Email"]), (200, &json!(60_012_345), &json!("ann@example.com")));
    let blind = wire.minted("us", &wire.zoho.consent("us", "app", &[SCOPE])).await;
    for (data_center, token) in [("eu", &token), ("us", &blind), ("us", &"1000.never".to_owned())] {
        let (status, body) = ask(data_center, token).await;
        assert!(status == 401 && body.get("ZUID").is_none(), "{data_center}: {body}");
    }
    wire.zoho.end_access_token(&token);
    assert_eq!(ask("us", &token).await.0, 401);
}

#[tokio::test]
async fn a_self_client_gets_tokens_of_its_organisation_and_no_refresh_token() {
    let wire = Wire::new();
    wire.zoho.register("own", &[], &[("us", "us-secret")]);
    let ask = async |more: &[(&str, &str)]| {
        let form = [&[("client_id", "own"), ("grant_type", "client_credentials"), ("scope", SCOPE)], more].concat();
        wire.token("us", &form).await
    };
    let (_, answer) = ask(&[("soid", "ZohoCRM.600000434")]).await;
    assert!(wire.zoho.access_token_lives(&text(&answer, "access_token")));
    assert_eq!((answer.get("refresh_token"), &answer["scope"]), (None, &json!(SCOPE)));
    assert_eq!(ask(&[]).await, refused("missing_org_info"));
    assert_eq!(ask(&[("scope", "Desk.tickets.READ")]).await.1["expires_in"], 3600, "no organisation is needed there");
    assert_eq!(ask(&[("soid", "ZohoCRM.1")]).await, refused("invalid_org_info"));
    assert_eq!(ask(&[("client_id", "app")]).await, refused("unsupported_grant_type"), "not a self client");
    assert_eq!(wire.zoho.mints("own"), 2);
}

#[tokio::test]
async fn a_device_code_is_for_a_non_browser_application_alone() {
    let wire = Wire::with_device();
    let page = format!("{}/oauth/v3/device", wire.zoho.accounts("eu"));
    let (status, answer) = wire.device_code("eu", &[]).await;
    let [device_code, user_code] = ["device_code", "user_code"].map(|field| text(&answer, field));
    assert_eq!(
        (status, &answer),
        (
            200,
            &json!({"device_code": device_code, "user_code": user_code, "verification_url": page,
                "verification_uri_complete": format!("{page}?user_code={user_code}"), "expires_in": 300, "interval": 30})
        )
    );
    wire.zoho.register("self", &[], &[("eu", "eu-secret")]);
    for (change, code) in [
        (("client_id", "app"), "invalid_client"),
        (("client_id", "self"), "invalid_client"),
        (("client_id", "nobody"), "invalid_client"),
        (("grant_type", "device_code"), "unsupported_grant_type"),
        (("scope", ""), "invalid_scope"),
        (("scope", "A.b C.d"), "invalid_scope"),
    ] {
        assert_eq!(wire.device_code("eu", &[change]).await, refused(code), "{change:?}");
    }
    let in_the_url = "/oauth/v3/device/code?grant_type=device_request&client_id=tv&scope=A.b";
    assert_eq!(wire.post("eu", in_the_url, &[]).await.1, json!({"error": "invalid_client"}).to_string());
    wire.zoho.settings(|settings| settings.expires_in_milliseconds = true);
    let (_, old) = wire.device_code("eu", &[]).await;
    assert_eq!((&old["expires_in"], &old["interval"]), (&json!(300_000), &json!(30_000)));
    // Ten codes in ten minutes; those that were refused above count if the client was right.
    for _ in 0..5 {
        wire.device("eu").await;
    }
    assert_eq!(wire.device_code("eu", &[]).await.1["status"], "failure");
    // Such a client has no tokens of its own.
    wire.pass(600);
    let own = [("grant_type", "client_credentials"), ("client_id", "tv"), ("scope", SCOPE)];
    assert_eq!(wire.token("us", &own).await, refused("unsupported_grant_type"));
}

#[tokio::test]
async fn a_device_code_gives_its_tokens_once_after_the_user_has_agreed() {
    let wire = Wire::with_device();
    let (code, user_code) = wire.device("eu").await;
    assert_eq!(wire.poll("eu", &code, &[]).await, refused("authorization_pending"));
    for seconds in [0, 29] {
        wire.pass(seconds);
        assert_eq!(wire.poll("eu", &code, &[]).await, refused("slow_down"), "one in thirty seconds");
    }
    for (change, refusal) in [
        (("client_secret", "us-secret"), "invalid_client"),
        (("client_id", "app"), "invalid_client"),
        (("code", "1000.other"), "invalid_code"),
        (("grant_type", "authorization_code"), "unsupported_grant_type"),
    ] {
        assert_eq!(wire.poll("eu", &code, &[change]).await, refused(refusal), "{change:?}");
    }
    assert_eq!(wire.poll("us", &code, &[]).await, refused("invalid_code"), "nobody lives there");
    wire.pass(30);
    wire.zoho.decide(&user_code, true).expect("a code that waits");
    assert_eq!(wire.zoho.decide(&user_code, false), Err("invalid_user_code"), "a user decides once");
    let (status, answer) = wire.poll("eu", &code, &[]).await;
    let [access_token, refresh_token] = ["access_token", "refresh_token"].map(|field| text(&answer, field));
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"access_token": access_token, "refresh_token": refresh_token, "scope": SCOPE,
                "token_type": "Bearer", "api_domain": "https://www.zohoapis.eu", "expires_in": 3600})
        )
    );
    assert!(wire.zoho.access_token_lives(&access_token) && wire.zoho.refresh_token_lives(&refresh_token));
    wire.pass(30);
    assert_eq!(wire.poll("eu", &code, &[]).await, refused("invalid_code"), "once");
    let tv = [("grant_type", "refresh_token"), ("client_id", "tv"), ("refresh_token", &refresh_token)];
    assert!(wire.token("eu", &tv).await.1["access_token"].is_string());
}

#[tokio::test]
async fn a_lost_answer_takes_the_tokens_of_a_device_code_with_it() {
    let wire = Wire::with_device();
    let (code, user_code) = wire.device("eu").await;
    wire.zoho.decide(&user_code, true).expect("a code that waits");
    wire.faults.add(Rule::on("zoho", "device_token").times(1), Fault::Drop { handled: true });
    let url = format!("{}/oauth/v3/device/token", wire.zoho.accounts("eu"));
    let form = [("grant_type", "device_token"), ("client_id", "tv"), ("client_secret", "eu-secret"), ("code", &code)];
    assert!(wire.http.post(url).form(&form).send().await.is_err());
    wire.pass(30);
    assert_eq!(wire.poll("eu", &code, &[]).await, refused("invalid_code"));
    assert_eq!(wire.zoho.refresh_tokens().len(), 1);
}

#[tokio::test]
async fn a_user_may_refuse_a_device_or_let_its_code_expire() {
    let wire = Wire::with_device();
    let [(refused_code, no), (expired, late), (agreed, yes)] =
        [wire.device("eu").await, wire.device("eu").await, wire.device("eu").await];
    wire.zoho.decide(&no, false).expect("a code that waits");
    assert_eq!(wire.poll("eu", &refused_code, &[]).await, refused("access_denied"));
    wire.pass(299);
    assert_eq!(wire.poll("eu", &expired, &[]).await, refused("authorization_pending"));
    wire.zoho.decide(&yes, true).expect("a code that waits");
    wire.pass(30);
    assert_eq!(wire.poll("eu", &expired, &[]).await, refused("expired"));
    assert_eq!(wire.zoho.decide(&late, true), Err("invalid_user_code"));
    assert!(wire.poll("eu", &agreed, &[]).await.1["access_token"].is_string(), "it expires only if nobody decides");
}

#[tokio::test]
async fn the_tokens_of_a_device_are_in_the_users_own_data_center() {
    let wire = Wire::with_device();
    wire.zoho.settings(|settings| settings.home = Some("eu".to_owned()));
    let (code, user_code) = wire.device("us").await;
    assert_eq!(wire.poll("eu", &code, &[]).await, refused("invalid_code"), "not before the user has agreed");
    wire.zoho.decide(&user_code, true).expect("a code that waits");
    let other = (200, json!({"user_location": "eu", "error": "other_dc"}));
    assert_eq!(wire.poll("us", &code, &[]).await, other);
    assert_eq!(wire.poll("eu", &code, &[]).await, refused("slow_down"), "one in thirty seconds, wherever");
    wire.pass(30);
    assert_eq!(wire.poll("us", &code, &[]).await, other);
    wire.pass(30);
    let (_, answer) = wire.poll("eu", &code, &[]).await;
    assert_eq!(answer["api_domain"], "https://www.zohoapis.eu");
    assert_eq!(wire.zoho.refresh_tokens(), [text(&answer, "refresh_token")]);
}

#[tokio::test]
async fn a_user_types_the_code_into_a_form_and_decides_with_another() {
    let wire = Wire::with_device();
    let (code, user_code) = wire.device("eu").await;
    let page = async |query: &str| {
        let url = format!("{}/oauth/v3/device{query}", wire.zoho.accounts("eu"));
        let answer = wire.http.get(url).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a page"))
    };
    let (status, question) = page("").await;
    assert!(status == 200 && question.contains("<input name=\"user_code\""), "{question}");
    let (status, question) = page(&format!("?user_code={user_code}")).await;
    for part in ["method=\"post\" action=\"/oauth/v3/device\"", "value=\"accept\"", SCOPE, &user_code] {
        assert!(status == 200 && question.contains(part), "no {part} in {question}");
    }
    assert_eq!(page("?user_code=%3Ci%3E").await.0, 400);
    let decide = async |user_code: &str, decision: &str| {
        wire.post("eu", "/oauth/v3/device", &[("user_code", user_code), ("decision", decision)]).await.0
    };
    assert_eq!([decide("AAAA-AAAA", "accept").await, decide(&user_code, "perhaps").await], [400, 400]);
    assert_eq!([decide(&user_code, "accept").await, decide(&user_code, "accept").await], [200, 400]);
    assert!(wire.poll("eu", &code, &[]).await.1["refresh_token"].is_string());
    // Online, or agreed before and not asked again: no refresh token.
    for more in [[("access_type", "online")], [("prompt", "none")]] {
        let (_, answer) = wire.device_code("eu", &more).await;
        assert_eq!(decide(&text(&answer, "user_code"), "accept").await, 200);
        let (_, answer) = wire.poll("eu", &text(&answer, "device_code"), &[]).await;
        assert!(answer["access_token"].is_string() && answer["refresh_token"].is_null(), "{more:?} {answer}");
    }
}
