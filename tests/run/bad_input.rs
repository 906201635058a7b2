//! Mistakes that operators and AWS can make. Each becomes the outcome of one connection: it names
//! the secret or parameter, what is wrong, and the remedy. All other connections proceed.

use serde_json::{Value, json};
use testkit::wire::{Fault, Rule};

use crate::line;
use testkit::world::{World, grant_name, lease_name};

/// Spoils a connection named `bad` beside a healthy one, and checks the outcome of `bad`.
async fn check(arrange: impl Fn(&World), outcome: &str, error: &str, remedy: &str) {
    let world = World::new().await;
    world.connect("healthy");
    world.connect("bad");
    arrange(&world);
    let before = world.aws.parameter(&lease_name("bad")).map(|parameter| parameter.value);
    let report = world.run().await;
    let line = line(&report, "bad");
    assert_eq!(line["outcome"], outcome, "{line}");
    assert_eq!(report[outcome], json!(["bad"]));
    for (field, wanted) in [("error", error), ("remedy", remedy)] {
        assert!(line[field].as_str().is_some_and(|text| text.contains(wanted)), "{wanted} is not in {line}");
    }
    assert!(world.token_lives("healthy"), "the others proceed");
    assert_eq!(world.faults.count("zoho", "refresh_token"), 1, "nothing is sent for the bad one");
    assert_eq!(world.aws.parameter(&lease_name("bad")).map(|parameter| parameter.value), before, "nothing is changed");
    // The same if the run names the connection.
    let report = world.send(json!({"connections": ["bad"]})).await.expect("a report");
    assert_eq!(report[outcome], json!(["bad"]));
}

#[tokio::test]
async fn a_secret_that_is_no_grant() {
    let secret = |text: &str| {
        let text = text.to_owned();
        move |world: &World| drop(world.aws.put_secret(&grant_name("bad"), &text))
    };
    let name = "secret token-keeper/connections/bad: ";
    let check = async |text: &str, error: &str, remedy: &str| {
        check(secret(text), "misconfigured", &format!("{name}{error}"), remedy).await;
    };
    check("refresh me", "not JSON", "store one JSON object").await;
    check("[]", "not a JSON object", "store one JSON object").await;
    check(r#"{"client":"acme"}"#, "the field `data_center` is missing", "put a value into `data_center`").await;
    check(r#"{"client":"","data_center":"eu"}"#, "the field `client` is empty", "put a value into `client`").await;
    check(r#"{"client":["acme"],"data_center":"eu"}"#, "the field `client` is not a string", "make `client` a string")
        .await;
    check(
        r#"{"client":"acme","data_center":"mars"}"#,
        "the data centre is not one of ae, au",
        "TOKEN_KEEPER_DATA_CENTERS",
    )
    .await;
    check(r#"{"client":"acme","client":"acme","data_center":"eu"}"#, "a field occurs twice", "each field once").await;
}

#[tokio::test]
async fn a_client_that_is_missing_or_broken() {
    let grant = |client: &'static str| move |world: &World| drop(world.store("bad", &json!({"client": client})));
    let nobody = "secret token-keeper/clients/nobody: there is no secret of this name";
    check(grant("nobody"), "misconfigured", nobody, "create it").await;
    let broken = |text: &'static str| {
        move |world: &World| {
            world.store("bad", &json!({"client": "other"}));
            world.aws.put_secret("token-keeper/clients/other", text);
        }
    };
    let name = "secret token-keeper/clients/other: ";
    check(broken("{}"), "misconfigured", &format!("{name}the field `client_id` is missing"), "put a value").await;
    check(
        broken(r#"{"client_id":"1000.X","client_secrets":{"us":"s"}}"#),
        "misconfigured",
        &format!("{name}it has no client secret for the data centre eu"),
        "add `client_secrets.eu`",
    )
    .await;
}

#[tokio::test]
async fn a_secret_that_aws_does_not_hand_out() {
    let name = "secret token-keeper/connections/bad: ";
    check(
        |world| world.aws.deny_secret(&grant_name("bad")),
        "misconfigured",
        &format!("{name}access denied"),
        "allow the role or user that ran this to read it",
    )
    .await;
    check(
        |world| world.aws.refuse_secret_key(&grant_name("bad")),
        "misconfigured",
        &format!("{name}its key refuses to decrypt it (DecryptionFailure)"),
        "kms:Decrypt",
    )
    .await;
    check(
        |world| drop(world.aws.put_binary_secret(&grant_name("bad"), b"\xff\xfe{}")),
        "misconfigured",
        &format!("{name}it is stored as binary"),
        "store it again as a string",
    )
    .await;
}

#[tokio::test]
async fn a_lease_document_that_is_not_ours_or_newer_or_unreadable_is_left_alone() {
    let parameter = |text: &'static str| move |world: &World| world.aws.put_parameter(&lease_name("bad"), text);
    let name = "parameter /token-keeper/tokens/bad: ";
    check(parameter("a token of ours"), "misconfigured", &format!("{name}it is not a lease document"), "left alone")
        .await;
    check(
        parameter(r#"{"access_token":"x"}"#),
        "misconfigured",
        &format!("{name}it is not a lease"),
        "remove the parameter",
    )
    .await;
    check(parameter(r#"{"schema":2}"#), "misconfigured", &format!("{name}it is a lease of schema 2"), "update").await;
    check(
        |world| {
            world.aws.put_parameter(&lease_name("bad"), "sealed");
            world.aws.refuse_parameter_key(&lease_name("bad"));
        },
        "misconfigured",
        &format!("{name}its key refuses to decrypt it"),
        "kms:Decrypt",
    )
    .await;
}

#[tokio::test]
async fn a_secret_whose_name_breaks_the_rules_is_reported_under_that_name() {
    let world = World::new().await;
    world.connect("healthy");
    for name in ["Prod", "eu/crm", "-x"] {
        world.connect(name);
    }
    world.aws.put_secret("token-keeper/clients/Acme", "{}");
    let report = world.run().await;
    assert_eq!(report["misconfigured"], json!(["-x", "Prod", "eu/crm"]));
    assert!(line(&report, "Prod")["error"].as_str().is_some_and(|error| error.contains("not of 'P'")));
    assert!(world.token_lives("healthy"));
}

#[tokio::test]
async fn a_run_says_that_a_named_connection_does_not_exist_or_is_deleted() {
    let world = World::new().await;
    world.connect("gone");
    world.aws.delete_secret(&grant_name("gone"));
    let report = world.send(json!({"connections": ["gone", "typo"]})).await.expect("a report");
    assert_eq!(report["misconfigured"], json!(["gone", "typo"]));
    assert!(line(&report, "gone")["error"].as_str().is_some_and(|error| error.contains("marked for deletion")));
    assert!(line(&report, "typo")["error"].as_str().is_some_and(|error| error.contains("no secret of this name")));
    assert_eq!(world.run().await["connections"], 0, "a scheduled run does not see what is deleted");
}

#[tokio::test]
async fn a_secret_of_64_kilobytes_is_worked_on() {
    let world = World::new().await;
    let refresh_token = world.connect("crm-prod");
    world.store("crm-prod", &json!({"refresh_token": refresh_token, "note": "x".repeat(65_000)}));
    assert_eq!(world.run().await["refreshed"], 1);
}

#[tokio::test]
async fn a_listing_continues_after_empty_pages() {
    let world = World::new().await;
    world.aws.empty_pages(true);
    for number in 0..45 {
        world.connect(&format!("crm-{number}"));
    }
    assert_eq!(world.run().await["refreshed"], 45);
    assert_eq!(world.run().await["fresh"], 45);
}

#[tokio::test]
async fn a_parameter_that_cannot_be_written_affects_only_its_own_connection() {
    let check = async |code: &str, remedy: &str| {
        let world = World::new().await;
        world.connect("healthy");
        world.connect("bad");
        let refusal = testkit::aws::error(code, "a sentence about the value that must not be repeated");
        world.faults.add(Rule::on("ssm", "PutParameter").about(&lease_name("bad")), Fault::Respond(refusal));
        let report = world.run().await;
        assert_eq!(report["failed"], json!(["bad"]), "{code}");
        let text = line(&report, "bad").to_string();
        assert!(text.contains("parameter /token-keeper/tokens/bad: ssm:PutParameter failed"), "{text}");
        assert!(text.contains(code) && text.contains(remedy), "{text}");
        assert_eq!(text.contains("must not be repeated"), code == "AccessDeniedException");
        assert!(world.token_lives("healthy"));
        world.faults.clear();
        assert_eq!(world.run().await["refreshed"], 1, "the next run makes it good");
    };
    check("AccessDeniedException", "allow ssm:PutParameter").await;
    check("ValidationException", "TOKEN_KEEPER_TIER").await;
    check("InvalidKeyId", "TOKEN_KEEPER_KMS_KEY_ID").await;
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_reported_and_tried_again() {
    let world = World::new().await;
    let dead = world.connect("bad");
    world.zoho.kill(&dead);
    world.aws.deny_put(&lease_name("bad"));
    let report = world.run().await;
    assert_eq!(report["failed"], json!(["bad"]));
    let error = line(&report, "bad")["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("consent_required") && error.contains("could not be updated"), "{error}");
}

#[tokio::test]
async fn a_run_waits_for_overlapping_updates_and_throttled_puts() {
    let world = World::new().await;
    world.connect("crm-prod");
    for code in ["TooManyUpdates", "ThrottlingException"] {
        let refusal = Fault::Respond(testkit::aws::error(code, "slow down"));
        world.faults.add(Rule::on("ssm", "PutParameter").times(1), refusal);
    }
    let report = world.run().await;
    assert_eq!((report["refreshed"].clone(), world.puts()), (json!(1), 3));
    assert_eq!(world.faults.count("zoho", "refresh_token"), 1, "what is minted is not minted again");
}

#[tokio::test]
async fn a_dropped_connection_to_aws_is_tried_again() {
    let world = World::new().await;
    world.connect("crm-prod");
    for service in ["secretsmanager", "ssm"] {
        world.faults.add(Rule::service(service).times(1), Fault::Drop { handled: false });
    }
    world.faults.add(Rule::on("ssm", "PutParameter").times(1), Fault::Drop { handled: true });
    assert_eq!(world.run().await["refreshed"], 1);
    assert_eq!(world.field("crm-prod", "status"), Value::from("active"));
}
