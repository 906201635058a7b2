//! The commands of every day: list, token, refresh, reconnect, grant, revoke, client.

use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::wire::{Fault, Rule};
use testkit::world::{BASE, CLIENT_ID, EU_SECRET, World, grant_name, lease_name};
use testkit::zoho::answers;

use crate::typed::{Typed, run, type_in};

/// One connection of each kind, half an hour after their consents.
async fn office() -> World {
    let world = World::new().await;
    for connection in ["books", "crm-prod", "desk", "campaigns"] {
        Browser::default().consent(&world, &world.link(connection)).await;
    }
    world.link("people");
    world.aws.put_secret(&grant_name("inventory"), "{");
    world.zoho.kill(&world.refresh_token("desk").expect("a refresh token"));
    world.advance_minutes(30);
    world.faults.add(
        Rule::on("zoho", "refresh_token").about(&world.refresh_token("campaigns").expect("a refresh token")),
        Fault::Respond(answers::throttled()),
    );
    let _attention = type_in(&world, "refresh", "").await;
    world.advance_minutes(5);
    world.faults.forget_calls();
    world
}

#[tokio::test]
async fn list_shows_every_connection_and_what_to_do_and_asks_only_the_stores() {
    let world = office().await;
    let console = Typed { width: Some(80), ..Typed::default() };
    let failed = run(&world, "list", &console).await.expect_err("somebody is needed");
    assert_eq!(failed, "attention needed: 3 connections\n  -> do what is written for each");
    assert_eq!(
        console.shown.into_inner(),
        "\
Region eu-central-1, prefix token-keeper
 connection  server  status            token            minted      scopes
 books       eu      fresh             [======] 55 min  5 min ago   ZohoCRM.mod
                                                                    ules.ALL
 campaigns   eu      throttled         [===---] 25 min  35 min ago  ZohoCRM.mod
                                                                    ules.ALL
 crm-prod    eu      fresh             [======] 55 min  5 min ago   ZohoCRM.mod
                                                                    ules.ALL
 desk        eu      consent required  [===---] 25 min  35 min ago  ZohoCRM.mod
                                                                    ules.ALL
 inventory   ?       broken            none             never
 people      eu      awaits consent    none             never       ZohoCRM.mod
                                                                    ules.ALL

campaigns: too many requests; the provider is asked again after 2026-11-21T00:41:00Z
  -> only waiting helps; check that no other program mints tokens with this client

desk: invalid_code
  -> make a link with `token-keeper connect desk` and send it to an administrator of the account

inventory: secret token-keeper/connections/inventory: not JSON: it breaks off or goes wrong at line 1, column 1
  -> store one JSON object, each field once

people: nobody has consented yet
  -> make a link with `token-keeper connect people` and send it to an administrator of the account
"
    );
    assert_eq!((world.zoho_calls(), world.writes()), (0, 0));
}

#[tokio::test]
async fn list_and_doctor_show_a_connection_whose_new_token_is_refused() {
    let world = World::new().await;
    for connection in ["books", "crm-prod"] {
        Browser::default().consent(&world, &world.link(connection)).await;
    }
    let said = json!({"connection": "crm-prod", "issued_at": world.field("crm-prod", "issued_at")}).to_string();
    let arn = "arn:aws:sqs:eu-central-1:123456789012:token-keeper-complaints.fifo";
    let message = json!({"messageId": "1", "eventSource": "aws:sqs", "eventSourceARN": arn,
        "attributes": {"MessageGroupId": "crm-prod"}, "body": said});
    world.advance_minutes(1);
    world.send(json!({"Records": [message]})).await.expect("an answer");
    let console = Typed { width: Some(120), ..Typed::default() };
    let failed = run(&world, "list", &console).await.expect_err("somebody is needed");
    assert_eq!(failed, "attention needed: 1 connection\n  -> do what is written for each");
    let shown = console.shown.into_inner();
    assert!(shown.contains(" crm-prod    eu      rejected  [======] 59 min"), "{shown}");
    assert!(
        shown.contains("crm-prod: readers say that the provider refuses its token, although it is new\n  -> another"),
        "{shown}"
    );
    let console = Typed::default();
    run(&world, "list --json", &console).await.expect_err("somebody is needed");
    let shown: Value = serde_json::from_str(&console.shown.into_inner()).expect("JSON");
    let [books, crm] = [&shown["connections"][0], &shown["connections"][1]];
    assert_eq!((&books["rejected_at"], &books["remedy"]), (&json!(null), &json!(null)));
    assert_eq!((&crm["rejected_at"], &crm["status"]), (&json!("2026-11-21T00:01:00Z"), &json!("fresh")));
    assert!(crm["remedy"].as_str().is_some_and(|remedy| remedy.contains("token-keeper connect crm-prod")));
    let console = Typed { width: Some(120), ..Typed::default() };
    let _findings = run(&world, "doctor", &console).await;
    let shown = console.shown.into_inner();
    assert!(shown.contains("crm-prod: readers say that the provider refuses its token"), "{shown}");
}

#[tokio::test]
async fn list_is_json_for_programs() {
    let world = office().await;
    let console = Typed::default();
    run(&world, "list --json", &console).await.expect_err("somebody is needed");
    let shown: Value = serde_json::from_str(&console.shown.into_inner()).expect("JSON");
    let shown = &shown["connections"];
    let statuses: Vec<_> =
        shown.as_array().expect("an array").iter().map(|line| (&line["connection"], &line["status"])).collect();
    assert_eq!(
        json!(statuses),
        json!([
            ["books", "fresh"],
            ["campaigns", "throttled"],
            ["crm-prod", "fresh"],
            ["desk", "consent_required"],
            ["inventory", "broken"],
            ["people", "awaiting_consent"]
        ])
    );
    assert_eq!(shown[0]["expires_at"], "2026-11-21T01:30:00Z");
    assert_eq!(shown[0]["scopes"], json!(["ZohoCRM.modules.ALL"]));
    assert_eq!(
        shown[3]["remedy"],
        "make a link with `token-keeper connect desk` and send it to an administrator of the account"
    );
}

#[tokio::test]
async fn an_empty_installation_says_how_to_begin() {
    let world = World::new().await;
    let shown = type_in(&world, "status", "").await.expect("a list");
    assert_eq!(
        shown,
        "Region eu-central-1, prefix token-keeper\n\
         There are no connections: no secret's name starts with token-keeper/connections/\nNext: token-keeper connect --help\n"
    );
}

#[tokio::test]
async fn token_prints_the_live_token_and_nothing_else() {
    let world = office().await;
    let document = world.document("books").expect("a document");
    let token = document["access_token"].as_str().expect("a token");
    assert_eq!(type_in(&world, "token books", "").await, Ok(format!("{token}\n")));
    assert_eq!(
        type_in(&world, "token books --header", "").await,
        Ok(format!("Authorization: Zoho-oauthtoken {token}\n"))
    );
    assert_eq!(world.faults.calls().len(), 2, "one read each");
    for (connection, complaint) in [
        (
            "people",
            "there is no parameter /token-keeper/tokens/people\n  -> see token-keeper list, or mint with token-keeper refresh people",
        ),
        ("nobody", "there is no parameter /token-keeper/tokens/nobody"),
    ] {
        let seen = type_in(&world, &format!("token {connection}"), "").await.expect_err(connection);
        assert!(seen.starts_with(complaint), "{seen}");
    }
    world.advance_minutes(60);
    let seen = type_in(&world, "token books", "").await.expect_err("expired");
    assert!(seen.starts_with("parameter /token-keeper/tokens/books: the token has expired (status active)\n  -> mint with token-keeper refresh books"), "{seen}");
    let seen = type_in(&world, "token desk", "").await.expect_err("dead");
    assert!(seen.contains("(status consent_required)\n  -> token-keeper list says what to do"), "{seen}");
}

#[tokio::test]
async fn refresh_does_a_run_and_fails_if_a_connection_needs_attention() {
    let world = office().await;
    let console = Typed::default();
    let failed = run(&world, "refresh", &console).await.expect_err("the operator is needed");
    assert_eq!(failed, "attention needed: 3 connections\n  -> do what is written for each");
    let shown = console.shown.into_inner();
    assert!(
        shown.contains(
            "desk: consent required, token until 2026-11-21T01:00:00Z\n  invalid_code\n  -> make a link with"
        ),
        "{shown}"
    );
    assert!(shown.ends_with("6 connections: 0 refreshed, 2 fresh, 3 need attention (0 s).\n"), "{shown}");
    let shown = type_in(&world, "refresh books crm-prod --force", "").await.expect("refreshed");
    assert_eq!(
        shown,
        "Region eu-central-1, prefix token-keeper\n\
         books: refreshed, token until 2026-11-21T01:35:00Z\n\
         crm-prod: refreshed, token until 2026-11-21T01:35:00Z\n\
         2 connections: 2 refreshed, 0 fresh, 0 need attention (0 s).\n"
    );
    let report = type_in(&world, "refresh books --json", "").await.expect("fresh");
    assert_eq!(serde_json::from_str::<Value>(&report).expect("a report")["fresh"], 1);
    let refused = type_in(&world, "refresh --force", "").await.expect_err("nobody named");
    assert!(refused.contains("required arguments were not provided"), "{refused}");
}

#[tokio::test]
async fn a_dry_run_says_what_and_why_and_does_nothing() {
    let world = office().await;
    world.advance_minutes(25);
    let shown = type_in(&world, "refresh --dry-run", "").await.expect("a plan");
    for (connection, plan) in
        [("books", "mint"), ("campaigns", "mint"), ("desk", "leave"), ("inventory", "leave"), ("people", "leave")]
    {
        let line = shown.lines().find(|line| line.trim_start().starts_with(connection)).expect("a line");
        assert_eq!(line.split_whitespace().nth(1), Some(plan), "{shown}");
    }
    assert!(shown.contains("its grant is dead (invalid_code)") && shown.ends_with("\nNothing was done.\n"), "{shown}");
    let plans = type_in(&world, "refresh books --force --dry-run --json", "").await.expect("a plan");
    assert_eq!(serde_json::from_str::<Value>(&plans).expect("JSON")["plan"][0]["would"], "mint");
    assert_eq!((world.zoho_calls(), world.writes()), (0, 0));
}

#[tokio::test]
async fn reconnect_makes_a_link_for_each_that_needs_one_and_each_works() {
    let world = office().await;
    let console = Typed::default();
    let failed = run(&world, "reconnect --callback-url BASE", &console).await.expect_err("administrators are needed");
    assert_eq!(failed, "attention needed: 2 connections\n  -> do what is written for each");
    let shown = console.shown.into_inner();
    assert!(shown.starts_with("Region eu-central-1, prefix token-keeper\nSend each link to an administrator of its account. Each works once, until 2026-11-21T01:35:00Z:\n\ndesk (its grant is dead)\n"), "{shown}");
    let links: Vec<_> = shown.lines().map(str::trim).filter(|line| line.contains("/connect?ticket=")).collect();
    assert_eq!(links.len(), 2, "desk and people");
    for link in links {
        assert_eq!(title(&Browser::default().consent(&world, link).await), "Connected");
    }
    let shown = type_in(&world, "reconnect --callback-url BASE", "").await.expect("nothing");
    assert!(shown.ends_with("\nNo connection is known to need a new consent. Nothing to do.\n"), "{shown}");
}

#[tokio::test]
async fn reconnect_names_a_grant_without_scopes_instead_of_making_a_link_that_fails() {
    let world = World::new().await;
    world.store("books", &json!({"scopes": []}));
    let console = Typed::default();
    run(&world, "reconnect --callback-url BASE", &console).await.expect_err("somebody is needed");
    assert_eq!(
        console.shown.into_inner(),
        "Region eu-central-1, prefix token-keeper\n\n\
         books (nobody has consented yet): its secret has no scopes\n  \
         -> make its link with `token-keeper connect books --scope …`\n"
    );
}

#[tokio::test]
async fn a_self_clients_code_becomes_a_connection() {
    let world = World::new().await;
    let grant = "grant crm --client acme --data-center eu --scope ZohoCRM.modules.ALL";
    let code = world.zoho.code("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"], None);
    let shown = type_in(&world, grant, &format!("{code}\n")).await.expect("connected");
    assert_eq!(
        shown,
        "In Zoho's API console, open the self client, choose Generate Code, enter these scopes and choose 10 minutes:\n  \
         ZohoCRM.modules.ALL\n\
         Connected. The access token is in the parameter /token-keeper/tokens/crm.\n"
    );
    assert!(world.zoho.refresh_token_lives(&world.refresh_token("crm").expect("a refresh token")));
    assert_eq!(world.document("crm").expect("a document")["status"], "active");
    let before = world.grant("crm");
    for (code, complaint) in [
        (
            code.as_str(),
            "Zoho does not accept the code\n  -> a code works once, in its own data centre, for the minutes chosen in the console",
        ),
        ("1000.never", "Zoho does not accept the code"),
        ("", "this is not a code"),
        ("1000.a b", "this is not a code"),
    ] {
        let seen = type_in(&world, grant, code).await.expect_err(complaint);
        assert!(seen.starts_with(complaint), "{seen}");
        assert!(code.is_empty() || !seen.contains(code), "{seen}");
    }
    assert_eq!(world.grant("crm"), before);
}

#[tokio::test]
async fn revoke_asks_and_ends_a_connection_everywhere() {
    let world = office().await;
    let refresh_token = world.refresh_token("books").expect("a refresh token");
    let console = Typed::default();
    let seen = run(&world, "revoke books", &console).await.expect_err("no");
    assert_eq!(seen, "nothing was done, because nobody said yes\n  -> use --yes where nobody can answer");
    assert!(world.zoho.refresh_token_lives(&refresh_token) && world.document("books").is_some());

    let console = Typed { yes: true, ..Typed::default() };
    run(&world, "revoke books", &console).await.expect("revoked");
    assert_eq!(
        console.shown.into_inner(),
        "Region eu-central-1, prefix token-keeper\n\
         End the connection books? Its refresh token is revoked, if its provider can revoke it alone, and the parameter /token-keeper/tokens/books is removed. [y/N] \n\
         Zoho has revoked the refresh token and every access token made from it. This cannot be undone.\n\
         Secret token-keeper/connections/books is marked for deletion. You can restore it until 2026-12-21; it then needs a new consent:\n  \
         aws secretsmanager restore-secret --secret-id token-keeper/connections/books\n\
         Parameter /token-keeper/tokens/books is removed.\n"
    );
    assert!(!world.zoho.refresh_token_lives(&refresh_token));
    assert_eq!(world.document("books"), None);
}

#[tokio::test]
async fn whatever_zoho_answers_revoke_removes_nothing_while_the_refresh_token_lives() {
    for (answer, complaint) in [
        (answers::throttled(), "Zoho did not revoke the refresh token (too_many_requests); nothing was removed"),
        (answers::throttled_translated(), "try again in ten minutes"),
        (answers::status(429, &json!({})), "(too_many_requests)"),
        (answers::status(200, &json!({"error": "invalid_client"})), "(invalid_client)"),
        (answers::status(200, &json!({"status": "failure"})), "(too_many_requests)"),
        (answers::status(200, &json!({})), "did not revoke the refresh token"),
        (answers::status(200, &json!({"status": "success", "error": "x"})), "did not revoke the refresh token"),
        (answers::empty(), "(HTTP 200 with an empty body)"),
        (answers::html(), "did not revoke the refresh token"),
        (answers::status(400, &json!({"error": "general_error"})), "(general_error (HTTP 400))"),
        // A proxy's page. Zoho itself still gives tokens.
        (answers::page(400, "Bad request", ""), "and it still gives access tokens for it; nothing was removed"),
    ] {
        let world = office().await;
        let before = (world.grant("books"), world.document("books"));
        world.faults.add(Rule::on("zoho", "revoke"), Fault::Respond(answer));
        let seen = type_in(&world, "revoke books --yes", "").await.expect_err("not revoked");
        assert!(seen.contains(complaint), "{complaint}: {seen}");
        assert_eq!((world.grant("books"), world.document("books")), before, "{seen}");
    }
}

#[tokio::test]
async fn revoke_ends_also_what_a_person_has_deleted_and_what_older_versions_hold() {
    let world = office().await;
    let token = world.refresh_token("books").expect("a refresh token");
    world.aws.delete_secret(&grant_name("books"));
    let shown = type_in(&world, "revoke books --yes", "").await.expect("revoked");
    assert!(shown.contains("Zoho has revoked the refresh token"), "{shown}");
    assert!(!world.zoho.refresh_token_lives(&token));
    assert_eq!(world.aws.secret(&grant_name("books")), None);

    // A consent that could not publish has kept the token before alive.
    let before = world.refresh_token("crm-prod").expect("a refresh token");
    world.aws.deny_put(&lease_name("crm-prod"));
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    let stored = world.refresh_token("crm-prod").expect("a refresh token");
    assert!(world.zoho.refresh_token_lives(&before));
    type_in(&world, "revoke crm-prod --yes", "").await.expect("revoked");
    assert!(![before, stored].iter().any(|token| world.zoho.refresh_token_lives(token)));
}

#[tokio::test]
async fn revoke_removes_nothing_until_zoho_confirms_and_finishes_what_it_began() {
    let world = office().await;
    world.faults.add(Rule::on("zoho", "revoke").times(1), Fault::Respond(answers::server_error("general_error")));
    let seen = type_in(&world, "revoke books --yes", "").await.expect_err("not revoked");
    assert_eq!(
        seen,
        "Zoho did not revoke the refresh token (HTTP 500); nothing was removed\n  -> try again in a few minutes"
    );
    assert!(world.document("books").is_some() && world.refresh_token("books").is_some());
    world.faults.add(
        Rule::on("ssm", "DeleteParameters").times(1),
        Fault::Respond(testkit::aws::error("AccessDeniedException", "not you")),
    );
    let seen = type_in(&world, "revoke books --yes", "").await.expect_err("lease not removed");
    assert!(seen.starts_with("ssm:DeleteParameters failed: AccessDeniedException"), "{seen}");
    let shown = type_in(&world, "revoke books --yes", "").await.expect("finished");
    assert!(shown.contains("There is no refresh token to revoke."), "{shown}");
    assert!(shown.ends_with("\nParameter /token-keeper/tokens/books is removed.\n"), "{shown}");
    let seen = type_in(&world, "revoke nobody --yes", "").await.expect_err("nobody");
    assert!(seen.starts_with("there is no connection nobody\n  -> see token-keeper list"), "{seen}");
}

#[tokio::test]
async fn clients_are_listed_with_their_connections_and_only_an_unused_one_can_be_removed() {
    let world = office().await;
    type_in(&world, "client add old-app --client-id 1000.OLD", "hush").await.expect("stored");
    let shown = type_in(&world, "client list", "").await.expect("a list");
    let line = |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).expect("a line").to_owned();
    assert!(line("acme").contains(CLIENT_ID) && line("acme").contains("eu, us"), "{shown}");
    assert!(line("old-app").contains("common"), "{shown}");
    assert!(!shown.contains(EU_SECRET) && !shown.contains("hush"));
    let clients: Value =
        serde_json::from_str(&type_in(&world, "client list --json", "").await.expect("a list")).expect("JSON");
    assert_eq!(clients["clients"][0]["connections"], json!(["books", "campaigns", "crm-prod", "desk", "people"]));

    let seen = type_in(&world, "client remove acme", "").await.expect_err("in use");
    assert!(
        seen.starts_with(
            "client acme is used by books, campaigns, crm-prod, desk, people\n  -> revoke these connections first"
        ),
        "{seen}"
    );
    let shown = type_in(&world, "client remove old-app", "").await.expect("removed");
    assert!(
        shown.starts_with(
            "Secret token-keeper/clients/old-app is marked for deletion. You can restore it until 2026-12-21"
        ),
        "{shown}"
    );
    let seen = type_in(&world, "client remove old-app", "").await.expect_err("gone");
    assert!(seen.starts_with("there is no client old-app"), "{seen}");
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    let world = World::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let script = type_in(&world, &format!("completions {shell}"), "").await.expect("a script");
        assert!(script.contains("token-keeper") && script.contains("reconnect"), "{shell}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    use clap::CommandFactory as _;
    fn check(command: &clap::Command) {
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says what it does");
            if command.has_subcommands() {
                check(command);
            } else if command.get_arguments().any(|argument| !argument.is_global_set()) {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("token-keeper "), "{name} has an example");
            }
        }
    }
    check(&token_keeper_cli::Cli::command());
}

#[tokio::test]
async fn each_consent_sends_a_notice_that_says_what_became_of_the_grant_before() {
    let mut world = World::new().await;
    world.set("TOKEN_KEEPER_CALLBACK_URL", BASE);
    Browser::default().consent(&world, &world.link("desk")).await;
    Browser::default().consent(&world, &world.link("desk")).await;
    let account = "with an account in the data centre eu; whose it is could not be told.";
    let first = format!("Token Keeper: desk has a new consent, {account}");
    let replaced = format!(
        "Token Keeper: desk has a new consent, {account} It replaces a grant that may still have worked. If nobody should have done this, type: \
         token-keeper revoke desk"
    );
    assert_eq!(world.notices("desk"), [first.as_str(), &replaced]);

    let die = async || {
        world.zoho.kill(&world.refresh_token("desk").expect("a refresh token"));
        type_in(&world, "refresh desk --force", "").await.expect_err("the operator is needed");
        world.notices("desk").pop().expect("a notice")
    };
    let notice = die().await;
    let (notified, command) = notice.split_once(" Type: token-keeper ").expect("a command");
    assert_eq!(
        notified,
        "Token Keeper: desk needs a new consent, Zoho no longer takes its refresh token (invalid_code)."
    );
    let shown = type_in(&world, command, "").await.expect("a link");
    let link = shown.lines().map(str::trim).find(|line| line.contains("ticket=")).expect("a link");
    assert_eq!(title(&Browser::default().consent(&world, link).await), "Connected");
    let healed = format!("Token Keeper: desk has a new consent, {account} It replaces a grant that no longer worked.");
    assert_eq!(world.notices("desk"), [first.as_str(), &replaced, &notice, &healed]);
    type_in(&world, "refresh desk --force", "").await.expect("refreshed");
    assert_eq!(world.notices("desk").len(), 4, "one notice of the consent");

    // A change of the connection in between does not hide that its grant was dead.
    die().await;
    type_in(&world, "connect desk --scope Desk.tickets.READ", "").await.expect("a link");
    let code = world.zoho.code("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"], None);
    type_in(&world, "grant desk", &code).await.expect("connected");
    assert_eq!(world.notices("desk")[2..], [&notice, &healed, &notice, &healed].map(Clone::clone));
}
