//! `--identify`, `--allow-other-account` and `list --long`: whose account a connection is.

use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::world::{CLIENT_ID, World};
use testkit::zoho::User;

use crate::typed::{Typed, run, type_in};

const NEW: &str = "--client acme --data-center eu --scope ZohoCRM.modules.ALL";

/// Types a `connect`, and whoever sits at the browser agrees. Returns what was shown and the page's
/// heading.
async fn connect(world: &World, options: &str) -> (String, String) {
    let shown = type_in(world, &format!("connect crm-prod --callback-url BASE {options}"), "").await.expect("a link");
    let link = shown.lines().map(str::trim).find(|line| line.contains("/connect?ticket=")).expect("a link");
    let page = Browser::default().consent(world, link).await;
    (shown, title(&page).to_owned())
}

fn sit_down(world: &World, id: u64, name: &str) {
    world.zoho.settings(|settings| settings.user = User { id, email: format!("{name}@example.com") });
}

#[tokio::test]
async fn an_identified_connection_stays_with_its_account_until_a_link_allows_another() {
    let world = World::new().await;
    assert_eq!(connect(&world, &format!("{NEW} --identify")).await.1, "Connected");
    assert_eq!(world.grant("crm-prod")["scopes"], json!(["ZohoCRM.modules.ALL", "AaaServer.profile.READ"]));
    sit_down(&world, 7, "bob");
    // Other scopes, without the word: a known account is asked for all the same.
    let (shown, page) = connect(&world, "--scope ZohoCRM.org.READ").await;
    let belongs = "It belongs to ann@example.com (Zoho user 60012345). A consent by another account is refused.";
    assert!(shown.contains(belongs), "{shown}");
    assert_eq!(page, "Another account than before");
    let (shown, page) = connect(&world, "--scope ZohoCRM.users.READ --allow-other-account").await;
    assert!(!shown.contains("It belongs to"), "{shown}");
    assert_eq!((page.as_str(), &world.grant("crm-prod")["account"]["email"]), ("Connected", &json!("bob@example.com")));
    sit_down(&world, 8, "eve");
    assert_eq!(connect(&world, "").await.1, "Another account than before");
}

#[tokio::test]
async fn list_long_shows_whose_account_each_is_and_when_somebody_consented() {
    let world = World::new().await;
    connect(&world, &format!("{NEW} --identify")).await;
    Browser::default().consent(&world, &world.link("books")).await;
    world.link("people");
    world.advance_minutes(5);
    let console = Typed { width: Some(140), ..Typed::default() };
    let _people = run(&world, "list --long", &console).await;
    let shown = console.shown.into_inner();
    assert!(
        shown.starts_with(
            "\
Region eu-central-1, prefix token-keeper
 connection  server  status          token            minted     account          consented   scopes
 books       eu      fresh           [======] 55 min  5 min ago  not known        2026-11-21  ZohoCRM.modules.ALL
 crm-prod    eu      fresh           [======] 55 min  5 min ago  ann@example.com  2026-11-21  ZohoCRM.modules.ALL AaaServer.profile.READ
 people      eu      awaits consent  none             never                                   ZohoCRM.modules.ALL
"
        ),
        "{shown}"
    );
    let console = Typed::default();
    let _people = run(&world, "list --json", &console).await;
    let listed: Value = serde_json::from_str(&console.shown.into_inner()).expect("JSON");
    let crm = &listed["connections"][1];
    assert_eq!(crm["account"], json!({"id": "60012345", "email": "ann@example.com"}));
    assert_eq!((&crm["granted_at"], &crm["grant_type"]), (&json!("2026-11-21T00:00:00Z"), &json!("refresh_token")));
}

#[tokio::test]
async fn a_self_clients_code_has_to_come_from_the_same_account_too() {
    let world = World::new().await;
    let scopes = ["ZohoCRM.modules.ALL", "AaaServer.profile.READ"];
    let code = world.zoho.code("eu", CLIENT_ID, &scopes, None);
    let shown = type_in(&world, &format!("grant crm {NEW} --identify"), &code).await.expect("connected");
    assert!(shown.contains("The account is ann@example.com (Zoho user 60012345).\n"), "{shown}");
    sit_down(&world, 7, "bob");
    let before = world.grant("crm");
    let bobs = world.zoho.code("eu", CLIENT_ID, &scopes, None);
    let seen = type_in(&world, "grant crm", &bobs).await.expect_err("another account");
    assert!(seen.starts_with("crm belongs to another account; the new grant was handed back to Zoho"), "{seen}");
    let blind = world.zoho.code("eu", CLIENT_ID, &scopes[..1], None);
    let seen = type_in(&world, "grant crm", &blind).await.expect_err("an unknown account");
    assert!(seen.starts_with("crm belongs to a known account, and Zoho did not say whose this one is"), "{seen}");
    assert_eq!(world.grant("crm"), before);
    let bobs = world.zoho.code("eu", CLIENT_ID, &scopes, None);
    type_in(&world, "grant crm --allow-other-account", &bobs).await.expect("connected");
    assert_eq!(world.grant("crm")["account"]["id"], "7");
}
