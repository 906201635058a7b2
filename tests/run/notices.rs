//! The notices that an operator gets, in the descriptions of the puts: one when a connection needs
//! a consent, one when it has recovered.

use serde_json::{Value, json};
use testkit::wire::{Fault, Rule};
use testkit::zoho::answers;
use token_keeper::notice::QUIET;

use testkit::world::{CLIENT_ID, World, lease_name};

const DEAD: &str = "Token Keeper: desk needs a new consent, Zoho no longer takes its refresh token (invalid_code). \
                    Type: token-keeper connect desk";

/// A connection with a dead grant and a token that is due. Returns the refresh token.
async fn dead() -> (World, String) {
    let world = World::new().await;
    let refresh_token = world.connect("desk");
    world.run().await;
    world.zoho.kill(&refresh_token);
    world.advance_minutes(30);
    (world, refresh_token)
}

async fn force(world: &World) -> Value {
    world.send(json!({"connections": ["desk"], "force": true})).await.expect("a report")
}

fn description(world: &World, parameter: &str) -> String {
    world.aws.parameter(parameter).expect("a parameter").description.expect("a description")
}

#[tokio::test]
async fn a_dead_grant_sends_one_notice_and_its_recovery_sends_one() {
    let (world, _) = dead().await;
    for _ in 0..4 {
        world.run().await;
        force(&world).await;
        world.advance_minutes(15);
    }
    assert_eq!(world.notices("desk"), [DEAD]);
    world.connect("desk");
    assert_eq!(world.run().await["recovered"], json!(["desk"]));
    let recovered = "Token Keeper: desk has recovered, its token lives until 2026-11-21T02:30:00Z.";
    assert_eq!(description(&world, &lease_name("desk")), recovered);
    for _ in 0..4 {
        world.advance_minutes(30);
        world.run().await;
    }
    assert_eq!(world.notices("desk"), [DEAD, recovered]);
    assert_eq!(description(&world, &lease_name("desk")), QUIET);
}

#[tokio::test]
async fn a_new_grant_that_is_dead_too_sends_a_notice_again() {
    let (world, _) = dead().await;
    world.run().await;
    world.zoho.kill(&world.connect("desk"));
    for _ in 0..2 {
        world.run().await;
    }
    assert_eq!(world.notices("desk"), [DEAD, DEAD]);
}

#[tokio::test]
async fn a_refused_client_sends_no_notice_because_it_has_an_alarm() {
    let world = World::new().await;
    world.connect("desk");
    world.run().await;
    world.zoho.change_secret(CLIENT_ID, "eu", "another");
    world.advance_minutes(30);
    assert_eq!(world.run().await["misconfigured"], json!(["desk"]));
    let client = json!({"client_id": CLIENT_ID, "client_secret": "another"});
    world.aws.put_secret("token-keeper/clients/acme", &client.to_string());
    assert_eq!(force(&world).await["recovered"], json!(["desk"]));
    assert_eq!(world.notices("desk"), [""; 0]);
}

#[tokio::test]
async fn a_first_token_a_renewal_a_throttle_and_an_outage_send_no_notice() {
    let world = World::new().await;
    world.connect("desk");
    world.run().await;
    world.faults.add(Rule::on("zoho", "refresh_token").times(2), Fault::Respond(answers::throttled()));
    world.faults.add(Rule::on("zoho", "refresh_token").times(1), Fault::Respond(answers::server_error("down")));
    for _ in 0..12 {
        world.advance_minutes(15);
        world.run().await;
    }
    assert_eq!(world.field("desk", "status"), "active");
    let versions = world.aws.parameter_versions(&lease_name("desk"));
    assert!(versions.iter().any(|version| version.value.contains("throttled")), "it was throttled meanwhile");
    assert!(versions.iter().all(|version| version.description.as_deref() == Some(QUIET)), "{versions:?}");
}

#[tokio::test]
async fn a_repeated_run_sends_no_second_notice() {
    let (world, _) = dead().await;
    for _ in 0..2 {
        world.send(json!({"connections": ["desk"]})).await.expect("a report");
    }
    assert_eq!(world.notices("desk"), [DEAD]);
    // Two runs at the same moment do not see each other. Later runs see both.
    world.connect("desk");
    tokio::join!(world.run(), world.run());
    let notices = world.notices("desk");
    assert!((2..=3).contains(&notices.len()), "{notices:?}");
    force(&world).await;
    assert_eq!(world.notices("desk"), notices);
}

#[tokio::test]
async fn a_notice_that_could_not_be_written_comes_with_the_next_run() {
    let (world, _) = dead().await;
    world.aws.deny_put(&lease_name("desk"));
    assert_eq!(world.run().await["failed"], json!(["desk"]));
    assert_eq!(world.notices("desk"), [""; 0]);
    world.aws.allow(&lease_name("desk"));
    for _ in 0..2 {
        world.run().await;
    }
    assert_eq!(world.notices("desk"), [DEAD]);
}

#[tokio::test]
async fn the_bare_tokens_parameter_sends_no_notice() {
    let world = World::with(&[("TOKEN_KEEPER_PUBLISH", "document,plain")]).await;
    world.zoho.kill(&world.connect("desk"));
    world.run().await;
    world.connect("desk");
    assert_eq!(world.run().await["recovered"], json!(["desk"]));
    assert_eq!(world.notices("desk").len(), 2);
    assert_eq!(description(&world, "/token-keeper/access-tokens/desk"), QUIET);
}
