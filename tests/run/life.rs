//! The life of a token: minted, kept fresh, refused, recovered. Each test is a story, seen by
//! programs that read the token.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use testkit::wire::{Fault, Rule};
use testkit::zoho::{CountedPer, answers};
use token_keeper::run::brake::Brakes;

use crate::line;
use testkit::world::{World, grant_name, lease_name};

#[tokio::test]
async fn a_new_grant_becomes_a_lease_with_everything_that_a_program_needs() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    let report = world.run().await;
    assert_eq!(report["refreshed"], 1);
    assert_eq!(line(&report, "crm-prod")["expires_at"], "2026-11-21T01:00:00Z");
    assert_eq!(world.zoho.mints(&refresh_token), 1);
    let document = world.document("crm-prod").expect("a document");
    assert_eq!(
        document,
        json!({
            "schema": 1, "status": "active", "provider": "zoho", "access_token": document["access_token"], "token_type": "Zoho-oauthtoken",
            "expires_at": "2026-11-21T01:00:00Z", "issued_at": "2026-11-21T00:00:00Z",
            "api_domain": "https://www.zohoapis.eu", "data_center": "eu", "accounts_server": world.zoho.accounts("eu"),
            "scope": "ZohoCRM.modules.ALL", "grant_version": world.aws.secret_version(&grant_name("crm-prod")),
        })
    );
    assert!(world.token_lives("crm-prod"));
    let parameter = world.aws.parameter(&lease_name("crm-prod")).expect("a parameter");
    assert_eq!((parameter.kind.as_str(), parameter.tier.as_str(), parameter.version), ("SecureString", "Standard", 1));
}

#[tokio::test]
async fn in_a_day_of_runs_readers_always_have_half_an_hour() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    world.run().await;
    for _ in 0..96 {
        world.advance_minutes(15);
        let before = world.field("crm-prod", "expires_at").as_str().map(str::parse::<jiff::Timestamp>);
        let left = before.expect("an expiry").expect("a time").duration_since(world.clock.now());
        assert!(left.as_secs() >= 1800, "{left:?} left for a reader just before the run");
        let report = world.run().await;
        assert!(report["min_remaining_s"].as_i64().expect("a number") > 2100);
        assert!(world.token_lives("crm-prod"));
    }
    assert_eq!(world.zoho.mints(&refresh_token), 49, "once every half hour");
    assert_eq!(world.zoho.refresh_tokens(), [refresh_token]);
}

#[tokio::test]
async fn a_run_with_nothing_due_does_not_ask_zoho_and_writes_nothing() {
    let world = World::new().await;
    for number in 0..25 {
        world.connect(&format!("crm-{number}"));
    }
    world.run().await;
    world.faults.forget_calls();
    let report = world.run().await;
    assert_eq!((report["connections"].as_i64(), report["fresh"].as_i64()), (Some(25), Some(25)));
    assert_eq!(report["outcomes"], json!([]));
    assert_eq!((world.zoho_calls(), world.puts()), (0, 0));
    assert_eq!(world.faults.count("secretsmanager", "BatchGetSecretValue"), 2, "26 secrets, 20 a page");
    assert_eq!(world.faults.count("ssm", "GetParametersByPath"), 3, "25 parameters, 10 a page");
    assert_eq!(world.faults.calls().len(), 5);
}

#[tokio::test]
async fn a_dead_grant_gets_one_request_and_the_next_run_uses_a_new_one() {
    let world = World::new().await;
    let dead = world.connect("crm-prod");
    world.connect("books");
    world.run().await;
    let last_token = world.field("crm-prod", "access_token");
    world.zoho.kill(&dead);
    world.advance_minutes(30);
    world.faults.forget_calls();
    for _ in 0..4 {
        let report = world.run().await;
        assert_eq!(report["consent_required"], json!(["crm-prod"]));
        assert_eq!(line(&report, "crm-prod")["error"], "invalid_code");
        let left = report["min_remaining_s"].as_i64().expect("a number");
        assert!(left > 2100, "{left} s: the dead one does not hide how the others are");
        assert!(
            line(&report, "crm-prod")["remedy"]
                .as_str()
                .is_some_and(|remedy| remedy.contains("token-keeper connect crm-prod"))
        );
        world.advance_minutes(15);
    }
    let asked_for_dead = world.faults.calls().into_iter().filter(|call| call.subject == dead).count();
    assert_eq!(asked_for_dead, 1);
    assert_eq!(world.field("crm-prod", "status"), "consent_required");
    assert_eq!(world.field("crm-prod", "error"), "invalid_code");
    assert_eq!(world.field("crm-prod", "since"), "2026-11-21T00:30:00Z");
    assert_eq!(world.field("crm-prod", "retry_after"), Value::Null);
    assert_eq!(world.field("crm-prod", "access_token"), last_token, "the last token stays for its time");
    assert!(world.aws.secret(&grant_name("crm-prod")).is_some_and(|grant| grant.contains(&dead)), "nothing is deleted");
    assert!(world.token_lives("books"));

    world.connect("crm-prod");
    let report = world.run().await;
    assert_eq!((report["recovered"].clone(), report["consent_required"].clone()), (json!(["crm-prod"]), json!([])));
    assert_eq!(world.field("crm-prod", "status"), "active");
    assert_eq!(world.field("crm-prod", "error"), Value::Null);
    assert!(world.token_lives("crm-prod"));
    assert_eq!(world.run().await["recovered"], json!([]), "reported once");
}

#[tokio::test]
async fn a_grant_that_was_replaced_during_the_run_is_not_called_dead() {
    let world = World::new().await;
    let old = world.connect("crm-prod");
    world.zoho.kill(&old);
    let new = world.zoho.consent("eu", testkit::world::CLIENT_ID, &["ZohoCRM.modules.ALL"]);
    // The refresher has listed the old grant. When Zoho refuses it, the operator has already stored
    // a new one.
    let mut stale: Value =
        serde_json::from_str(&world.aws.secret(&grant_name("crm-prod")).expect("a secret")).expect("JSON");
    let listing = json!({"SecretValues": [
        {"Name": grant_name("crm-prod"), "VersionId": "stale-version", "SecretString": stale.to_string()},
        {"Name": "token-keeper/clients/acme", "VersionId": "v",
         "SecretString": world.aws.secret("token-keeper/clients/acme").expect("a client")},
    ]});
    world.faults.add(
        Rule::on("secretsmanager", "BatchGetSecretValue").times(1),
        Fault::Respond(answers::status(200, &listing)),
    );
    stale["refresh_token"] = json!(new);
    let version = world.store("crm-prod", &stale);
    let report = world.run().await;
    assert_eq!((report["refreshed"].clone(), report["consent_required"].clone()), (json!(1), json!([])));
    assert_eq!(world.field("crm-prod", "grant_version"), version);
    assert_eq!((world.zoho.mints(&old), world.zoho.mints(&new)), (0, 1));
}

#[tokio::test]
async fn a_grant_is_not_called_dead_while_its_secret_cannot_be_read_again() {
    let world = World::new().await;
    let dead = world.connect("crm-prod");
    world.zoho.kill(&dead);
    world.faults.add(
        Rule::on("secretsmanager", "BatchGetSecretValue").after(1),
        Fault::Respond(testkit::aws::error("AccessDeniedException", "not now")),
    );
    let report = world.run().await;
    assert_eq!((report["failed"].clone(), report["consent_required"].clone()), (json!(["crm-prod"]), json!([])));
    assert_eq!(world.document("crm-prod"), None);
    world.faults.clear();
    assert_eq!(world.run().await["consent_required"], json!(["crm-prod"]));
}

#[tokio::test]
async fn a_throttled_connection_is_left_alone_until_its_pause_ends() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    world.run().await;
    world.advance_minutes(30);
    // The published times have whole seconds all the same.
    world.clock.advance(SignedDuration::from_millis(250));
    world.faults.add(Rule::on("zoho", "refresh_token").times(2), Fault::Respond(answers::throttled_translated()));
    world.faults.forget_calls();
    let asked = |expected: usize| assert_eq!(world.faults.count("zoho", "refresh_token"), expected);

    let report = world.run().await;
    assert_eq!(report["throttled"], json!(["crm-prod"]));
    assert_eq!(world.field("crm-prod", "status"), "throttled");
    assert_eq!(world.field("crm-prod", "retry_after"), "2026-11-21T00:41:00Z");
    assert!(world.token_lives("crm-prod"), "readers still have their token");
    asked(1);
    world.advance_minutes(10);
    let forced = world.send(json!({"connections": ["crm-prod"], "force": true})).await.expect("a report");
    assert_eq!(forced["throttled"], json!(["crm-prod"]), "force does not break a pause");
    asked(1);

    world.advance_minutes(1);
    world.run().await;
    asked(2);
    assert_eq!(world.field("crm-prod", "since"), "2026-11-21T00:30:00Z", "still the same trouble");
    assert_eq!(world.field("crm-prod", "retry_after"), "2026-11-21T00:52:00Z");

    world.advance_minutes(11);
    let report = world.run().await;
    asked(3);
    assert_eq!(
        (report["refreshed"].clone(), report["recovered"].clone()),
        (json!(1), json!([])),
        "no operator had to help"
    );
    assert_eq!(world.field("crm-prod", "status"), "active");
    assert_eq!(world.zoho.mints(&refresh_token), 2);
}

#[tokio::test]
async fn a_new_grant_ends_a_pause() {
    let world = World::new().await;
    world.connect("crm-prod");
    world.faults.add(Rule::on("zoho", "refresh_token").times(1), Fault::Respond(answers::throttled()));
    assert_eq!(world.run().await["throttled"], json!(["crm-prod"]));
    world.connect("crm-prod");
    assert_eq!(world.run().await["refreshed"], 1);
}

#[tokio::test]
async fn after_zoho_throttles_a_whole_client_the_run_stops_asking_for_it() {
    let mut world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "1")]).await;
    world.zoho.settings(|settings| settings.counted_per = CountedPer::Client);
    for number in 10..40 {
        world.connect(&format!("crm-{number}"));
    }
    // The run has so little time that it does not wait for its brake.
    let end = || Some(tokio::time::Instant::now() + Duration::from_secs(4));
    let report = world.send_until(json!({}), end()).await.expect("a report");
    assert_eq!(report["refreshed"], 10);
    assert_eq!(report["throttled"], json!(["crm-20", "crm-21", "crm-22"]));
    assert_eq!(report["deferred"].as_array().map(Vec::len), Some(17));
    assert_eq!(world.faults.count("zoho", "refresh_token"), 13);
    // The next runs do the rest, each in a new process.
    for _ in 0..3 {
        world.advance_minutes(15);
        world.refresher.brakes = Brakes::default();
        world.send_until(json!({}), end()).await.expect("a report");
    }
    assert!((10..40).all(|number| world.document(&format!("crm-{number}")).is_some()));
}

#[tokio::test]
async fn a_wrong_client_secret_is_misconfigured_and_tried_once_an_hour() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    world.run().await;
    world.zoho.change_secret(testkit::world::CLIENT_ID, "eu", "another");
    world.advance_minutes(30);
    world.faults.forget_calls();
    for quarter in 0..9 {
        let report = world.run().await;
        assert_eq!(report["misconfigured"], json!(["crm-prod"]), "quarter {quarter}");
        assert_eq!(line(&report, "crm-prod")["error"], "invalid_client");
        world.advance_minutes(15);
    }
    assert_eq!(world.faults.count("zoho", "refresh_token"), 3, "at once, after one hour, after two");
    assert_eq!(world.field("crm-prod", "status"), "misconfigured");
    assert_eq!(world.field("crm-prod", "since"), "2026-11-21T00:30:00Z");
    assert!(world.zoho.refresh_token_lives(&refresh_token), "a wrong secret is not a dead grant");

    let client = json!({"client_id": testkit::world::CLIENT_ID, "client_secret": "another"});
    world.aws.put_secret("token-keeper/clients/acme", &client.to_string());
    let report = world.send(json!({"connections": ["crm-prod"], "force": true})).await.expect("a report");
    assert_eq!((report["refreshed"].clone(), report["recovered"].clone()), (json!(1), json!(["crm-prod"])));
    assert!(world.token_lives("crm-prod"));
}

#[tokio::test]
async fn passing_faults_change_nothing_and_are_tried_once_more_in_the_run() {
    let check = async |fault: Fault, requests: usize, refreshed: i64| {
        let world = World::new().await;
        let refresh_token = world.connect("crm-prod");
        world.run().await;
        let before = world.document("crm-prod");
        world.advance_minutes(30);
        world.faults.forget_calls();
        world.faults.add(Rule::on("zoho", "refresh_token").times(if refreshed > 0 { 1 } else { 9 }), fault.clone());
        let report = world.run().await;
        assert_eq!(world.faults.count("zoho", "refresh_token"), requests, "{fault:?}");
        assert_eq!(report["refreshed"], refreshed, "{fault:?}");
        if refreshed == 0 {
            assert_eq!(report["failed"], json!(["crm-prod"]), "{fault:?}");
            assert_eq!(world.document("crm-prod"), before, "{fault:?}");
            assert!(world.zoho.refresh_token_lives(&refresh_token));
        }
    };
    tokio::join!(
        check(Fault::Respond(answers::server_error("invalid_code")), 2, 0),
        check(Fault::Respond(answers::html()), 2, 1),
        check(Fault::Drop { handled: true }, 2, 1),
        check(Fault::Hang { handled: false }, 1, 0),
        check(Fault::Respond(answers::status(400, &json!({"error": "invalid_code"}))), 1, 0),
    );
}

#[tokio::test]
async fn an_answer_without_an_api_domain_keeps_the_last_known_one() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.api_domain = Some("https://sandbox.zohoapis.eu/".to_owned()));
    world.connect("crm-prod");
    world.run().await;
    assert_eq!(world.field("crm-prod", "api_domain"), "https://sandbox.zohoapis.eu");
    world.zoho.settings(|settings| settings.api_domain_on_refresh = false);
    world.advance_minutes(30);
    world.run().await;
    assert_eq!(world.field("crm-prod", "api_domain"), "https://sandbox.zohoapis.eu");
    assert_eq!(world.field("crm-prod", "issued_at"), "2026-11-21T00:30:00Z");
    // A grant without a lease uses the domain that the consent recorded, then the table's.
    let refresh_token = world.zoho.consent("eu", testkit::world::CLIENT_ID, &["A.b"]);
    world.store("recorded", &json!({"refresh_token": refresh_token, "api_domain": "https://recorded.example"}));
    world.connect("table");
    world.run().await;
    assert_eq!(world.field("recorded", "api_domain"), "https://recorded.example");
    assert_eq!(world.field("table", "api_domain"), "https://www.zohoapis.eu");
}

#[tokio::test]
async fn milliseconds_are_never_taken_for_seconds() {
    let world = World::new().await;
    world.zoho.settings(|settings| settings.expires_in_milliseconds = true);
    world.connect("crm-prod");
    world.run().await;
    assert_eq!(world.field("crm-prod", "expires_at"), "2026-11-21T01:00:00Z");
}

#[tokio::test]
async fn waiting_for_consent_is_not_a_failure() {
    let world = World::new().await;
    world.store("new", &json!({}));
    let report = world.run().await;
    assert_eq!(report["awaiting_consent"], 1);
    assert_eq!(report["min_remaining_s"], Value::Null, "it should not have a lease yet");
    assert_eq!((world.zoho_calls(), world.puts()), (0, 0));
}

#[tokio::test]
async fn with_plain_publishing_the_bare_token_is_written_first_and_the_document_last() {
    let world = World::with(&[("TOKEN_KEEPER_PUBLISH", "document,plain")]).await;
    world.connect("crm-prod");
    world.run().await;
    let plain = || world.aws.parameter("/token-keeper/access-tokens/crm-prod").expect("a parameter").value;
    assert_eq!(world.field("crm-prod", "access_token"), plain());
    let puts: Vec<_> = world.faults.calls().into_iter().filter(|call| call.operation == "PutParameter").collect();
    let names: Vec<_> = puts.iter().map(|call| call.subject.as_str()).collect();
    assert_eq!(names, ["/token-keeper/access-tokens/crm-prod", "/token-keeper/tokens/crm-prod"]);
    // If the first put is refused, there is no second: the document never promises a token that is
    // not there.
    world.aws.deny_put("/token-keeper/access-tokens/crm-prod");
    world.advance_minutes(30);
    let report = world.run().await;
    assert_eq!(report["failed"], json!(["crm-prod"]));
    assert_eq!(world.field("crm-prod", "issued_at"), "2026-11-21T00:00:00Z");
    assert_eq!(world.field("crm-prod", "access_token"), plain());
}

#[tokio::test]
async fn tier_and_key_follow_the_settings_and_advanced_parameters_have_an_expiration_policy() {
    let check = async |tier: &str, stored: &str, policy: Option<&str>| {
        let settings = [("TOKEN_KEEPER_TIER", tier), ("TOKEN_KEEPER_KMS_KEY_ID", "alias/tokens")];
        let world = World::with(&settings).await;
        world.connect("crm-prod");
        for _ in 0..2 {
            world.run().await;
            let parameter = world.aws.parameter(&lease_name("crm-prod")).expect("a parameter");
            assert_eq!(parameter.tier, stored);
            assert_eq!(parameter.key_id.as_deref(), Some("alias/tokens"));
            assert_eq!(parameter.policies.is_some(), policy.is_some(), "{:?}", parameter.policies);
            if let (Some(policies), Some(expected)) = (parameter.policies, policy) {
                assert!(policies.contains("Expiration") && policies.contains(expected), "{policies}");
            }
            world.advance_minutes(0);
        }
    };
    check("Standard", "Standard", None).await;
    check("Intelligent-Tiering", "Standard", None).await;
    check("Advanced", "Advanced", Some("2026-12-21T00:00:00Z")).await;
}

#[tokio::test]
async fn named_connections_are_read_by_name_and_force_mints_for_the_fresh_and_the_dead() {
    let world = World::new().await;
    let (crm, books) = (world.connect("crm-prod"), world.connect("books"));
    world.run().await;
    world.faults.forget_calls();
    let report = world.send(json!({"connections": ["crm-prod"]})).await.expect("a report");
    assert_eq!((report["connections"].clone(), report["fresh"].clone()), (json!(1), json!(1)));
    let report = world.send(json!({"connections": ["crm-prod", "crm-prod"], "force": true})).await.expect("a report");
    assert_eq!(report["refreshed"], 1, "named twice, minted once");
    assert_eq!((world.zoho.mints(&crm), world.zoho.mints(&books)), (2, 1));
    assert_eq!(world.faults.count("ssm", "GetParametersByPath"), 0);

    world.zoho.kill(&crm);
    world.advance_minutes(60);
    world.run().await;
    let asked = world.faults.count("zoho", "refresh_token");
    let report = world.send(json!({"connections": ["crm-prod"], "force": true})).await.expect("a report");
    assert_eq!(report["consent_required"], json!(["crm-prod"]));
    assert_eq!(world.faults.count("zoho", "refresh_token"), asked + 1);
}

#[tokio::test]
async fn the_shortest_life_in_a_report_counts_every_connection_that_should_have_a_lease() {
    let world = World::new().await;
    world.connect("healthy");
    world.run().await;
    world.advance_minutes(10);
    assert_eq!(world.run().await["min_remaining_s"], 3000);
    world.store("waiting", &json!({}));
    assert_eq!(world.run().await["min_remaining_s"], 3000);
    world.store("broken", &json!({"data_center": "mars", "refresh_token": "r"}));
    assert_eq!(world.run().await["min_remaining_s"], 0, "one that should have a lease has none");
}
