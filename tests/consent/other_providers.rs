//! Consents at other providers than Zoho, each through the callback's handler and against the OAuth
//! server of the testkit, which plays one provider after the other.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::oauth::{Authentication, Ends, Iss, Pkce, Rotation, Scope, Settings, rows};
use testkit::wire::{Fault, Rule};
use testkit::world::{Asked, CORP_ID, CORP_SCOPE, World, grant_name};
use token_keeper::lambda::callback::Response;

/// The OAuth server plays this provider of the table, and `corp` is a client of it.
fn play(world: &World, provider: &str, fields: &Value) {
    world.oauth().settings(|settings| *settings = rows::settings(provider));
    let keeps_revocation = ["hubspot", "salesforce"].contains(&provider);
    let mut client = json!({"provider": provider, "issuer": null});
    if !keeps_revocation {
        client["revocation_endpoint"] = Value::Null;
    }
    for (field, value) in fields.as_object().expect("fields") {
        client[field] = value.clone();
    }
    world.store_corp(&client);
}

async fn at(provider: &str) -> World {
    let world = World::new().await;
    play(&world, provider, &json!({}));
    world
}

fn settings(world: &World, change: impl FnOnce(&mut Settings)) {
    world.oauth().settings(change);
}

async fn consent(world: &World) -> Response {
    Browser::default().consent(world, &world.link_of_corp("books", false)).await
}

/// The parameters of the authorization request to which a new link leads.
async fn asked(world: &World) -> BTreeMap<String, String> {
    let question = Browser::default().begin(world, &world.link_of_corp("books", false)).await;
    assert!(question.starts_with(&format!("{}/authorize?", world.oauth().url())), "{question}");
    let (_, query) = question.split_once('?').expect("a query");
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let asked: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(asked.len(), pairs.len(), "no parameter comes twice: {question}");
    asked
}

/// What a redirect to the callback brings, with one parameter replaced, added or left out.
fn with_parameter(callback: &str, name: &str, value: Option<&str>) -> String {
    let (start, query) = callback.split_once('?').expect("a query");
    let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(other, _)| other != name);
    let pairs = pairs.chain(value.map(|value| (name.into(), value.into())));
    format!("{start}?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

/// Nothing of this consent is kept.
fn nothing_stored(world: &World) {
    assert_eq!((world.refresh_token("books"), world.document("books")), (None, None));
}

#[tokio::test]
async fn a_document_says_the_provider_and_what_its_callers_need() {
    let world = at("quickbooks").await;
    let page = consent(&world).await;
    assert_eq!((page.status, title(&page)), (200, "Connected"));
    let document = world.document("books").expect("a document");
    let expected = json!({"schema": 1, "status": "active", "provider": "quickbooks", "access_token": document["access_token"],
        "token_type": "Bearer", "issued_at": "2026-11-21T00:00:00Z", "expires_at": "2026-11-21T01:00:00Z",
        "account": {"realmId": "9341452000000001"}, "scope": CORP_SCOPE,
        "grant_version": world.aws.secret_version(&grant_name("books"))});
    assert_eq!(document, expected);
    assert!(world.token_lives("books"));
    let grant = world.grant("books");
    assert_eq!((&grant["kept"], &grant["data_center"]), (&json!({"realmId": "9341452000000001"}), &Value::Null));
    assert_eq!(grant["granted_at"], "2026-11-21T00:00:00Z");
    assert!(world.oauth().refresh_token_lives(&world.refresh_token("books").expect("a refresh token")));
    let notice = "Token Keeper: books has a new consent, with an account at QuickBooks (realmId 9341452000000001).";
    assert_eq!(world.notices("books"), [notice]);
    assert_eq!(world.zoho_calls(), 0);
}

#[tokio::test]
async fn a_challenge_is_sent_where_the_provider_takes_one() {
    for (theirs, ours, sent) in [
        (Pkce::Required, "required", true),
        (Pkce::Required, "allowed", true),
        (Pkce::Allowed, "allowed", true),
        (Pkce::Allowed, "off", false),
        (Pkce::Off, "off", false),
    ] {
        let world = World::new().await;
        settings(&world, |settings| settings.pkce = theirs);
        world.store_corp(&json!({"pkce": ours}));
        let parameters = asked(&world).await;
        assert_eq!(parameters.contains_key("code_challenge"), sent, "{ours}: {parameters:?}");
        assert_eq!(parameters.get("code_challenge_method").is_some_and(|method| method == "S256"), sent, "{ours}");
        assert_eq!(title(&consent(&world).await), "Connected", "{theirs:?}, {ours}");
        let exchange = world.oauth().seen().into_iter().find(|seen| seen.operation == "authorization_code");
        let exchange = exchange.expect("an exchange").parameters;
        assert_eq!(exchange.contains_key("code_verifier"), sent, "{ours}");
    }
}

#[tokio::test]
async fn scopes_are_separated_as_the_provider_wants_and_those_that_are_needed_are_added_once() {
    let check = async |provider: &str, scopes: Value, sent: Option<&str>| {
        let world = at(provider).await;
        world.store_of_corp("books", &json!({"scopes": scopes}));
        assert_eq!(asked(&world).await.get("scope").map(String::as_str), sent, "{provider} {scopes}");
        assert_eq!(title(&consent(&world).await), "Connected", "{provider} {scopes}");
    };
    check("xero", json!(["a.read", "b.read"]), Some("a.read b.read offline_access")).await;
    check("xero", json!(["offline_access", "a.read"]), Some("offline_access a.read")).await;
    check("xero", json!([]), Some("offline_access")).await;
    check("slack", json!(["chat:write", "users:read"]), Some("chat:write,users:read")).await;
    check("github", json!([]), None).await;
    let world = World::new().await;
    settings(&world, |settings| settings.scope_separator = ',');
    world.store_corp(&json!({"scope_separator": ","}));
    world.store_of_corp("books", &json!({"scopes": ["a.read", "b.read"]}));
    assert_eq!(asked(&world).await["scope"], "a.read,b.read");
    consent(&world).await;
    assert_eq!(world.grant("books")["scopes"], json!(["a.read", "b.read"]));
}

#[tokio::test]
async fn parameters_come_from_the_table_or_the_clients_secret() {
    let world = at("google").await;
    let parameters = asked(&world).await;
    assert_eq!((parameters["access_type"].as_str(), parameters["prompt"].as_str()), ("offline", "consent"));
    assert_eq!((parameters["client_id"].as_str(), parameters["response_type"].as_str()), (CORP_ID, "code"));
    world.oauth().settings(|settings| *settings = Settings::default());
    world.store_corp(&json!({"authorization_parameters": {"audience": "https://api.example.com"}}));
    let parameters = asked(&world).await;
    assert_eq!(parameters["audience"], "https://api.example.com");
    assert_eq!(parameters.get("access_type"), None);
}

#[tokio::test]
async fn the_client_says_who_it_is_in_one_way() {
    for (provider, way) in [("xero", Authentication::Basic), ("hubspot", Authentication::Form)] {
        let world = at(provider).await;
        assert_eq!(title(&consent(&world).await), "Connected", "{provider}");
        let seen = world.oauth().seen();
        let exchange = seen.iter().find(|seen| seen.operation == "authorization_code").expect("an exchange");
        assert_eq!(exchange.authentication, Some(way), "{provider}");
    }
}

#[tokio::test]
async fn a_redirect_of_another_server_goes_no_further() {
    let world = World::new().await;
    let own = world.oauth().issuer();
    let evil = || Iss::Other("https://evil.example".to_owned());
    let almost = || Iss::Other(format!("{own}/"));
    for (issuer, sent, connects) in [
        (Some(own.clone()), Iss::Own, true),
        (Some(own.clone()), Iss::Absent, true),
        (Some(own.clone()), evil(), false),
        (Some(own.clone()), almost(), false),
        (None, Iss::Own, true),
        (None, Iss::Absent, true),
        (None, evil(), true),
    ] {
        let world = World::new().await;
        let issuer = issuer.map(|_| world.oauth().issuer());
        let sent = match sent {
            Iss::Other(text) if text.starts_with(&own) => Iss::Other(format!("{}/", world.oauth().issuer())),
            other => other,
        };
        let case = format!("{issuer:?}, {sent:?}");
        settings(&world, |settings| settings.iss = sent);
        world.store_corp(&json!({"issuer": issuer}));
        let page = consent(&world).await;
        if connects {
            assert_eq!(title(&page), "Connected", "{case}");
        } else {
            assert_eq!((page.status, title(&page)), (400, "Not the right provider"), "{case}");
            assert!(!page.body.contains("evil"), "{}", page.body);
            assert_eq!(world.faults.count("oauth", "authorization_code"), 0, "the code is not sent: {case}");
            nothing_stored(&world);
        }
    }
}

#[tokio::test]
async fn a_value_of_the_redirect_that_programs_need_is_checked_before_the_code_is_spent() {
    let world = at("quickbooks").await;
    let browser = Browser::default();
    let question = browser.begin(&world, &world.link_of_corp("books", false)).await;
    let callback = browser.decide(&question, "accept").await;
    for value in [
        None,
        Some(""),
        Some("123456789"),
        Some("93414520000000012345"),
        Some("934145200000000a"),
        Some("../../1234567890"),
    ] {
        let page = browser.open(&world, &with_parameter(&callback, "realmId", value)).await;
        assert_eq!((page.status, title(&page)), (502, "Something is missing in the answer"), "{value:?}");
        assert!(
            page.body.contains("<code>realmId</code>") && page.body.contains("Nothing was changed."),
            "{}",
            page.body
        );
        assert!(!value.is_some_and(|value| value.len() > 1 && page.body.contains(value)), "{}", page.body);
    }
    let twice = format!("{callback}&realmId=9341452000000002");
    assert_eq!(title(&browser.open(&world, &twice).await), "This link is not valid");
    assert_eq!(world.faults.count("oauth", "authorization_code"), 0);
    nothing_stored(&world);
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected", "the code was not spent");
}

#[tokio::test]
async fn another_account_is_refused_unless_the_link_allows_it() {
    let world = at("quickbooks").await;
    consent(&world).await;
    let before = (world.grant("books"), world.document("books"));
    settings(&world, |settings| settings.callback = vec![("realmId".to_owned(), "9341452000000002".to_owned())]);
    let page = consent(&world).await;
    assert_eq!((page.status, title(&page)), (409, "Another account than before"));
    assert!(page.body.contains("another account at QuickBooks than"), "{}", page.body);
    assert!(page.body.contains("still exists: you can remove this app"), "{}", page.body);
    assert!(!page.body.contains("Zoho") && !page.body.contains("93414520"), "{}", page.body);
    assert_eq!((world.grant("books"), world.document("books")), before);
    assert_eq!(world.faults.count("oauth", "revoke"), 0, "it could end the company's connection");
    let page = Browser::default().consent(&world, &world.link_of_corp("books", true)).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.field("books", "account"), json!({"realmId": "9341452000000002"}));
    assert_eq!(world.faults.count("oauth", "revoke"), 0);
}

#[tokio::test]
async fn an_unused_refresh_token_is_handed_back_where_that_ends_it_alone() {
    let world = at("salesforce").await;
    let id = |user: &str| json!(format!("https://login.salesforce.com/id/00D000000000001/{user}"));
    settings(&world, |settings| drop(settings.answer.insert("id".to_owned(), id("005000000000001"))));
    consent(&world).await;
    let stored = world.refresh_token("books").expect("a refresh token");
    settings(&world, |settings| drop(settings.answer.insert("id".to_owned(), id("005000000000002"))));
    let page = consent(&world).await;
    assert_eq!(title(&page), "Another account than before");
    assert!(page.body.contains("was handed back to Salesforce."), "{}", page.body);
    assert_eq!((world.refresh_token("books"), world.oauth().refresh_tokens()), (Some(stored.clone()), vec![stored]));
}

#[tokio::test]
async fn the_base_url_of_an_answer_counts_only_if_it_is_the_providers() {
    let world = at("salesforce").await;
    for url in [
        json!("https://evil.example"),
        json!("https://salesforce.com.evil.example"),
        json!("http://acme.my.salesforce.com"),
        json!("https://acme.my.salesforce.com@evil.example"),
        json!("https://acme.my.salesforce.com/path"),
        json!(7),
        Value::Null,
    ] {
        settings(&world, |settings| drop(settings.answer.insert("instance_url".to_owned(), url.clone())));
        let page = consent(&world).await;
        assert_eq!((page.status, title(&page)), (502, "Something is missing in the answer"), "{url}");
        assert!(page.body.contains("handed back to Salesforce") && !page.body.contains("evil"), "{}", page.body);
        nothing_stored(&world);
        assert_eq!(world.oauth().refresh_tokens(), [""; 0], "{url}");
    }
    settings(&world, |settings| {
        drop(settings.answer.insert("instance_url".to_owned(), json!("https://acme.my.salesforce.com")));
    });
    assert_eq!(title(&consent(&world).await), "Connected");
    assert_eq!(world.field("books", "api_domain"), "https://acme.my.salesforce.com");
    assert_eq!(world.field("books", "account")["instance_url"], "https://acme.my.salesforce.com");
}

#[tokio::test]
async fn a_sandbox_has_no_base_url_of_the_table() {
    let world = at("xero").await;
    consent(&world).await;
    assert_eq!(world.field("books", "api_domain"), Value::Null);
}

#[tokio::test]
async fn scopes_are_taken_from_a_text_a_list_or_what_was_asked_for_and_the_page_says_what_is_missing() {
    for form in [Scope::Text, Scope::Array, Scope::Absent] {
        let world = at("xero").await;
        settings(&world, |settings| settings.scope = form);
        let page = consent(&world).await;
        assert_eq!(title(&page), "Connected", "{form:?}");
        assert!(page.body.contains("may now use your account at Xero."), "{}", page.body);
        assert!(page.body.contains("in your account at Xero.") && !page.body.contains("Zoho"), "{}", page.body);
        let scopes = world.grant("books")["scopes"].clone();
        assert!(scopes.as_array().expect("scopes").contains(&json!(CORP_SCOPE)), "{form:?}: {scopes}");
    }
    let world = at("google").await;
    world.store_of_corp("books", &json!({"scopes": ["a.read", "b.read"]}));
    settings(&world, |settings| settings.withheld_scopes = vec!["b.read".to_owned()]);
    let page = consent(&world).await;
    assert!(
        page.body.contains("Google granted less than was asked for. Not granted: <code>b.read</code>."),
        "{}",
        page.body
    );
    assert_eq!(world.grant("books")["scopes"], json!(["a.read"]));
}

#[tokio::test]
async fn a_scope_that_only_asks_for_a_refresh_token_may_be_missing_in_the_answer() {
    let world = at("entra").await;
    world.store_of_corp("books", &json!({"scopes": ["User.Read", "offline_access"]}));
    let answer = json!({"access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "scope": "User.Read", "expires_in": 3600});
    let answer = testkit::zoho::answers::status(200, &answer);
    world.faults.add(Rule::on("oauth", "authorization_code"), Fault::Respond(answer));
    let page = consent(&world).await;
    assert!(title(&page) == "Connected" && !page.body.contains("less than was asked for"), "{}", page.body);
}

#[tokio::test]
async fn no_redirect_chooses_an_endpoint() {
    for (name, value) in [
        ("accounts-server", "https://evil.example"),
        ("accounts-server", "https://accounts.zoho.eu"),
        ("iss", "https://evil.example"),
        ("token_endpoint", "https://evil.example/token"),
        ("location", "us"),
    ] {
        let world = World::new().await;
        world.store_corp(&json!({"issuer": null}));
        let browser = Browser::default();
        let question = browser.begin(&world, &world.link_of_corp("books", false)).await;
        let callback = browser.decide(&question, "accept").await;
        let page = browser.open(&world, &with_parameter(&callback, name, Some(value))).await;
        assert_eq!(title(&page), "Connected", "{name}");
        assert_eq!((world.faults.count("oauth", "authorization_code"), world.zoho_calls()), (1, 0), "{name}");
        assert_eq!(world.grant("books")["data_center"], Value::Null, "{name}");
    }
}

#[tokio::test]
async fn a_replaced_refresh_token_is_revoked_only_where_that_ends_it_alone() {
    // At the others the revocation is there and would end the new grant too.
    for (provider, revoked) in [("salesforce", true), ("google", false), ("xero", false), ("box", false)] {
        let world = at(provider).await;
        consent(&world).await;
        let first = world.refresh_token("books").expect("a refresh token");
        world.advance_minutes(1);
        assert_eq!(title(&consent(&world).await), "Connected", "{provider}");
        let second = world.refresh_token("books").expect("a refresh token");
        assert_eq!(world.oauth().refresh_token_lives(&first), !revoked, "{provider}");
        assert!(first != second && world.oauth().refresh_token_lives(&second), "{provider}");
        assert_eq!(world.faults.count("oauth", "revoke"), usize::from(revoked), "{provider}");
    }
    for endpoint in [true, false] {
        let world = World::new().await;
        if !endpoint {
            world.store_corp(&json!({"revocation_endpoint": null}));
        }
        settings(&world, |settings| settings.revocation = Some(Ends::Token));
        consent(&world).await;
        let first = world.refresh_token("books").expect("a refresh token");
        world.advance_minutes(1);
        consent(&world).await;
        assert_eq!(world.oauth().refresh_token_lives(&first), !endpoint, "a custom server, {endpoint}");
    }
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_is_never_revoked() {
    let world = at("hubspot").await;
    consent(&world).await;
    let stored = world.refresh_token("books").expect("a refresh token");
    for account in [600_000_434, 600_000_435] {
        let again = json!({"access_token": format!("at{account}"), "refresh_token": stored, "expires_in": 1800, "hub_id": account});
        let again = testkit::zoho::answers::status(200, &again);
        world.faults.add(Rule::on("oauth", "authorization_code").times(1), Fault::Respond(again));
        world.advance_minutes(1);
        assert_eq!(title(&consent(&world).await), "Connected", "{account}");
        assert_eq!(world.faults.count("oauth", "revoke"), 0, "{account}");
        assert!(world.oauth().refresh_token_lives(&stored));
    }
}

#[tokio::test]
async fn a_grant_that_cannot_be_stored_is_handed_back_only_where_that_ends_it_alone() {
    for (provider, revoked) in [("hubspot", true), ("xero", false)] {
        let world = at(provider).await;
        let link = world.link_of_corp("books", false);
        let refusal = testkit::aws::error("AccessDeniedException", "not you");
        world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), Fault::Respond(refusal));
        let page = Browser::default().consent(&world, &link).await;
        assert_eq!(title(&page), "Out of order", "{provider}");
        assert!(!page.body.contains("Zoho"), "{}", page.body);
        assert_eq!(page.body.contains("It was handed back to HubSpot."), revoked, "{}", page.body);
        assert_eq!(world.faults.count("oauth", "revoke"), usize::from(revoked), "{provider}");
        assert_eq!(world.oauth().refresh_tokens().len(), usize::from(!revoked), "{provider}");
        nothing_stored(&world);
    }
}

#[tokio::test]
async fn a_code_is_good_once() {
    let world = at("xero").await;
    let browser = Browser::default();
    let question = browser.begin(&world, &world.link_of_corp("books", false)).await;
    let callback = browser.decide(&question, "accept").await;
    assert_eq!(title(&browser.open(&world, &callback).await), "Connected");
    let grant = world.grant("books");
    assert_eq!(title(&browser.open(&world, &callback).await), "Already connected");
    // Another link's state with the code of the first.
    world.advance_minutes(1);
    let question = browser.begin(&world, &world.link_of_corp("books", false)).await;
    let other = browser.decide(&question, "accept").await;
    let code = url::Url::parse(&callback).expect("a URL");
    let code = code.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
    let page = browser.open(&world, &with_parameter(&other, "code", Some(&code))).await;
    assert_eq!((page.status, title(&page)), (400, "The code is too old"));
    assert!(page.body.contains("Xero did not accept its own answer") && !page.body.contains("Zoho"), "{}", page.body);
    assert_eq!(world.grant("books"), grant);
}

#[tokio::test]
async fn the_end_of_the_refresh_token_is_stored_as_the_answer_or_the_table_says() {
    let day = |days: i64| {
        let start: Timestamp = "2026-11-21T00:00:00Z".parse().expect("a time");
        json!(start + SignedDuration::from_hours(24 * days))
    };
    let check = async |provider: &str, said: Option<Value>, end: Value| {
        let world = at(provider).await;
        settings(&world, |settings| {
            settings.expiry_field = None;
            if let Some(Value::Object(fields)) = &said {
                settings.answer.extend(fields.clone());
            }
        });
        assert_eq!(title(&consent(&world).await), "Connected", "{provider}");
        assert_eq!(world.grant("books")["refresh_token_expires_at"], end, "{provider}, {said:?}");
    };
    check("github", Some(json!({"refresh_token_expires_in": 86_400})), day(1)).await;
    check("github", Some(json!({"refresh_token_expires_in": "86400"})), day(1)).await;
    check("github", Some(json!({"refresh_token_expires_in": -1})), day(184)).await;
    check("github", None, day(184)).await;
    check("box", Some(json!({"refresh_token_expires_in": 86_400})), day(60)).await;
    check("quickbooks", Some(json!({"x_refresh_token_expires_in": 8_726_400})), day(101)).await;
    check("quickbooks", None, day(100)).await;
    check("atlassian", None, day(365)).await;
    check("xero", None, Value::Null).await;
    check("dropbox", None, Value::Null).await;
}

#[tokio::test]
async fn every_provider_of_the_table_with_an_authorization_endpoint_connects_and_connects_again() {
    for provider in rows::NAMES.into_iter().filter(|name| !["amazon", "shopify"].contains(name)) {
        let world = at(provider).await;
        for _ in 0..2 {
            let page = consent(&world).await;
            assert_eq!(title(&page), "Connected", "{provider}: {}", page.body);
            assert!(!page.body.contains("Zoho"), "{provider}: {}", page.body);
            assert_eq!(world.field("books", "provider"), provider);
            assert!(world.token_lives("books"), "{provider}");
            world.advance_minutes(1);
        }
    }
}

#[tokio::test]
async fn a_provider_without_an_authorization_endpoint_has_no_links() {
    for (provider, more) in [("amazon", json!({})), ("shopify", json!({"tenant": "acme.myshopify.com"}))] {
        let world = World::new().await;
        let mut fields = json!({"authorization_endpoint": null});
        fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        play(&world, provider, &fields);
        let page = Browser::default().open(&world, &world.link_of_corp("books", false)).await;
        assert_eq!((page.status, title(&page)), (502, "Not set up completely"), "{provider}");
        assert!(page.body.contains("are not made with a link"), "{}", page.body);
    }
}

#[tokio::test]
async fn a_link_ends_when_its_client_goes_to_another_provider() {
    let world = at("xero").await;
    let browser = Browser::default();
    let link = world.link_of_corp("books", false);
    let callback = browser.decide(&browser.begin(&world, &link).await, "accept").await;
    play(&world, "hubspot", &json!({}));
    assert_eq!(title(&browser.open(&world, &callback).await), "This link is out of date");
    assert_eq!(title(&browser.open(&world, &link).await), "This link is out of date");
    let zoho = world.link_with("books", Asked { data_center: "eu", ..Asked::default() });
    assert_eq!(title(&browser.open(&world, &zoho).await), "This link is out of date");
    assert_eq!(world.faults.count("oauth", "authorization_code"), 0, "no code of one goes to the other");
}

#[tokio::test]
async fn a_client_of_another_provider_whose_secret_is_wrong_stops_a_consent_before_it_begins() {
    let world = at("xero").await;
    for (fields, words) in [
        (json!({"provider": "acme"}), "acme"),
        (json!({"tenant": "acme"}), "tenant"),
        (json!({"client_secret": null}), "client_secret"),
        (json!({"token_endpoint": "http://login.example.com/token"}), "token_endpoint"),
    ] {
        let link = {
            play(&world, "xero", &json!({}));
            world.link_of_corp("books", false)
        };
        let mut client = json!({"provider": "xero", "issuer": null, "revocation_endpoint": null});
        client.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        world.store_corp(&client);
        let page = Browser::default().open(&world, &link).await;
        assert_eq!((page.status, title(&page)), (502, "Not set up completely"), "{fields}");
        assert!(words == "acme" || page.body.contains(words), "{fields}: {}", page.body);
        assert!(!page.body.contains("login.example.com"), "{}", page.body);
    }
}

#[tokio::test]
async fn what_the_provider_refuses_stops_a_consent_with_its_name() {
    let world = at("xero").await;
    let decline = async |answer: &str| {
        let browser = Browser::default();
        let callback =
            browser.decide(&browser.begin(&world, &world.link_of_corp("books", false)).await, "refuse").await;
        browser.open(&world, &callback.replace("access_denied", answer)).await
    };
    let page = decline("access_denied").await;
    assert!(title(&page) == "Not connected" && page.body.contains("Xero says that access"), "{}", page.body);
    let page = decline("invalid_scope").await;
    assert!(title(&page) == "Xero refuses a scope" && page.body.contains(CORP_SCOPE), "{}", page.body);
    let page = decline("server_error").await;
    assert_eq!(title(&page), "Xero reported an error");
    assert!(page.body.contains("redirect URI at Xero may be wrong"), "{}", page.body);
    settings(&world, |settings| settings.offline = testkit::oauth::Offline::Never);
    let page = consent(&world).await;
    assert_eq!(title(&page), "Xero gave no lasting access");
    assert!(!page.body.contains("Zoho"), "{}", page.body);
    nothing_stored(&world);
    world.advance_minutes(11);
    world.store_corp(&json!({"provider": "custom"}));
    settings(&world, |settings| *settings = Settings { rotation: Rotation::Always, ..Settings::default() });
    world.faults.add(Rule::on("oauth", "authorization_code"), Fault::Respond(testkit::aws::server_error()));
    assert_eq!(title(&consent(&world).await), "The provider is out of order");
}

#[tokio::test]
async fn a_code_of_two_kilobytes_is_taken() {
    let world = at("entra").await;
    let answer = json!({"access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "expires_in": 3600});
    world
        .faults
        .add(Rule::on("oauth", "authorization_code"), Fault::Respond(testkit::zoho::answers::status(200, &answer)));
    let browser = Browser::default();
    let callback = browser.decide(&browser.begin(&world, &world.link_of_corp("books", false)).await, "accept").await;
    let page = browser.open(&world, &with_parameter(&callback, "code", Some(&"c".repeat(2048)))).await;
    assert_eq!(title(&page), "Connected");
}

#[tokio::test]
async fn a_link_outlives_the_refreshes_of_the_grant_before_and_still_works_once() {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.connect_corp("books");
    world.run().await;
    let (early, late) = (world.link_of_corp("books", false), {
        world.advance_minutes(30);
        world.run().await;
        world.link_of_corp("books", false)
    });
    world.advance_minutes(25);
    assert_eq!(world.run().await["refreshed"], 1);
    let page = Browser::default().consent(&world, &early).await;
    assert_eq!(title(&page), "Connected");
    for spent in [&early, &late] {
        let page = Browser::default().open(&world, spent).await;
        assert_eq!((page.status, title(&page)), (409, "Already connected"));
    }
    let stored = world.refresh_token("books").expect("a refresh token");
    assert!(world.oauth().refresh_token_lives(&stored) && world.token_lives("books"));
    assert_eq!(world.grant("books")["link_version"], Value::Null);
}

#[tokio::test]
async fn a_refresh_during_a_consent_does_not_cost_the_consent() {
    for stale in [false, true] {
        let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
        settings(&world, |settings| settings.revocation = Some(Ends::Token));
        let first = world.connect_corp("books");
        let hold = testkit::wire::Hold::default();
        world.faults.add(Rule::on("oauth", "authorization_code"), Fault::Hold(hold.clone()));
        let link = world.link_of_corp("books", false);
        let browser = Browser::default();
        let (page, ()) = tokio::join!(browser.consent(&world, &link), async {
            hold.reached().await;
            assert_eq!(world.run().await["refreshed"], 1);
            if stale {
                // From now on Secrets Manager answers what the refresh has stored.
                world.aws.hold_back_secret(&grant_name("books"));
            }
            hold.release();
        });
        assert_eq!(title(&page), "Connected");
        world.aws.release(&grant_name("books"));
        let stored = world.refresh_token("books").expect("a refresh token");
        assert!(world.token_lives("books"));
        assert_ne!(stored, first);
        assert_eq!(world.oauth().refresh_tokens(), [stored], "what the refresh has stored is revoked");
        assert!(world.notices("books")[0].contains("has a new consent"), "{:?}", world.notices("books"));
        assert_eq!(world.run().await["fresh"], 1);
    }
}

#[tokio::test]
async fn an_import_during_a_consent_is_no_refresh_so_the_import_wins() {
    for provider in ["oauth", "zoho"] {
        let world = World::new().await;
        let (name, import): (_, &dyn Fn() -> String) = match provider {
            "zoho" => ("crm", &|| world.connect("crm")),
            _ => ("books", &|| world.connect_corp("books")),
        };
        import();
        let hold = testkit::wire::Hold::default();
        world.faults.add(Rule::on(provider, "authorization_code"), Fault::Hold(hold.clone()));
        let link = if name == "crm" { world.link("crm") } else { world.link_of_corp("books", false) };
        let browser = Browser::default();
        let (page, imported) = tokio::join!(browser.consent(&world, &link), async {
            hold.reached().await;
            let imported = import();
            hold.release();
            imported
        });
        assert_ne!(title(&page), "Connected", "{provider}");
        assert_eq!(world.refresh_token(name), Some(imported), "{provider}");
    }
}
