//! Scopes: what `connect` and `grant` refuse, what they doubt, and what `scopes` shows.

use serde_json::{Value, json};
use testkit::world::{World, grant_name};

use crate::typed::{Typed, run, run_words, type_in};

const NEW: [&str; 8] = ["connect", "new", "--client", "acme", "--data-center", "eu", "--callback-url", "BASE"];

/// Makes a connection that asks for these scopes. Returns what it warns of.
async fn connect(world: &World, scopes: &str) -> Result<String, String> {
    let console = Typed::default();
    run_words(world, &[&NEW[..], &["--scope", scopes]].concat(), &console).await?;
    Ok(console.noted.into_inner())
}

#[tokio::test]
async fn a_scope_of_a_wrong_form_is_refused_with_the_part_that_is_wrong_and_nothing_is_changed() {
    let world = World::new().await;
    for (scopes, complaint) in [
        (
            "ZohoCRM.modules",
            "the scope ZohoCRM.modules ends with modules, which is no operation such as READ or ALL\n  \
             -> add the operation, for example ZohoCRM.modules.READ; nothing was changed",
        ),
        ("ZohoCRM.modules.leads", "-> add the operation, for example ZohoCRM.modules.leads.READ;"),
        ("ZohoCRM.modules.REED", "-> if you mean READ, write ZohoCRM.modules.READ;"),
        ("ZohoCRM.modules.CREATE-REED", "ends with CREATE-REED, which is no operation"),
        (
            "ZohoCRM.READ",
            "the scope ZohoCRM.READ names no module between ZohoCRM and READ\n  \
             -> write a scope as Service.module.OPERATION, for example ZohoCRM.modules.READ; nothing was changed",
        ),
        ("ZohoCRM", "the scope ZohoCRM has only one part\n"),
        ("ZohoCRM..READ", "the scope ZohoCRM..READ is empty in part 2 of 3\n"),
        ("ZohoCRM.modules.READ.", "is empty in part 4 of 4\n"),
        (
            "ZohoCRM.modules.READ Desk.tickets.READ",
            "contains a blank\n  \
             -> put a comma between two scopes, and nothing else: --scope ZohoCRM.modules.READ,Desk.tickets.READ;",
        ),
        ("ZohoCRM.modules.READ;Desk.tickets.READ", "contains the character ;\n"),
        ("ZohoCRM.modules.READ+Desk.tickets.READ", "contains the character +\n"),
        ("Desk.tickets.READ,\"ZohoCRM.modules.READ\"", "contains the character \\\" in its part \"ZohoCRM\n"),
        (
            "ZohoCRM.mod\u{1b}ules.READ",
            "the scope ZohoCRM.mod\u{fffd}ules.READ contains the character \\u{1b} in its part",
        ),
        ("https://accounts.zoho.eu", "contains the character : in its part https://accounts\n"),
        ("ZohoCRM.módulos.READ", "contains the character ó in its part módulos\n"),
    ] {
        let seen = connect(&world, scopes).await.expect_err(scopes);
        assert!(seen.contains(complaint), "{scopes}: {seen}");
    }
    let seen = type_in(&world, "grant new --client acme --data-center eu --scope ZohoCRM.modules", "").await;
    assert!(seen.is_err_and(|seen| seen.contains("ends with modules")));
    assert_eq!((world.aws.secret(&grant_name("new")), world.writes()), (None, 0));
}

#[tokio::test]
async fn scopes_that_zoho_documents_pass_without_a_warning() {
    let world = World::new().await;
    for scopes in [
        "ZohoCRM.modules.leads.READ,ZohoCRM.settings.fields.READ",
        " ZohoCRM.modules.ALL , ZohoBooks.fullaccess.all,",
        "ZohoCampaigns.contact.CREATE-UPDATE,ZohoCampaigns.campaign.WRITE",
        "ZohoCRM.send_mail.all.CREATE,ZohoCRM.share.Machines.READ",
        "ZohoCatalyst.notifications.web,ZohoCreator.customapi.EXECUTE",
        "AaaServer.profile.Read,email,openid",
    ] {
        assert_eq!(connect(&world, scopes).await, Ok(String::new()), "{scopes}");
    }
}

#[tokio::test]
async fn a_scope_that_is_not_in_the_list_is_a_warning_that_names_the_nearest_one() {
    let world = World::new().await;
    for (scope, warning) in [
        ("ZohoDesk.tickets.READ", "the list of 2026-11 has no service ZohoDesk; do you mean Desk?\n"),
        ("zohocrm.modules.READ", "has no service zohocrm; do you mean ZohoCRM?\n"),
        ("CRM.modules.READ", "has no service CRM; do you mean ZohoCRM?\n"),
        ("ZohoBilling.plans.READ", "has no service ZohoBilling; do you mean ZohoSubscriptions?\n"),
        ("ZohoBoks.invoices.READ", "has no service ZohoBoks; do you mean ZohoBooks?\n"),
        ("ZohoBooks.invoice.READ", "has no module invoice of ZohoBooks; do you mean invoices?\n"),
        ("ZohoCRM.modules.Leads.READ", "has no module modules.Leads of ZohoCRM; do you mean modules.leads?\n"),
        ("ZohoCRM.modules.IMPORT", "ZohoCRM.modules.IMPORT: the list of 2026-11 has no operation IMPORT\n"),
        ("ZohoTomorrow.things.ALL", "ZohoTomorrow.things.ALL: the list of 2026-11 has no service ZohoTomorrow\n"),
    ] {
        let noted = connect(&world, scope).await.expect("a link");
        assert!(noted.contains(warning), "{scope}: {noted}");
        assert!(
            noted.contains("\n  -> it is asked for all the same, because Zoho adds scopes without notice"),
            "{noted}"
        );
        assert_eq!(world.grant("new")["scopes"], json!([scope]));
    }
    let console = Typed::default();
    run_words(&world, &[&NEW[..], &["--scope", "ZohoDesk.tickets.READ", "--json"]].concat(), &console)
        .await
        .expect("a link");
    let answer: Value = serde_json::from_str(&console.shown.into_inner()).expect("one object");
    assert_eq!((&answer["schema"], &answer["connection"]), (&json!(1), &json!("new")));
    assert!(console.noted.into_inner().contains("do you mean Desk?"));
}

#[tokio::test]
async fn a_stored_scope_is_not_checked_again() {
    let world = World::new().await;
    world.aws.put_secret(&grant_name("old"), r#"{"client": "acme", "data_center": "eu", "scopes": ["by-hand"]}"#);
    let console = Typed::default();
    run(&world, "connect old --callback-url BASE", &console).await.expect("a link");
    assert_eq!((console.noted.into_inner(), &world.grant("old")["scopes"]), (String::new(), &json!(["by-hand"])));
}

#[tokio::test]
async fn scopes_shows_what_zoho_documents_for_a_word() {
    let world = World::new().await;
    assert_eq!(
        type_in(&world, "scopes BOOKINGS", "").await.expect("shown"),
        " service and module  operations\n \
          zohobookings.data   CREATE\n\n\
         Add the operation: zohobookings.data.CREATE. This is what Zoho's documents said in 2026-11:\n  \
           Zoho Bookings: https://www.zoho.com/bookings/help/api/v1/registerclient.html\n"
    );
    let lines = async |command: &str| {
        let shown = type_in(&world, command, "").await.expect("shown");
        shown.lines().filter(|line| line.starts_with(' ')).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let invoices = lines("scopes invoices").await;
    for service in ["ZohoBooks", "ZohoCRM.modules", "ZohoInventory", "ZohoInvoice", "ZohoSubscriptions"] {
        assert!(invoices.iter().any(|line| line.starts_with(&format!("{service}.invoices "))), "{invoices:?}");
    }
    assert_eq!(lines("scopes zohodesk").await, lines("scopes Desk").await);
    assert_eq!(lines("scopes ZohoCRM.modules.READ").await, lines("scopes ZohoCRM.modules").await);
    assert!(lines("scopes").await.len() > 250);
    let missing = type_in(&world, "scopes nothing-like-it", "").await.expect_err("nothing");
    assert!(
        missing.starts_with(
            "the list of 2026-11 has no product, service or module with nothing-like-it in its name\n  -> "
        )
    );
    assert_eq!(world.faults.calls().len(), 0, "it asks nobody");
}
