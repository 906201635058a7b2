//! Refresh tokens that rotate: one redeemer for each, its successor stored, and no connection lost
//! but by a revocation, or by an answer that was lost where a second use kills.

use serde_json::{Value, json};
use testkit::oauth::{EndsAccessToken, Grace, Rotation, Stale};
use testkit::wire::{Fault, Rule};
use testkit::world::{World, grant_name};

use jiff::SignedDuration;

use crate::complaints::{batch, complaint};
use crate::line;

/// What a provider does with a refresh token that comes again: in words of a client's secret, and
/// as the server plays it.
const REUSE: [(&str, Grace); 4] = [
    ("kills", Grace::None),
    ("1800", Grace::For(SignedDuration::from_mins(30))),
    ("until_used", Grace::UntilUsed),
    ("tolerated", Grace::Always),
];

/// A world with one connection `corp` that is due, at a provider with this rule for a second use.
async fn rotating((reuse, grace): (&str, Grace)) -> (World, String) {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.oauth().settings(|settings| settings.grace = grace);
    world.store_corp(&json!({"reuse": reuse}));
    let first = world.connect_corp("corp");
    let report = world.run().await;
    assert_eq!(report["refreshed"], 1, "{report}");
    // Half an hour later it is due again.
    world.advance_minutes(30);
    world.faults.forget_calls();
    (world, first)
}

/// Whether what is stored is what the provider takes, and programs have a living token.
fn is_well(world: &World) -> bool {
    let stored = world.refresh_token("corp").expect("a refresh token");
    world.token_lives("corp") && world.oauth().refresh_token_lives(&stored)
}

/// A refusal of AWS's.
fn refusal() -> Fault {
    Fault::Respond(testkit::aws::error("AccessDeniedException", "no"))
}

/// An answer of the provider with this status.
fn answer(status: u16) -> Fault {
    let answer = hyper::Response::builder().status(status).body(bytes::Bytes::new());
    Fault::Respond(answer.expect("an answer"))
}

fn claims(world: &World) -> Vec<String> {
    world.aws.parameter_names().into_iter().filter(|name| name.starts_with("/token-keeper/claims/")).collect()
}

#[tokio::test]
async fn each_refresh_stores_the_next_token_before_it_publishes() {
    let (world, first) = rotating(REUSE[0]).await;
    let before = world.refresh_token("corp").expect("a refresh token");
    assert_ne!(before, first, "the first run has rotated it");
    let report = world.run().await;
    assert_eq!(report["refreshed"], 1);
    let calls: Vec<_> = world.faults.calls().iter().map(|call| call.operation.clone()).collect();
    let wanted = [
        "BatchGetSecretValue",
        "GetParametersByPath",
        "PutParameter",
        "GetParametersByPath",
        "BatchGetSecretValue",
        "refresh_token",
        "PutSecretValue",
        "UpdateSecretVersionStage",
        "PutParameter",
    ];
    assert_eq!(calls, wanted, "claim, ask, store, publish");
    assert!(is_well(&world));
    assert_eq!(world.oauth().redeemed(&before), 1);
    let document = world.document("corp").expect("a document");
    assert_eq!(document["grant_version"].as_str(), world.aws.secret_version(&grant_name("corp")).as_deref());
    assert_eq!((document["provider"].as_str(), document["token_type"].as_str()), (Some("custom"), Some("Bearer")));
    assert_eq!((&document["data_center"], &document["accounts_server"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_day_of_refreshes_keeps_the_grant_and_leaves_few_claims() {
    let (world, _) = rotating(REUSE[0]).await;
    for _ in 0..96 {
        world.run().await;
        assert!(is_well(&world));
        world.advance_minutes(15);
    }
    assert!(claims(&world).len() <= 4, "{:?}", claims(&world));
    assert_eq!(world.notices("corp"), Vec::<String>::new());
}

#[tokio::test]
async fn without_the_right_to_write_nothing_is_sent_and_the_remedy_says_how() {
    let world = World::new().await;
    world.connect_corp("corp");
    let report = world.run().await;
    assert_eq!(report["misconfigured"], json!(["corp"]), "{report}");
    assert!(line(&report, "corp")["remedy"].as_str().is_some_and(|remedy| remedy.contains("RotatingProviders=true")));
    assert_eq!((world.faults.count("oauth", "refresh_token"), world.writes()), (0, 0));
}

#[tokio::test]
async fn a_run_that_is_cut_off_at_any_call_loses_nothing_but_a_lost_answer_that_kills() {
    for rule in REUSE {
        let (whole, _) = rotating(rule).await;
        whole.run().await;
        let calls = whole.faults.calls();
        for (at, call) in calls.iter().enumerate() {
            for handled in [false, true] {
                let cut = format!("{}, cut at call {at} ({call}), handled: {handled}", rule.0);
                let (world, _) = rotating(rule).await;
                let before = world.refresh_token("corp").expect("a refresh token");
                world.faults.cut_at(at, handled);
                tokio::select! {
                    biased;
                    report = world.run() => panic!("{cut}: the run ended with {report}"),
                    () = world.faults.until_cut() => {}
                }
                world.faults.clear();
                // The living token stays published until near its end.
                let died = |world: &World| world.field("corp", "status") == "consent_required";
                for minutes in [0, 15, 15, 15, 15, 15] {
                    world.advance_minutes(minutes);
                    world.run().await;
                    // The first run has half an hour left.
                    assert!(minutes > 0 || !died(&world), "{cut}: given up long before the token ends");
                    assert!(died(&world) || world.token_lives("corp"), "{cut}: programs have no living token");
                }
                // The answer did not come, or the run that had it was cut off before it could
                // store.
                let unstored = call.operation == "PutSecretValue" && !handled;
                let lost = unstored || (call.operation == "refresh_token" && handled);
                if rule.0 == "kills" && lost {
                    assert_eq!(world.field("corp", "error"), "rotation_lost", "{cut}");
                    assert_eq!(world.notices("corp").len(), 1, "{cut}");
                } else {
                    assert!(is_well(&world), "{cut}: {:?}", world.document("corp"));
                }
                let redeemed = world.oauth().redeemed(&before);
                let most = if lost && rule.0 != "kills" { 2 } else { 1 };
                assert!(redeemed <= most, "{cut}: redeemed {redeemed} times");
            }
        }
    }
}

#[tokio::test]
async fn of_two_runs_at_once_one_redeems() {
    for rule in REUSE {
        let (world, _) = rotating(rule).await;
        let before = world.refresh_token("corp").expect("a refresh token");
        let (first, second) = tokio::join!(world.run(), world.run());
        let deferred = [&first, &second].map(|report| report["deferred"].as_array().expect("names").len());
        assert_eq!(deferred.iter().sum::<usize>(), 1, "{first} {second}");
        assert_eq!(world.oauth().redeemed(&before), 1);
        assert!(is_well(&world));
        assert_eq!(world.run().await["fresh"], 1);
    }
}

#[tokio::test]
async fn a_run_with_an_old_read_of_the_grant_does_not_redeem_it_again() {
    let (world, _) = rotating(REUSE[0]).await;
    let before = world.refresh_token("corp").expect("a refresh token");
    // Secrets Manager and Parameter Store go on answering what was there before.
    world.aws.hold_back_secret(&grant_name("corp"));
    world.aws.hold_back_parameter("/token-keeper/tokens/corp");
    world.run().await;
    for _ in 0..3 {
        let report = world.run().await;
        assert_eq!(report["refreshed"], 0, "{report}");
    }
    assert_eq!(world.oauth().redeemed(&before), 1);
    world.aws.release(&grant_name("corp"));
    world.aws.release("/token-keeper/tokens/corp");
    world.run().await;
    assert!(is_well(&world));
}

#[tokio::test]
async fn a_token_that_the_store_does_not_take_is_kept_in_the_claim_and_stored_by_the_next_run() {
    for operation in ["PutSecretValue", "UpdateSecretVersionStage"] {
        for fault in [Fault::Respond(testkit::aws::error("InternalServiceError", "no")), Fault::Drop { handled: false }]
        {
            let (world, _) = rotating(REUSE[0]).await;
            let before = world.refresh_token("corp").expect("a refresh token");
            world.faults.add(Rule::on("secretsmanager", operation), fault);
            let report = world.run().await;
            assert_eq!(report["failed"], json!(["corp"]), "{operation}: {report}");
            let error = line(&report, "corp")["error"].to_string();
            assert!(error.contains(&format!("secretsmanager:{operation} failed")), "{error}");
            assert!(!report.to_string().contains(&before));
            assert!(world.token_lives("corp"), "the access token is published all the same");
            assert_eq!(world.refresh_token("corp").as_deref(), Some(before.as_str()));
            world.faults.clear();
            let report = world.run().await;
            assert_eq!(report["refreshed"], 1, "{operation}: {report}");
            assert_eq!(world.oauth().redeemed(&before), 1, "{operation}");
            assert!(is_well(&world));
            let kept = |name: &String| world.aws.parameter(name).is_some_and(|claim| claim.value.contains("kept"));
            assert!(!claims(&world).iter().any(kept), "no copy of the new refresh token is left");
            let report = world.run().await;
            assert_eq!(report["fresh"], 1, "{operation}: {report}");
        }
    }
}

#[tokio::test]
async fn if_no_store_takes_the_new_token_programs_keep_the_access_token_and_somebody_hears() {
    let (world, _) = rotating(REUSE[0]).await;
    world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), refusal());
    let version = world.aws.secret_version(&grant_name("corp")).expect("a version");
    let claim = format!("/token-keeper/claims/corp/{version}");
    world.faults.add(Rule::on("ssm", "PutParameter").about(&claim).after(1), refusal());
    let report = world.run().await;
    assert_eq!(report["failed"], json!(["corp"]));
    assert!(line(&report, "corp")["remedy"].as_str().is_some_and(|remedy| remedy.contains("connect corp")));
    assert!(world.token_lives("corp"));
}

#[tokio::test]
async fn a_newer_consent_wins_over_a_refresh_under_way() {
    let (world, _) = rotating(REUSE[0]).await;
    world.faults.forget_calls();
    // Held at the request to the provider.
    let hold = world.faults.hold_at(5);
    let newest = tokio::join!(world.run(), async {
        hold.reached().await;
        let newest = world.connect_corp("corp");
        hold.release();
        newest
    })
    .1;
    assert_eq!(world.refresh_token("corp").as_deref(), Some(newest.as_str()));
    world.run().await;
    assert!(is_well(&world));
    assert_eq!(world.oauth().redeemed(&newest), 1);
}

#[tokio::test]
async fn a_newer_grant_wins_over_a_token_that_nobody_expected() {
    for removed in [false, true] {
        let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
        world.store_corp(&json!({"rotation": "never"}));
        world.connect_corp("corp");
        world.faults.forget_calls();
        // Held at the request to the provider.
        let hold = world.faults.hold_at(2);
        let newest = tokio::join!(world.run(), async {
            hold.reached().await;
            let newest = if removed {
                world.store_of_corp("corp", &json!({}));
                None
            } else {
                Some(world.connect_corp("corp"))
            };
            hold.release();
            newest
        })
        .1;
        assert_eq!(world.faults.calls()[2].operation, "refresh_token");
        assert_eq!(world.refresh_token("corp"), newest);
    }
}

#[tokio::test]
async fn a_token_that_nobody_expected_is_kept_if_its_secret_cannot_be_read() {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.store_corp(&json!({"rotation": "never"}));
    world.connect_corp("corp");
    world.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue").after(1), refusal());
    let report = world.run().await;
    assert!(line(&report, "corp")["error"].to_string().contains("kept in its claim"), "{report}");
    assert!(world.token_lives("corp"));
    world.faults.clear();
    world.run().await;
    assert!(is_well(&world));
}

#[tokio::test]
async fn an_answer_that_was_lost_stays_lost_whatever_the_second_try_says() {
    let ten_minutes = ("600", Grace::For(SignedDuration::from_mins(10)));
    for second in [answer(503), answer(429), answer(403)] {
        let (world, _) = rotating(ten_minutes).await;
        world.faults.add(Rule::on("oauth", "refresh_token").times(1), Fault::Drop { handled: true });
        world.faults.add(Rule::on("oauth", "refresh_token"), second.clone());
        world.run().await;
        assert_eq!(world.faults.count("oauth", "refresh_token"), 2);
        world.faults.clear();
        world.advance_minutes(12);
        world.run().await;
        assert!(world.token_lives("corp"), "{second:?}: the token of programs has 18 minutes left");
        world.advance_minutes(15);
        world.run().await;
        assert_eq!(world.field("corp", "error"), "rotation_lost", "{second:?}");
    }
}

#[tokio::test]
async fn a_second_try_that_finds_the_token_spent_means_a_lost_rotation() {
    let (world, _) = rotating(("600", Grace::None)).await;
    world.faults.add(Rule::on("oauth", "refresh_token").times(1), Fault::Drop { handled: true });
    world.run().await;
    assert_eq!(world.field("corp", "error"), "rotation_lost");
}

#[tokio::test]
async fn a_second_try_is_made_at_once_where_the_provider_takes_the_token_for_half_a_minute() {
    let (world, _) = rotating(("30", Grace::For(SignedDuration::from_secs(30)))).await;
    world.faults.add(Rule::on("oauth", "refresh_token").times(1), Fault::Drop { handled: true });
    assert_eq!(world.run().await["refreshed"], 1);
    assert!(is_well(&world));
}

#[tokio::test]
async fn a_field_that_somebody_changes_during_a_refresh_is_kept_and_so_is_the_new_token() {
    let (world, _) = rotating(REUSE[0]).await;
    let before = world.refresh_token("corp").expect("a refresh token");
    let hold = world.faults.hold_at(5);
    tokio::join!(world.run(), async {
        hold.reached().await;
        world.store_of_corp("corp", &json!({"refresh_token": before, "note": "mine"}));
        hold.release();
    });
    assert_eq!(world.grant("corp")["note"], "mine");
    world.run().await;
    assert!(is_well(&world));
    assert_eq!(world.oauth().redeemed(&before), 1);
}

#[tokio::test]
async fn an_outage_of_hours_costs_no_grant() {
    for rule in REUSE {
        let (world, _) = rotating(rule).await;
        world.faults.add(Rule::on("oauth", "refresh_token"), answer(503));
        for _ in 0..12 {
            let report = world.run().await;
            assert_eq!((&report["consent_required"], &report["failed"]), (&json!([]), &json!(["corp"])), "{report}");
            world.advance_minutes(15);
        }
        world.faults.clear();
        world.run().await;
        assert!(is_well(&world), "{}", rule.0);
    }
}

#[tokio::test]
async fn what_the_provider_refuses_is_not_redeemed_and_is_tried_again() {
    for (fault, word) in [(answer(429), "throttled"), (answer(400), "failed")] {
        let (world, _) = rotating(REUSE[0]).await;
        world.faults.add(Rule::on("oauth", "refresh_token"), fault);
        assert_eq!(world.run().await[word], json!(["corp"]));
        world.faults.clear();
        world.advance_minutes(12);
        assert_eq!(world.run().await["refreshed"], 1);
        assert!(is_well(&world));
    }
}

#[tokio::test]
async fn a_revoked_grant_is_dead_and_gets_one_request() {
    let (world, _) = rotating(REUSE[0]).await;
    let stored = world.refresh_token("corp").expect("a refresh token");
    world.oauth().kill(&stored);
    for _ in 0..3 {
        assert_eq!(world.run().await["consent_required"], json!(["corp"]));
        world.advance_minutes(15);
    }
    assert_eq!(world.field("corp", "error"), "invalid_grant");
    assert_eq!(world.faults.count("oauth", "refresh_token"), 1);
    assert_eq!(world.refresh_token("corp").as_deref(), Some(stored.as_str()), "the grant stays as it was");
    let notices = world.notices("corp");
    assert!(notices[0].contains("the provider no longer takes its refresh token"), "{notices:?}");
}

#[tokio::test]
async fn a_provider_that_rotates_now_and_then_is_stored_when_it_does() {
    let (world, _) = rotating(REUSE[0]).await;
    world.oauth().settings(|settings| settings.rotation = Rotation::After(SignedDuration::from_hours(24)));
    world.store_corp(&json!({"rotation": "sometimes"}));
    let mut stored = std::collections::BTreeSet::new();
    for _ in 0..4 * 49 {
        world.run().await;
        assert!(is_well(&world));
        stored.extend(world.refresh_token("corp"));
        world.advance_minutes(15);
    }
    assert!((2..=4).contains(&stored.len()), "{} refresh tokens in two days", stored.len());
}

#[tokio::test]
async fn a_provider_that_should_not_rotate_and_does_loses_nothing_either() {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.oauth();
    world.store_corp(&json!({"rotation": "never"}));
    world.connect_corp("corp");
    for _ in 0..3 {
        world.run().await;
        assert!(is_well(&world));
        world.advance_minutes(30);
    }
    let world = World::new().await;
    world.oauth();
    world.store_corp(&json!({"rotation": "never"}));
    world.connect_corp("corp");
    let report = world.run().await;
    assert_eq!(report["failed"], json!(["corp"]), "without the right to write it is reported by name");
    assert!(world.token_lives("corp"));
}

#[tokio::test]
async fn the_new_token_of_a_provider_that_should_not_rotate_is_found_in_its_claim() {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.store_corp(&json!({"rotation": "never"}));
    world.connect_corp("corp");
    world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), refusal());
    assert_eq!(world.run().await["failed"], json!(["corp"]));
    world.faults.clear();
    world.run().await;
    assert!(is_well(&world));
    assert_eq!(world.faults.count("oauth", "refresh_token"), 1);
}

#[tokio::test]
async fn a_day_without_the_provider_leaves_few_claims() {
    let (world, _) = rotating(REUSE[3]).await;
    world.faults.add(Rule::on("oauth", "refresh_token"), answer(503));
    for _ in 0..96 {
        world.run().await;
        world.advance_minutes(15);
    }
    assert!(claims(&world).len() <= 5, "{:?}", claims(&world));
    world.faults.clear();
    world.run().await;
    assert!(is_well(&world));
}

#[tokio::test]
async fn a_claim_that_says_nothing_counts_as_one_whose_answer_was_lost() {
    for rule in REUSE {
        let (world, _) = rotating(rule).await;
        let version = world.aws.secret_version(&grant_name("corp")).expect("a version");
        world.aws.put_parameter(&format!("/token-keeper/claims/corp/{version}"), r#"{"schema":2}"#);
        assert_eq!(world.run().await["deferred"], json!(["corp"]), "somebody may be at work");
        for _ in 0..3 {
            world.advance_minutes(15);
            world.run().await;
        }
        assert!(is_well(&world), "{}", rule.0);
    }
}

#[tokio::test]
async fn a_token_that_was_kept_too_long_is_stored_and_replaced_in_one_run() {
    let (world, _) = rotating(REUSE[0]).await;
    world.faults.add(Rule::on("secretsmanager", "PutSecretValue"), refusal());
    for _ in 0..6 {
        world.run().await;
        world.advance_minutes(15);
    }
    assert!(!world.token_lives("corp"), "Secrets Manager has been away for too long");
    world.faults.clear();
    let report = world.run().await;
    assert_eq!(report["refreshed"], 1, "{report}");
    assert!(is_well(&world));
}

#[tokio::test]
async fn where_a_refresh_ends_the_token_that_readers_hold_it_comes_late_and_no_complaint_forces_it() {
    let world = World::with(&[("TOKEN_KEEPER_ROTATING_PROVIDERS", "true")]).await;
    world.oauth().settings(|settings| {
        settings.ends_access_token = EndsAccessToken::AtOnce;
        settings.stale = Stale::Refused;
        settings.access_token_life = SignedDuration::from_hours(8);
        settings.scope = testkit::oauth::Scope::Absent;
    });
    world.store_corp(&json!({"provider": "github", "issuer": null, "revocation_endpoint": null}));
    world.connect_corp("corp");
    world.run().await;
    let mints = |world: &World| world.faults.count("oauth", "refresh_token");
    assert_eq!(mints(&world), 1);
    for _ in 0..96 {
        world.advance_minutes(15);
        world.run().await;
        assert!(world.token_lives("corp"));
    }
    assert!(mints(&world) <= 5, "{} mints in a day", mints(&world));
    let before = mints(&world);
    let complaints = batch(&[complaint(&world, "corp")]);
    world.send(complaints).await.expect("an answer");
    assert_eq!(mints(&world), before, "a complaint would end the token of all other readers");
    assert_ne!(world.field("corp", "rejected_at"), Value::Null);
}

#[tokio::test]
async fn an_operator_hears_fourteen_and_three_days_before_a_refresh_token_ends() {
    let world = World::new().await;
    let refresh_token = world.oauth().consent(testkit::outside::CORP_ID, &[]).refresh_token.expect("a refresh token");
    world.oauth().settings(|settings| settings.rotation = Rotation::Never);
    world.store_corp(&json!({"rotation": "never"}));
    let ends = world.clock.now() + SignedDuration::from_hours(24 * 20);
    world.store_of_corp("corp", &json!({"refresh_token": refresh_token, "refresh_token_expires_at": ends}));
    for day in 0..20 {
        for _ in 0..4 {
            let report = world.run().await;
            assert_eq!(report["refreshed"], 1, "{report}");
            world.advance_minutes(6 * 60);
        }
        let said = world.notices("corp").len();
        assert_eq!(said, usize::from(day >= 6) + usize::from(day >= 17), "day {day}: {:?}", world.notices("corp"));
    }
    let expected = "Token Keeper: the refresh token of corp ends at 2026-12-11T00:00:00Z, and its access tokens with it. \
                    Type before: token-keeper connect corp";
    assert_eq!(world.notices("corp")[0], expected);
    world.clock.advance(SignedDuration::from_hours(-24));
    assert_eq!(world.run().await["min_refresh_token_remaining_s"], 86_400);
}

#[tokio::test]
async fn where_consents_are_made_at_the_provider_the_notice_says_to_import() {
    let world = World::new().await;
    let refresh_token = world.oauth().consent(testkit::outside::CORP_ID, &[]).refresh_token.expect("a refresh token");
    world.oauth().settings(|settings| settings.rotation = Rotation::Never);
    world.store_corp(&json!({"provider": "amazon", "authorization_endpoint": null, "issuer": null,
        "revocation_endpoint": null}));
    let ends = world.clock.now() + SignedDuration::from_hours(24 * 3) + SignedDuration::from_mins(10);
    world.store_of_corp("corp", &json!({"refresh_token": refresh_token, "refresh_token_expires_at": ends}));
    for _ in 0..2 {
        assert_eq!(world.run().await["refreshed"], 1);
        world.advance_minutes(40);
    }
    let notices = world.notices("corp");
    assert!(notices[0].ends_with("before: token-keeper import FILE --replace --connection corp"), "{notices:?}");
}
