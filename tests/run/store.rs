//! Parameter Store refuses, or others write to it at the same time: on the wire, through the real
//! adapter.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::quota::Quotas;
use testkit::wire::{Fault, Rule};
use tokio::time::{Instant, sleep};

use crate::line;
use testkit::world::{World, grant_name, lease_name};

#[tokio::test]
async fn a_throttled_put_is_repeated_until_it_succeeds_and_its_token_is_not_lost() {
    let world = World::new().await;
    let tokens: Vec<_> = (0..60).map(|number| world.connect(&format!("crm-{number}"))).collect();
    world.aws.quotas(Quotas { puts_per_second: 40.0, put_burst: 1.0, ..Quotas::lifted() });
    for _ in 0..2 {
        let report = world.run().await;
        assert_eq!(
            (&report["refreshed"], &report["failed"], &report["deferred"]),
            (&json!(60), &json!([]), &json!([]))
        );
        world.advance_minutes(30);
    }
    assert!(tokens.iter().all(|token| world.zoho.mints(token) == 2));
    // Without a pace, the adapter asks again at once. The SDK alone allows a process a hundred such
    // retries.
    assert!(world.puts() > 120 + 100, "{} puts", world.puts());
}

#[tokio::test]
async fn throttled_reads_are_repeated_too() {
    let world = World::new().await;
    for number in 0..100 {
        world.connect(&format!("crm-{number}"));
    }
    world.run().await;
    world.aws.quotas(Quotas { reads_per_second: 20.0, ..Quotas::lifted() });
    for _ in 0..4 {
        assert_eq!(world.run().await["fresh"], 100);
    }
}

#[tokio::test]
async fn twelve_puts_take_as_long_as_three_a_second_allow() {
    let world = World::paced().await;
    let tokens: Vec<_> = (0..12).map(|number| world.connect(&format!("crm-{number}"))).collect();
    world.aws.quotas(Quotas::default());
    let start = Instant::now();
    let report = world.run().await;
    assert_eq!(report["refreshed"], 12);
    assert!(tokens.iter().all(|token| world.zoho.mints(token) == 1));
    assert!(start.elapsed() > Duration::from_secs(1), "twelve puts at once are more than the account takes");
    assert!(world.puts() < 18, "{} puts for twelve tokens", world.puts());
}

#[tokio::test]
async fn a_parameter_that_somebody_else_updates_delays_no_other_connection() {
    let world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "2")]).await;
    world.connect("busy");
    (0..20).for_each(|number| drop(world.connect(&format!("crm-{number}"))));
    let busy = Fault::Respond(testkit::aws::error("TooManyUpdates", "it is being updated"));
    world.faults.add(Rule::on("ssm", "PutParameter").about(&lease_name("busy")).times(2), busy);
    let report = world.run().await;
    assert_eq!((&report["refreshed"], &report["failed"]), (&json!(21), &json!([])));
    assert_eq!(world.puts(), 21 + 2);
}

#[tokio::test]
async fn in_a_full_account_connections_with_a_parameter_are_refreshed() {
    let world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "1")]).await;
    (0..20).for_each(|number| drop(world.connect(&format!("here-{number}"))));
    world.run().await;
    world.aws.parameter_limit(20);
    let new: Vec<_> = (0..20).map(|number| world.connect(&format!("new-{number}"))).collect();
    world.advance_minutes(30);
    // The run has so little time that it does not wait for its brake.
    let end = Instant::now() + Duration::from_secs(6);
    let report = world.send_until(json!({}), Some(end)).await.expect("a report");
    assert_eq!(report["refreshed"], 20);
    let lost: usize = new.iter().map(|token| world.zoho.mints(token)).sum();
    assert!(lost <= 3, "{lost} wasted tokens");
}

#[tokio::test]
async fn the_run_stops_minting_if_puts_are_refused_for_good() {
    let world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "4")]).await;
    let tokens: Vec<_> = (0..40).map(|number| world.connect(&format!("crm-{number:02}"))).collect();
    let refusal = testkit::aws::error("AccessDeniedException", "not authorized to perform ssm:PutParameter");
    world.faults.add(Rule::on("ssm", "PutParameter"), Fault::Respond(refusal));
    // The run has so little time that it does not wait for its brake.
    let end = Instant::now() + Duration::from_secs(4);
    let report = world.send_until(json!({}), Some(end)).await.expect("a report");
    let minted: usize = tokens.iter().map(|token| world.zoho.mints(token)).sum();
    assert!(minted <= 2 + 4, "{minted} wasted tokens");
    assert_eq!(report["failed"].as_array().map(Vec::len), Some(minted));
    assert_eq!(report["deferred"].as_array().map(Vec::len), Some(40 - minted));
    assert_eq!(line(&report, "crm-39")["error"], "Parameter Store refuses new parameters");
}

#[tokio::test]
async fn a_full_account_is_reported_and_connections_with_a_parameter_are_refreshed() {
    let world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "1")]).await;
    world.connect("here");
    world.run().await;
    world.aws.parameter_limit(1);
    world.connect("new");
    world.advance_minutes(30);
    let report = world.run().await;
    assert_eq!((&report["refreshed"], &report["failed"]), (&json!(1), &json!(["new"])));
    let reported = line(&report, "new").to_string();
    assert!(reported.contains("ParameterLimitExceeded") && reported.contains("Intelligent-Tiering"), "{reported}");
}

/// A connection with a token that is due. Calls are so slow that somebody else can act before they
/// are executed.
async fn slow(service: &'static str, operation: &str) -> (World, String) {
    let world = World::new().await;
    let refresh_token = world.connect("crm");
    world.run().await;
    world.advance_minutes(30);
    world.faults.add(Rule::on(service, operation), Fault::Delay(Duration::from_millis(200)));
    (world, refresh_token)
}

/// A consent that completes while a run waits: grant, lease, and the end of the old refresh token.
async fn consent_meanwhile(world: &World, old: &str) -> Value {
    sleep(Duration::from_millis(100)).await;
    world.connect("crm");
    let mut lease = world.document("crm").expect("a document");
    lease["grant_version"] = json!(world.aws.secret_version(&grant_name("crm")));
    lease["access_token"] = json!("1000.of-the-consent");
    lease["issued_at"] = json!(world.clock.now());
    lease["expires_at"] = json!("2026-11-21T01:30:00Z");
    world.aws.put_parameter(&lease_name("crm"), &lease.to_string());
    world.zoho.kill(old);
    lease
}

#[tokio::test]
async fn a_run_that_began_before_a_consent_does_not_leave_the_revoked_token_behind() {
    let (world, old) = slow("ssm", "PutParameter").await;
    let (report, lease) = tokio::join!(world.run(), consent_meanwhile(&world, &old));
    assert_eq!(report["refreshed"], 1);
    assert_eq!(world.document("crm"), Some(lease));
    assert_eq!(world.aws.parameter(&lease_name("crm")).expect("a parameter").version, 4, "written over, and put right");
}

#[tokio::test]
async fn a_refusal_that_comes_after_a_consent_does_not_mark_the_fresh_grant() {
    for (stale, first_seen) in [(false, false), (true, false), (true, true)] {
        let (world, old) = slow("zoho", "refresh_token").await;
        if stale {
            world.aws.hold_back_secret(&grant_name("crm"));
        }
        if first_seen {
            // The run begins just after the consent. It reads the new lease, but an old answer
            // about the grant.
            let lease = consent_meanwhile(&world, &old).await;
            world.run().await;
            assert_eq!(world.document("crm"), Some(lease));
            continue;
        }
        let (report, lease) = tokio::join!(world.run(), consent_meanwhile(&world, &old));
        let outcome = if stale { "failed" } else { "refreshed" };
        assert_eq!(line(&report, "crm")["outcome"], outcome, "stale: {stale}");
        assert_eq!(world.field("crm", "status"), "active", "stale: {stale}");
        assert_eq!(world.field("crm", "grant_version"), lease["grant_version"], "stale: {stale}");
        assert_eq!(world.notices("crm"), [""; 0], "stale: {stale}");
    }
}

#[tokio::test]
async fn a_run_that_sees_the_lease_of_a_consent_before_its_grant_looks_again_before_it_mints() {
    let (mut world, old) = slow("zoho", "refresh_token").await;
    world.refresher.settings.settling = Duration::from_millis(300);
    world.aws.hold_back_secret(&grant_name("crm"));
    let lease = consent_meanwhile(&world, &old).await;
    let seen_by_all = async {
        sleep(Duration::from_millis(150)).await;
        world.aws.release(&grant_name("crm"));
    };
    let before = world.zoho_calls();
    let (report, ()) = tokio::join!(world.run(), seen_by_all);
    assert_eq!((world.zoho_calls() - before, &report["fresh"]), (0, &json!(1)), "{report}");
    assert_eq!(world.document("crm"), Some(lease));
}

#[tokio::test]
async fn if_the_second_look_fails_nothing_is_asked_or_written_with_the_old_grant() {
    let (world, old) = slow("zoho", "refresh_token").await;
    world.aws.hold_back_secret(&grant_name("crm"));
    let lease = consent_meanwhile(&world, &old).await;
    world.faults.add(
        Rule::on("secretsmanager", "BatchGetSecretValue").about(&grant_name("crm")),
        Fault::Respond(testkit::aws::error("AccessDeniedException", "no")),
    );
    let before = (world.zoho_calls(), world.puts());
    let report = world.run().await;
    assert_eq!(line(&report, "crm")["outcome"], "failed", "{report}");
    assert_eq!((world.zoho_calls(), world.puts()), before);
    assert_eq!(world.document("crm"), Some(lease));
}

#[tokio::test]
async fn if_both_stores_read_old_values_the_write_reveals_it_and_the_fresh_lease_is_restored() {
    let (mut world, old) = slow("zoho", "refresh_token").await;
    world.refresher.settings.settling = Duration::from_millis(300);
    world.aws.hold_back_secret(&grant_name("crm"));
    world.aws.hold_back_parameter(&lease_name("crm"));
    // Reads are old until the grant is marked, some 500 ms after the start. They are current when
    // the write is checked.
    let marked = async {
        while world.puts() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        world.aws.release(&lease_name("crm"));
    };
    let (_, lease, ()) = tokio::join!(world.run(), consent_meanwhile(&world, &old), marked);
    assert_eq!(world.field("crm", "status"), "active");
    assert_eq!(world.field("crm", "grant_version"), lease["grant_version"]);
}

#[tokio::test]
async fn two_runs_of_one_grant_leave_the_newer_token() {
    let (world, _) = slow("ssm", "PutParameter").await;
    let other = async {
        sleep(Duration::from_millis(100)).await;
        let mut lease = world.document("crm").expect("a document");
        lease["access_token"] = json!("1000.newer");
        lease["issued_at"] = json!("2026-11-21T00:30:05Z");
        lease["expires_at"] = json!("2026-11-21T01:30:05Z");
        world.aws.put_parameter(&lease_name("crm"), &lease.to_string());
    };
    tokio::join!(world.run(), other);
    assert_eq!(world.field("crm", "access_token"), "1000.newer");
}
