//! `grant --client-credentials`: from a console's client id to a live token in two commands.

use serde_json::json;
use testkit::browser::Browser;
use testkit::wire::{Fault, Rule};
use testkit::world::{World, grant_name, lease_name};
use testkit::zoho::answers;
use token_keeper::name::SecretName;
use token_keeper::ports::SecretRemover as _;

use crate::typed::type_in;

const GRANT: &str =
    "grant crm-prod --client my-client --data-center eu --scope ZohoCRM.modules.ALL --client-credentials";

/// A self client of Zoho, and its id and secret in the store.
async fn stored() -> World {
    let world = World::new().await;
    world.zoho.register("1000.SELF", &[], &[("eu", "hush-hush")]);
    type_in(&world, "client add my-client --client-id 1000.SELF", "hush-hush").await.expect("stored");
    world.faults.forget_calls();
    world
}

#[tokio::test]
async fn two_commands_lead_to_a_live_token() {
    let world = stored().await;
    let shown = type_in(&world, &format!("{GRANT} --soid ZohoCRM.600000434"), "").await.expect("connected");
    assert_eq!(
        shown,
        "Zoho gives tokens to this client. The connection is created in secret token-keeper/connections/crm-prod.\n\
         Connected. The access token is in the parameter /token-keeper/tokens/crm-prod.\n"
    );
    assert_eq!(
        world.grant("crm-prod"),
        json!({"client": "my-client", "data_center": "eu", "scopes": ["ZohoCRM.modules.ALL"],
            "grant_type": "client_credentials", "soid": "ZohoCRM.600000434"})
    );
    assert!(world.token_lives("crm-prod"));
    assert_eq!(
        world.field("crm-prod", "grant_version"),
        world.aws.secret_version(&grant_name("crm-prod")).expect("a version")
    );
    let token = type_in(&world, "token crm-prod", "").await.expect("a token");
    assert!(world.zoho.access_token_lives(token.trim()));
    let mints = world.zoho.mints("1000.SELF");
    assert_eq!((world.run().await["fresh"].clone(), world.zoho.mints("1000.SELF")), (json!(1), mints));
    let listed = type_in(&world, "list --long", "").await.expect("all is well");
    assert!(listed.contains("ZohoCRM.600000434  not needed"), "{listed}");
}

#[tokio::test]
async fn what_zoho_refuses_is_not_stored_and_the_remedy_says_what_is_missing() {
    for (option, answer, complaint) in [
        ("", None, "Zoho gave no token: missing_org_info\n  -> add --soid ZohoCRM.ID with the id of the organisation"),
        (" --soid ZohoCRM.1", None, "Zoho gave no token: invalid_org_info (HTTP 200)\n  -> "),
        ("", Some(answers::refusal("invalid_client")), "invalid_client\n  -> take id and secret of a self client"),
        ("", Some(answers::refusal("invalid_scope")), "invalid_scope\n  -> compare `scopes` with token-keeper scopes"),
        ("", Some(answers::throttled()), "too_many_requests\n  -> wait ten minutes"),
        (
            "",
            Some(answers::html()),
            "a body that is not a JSON object\n  -> check --soid, --scope and the client's type",
        ),
    ] {
        let world = stored().await;
        if let Some(answer) = answer {
            world.faults.add(Rule::on("zoho", "client_credentials"), Fault::Respond(answer));
        }
        let seen = type_in(&world, &format!("{GRANT}{option}"), "").await.expect_err(complaint);
        assert!(seen.contains(complaint) && seen.ends_with("nothing was stored") && !seen.contains("hush"), "{seen}");
        assert_eq!((world.grant("crm-prod"), world.document("crm-prod"), world.writes()), (json!(null), None, 0));
    }
}

#[tokio::test]
async fn a_wrong_organisation_is_refused_before_zoho_is_asked() {
    let world = stored().await;
    for soid in ["600000434", "ZohoCRM.", ".6", "ZohoCRM.6.7", "ZohoCRM.6,7"] {
        let seen = type_in(&world, &format!("{GRANT} --soid {soid}"), "").await.expect_err(soid);
        assert!(seen.contains("use the service's name and the organisation's id"), "{seen}");
    }
    let seen = type_in(&world, &GRANT.replace("--client-credentials", "--soid A.1"), "").await.expect_err("alone");
    assert!(seen.contains("--client-credentials"), "{seen}");
    assert_eq!((world.zoho_calls(), world.writes()), (0, 0));
}

#[tokio::test]
async fn a_connection_keeps_its_way() {
    let world = stored().await;
    Browser::default().consent(&world, &world.link("books")).await;
    let seen = type_in(&world, &format!("{} --soid ZohoCRM.600000434", GRANT.replace("crm-prod", "books")), "").await;
    let seen = seen.expect_err("it has a refresh token");
    assert!(
        seen.starts_with(
            "books has a refresh token already\n  -> use another name, or end it first: token-keeper revoke books"
        ),
        "{seen}"
    );
    type_in(&world, &format!("{GRANT} --soid ZohoCRM.600000434"), "").await.expect("connected");
    for command in ["connect crm-prod --callback-url BASE", "grant crm-prod"] {
        let seen = type_in(&world, command, "1000.code").await.expect_err(command);
        assert!(
            seen.starts_with("crm-prod asks for tokens with its client's own credentials, so it needs no consent"),
            "{seen}"
        );
    }
    let shown = type_in(&world, "reconnect --callback-url BASE", "").await.expect("nothing");
    assert!(shown.contains("Nothing to do"), "{shown}");
}

#[tokio::test]
async fn the_same_command_again_changes_the_organisation_and_the_scopes() {
    let world = stored().await;
    type_in(&world, &format!("{GRANT} --soid ZohoCRM.600000434"), "").await.expect("connected");
    world.zoho.settings(|settings| settings.organisations.push("ZohoCRM.7".to_owned()));
    world.advance_minutes(1);
    let again = "grant crm-prod --client-credentials --scope ZohoCRM.org.READ --soid ZohoCRM.7";
    let shown = type_in(&world, again, "").await.expect("changed");
    assert!(shown.contains("is updated in"), "{shown}");
    assert_eq!(
        (&world.grant("crm-prod")["soid"], world.field("crm-prod", "scope")),
        (&json!("ZohoCRM.7"), json!("ZohoCRM.org.READ"))
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_published_is_left_to_the_next_run() {
    let world = stored().await;
    world.aws.deny_put(&lease_name("crm-prod"));
    let shown = type_in(&world, &format!("{GRANT} --soid ZohoCRM.600000434"), "").await.expect("stored");
    assert!(shown.contains("The token is not published: ssm:PutParameter failed"), "{shown}");
    world.aws.allow(&lease_name("crm-prod"));
    assert_eq!(world.run().await["refreshed"], 1);
}

#[tokio::test]
async fn revoke_removes_it_and_says_what_still_lives() {
    let world = stored().await;
    type_in(&world, &format!("{GRANT} --soid ZohoCRM.600000434"), "").await.expect("connected");
    let shown = type_in(&world, "revoke crm-prod --yes", "").await.expect("revoked");
    assert!(shown.contains("The last access token ends by itself within an hour"), "{shown}");
    // What is restored is free for either way.
    world.refresher.grants.restore(&SecretName::found(grant_name("crm-prod"))).await.expect("restored");
    assert_eq!(
        (&world.grant("crm-prod")["grant_type"], world.run().await["awaiting_consent"].clone()),
        (&json!(null), json!(1))
    );
    assert_eq!((world.document("crm-prod"), world.faults.count("zoho", "revoke")), (None, 0));
}
