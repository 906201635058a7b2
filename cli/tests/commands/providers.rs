//! Providers: what the table shows, and what is known of one.

use serde_json::{Value, json};
use testkit::world::World;

use crate::typed::{Typed, run, type_in};

#[tokio::test]
async fn the_table_says_of_each_provider_what_rotates_and_how_long_things_live() {
    let world = World::new().await;
    let console = Typed::default();
    run(&world, "providers", &console).await.expect("shown");
    let shown = console.shown.into_inner();
    let cells = |name: &str| -> String {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {shown}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(cells("google"), "google Google never – 60 min 180 days unused Bearer");
    assert_eq!(cells("xero"), "xero Xero always for 30 minutes 30 min 60 days unused Bearer");
    assert_eq!(
        cells("quickbooks"),
        "quickbooks QuickBooks sometimes kills 60 min 100 days each, 1825 days in all Bearer"
    );
    assert_eq!(cells("amazon"), "amazon Amazon SP-API never – 60 min 365 days in all x-amz-access-token");
    assert_eq!(cells("custom"), "custom any other server always kills as it says no end known Bearer");
    assert_eq!(shown.lines().take_while(|line| !line.is_empty()).count(), 17, "16 rows and the headings");
    assert!(shown.contains("was not tried against them"), "{shown}");
    assert_eq!(world.faults.calls().len(), 0, "it asks nobody");
}

#[tokio::test]
async fn one_provider_is_shown_with_everything_that_an_operator_has_to_know() {
    let world = World::new().await;
    let console = Typed::default();
    run(&world, "providers quickbooks", &console).await.expect("shown");
    let shown = console.shown.into_inner();
    for part in [
        "RotatingProviders              needed",
        "https://appcenter.intuit.com/connect/oauth2",
        "none; nothing is revoked",
        "realmId (callback, needed, says whose account it is; 10 to 19 digits)",
        "400 invalid_grant \"Incorrect or invalid refresh token\"",
        "authorization_endpoint, token_endpoint",
        "so it counts as ended",
        "not tried against the live provider",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let console = Typed::default();
    run(&world, "providers entra --json", &console).await.expect("shown");
    let answer: Value = serde_json::from_str(&console.shown.into_inner()).expect("one object");
    let row = &answer["providers"][0];
    assert_eq!(
        (&row["provider"], &row["reuse"], &row["tenant"]),
        (&json!("entra"), &json!("tolerated"), &json!("organizations"))
    );
    assert_eq!(row["fields"], json!(["tenant", "authorization_endpoint", "token_endpoint"]));
    let unknown = type_in(&world, "providers xerro", "").await.expect_err("no such row");
    assert!(
        unknown.starts_with("the table has no provider \"xerro\"\n  -> choose one of google, hubspot, "),
        "{unknown}"
    );
    for (typed, remedy) in [("microsoft", "token-keeper providers entra"), ("zoho", "without --provider is Zoho's")] {
        let unknown = type_in(&world, &format!("providers {typed}"), "").await.expect_err("no such row");
        assert!(unknown.ends_with(remedy), "{unknown}");
    }
}
