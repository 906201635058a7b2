//! Connections that ask for tokens with their self client's own id and secret: no consent, no
//! refresh token.

use serde_json::json;
use testkit::wire::{Fault, Rule};
use testkit::world::{World, grant_name};
use testkit::zoho::answers;

use crate::line;

const SELF_CLIENT: &str = "1000.SELF";

/// A self client `self`, and the connection `crm` that uses it.
async fn office() -> World {
    let world = World::new().await;
    world.zoho.register(SELF_CLIENT, &[], &[("eu", "hush")]);
    let client = json!({"client_id": SELF_CLIENT, "client_secret": "hush"});
    world.aws.put_secret("token-keeper/clients/self", &client.to_string());
    store(&world, &json!({}));
    world
}

fn store(world: &World, fields: &serde_json::Value) {
    let mut grant = json!({"client": "self", "data_center": "eu", "scopes": ["ZohoCRM.modules.ALL", "ZohoCRM.org.READ"],
        "grant_type": "client_credentials", "soid": "ZohoCRM.600000434"});
    for (field, value) in fields.as_object().expect("fields") {
        grant[field] = value.clone();
    }
    world.aws.put_secret(&grant_name("crm"), &grant.to_string());
}

#[tokio::test]
async fn its_document_is_as_any_other_and_stays_fresh_for_a_day() {
    let world = office().await;
    world.run().await;
    let document = world.document("crm").expect("a document");
    let expected = json!({"schema": 1, "status": "active", "provider": "zoho", "access_token": document["access_token"], "token_type": "Zoho-oauthtoken",
        "expires_at": "2026-11-21T01:00:00Z", "issued_at": "2026-11-21T00:00:00Z", "api_domain": "https://www.zohoapis.eu",
        "data_center": "eu", "accounts_server": world.zoho.accounts("eu"), "scope": "ZohoCRM.modules.ALL ZohoCRM.org.READ",
        "grant_version": world.aws.secret_version(&grant_name("crm"))});
    assert_eq!(document, expected);
    for _ in 0..96 {
        world.advance_minutes(15);
        let report = world.run().await;
        assert!(report["min_remaining_s"].as_i64() >= Some(1800) && world.token_lives("crm"), "{report}");
    }
    assert_eq!(world.zoho.mints(SELF_CLIENT), 49, "one for each half hour");
    assert_eq!((world.notices("crm").len(), world.faults.count("secretsmanager", "PutSecretValue")), (0, 0));
}

#[tokio::test]
async fn the_request_is_a_form_with_the_scopes_and_the_organisation() {
    let world = office().await;
    store(&world, &json!({"soid": null, "scopes": ["Desk.tickets.READ"]}));
    let report = world.run().await;
    assert_eq!(report["refreshed"], 1, "a service with one organisation needs no soid: {report}");
    assert_eq!(world.field("crm", "scope"), "Desk.tickets.READ");
}

#[tokio::test]
async fn a_missing_organisation_says_which_field_is_wanted_and_is_asked_for_once_an_hour() {
    let world = office().await;
    store(&world, &json!({"soid": null}));
    let report = world.run().await;
    let line = line(&report, "crm");
    assert_eq!((&line["outcome"], &line["error"]), (&json!("misconfigured"), &json!("missing_org_info")));
    let remedy = line["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("`soid`") && remedy.contains("ZohoCRM.600000434"), "{remedy}");
    for _ in 0..3 {
        world.advance_minutes(15);
        world.run().await;
    }
    assert_eq!(world.zoho_calls(), 1);
    store(&world, &json!({}));
    assert_eq!(world.run().await["refreshed"], 1, "with the organisation it resumes by itself");
}

#[tokio::test]
async fn nothing_that_zoho_answers_makes_it_await_a_consent() {
    for code in ["invalid_code", "invalid_grant", "invalid_client", "invalid_scope"] {
        let world = office().await;
        world.faults.add(Rule::on("zoho", "client_credentials"), Fault::Respond(answers::refusal(code)));
        let report = world.run().await;
        assert_eq!(report["misconfigured"], json!(["crm"]), "{code}: {report}");
        assert_eq!((world.field("crm", "status"), world.notices("crm").len()), (json!("misconfigured"), 0), "{code}");
    }
}

#[tokio::test]
async fn a_throttle_and_an_outage_pass_as_for_a_refresh_token() {
    let world = office().await;
    world.faults.add(Rule::on("zoho", "client_credentials").times(1), Fault::Respond(answers::throttled()));
    assert_eq!(world.run().await["throttled"], json!(["crm"]));
    world.advance_minutes(15);
    world
        .faults
        .add(Rule::on("zoho", "client_credentials").times(2), Fault::Respond(answers::server_error("invalid_client")));
    assert_eq!(world.run().await["failed"], json!(["crm"]));
    world.advance_minutes(15);
    assert_eq!(world.run().await["refreshed"], 1);
}

#[tokio::test]
async fn a_secret_that_says_both_or_something_unknown_sends_nothing() {
    for (fields, complaint) in [
        (json!({"refresh_token": "1000.r"}), "both `refresh_token` and the `grant_type` client_credentials are given"),
        (json!({"scopes": []}), "the field `scopes` is missing"),
        (json!({"soid": 600}), "the field `soid` is not a string"),
    ] {
        let world = office().await;
        store(&world, &fields);
        let report = world.run().await;
        let error = line(&report, "crm")["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.ends_with(complaint), "{fields}: {error}");
        assert_eq!(world.zoho_calls(), 0);
    }
}
