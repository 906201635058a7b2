//! `--json`: one object on standard output, whatever the command and whatever becomes of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::wire::{Fault, Rule};
use testkit::world::{CLIENT_ID, World, grant_name};

use crate::typed::{Typed, run};

const REFERENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md"));

/// Types a command for a program. Returns the one object on standard output, and the failure.
async fn ask(world: &World, command: &str, console: Typed) -> (Value, Result<(), String>) {
    let done = run(world, &format!("{command} --json"), &console).await;
    let shown = console.shown.into_inner();
    let answer: Value = serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{command}: {error}: {shown}"));
    assert_eq!((shown.lines().count(), &answer["schema"]), (1, &json!(1)), "{command}: {shown}");
    (answer, done)
}

/// The names of an answer's fields, also of the objects in its lists.
fn fields(answer: &Value) -> BTreeSet<&str> {
    let object = answer.as_object().expect("an object");
    let within = object.values().filter_map(Value::as_array).flatten().filter_map(Value::as_object);
    let names = object.keys().chain(within.flat_map(|object| object.keys()));
    names.map(String::as_str).filter(|name| *name != "schema").collect()
}

#[tokio::test]
async fn every_command_answers_with_the_fields_that_the_reference_lists() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("books")).await;
    Browser::default().consent(&world, &world.link("shop")).await;
    world.link("people");
    world.store("campaigns", &json!({"scopes": []}));
    let row = |name: &str| {
        format!(r#"{{"connection": "{name}", "client": "acme", "data_center": "eu", "refresh_token": "1000.kept"}}"#)
    };
    let code = world.zoho.code("eu", CLIENT_ID, &["A.b"], None);
    let new = "--client acme --data-center eu --scope ZohoCRM.modules.READ";
    let typed = [
        ("client add", "client add old --client-id 1000.OLD".to_owned(), "hush", String::new()),
        ("client list", "client list".to_owned(), "", String::new()),
        ("client remove", "client remove old".to_owned(), "", String::new()),
        ("connect", format!("connect crm {new} --callback-url BASE"), "", String::new()),
        ("connect --void", "connect crm --void".to_owned(), "", String::new()),
        ("reconnect", "reconnect --callback-url BASE".to_owned(), "", String::new()),
        ("grant", format!("grant desk {new}"), &code, String::new()),
        ("scopes", "scopes desk".to_owned(), "", String::new()),
        ("providers", "providers".to_owned(), "", String::new()),
        ("import", "import kept.json".to_owned(), "", row("kept")),
        ("list", "list".to_owned(), "", String::new()),
        ("token", "token books".to_owned(), "", String::new()),
        ("doctor", "doctor".to_owned(), "", String::new()),
        ("refresh --dry-run", "refresh --dry-run".to_owned(), "", String::new()),
        ("revoke", "revoke shop --yes".to_owned(), "", String::new()),
        ("completions", "completions bash".to_owned(), "", String::new()),
    ];
    let rows =
        REFERENCE.split("## Answers in JSON").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the rows");
    let listed = |command: &str| -> BTreeSet<&str> {
        let row = rows.lines().find(|row| row.starts_with(&format!("| `{command}` |")));
        let row = row.unwrap_or_else(|| panic!("{command} is not in docs/reference.md"));
        row.split('`').skip(3).step_by(2).collect()
    };
    for (name, command, answer, file) in typed {
        let console = Typed { answer: answer.to_owned(), file: file.into_bytes(), ..Typed::default() };
        let (answer, _) = ask(&world, &command, console).await;
        assert_eq!(fields(&answer), listed(name), "{command}: {answer}");
    }
    let (report, done) = ask(&world, "refresh books", Typed::default()).await;
    assert_eq!((&report["fresh"], done), (&json!(1), Ok(())));
}

#[tokio::test]
async fn a_command_that_fails_answers_with_the_error_and_its_remedy() {
    let world = World::new().await;
    for command in ["token nobody", "revoke nobody --yes", "client remove nobody", "list --prefix other"] {
        if command.starts_with("list") {
            let refused = Fault::Respond(testkit::aws::error("AccessDeniedException", "not you"));
            world.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue"), refused);
        }
        let (answer, done) = ask(&world, command, Typed::default()).await;
        assert_eq!(fields(&answer), BTreeSet::from(["error", "remedy"]), "{command}");
        let said =
            format!("{}\n  -> {}", answer["error"].as_str().expect("text"), answer["remedy"].as_str().expect("text"));
        assert_eq!(done, Err(said), "{command}");
    }
}

#[tokio::test]
async fn what_needs_somebody_is_an_answer_and_a_failure() {
    let world = World::new().await;
    world.store("people", &json!({}));
    for command in ["list", "reconnect --callback-url BASE"] {
        let (answer, done) = ask(&world, command, Typed::default()).await;
        assert!(answer.get("error").is_none(), "{answer}");
        assert_eq!(done, Err("attention needed: 1 connection\n  -> do what is written for each".to_owned()));
    }
    Browser::default().consent(&world, &world.link("people")).await;
    for command in ["list", "reconnect --callback-url BASE"] {
        assert_eq!(ask(&world, command, Typed::default()).await.1, Ok(()), "{command}");
    }
}

#[tokio::test]
async fn what_people_read_beside_the_answer_goes_to_standard_error() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("books")).await;
    let console = Typed::default();
    run(&world, "revoke books --yes --json", &console).await.expect("revoked");
    let noted = console.noted.into_inner();
    for part in ["Region eu-central-1, prefix token-keeper\n", "Zoho has revoked", "aws secretsmanager restore-secret"]
    {
        assert!(noted.contains(part), "{noted}");
    }
}

#[tokio::test]
async fn the_token_is_only_in_the_answer() {
    let world = World::new().await;
    Browser::default().consent(&world, &world.link("books")).await;
    let console = Typed::default();
    run(&world, "token books --json", &console).await.expect("a token");
    let answer: Value = serde_json::from_str(&console.shown.into_inner()).expect("JSON");
    assert_eq!(answer["access_token"], world.field("books", "access_token"));
    assert_eq!(console.noted.into_inner(), "");
}

#[tokio::test]
async fn a_client_that_cannot_be_read_is_listed_with_its_error() {
    let world = World::new().await;
    world.aws.put_secret("token-keeper/clients/broken", "{");
    world.aws.put_secret(&grant_name("books"), r#"{"client": "broken", "data_center": "eu"}"#);
    let (answer, _) = ask(&world, "client list", Typed::default()).await;
    let broken = &answer["clients"][1];
    assert_eq!((&broken["client"], &broken["client_id"]), (&json!("broken"), &Value::Null));
    assert!(broken["error"].as_str().is_some_and(|error| error.contains("not JSON")), "{answer}");
}
