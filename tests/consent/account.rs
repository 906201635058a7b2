//! Whose account a consent came from: recorded where the scopes allow it, and held to afterwards.

use serde_json::json;
use testkit::browser::{Browser, title};
use testkit::wire::{Fault, Rule};
use testkit::world::{Asked, World, grant_name};
use testkit::zoho::{User, answers};

const SCOPES: [&str; 2] = ["ZohoCRM.modules.ALL", "AaaServer.profile.READ"];

fn bob() -> User {
    User { id: 60_099_999, email: "bob@example.com".to_owned() }
}

/// The operator's link, for a connection that asks whose account it is.
fn link(world: &World) -> String {
    world.link_with("crm-prod", Asked { scopes: &SCOPES, ..Asked::default() })
}

/// Ann is connected, and Bob sits at the browser.
async fn anns() -> World {
    let world = World::new().await;
    Browser::default().consent(&world, &link(&world)).await;
    world.zoho.settings(|settings| settings.user = bob());
    world.advance_minutes(30);
    world
}

#[tokio::test]
async fn the_grant_and_the_notice_and_the_page_say_whose_account_it_is() {
    let world = World::new().await;
    let page = Browser::default().consent(&world, &link(&world)).await;
    assert_eq!(world.grant("crm-prod")["account"], json!({"id": "60012345", "email": "ann@example.com"}));
    assert!(page.body.contains("your Zoho account <code>ann@example.com</code>"), "{}", page.body);
    let notice = "Token Keeper: crm-prod has a new consent, with the account ann@example.com (Zoho user 60012345) in the data centre eu.";
    assert_eq!(world.notices("crm-prod"), [notice]);
    assert_eq!(world.faults.count("zoho", "userinfo"), 1, "asked once");
    world.advance_minutes(30);
    world.run().await;
    assert_eq!(world.faults.count("zoho", "userinfo"), 1, "a renewal does not ask");
}

#[tokio::test]
async fn without_the_scope_zoho_is_not_asked_and_the_notice_says_so() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!((world.grant("crm-prod").get("account"), world.faults.count("zoho", "userinfo")), (None, 0));
    assert!(world.notices("crm-prod")[0].ends_with("whose it is could not be told."));
}

#[tokio::test]
async fn the_same_account_may_consent_again_under_another_address() {
    let world = anns().await;
    world.zoho.settings(|settings| settings.user = User { id: 60_012_345, email: "ann.b@example.com".to_owned() });
    let page = Browser::default().consent(&world, &link(&world)).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.grant("crm-prod")["account"]["email"], "ann.b@example.com");
}

#[tokio::test]
async fn another_account_is_refused_and_its_refresh_token_handed_back() {
    let world = anns().await;
    let before = (world.grant("crm-prod"), world.document("crm-prod"), world.zoho.refresh_tokens());
    let page = Browser::default().consent(&world, &link(&world)).await;
    assert_eq!((page.status, title(&page)), (409, "Another account than before"));
    for address in ["ann@", "bob@", "6001", "6009"] {
        assert!(!page.body.contains(address), "the page names no account: {}", page.body);
    }
    assert_eq!((world.grant("crm-prod"), world.document("crm-prod"), world.zoho.refresh_tokens()), before);
    assert!(world.token_lives("crm-prod"));
}

#[tokio::test]
async fn a_link_that_allows_it_takes_another_account() {
    let world = anns().await;
    let anns = world.refresh_token("crm-prod").expect("a refresh token");
    let link = world.link_with("crm-prod", Asked { allow_other_account: true, ..Asked::default() });
    let page = Browser::default().consent(&world, &link).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.grant("crm-prod")["account"], json!({"id": "60099999", "email": "bob@example.com"}));
    assert!(!world.zoho.refresh_token_lives(&anns));
}

#[tokio::test]
async fn whoever_leaves_out_the_scope_does_not_get_past_the_check() {
    let world = anns().await;
    let before = (world.grant("crm-prod"), world.zoho.refresh_tokens());
    let browser = Browser::default();
    let zoho = browser.begin(&world, &link(&world)).await;
    let without = zoho.replace("%2CAaaServer.profile.READ", "");
    assert_ne!(without, zoho);
    let callback = browser.decide(&without, "accept").await;
    let page = browser.open(&world, &callback).await;
    assert_eq!((page.status, title(&page)), (502, "It is not known whose account this is"));
    assert_eq!((world.grant("crm-prod"), world.zoho.refresh_tokens()), before);
}

#[tokio::test]
async fn if_zoho_does_not_say_whose_account_it_is_a_known_account_stays_and_an_unknown_one_is_taken() {
    for (answer, what) in [
        (answers::html(), "a gateway's page"),
        (answers::server_error("x"), "a server error"),
        (answers::status(200, &json!({"ZUID": "", "Email": "ann@example.com"})), "no id"),
        (answers::status(401, &json!({"ZUID": 60_012_345})), "a refusal"),
        (answers::redirect("https://elsewhere.example"), "a redirect"),
    ] {
        let world = anns().await;
        world.zoho.settings(|settings| settings.user = User { id: 60_012_345, email: "ann@example.com".to_owned() });
        world.faults.add(Rule::on("zoho", "userinfo").times(2), Fault::Respond(answer));
        let before = (world.grant("crm-prod"), world.zoho.refresh_tokens());
        let page = Browser::default().consent(&world, &link(&world)).await;
        assert_eq!(title(&page), "It is not known whose account this is", "{what}");
        assert_eq!((world.grant("crm-prod"), world.zoho.refresh_tokens()), before, "{what}");

        let new = world.link_with("books", Asked { scopes: &SCOPES, ..Asked::default() });
        assert_eq!(title(&Browser::default().consent(&world, &new).await), "Connected", "{what}");
        assert_eq!(world.grant("books").get("account"), None, "{what}");
        assert!(world.notices("books")[0].ends_with("whose it is could not be told."), "{what}");
    }
}

#[tokio::test]
async fn an_address_that_could_forge_a_notice_is_left_out() {
    let world = World::new().await;
    let email = "x\" <b>crm-prod has recovered</b>@example.com".to_owned();
    world.zoho.settings(|settings| settings.user = User { id: 7, email });
    let page = Browser::default().consent(&world, &link(&world)).await;
    assert_eq!(title(&page), "Connected");
    assert_eq!(world.grant("crm-prod")["account"], json!({"id": "7"}));
    assert!(
        world.notices("crm-prod")[0].contains("with the account Zoho user 7 in"),
        "{:?}",
        world.notices("crm-prod")
    );
}

#[tokio::test]
async fn a_refresh_token_that_is_stored_already_is_never_handed_back() {
    for told in [true, false] {
        let world = anns().await;
        let stored = world.refresh_token("crm-prod").expect("a refresh token");
        let again =
            json!({"access_token": "1000.new", "refresh_token": stored, "scope": SCOPES.join(" "), "expires_in": 3600});
        world.faults.add(Rule::on("zoho", "authorization_code"), Fault::Respond(answers::status(200, &again)));
        if !told {
            world.faults.add(Rule::on("zoho", "userinfo"), Fault::Respond(answers::html()));
        }
        let page = Browser::default().consent(&world, &link(&world)).await;
        assert_eq!(title(&page), "Connected", "told: {told}");
        assert!(world.zoho.refresh_token_lives(&stored), "told: {told}");
        assert_eq!(world.grant("crm-prod")["account"]["id"], "60012345", "told: {told}");
    }
}

#[tokio::test]
async fn the_page_says_if_zoho_did_not_take_a_permission_back() {
    let world = anns().await;
    world.faults.add(Rule::on("zoho", "revoke"), Fault::Respond(answers::server_error("x")));
    let page = Browser::default().consent(&world, &link(&world)).await;
    assert_eq!(title(&page), "Another account than before");
    assert!(page.body.contains("Zoho did not take it back") && !page.body.contains("was handed back"), "{}", page.body);
}

#[tokio::test]
async fn an_account_that_nobody_can_read_stops_a_consent_and_no_renewal() {
    for account in [json!("ACME Inc"), json!({"id": 60_012_345}), json!([])] {
        let world = anns().await;
        let mut grant = world.grant("crm-prod");
        grant["account"] = account.clone();
        world.aws.put_secret(&grant_name("crm-prod"), &grant.to_string());
        assert_eq!(world.run().await["refreshed"], 1, "{account}");
        let page = Browser::default().open(&world, &world.link("crm-prod")).await;
        assert_eq!(title(&page), "Not set up completely", "{account}");
        assert!(page.body.contains("the field account is not an object with Zoho"), "{}", page.body);
    }
}

#[tokio::test]
async fn scopes_that_could_not_be_stored_are_left_out() {
    let world = World::new().await;
    let odd = json!({"access_token": "1000.new", "refresh_token": "1000.r", "scope": "ZohoCRM.modules.ALL\tDesk.tickets.READ\n\u{fc}.b.READ",
        "expires_in": 3600});
    world.faults.add(Rule::on("zoho", "authorization_code"), Fault::Respond(answers::status(200, &odd)));
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    assert_eq!(world.grant("crm-prod")["scopes"], json!(["ZohoCRM.modules.ALL", "Desk.tickets.READ"]));
}
