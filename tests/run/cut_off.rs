//! A run may be cut off at any call. The next run ends in the right state, with at most one extra
//! mint.

use serde_json::json;

use testkit::world::{World, grant_name};

/// A world with every kind of work for a run: two due connections, one dead, one refused, one
/// fresh.
async fn busy() -> (World, [String; 5]) {
    let world = World::with(&[("TOKEN_KEEPER_CONCURRENCY", "1"), ("TOKEN_KEEPER_PUBLISH", "document,plain")]).await;
    let fresh = world.connect("fresh");
    world.run().await;
    world.zoho.register("1000.REGISTERED", &[], &[("eu", "right")]);
    let [due, late, dead] = ["due", "late", "dead"].map(|name| world.connect(name));
    let refused = world.zoho.consent("eu", "1000.REGISTERED", &[]);
    let wrong = json!({"client_id": "1000.REGISTERED", "client_secret": "wrong", "refresh_token": refused, "data_center": "eu"});
    world.aws.put_secret(&grant_name("refused"), &wrong.to_string());
    world.zoho.kill(&dead);
    world.faults.forget_calls();
    (world, [fresh, due, late, dead, refused])
}

/// Checks that every connection is in the right state.
fn check(world: &World, tokens: &[String; 5], cut: &str) {
    let statuses = ["fresh", "due", "late", "dead", "refused"].map(|name| world.field(name, "status"));
    assert_eq!(statuses, ["active", "active", "active", "consent_required", "misconfigured"], "{cut}");
    for name in ["fresh", "due", "late"] {
        assert!(world.token_lives(name), "{cut}: {name}");
        let plain = world.aws.parameter(&format!("/token-keeper/access-tokens/{name}")).expect("a parameter");
        assert_eq!(world.field(name, "access_token"), plain.value, "{cut}: {name}");
    }
    for (name, token) in ["fresh", "due", "late", "dead", "refused"].into_iter().zip(tokens) {
        assert!(world.aws.secret(&grant_name(name)).is_some_and(|grant| grant.contains(token)), "{cut}: {name}");
    }
    let mints: usize = tokens.iter().map(|token| world.zoho.mints(token)).sum();
    assert!((3..=4).contains(&mints), "{cut}: {mints} mints for three tokens");
}

#[tokio::test]
async fn the_next_run_repairs_a_run_that_was_cut_off_at_any_call() {
    let (whole, tokens) = busy().await;
    whole.run().await;
    check(&whole, &tokens, "uncut");
    let calls = whole.faults.calls();
    // Two lists, four requests, two tokens with two puts each, a second read of secret, client and
    // lease for the dead one, and two marks.
    assert_eq!(calls.len(), 15, "{calls:#?}");
    for (at, call) in calls.iter().enumerate() {
        for handled in [false, true] {
            let cut = format!("cut at call {at} ({call}), handled: {handled}");
            let (world, tokens) = busy().await;
            world.faults.cut_at(at, handled);
            tokio::select! {
                biased;
                report = world.run() => panic!("{cut}: the run ended with {report}"),
                () = world.faults.until_cut() => {}
            }
            world.faults.clear();
            world.run().await;
            check(&world, &tokens, &cut);
        }
    }
}

#[tokio::test]
async fn two_runs_at_once_end_in_the_right_state() {
    let (world, tokens) = busy().await;
    let (first, second) = tokio::join!(world.run(), world.run());
    for report in [first, second] {
        assert_eq!(report["consent_required"], json!(["dead"]));
        assert_eq!((report["failed"].clone(), report["deferred"].clone()), (json!([]), json!([])));
    }
    for name in ["fresh", "due", "late"] {
        assert!(world.token_lives(name));
    }
    assert!(tokens.iter().all(|token| world.zoho.mints(token) <= 2));
    assert_eq!(world.run().await["fresh"], 3);
}
