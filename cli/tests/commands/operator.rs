//! `client add` and `connect`, as an operator types them.

use std::cell::RefCell;
use std::net::TcpListener;

use clap::Parser as _;
use serde_json::json;
use testkit::browser::{Browser, title};
use testkit::world::{Asked, BASE, CLIENT_ID, EU_SECRET, World, grant_name};
use token_keeper_cli::{Cli, Terminal};
use tokio::sync::watch;

use crate::typed::{Typed, run, type_in};

#[tokio::test]
async fn a_client_is_stored_and_gets_more_secrets_without_losing_any() {
    let world = World::new().await;
    let shown = type_in(&world, "client add shop --client-id 1000.SHOP", "common-secret\n").await.expect("stored");
    assert_eq!(
        shown,
        "Client shop is stored in secret token-keeper/clients/shop. Its secrets: common.\n\
         Next: make a link to connect an account, for example\n  \
         token-keeper connect crm-prod --client shop --data-center eu --scope ZohoCRM.modules.READ --callback-url https://YOUR-CALLBACK\n\
         Without a browser: connect --device for a Non-browser Application, grant for a Self Client.\n"
    );
    let shown =
        type_in(&world, "client add shop --client-id 1000.SHOP --data-center us", "us-secret").await.expect("stored");
    assert!(
        shown.starts_with("Client shop is updated in secret token-keeper/clients/shop. Its secrets: common, us.\n"),
        "{shown}"
    );
    let stored = world.aws.secret("token-keeper/clients/shop").expect("a client");
    let expected =
        json!({"client_id": "1000.SHOP", "client_secret": "common-secret", "client_secrets": {"us": "us-secret"}});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stored).expect("JSON"), expected);
}

#[tokio::test]
async fn a_wrong_client_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let before = world.aws.secret("token-keeper/clients/acme");
    world.faults.forget_calls();
    for (command, secret, complaint) in [
        (
            "client add acme --client-id 1000.OTHER",
            "hush",
            "client acme already exists, with another client id (1000.CLIENTIDOFACME)",
        ),
        ("client add shop --client-id 1000.SHOP --data-center mars", "hush", "mars is not a known data centre"),
        ("client add shop --client-id 1000.SHOP", "", "the field `client_secret` is empty"),
        ("client add shop --client-id 1000.SHOP", "hush hush", "the field `client_secret` contains white space"),
        ("client add Shop --client-id 1000.SHOP", "hush", "a name is made of a-z"),
        ("client add shop", "hush", "--client-id <ID>"),
    ] {
        let complaint_seen = type_in(&world, command, secret).await.expect_err(command);
        assert!(complaint_seen.contains(complaint), "{command}: {complaint_seen}");
        assert!(!complaint_seen.contains("hush"), "{complaint_seen}");
    }
    assert_eq!((world.aws.secret("token-keeper/clients/acme"), world.writes()), (before, 0));
}

#[tokio::test]
async fn connect_says_what_to_register_who_gets_the_link_and_where_the_token_will_be() {
    let world = World::new().await;
    let command = "connect crm-prod --client acme --data-center eu --scope ZohoCRM.modules.ALL --callback-url BASE";
    let shown = type_in(&world, command, "").await.expect("a link");
    let ticket = shown.split("ticket=").nth(1).and_then(|rest| rest.lines().next()).expect("a ticket");
    assert_eq!(
        shown.replace(ticket, "TICKET"),
        "Region eu-central-1, prefix token-keeper\n\
         The connection crm-prod awaits consent (secret token-keeper/connections/crm-prod created).\n\n\
         1. In Zoho's API console, register this redirect URI with the client:\n     \
              https://consent.example/callback\n\
         2. Send this link to an administrator of the Zoho account. It works once, until 2026-11-21T01:00:00Z:\n     \
              https://consent.example/connect?ticket=TICKET\n\
         3. After the consent, the secret holds the refresh token and this parameter the first access token:\n     \
              /token-keeper/tokens/crm-prod\n"
    );
    let again =
        type_in(&world, "connect crm-prod --callback-url BASE --valid-for 2d --json", "").await.expect("a link");
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(again["expires_at"], "2026-11-23T00:00:00Z");
    assert!(again["url"].as_str().is_some_and(|url| url.starts_with(&format!("{BASE}/connect?ticket="))));
    assert_eq!(again["redirect_uri"], format!("{BASE}/callback"));
}

#[tokio::test]
async fn connect_refuses_what_cannot_work_before_it_writes_anything() {
    let world = World::new().await;
    world
        .aws
        .put_secret(&grant_name("byhand"), r#"{"client": "acme", "data_center": "eu", "refresh_token": "1000.made"}"#);
    world.faults.forget_calls();
    let full = "--client acme --data-center eu --scope ZohoCRM.modules.ALL --callback-url BASE";
    for (arguments, complaint) in [
        (
            "new --data-center eu --scope ZohoCRM.modules.READ --callback-url BASE".to_owned(),
            "--client is required: new is a new connection",
        ),
        (
            "new --client acme --scope ZohoCRM.modules.READ --callback-url BASE".to_owned(),
            "--data-center is required: new is a new connection",
        ),
        (
            "new --client acme --data-center eu --callback-url BASE".to_owned(),
            "--scope is required: new is a new connection",
        ),
        ("byhand --callback-url BASE".to_owned(), "--scope is required: none is stored for byhand"),
        (
            "new --client acme --data-center eu --scope ZohoCRM.modules.READ".to_owned(),
            "the callback function's address is not known",
        ),
        (
            "new --client acme --data-center eu --scope ZohoCRM.modules.READ --callback-url http://consent.example"
                .to_owned(),
            "cannot be the address of the callback",
        ),
        (
            "new --client acme --data-center mars --scope ZohoCRM.modules.READ --callback-url BASE".to_owned(),
            "mars is not a known data centre\n  -> use one of ae, au,",
        ),
        (
            "new --client acme --data-center in --scope ZohoCRM.modules.READ --callback-url BASE".to_owned(),
            "token-keeper client add acme --client-id … --data-center in",
        ),
        (
            "new --client nobody --data-center eu --scope ZohoCRM.modules.READ --callback-url BASE".to_owned(),
            "store the client first: token-keeper client add nobody",
        ),
        (format!("new {full} --valid-for 8d"), "use a time such as 30m, 1h or 2d, at most 7d"),
        (format!("new {full} --valid-for soon"), "invalid value 'soon'"),
        (format!("New {full}"), "a name is made of a-z"),
    ] {
        let seen = type_in(&world, &format!("connect {arguments}"), "").await.expect_err(&arguments);
        assert!(seen.contains(complaint), "{arguments}: {seen}");
    }
    assert_eq!((world.writes(), world.zoho_calls()), (0, 0));
}

#[tokio::test]
async fn a_connected_account_keeps_its_client_and_moves_only_on_request() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("crm-prod")).await;
    type_in(&world, "client add shop --client-id 1000.SHOP", "hush").await.expect("stored");
    let before = world.aws.secret_version(&grant_name("crm-prod"));
    for (arguments, complaint) in [
        ("crm-prod --client shop --callback-url BASE", "crm-prod has another client"),
        ("crm-prod --data-center us --callback-url BASE", "crm-prod belongs to the data centre eu, not us"),
    ] {
        let seen = type_in(&world, &format!("connect {arguments}"), "").await.expect_err(arguments);
        assert!(seen.contains(complaint), "{arguments}: {seen}");
    }
    type_in(&world, "connect crm-prod --data-center us --allow-move --callback-url BASE", "").await.expect("a link");
    assert_eq!(world.aws.secret_version(&grant_name("crm-prod")), before, "nothing moves before the consent");
}

#[tokio::test]
async fn links_need_a_strong_signing_key() {
    let world = World::new().await;
    let connect = "connect crm-prod --client acme --data-center eu --scope ZohoCRM.modules.READ --callback-url BASE";
    world.aws.put_secret("token-keeper/signing-key", "short");
    let seen = type_in(&world, connect, "").await.expect_err("a weak key");
    assert!(seen.contains("secret token-keeper/signing-key: it is shorter than 32 characters"), "{seen}");
    assert!(!seen.contains("short\n"), "{seen}");
    world.aws.delete_secret("token-keeper/signing-key");
    let seen = type_in(&world, connect, "").await.expect_err("no key");
    assert!(seen.contains("aws secretsmanager create-secret --name token-keeper/signing-key"), "{seen}");
}

/// A terminal that hands the link to the test, and keeps what is on standard output.
struct Waiting {
    link: watch::Sender<String>,
    shown: RefCell<String>,
}

impl Terminal for Waiting {
    fn print(&self, text: &str) -> std::io::Result<()> {
        self.note(text);
        self.shown.borrow_mut().extend([text, "\n"]);
        Ok(())
    }

    fn note(&self, text: &str) {
        if text.contains("/connect?ticket=") {
            self.link.send_replace(text.trim().to_owned());
        }
    }
}

/// `connect --local` at `base`, and a browser of this machine. A stranger has the same answer of
/// Zoho and is refused at each of `addresses`. Returns what is on standard output.
async fn connect_locally(world: &World, base: &str, addresses: &[String], option: &str) -> String {
    world.zoho.register(CLIENT_ID, &[&format!("{base}/callback")], &[("eu", EU_SECRET)]);
    let terminal = Waiting { link: watch::Sender::default(), shown: RefCell::default() };
    let arguments = format!(
        "connect crm --client acme --data-center eu --scope ZohoCRM.modules.READ --local --callback-url {base} {option}"
    );
    let command = run(world, &arguments, &terminal);
    let browser = async {
        let mut shown = terminal.link.subscribe();
        let link = shown.wait_for(|link| !link.is_empty()).await.expect("a link").clone();
        let http = token_keeper::http::client(token_keeper::http::Roots::BuiltIn, None).expect("a client");
        let begun = http.get(&link).send().await.expect("an answer");
        assert_eq!(begun.status(), 303);
        let cookie =
            begun.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let zoho = begun.headers()["location"].to_str().expect("text").to_owned();
        let callback = Browser::default().decide(&zoho, "accept").await;
        let rest = callback.strip_prefix(base).expect("an address at the base");
        for address in addresses {
            let stranger = http.get(format!("http://{address}{rest}")).send().await.expect("a page");
            assert_eq!(stranger.status(), 403, "{address}");
        }
        let page = http.get(&callback).header("cookie", cookie).send().await.expect("a page");
        assert_eq!(page.status(), 200);
        page.text().await.expect("text")
    };
    let (done, page) = tokio::join!(command, browser);
    done.expect("connected");
    assert!(page.contains("<h1>Connected</h1>"), "{page}");
    assert!(world.document("crm").is_some() && world.refresh_token("crm").is_some());
    terminal.shown.into_inner()
}

/// A port of this machine that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

#[tokio::test]
async fn a_local_connect_does_the_whole_round_trip_over_http() {
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let world = World::new().await;
        world.aws.delete_secret("token-keeper/signing-key");
        let port = free_port();
        let served: &[&str] = match host {
            "localhost" if has_v6 => &["127.0.0.1", "[::1]"],
            "localhost" => &["127.0.0.1"],
            "[::1]" if !has_v6 => continue,
            _ => &[host],
        };
        let addresses: Vec<_> = served.iter().map(|address| format!("{address}:{port}")).collect();
        let shown = connect_locally(&world, &format!("http://{host}:{port}"), &addresses, "").await;
        assert!(
            shown.ends_with("Connected. The access token is in the parameter /token-keeper/tokens/crm.\n"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_local_connect_answers_a_program_when_the_account_is_connected() {
    let world = World::new().await;
    let base = format!("http://localhost:{}", free_port());
    let shown = connect_locally(&world, &base, &[], "--json").await;
    assert_eq!(shown, "{\"connection\":\"crm\",\"parameter\":\"/token-keeper/tokens/crm\",\"schema\":1}\n");
}

#[tokio::test]
async fn a_local_connect_starts_only_where_nobody_else_of_this_machine_answers() {
    let world = World::new().await;
    let connect = "connect crm --client acme --data-center eu --scope ZohoCRM.modules.READ --local --callback-url";
    for address in ["127.0.0.1", "[::1]"] {
        // Without IPv6, nobody can be there.
        let Ok(taken) = TcpListener::bind(format!("{address}:0")) else { continue };
        let port = taken.local_addr().expect("an address").port();
        for host in ["localhost", address] {
            let seen = type_in(&world, &format!("{connect} http://{host}:{port}"), "").await.expect_err("taken");
            assert!(seen.starts_with(&format!("{address}:{port} of this machine cannot be used")), "{seen}");
        }
    }
    for url in ["BASE", "https://localhost:8765", "http://localhost", "http://localhost:0", "http://localhost:8765/tk"]
    {
        let seen = type_in(&world, &format!("{connect} {url}"), "").await.expect_err("not here");
        assert!(seen.starts_with("--local cannot answer at http"), "{seen}");
    }
    assert_eq!(world.writes(), 0, "nothing is stored if the consent cannot work");
}

#[tokio::test]
async fn a_local_connect_says_that_it_does_not_use_the_functions_address() {
    let mut world = World::new().await;
    world.set("TOKEN_KEEPER_CALLBACK_URL", BASE);
    // If this fails, somebody else has the port. The command must not get it, or it would wait.
    let _taken = TcpListener::bind("127.0.0.1:8765");
    let console = Typed::default();
    let new = "--client acme --data-center eu --scope ZohoCRM.modules.READ";
    let failed = run(&world, &format!("connect crm {new} --local"), &console).await.expect_err("the port is taken");
    assert!(failed.starts_with("127.0.0.1:8765 of this machine cannot be used"), "{failed}");
    let shown = console.shown.into_inner();
    assert!(
        shown.ends_with(
            "\n--local does not use the callback URL of the settings, https://consent.example; it answers at http://localhost:8765.\n"
        ),
        "{shown}"
    );
}

#[test]
fn every_command_in_the_documentation_is_a_command() {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));
    let pages = [readme, guide].concat().replace(" \\\n", " ");
    let commands: Vec<_> = pages.lines().filter(|line| line.starts_with("token-keeper ")).collect();
    assert!(commands.len() >= 13, "{commands:?}");
    for command in commands {
        let command = command.split(" | ").next().unwrap_or_default();
        if let Err(error) = token_keeper_cli::Cli::try_parse_from(command.split_whitespace()) {
            panic!("{command}: {error}");
        }
    }
}

/// Types each command in the guide's console blocks. Tickets and tokens are masked: they change
/// with each run.
#[tokio::test]
async fn the_guide_shows_what_an_operator_sees() {
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));
    let mut world = World::new().await;
    world.set("TOKEN_KEEPER_CALLBACK_URL", BASE);
    for (connection, scope) in
        [("books", "ZohoBooks.invoices.READ"), ("crm-prod", "ZohoCRM.modules.ALL"), ("desk", "Desk.tickets.READ")]
    {
        let link = world.link_with(connection, Asked { scopes: &[scope], ..Asked::default() });
        Browser::default().consent(&world, &link).await;
    }
    world.advance_minutes(30);
    world.zoho.kill(&world.refresh_token("desk").expect("a refresh token"));
    let _attention = type_in(&world, "refresh crm-prod desk --force", "").await;
    let mut checked = 0;
    for block in guide.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for typed in block.split("$ token-keeper ").skip(1) {
            let (command, expected) = typed.split_once('\n').expect("an answer");
            let console = Typed::default();
            let failure = run(&world, command, &console).await.err().map(|failure| failure + "\n").unwrap_or_default();
            let shown = console.shown.into_inner() + &failure;
            assert_eq!(masked(&shown), masked(expected), "$ token-keeper {command}");
            checked += 1;
        }
    }
    assert_eq!(checked, 9);
}

/// The text with tickets and tokens cut as in the guide.
fn masked(text: &str) -> String {
    let mask = |line: &str| {
        let start = ["ticket=", "Zoho-oauthtoken "].into_iter().find_map(|mark| Some(line.find(mark)? + mark.len()));
        let visible = if line.contains("Zoho-oauthtoken ") { "1000." } else { "" };
        start.map_or(line.to_owned(), |start| format!("{}{visible}…", &line[..start]))
    };
    text.lines().map(mask).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_help_of_grant_speaks_of_the_self_client() {
    let help = Cli::try_parse_from(["token-keeper", "grant", "--help"]).expect_err("the help").to_string();
    assert!(help.contains("The data centre of the API console with the self client"), "{help}");
    assert!(help.contains("for a code, the same as in the console"), "{help}");
}

#[tokio::test]
async fn a_link_that_went_to_the_wrong_person_can_be_voided_alone() {
    let world = World::new().await;
    let (link, other) = (world.link("crm-prod"), world.link("books"));
    let before = world.grant("crm-prod");
    let shown = type_in(&world, "connect crm-prod --void", "").await.expect("voided");
    assert!(shown.contains("All links made for crm-prod until now are cancelled."), "{shown}");
    let mut after = world.grant("crm-prod");
    assert_eq!(after["voided_at"].take(), "2026-11-21T00:00:00Z");
    after.as_object_mut().expect("fields").remove("voided_at");
    assert_eq!(after, before);
    assert_eq!(title(&Browser::default().open(&world, &link).await), "This link is out of date");
    assert_eq!(title(&Browser::default().consent(&world, &other).await), "Connected");
    assert_eq!(title(&Browser::default().consent(&world, &world.link("crm-prod")).await), "Connected");
    let failed = type_in(&world, "connect nobody --void", "").await.expect_err("no such connection");
    assert!(failed.starts_with("there is no connection nobody"), "{failed}");
}
