//! `doctor`: its findings for a healthy installation, and for each thing that can be wrong.

use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::wire::{Fault, Rule};
use testkit::world::{BASE, CLIENT_ID, EU_SECRET, SIGNING_KEY, US_SECRET, World, grant_name};
use testkit::zoho::answers;

use crate::typed::{Typed, run, type_in};

/// A healthy installation: two newly connected accounts, and a callback URL.
async fn practice() -> World {
    let mut world = World::new().await;
    world.set("TOKEN_KEEPER_CALLBACK_URL", BASE);
    for connection in ["books", "crm-prod"] {
        Browser::default().consent(&world, &world.link(connection)).await;
    }
    world.faults.forget_calls();
    world
}

/// Runs doctor. Returns what it shows, and whether it succeeds.
async fn examine(world: &World, options: &str) -> (String, Result<(), String>) {
    let console = Typed::default();
    let done = run(world, &format!("doctor {options}"), &console).await;
    (console.shown.into_inner(), done)
}

#[tokio::test]
async fn a_healthy_installation_is_ok_and_doctor_writes_nothing_and_does_not_ask_zoho() {
    let world = practice().await;
    let (shown, done) = examine(&world, "").await;
    assert_eq!(
        shown,
        "Region eu-central-1, prefix token-keeper\n\
         ok     access: you can list and read the secrets token-keeper/connections/* and token-keeper/clients/* and the parameters \
         /token-keeper/tokens/*; doctor cannot see what the functions' roles may do: compare them with \
         infra/refresher-policy.json and infra/callback-policy.json\n\
         ok     clock: right within five minutes: AWS accepted this machine's signature\n\
         ok     names: 3 secrets with valid names\n\
         ok     connections: 2 connections, each with a refresh token or client credentials, and its client's secret for its data centre\n\
         ok     clients: 1 client, each in use\n\
         ok     leases: 2 leases as they should be\n\
         ok     limits: 2 of the 10,000 standard parameters that an account can have in a Region, for 2 connections; a run in which all \
         are due writes for 1 s at 3 puts a second, which AWS allows by default\n\
         ok     signing-key: secret token-keeper/signing-key exists and is long enough\n\
         ok     callback: each client needs the redirect URI https://consent.example/callback at its provider (for Zoho, in the API console)\n\
         ok     schedule: every 15m, margin 35m; shortest life of a token that a program reads: 30 min (after a consent 20 min, \
         after one lost run 15 min, after two 0 min)\n\
         \n10 ok, 0 notes, 0 wrong. Nothing was changed, and no provider was asked.\n"
    );
    assert_eq!(done, Ok(()));
    assert_eq!((world.zoho_calls(), world.writes()), (0, 0));
    assert_eq!(world.faults.calls().len(), 4, "{:?}", world.faults.calls());
}

/// Something that goes wrong, and the finding for it: the start of its first line, and the start of
/// its remedy.
type Illness = (fn(&World), &'static str, &'static str);

const WRONG: [Illness; 17] = [
    (
        |world| drop(world.aws.put_secret(&grant_name("books"), "{")),
        "connections: books: secret token-keeper/connections/books: not JSON: it breaks off or goes wrong at line 1, column 1",
        "store one JSON object, each field once",
    ),
    (
        |world| world.aws.deny_secret(&grant_name("books")),
        "connections: books: secret token-keeper/connections/books: access denied",
        "allow the role or user that ran this to read it",
    ),
    (
        |world| {
            let client = json!({"client_id": CLIENT_ID, "client_secrets": {"us": US_SECRET}});
            world.aws.put_secret("token-keeper/clients/acme", &client.to_string());
        },
        "connections: books, crm-prod: secret token-keeper/clients/acme: it has no client secret for the data centre eu",
        "add `client_secrets.eu` from Zoho's API console",
    ),
    (
        |world| world.aws.delete_secret("token-keeper/clients/acme"),
        "connections: books, crm-prod: secret token-keeper/clients/acme: there is no secret of this name",
        "create it, or correct the name that refers to it",
    ),
    (
        |world| drop(world.aws.put_secret(&grant_name("CRM"), "{}")),
        "names: secret token-keeper/connections/CRM: a name is made of a-z",
        "store it under another name, then remove this one",
    ),
    (
        |world| drop(world.aws.put_secret("token-keeper/signing-key", "short")),
        "signing-key: secret token-keeper/signing-key: it is shorter than 32 characters",
        "openssl rand -base64 48 | aws secretsmanager put-secret-value --secret-id token-keeper/signing-key --secret-string",
    ),
    (
        |world| world.aws.delete_secret("token-keeper/signing-key"),
        "signing-key: secret token-keeper/signing-key: it is marked for deletion",
        "aws secretsmanager restore-secret --secret-id token-keeper/signing-key",
    ),
    (
        |world| world.aws.deny_secret("token-keeper/signing-key"),
        "signing-key: secret token-keeper/signing-key: access denied",
        "allow the role or user that ran this to call secretsmanager:GetSecretValue on it",
    ),
    (
        |world| world.aws.put_parameter("/token-keeper/tokens/books", "hush"),
        "leases: parameter /token-keeper/tokens/books: it is not a lease document: it is not JSON",
        "it was left alone; remove the parameter",
    ),
    (
        |world| world.aws.put_parameter("/token-keeper/tokens/theirs", "{\"schema\":2}"),
        "leases: parameter /token-keeper/tokens/theirs: it is a lease of schema 2",
        "it was left alone; update this program",
    ),
    (
        |world| {
            let lease = world.aws.parameter("/token-keeper/tokens/books").expect("a lease").value;
            world.aws.put_parameter("/token-keeper/tokens/old", &lease);
        },
        "leases: parameter /token-keeper/tokens/old is left over: secret token-keeper/connections/old: there is no secret of this name",
        "aws ssm delete-parameters --names /token-keeper/tokens/old /token-keeper/access-tokens/old",
    ),
    (
        |world| world.aws.delete_secret(&grant_name("books")),
        "leases: parameter /token-keeper/tokens/books is left over: secret token-keeper/connections/books: it is marked for deletion",
        "end it with token-keeper revoke books --yes, or restore it with aws secretsmanager restore-secret",
    ),
    (
        |world| world.aws.remove_parameter("/token-keeper/tokens/books"),
        "leases: there is no token yet: books",
        "mint now with token-keeper refresh",
    ),
    (
        |world| world.advance_minutes(120),
        "leases: the token has expired: books, crm-prod",
        "mint now with token-keeper refresh; then check the refresher's schedule, its log and its role",
    ),
    (
        |world| {
            let denied = testkit::aws::error("AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized");
            world.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue"), Fault::Respond(denied));
        },
        "access: secrets token-keeper/connections/* and token-keeper/clients/*: secretsmanager:BatchGetSecretValue failed: \
         AccessDeniedException (User: arn:aws:iam::1:user/me is not authorized)",
        "allow secretsmanager:BatchGetSecretValue to the role or user that ran this",
    ),
    (
        |world| {
            let denied = testkit::aws::error("AccessDeniedException", "not you");
            world.faults.add(Rule::on("ssm", "GetParametersByPath"), Fault::Respond(denied));
        },
        "access: parameters /token-keeper/tokens/*: ssm:GetParametersByPath failed: AccessDeniedException (not you)",
        "allow ssm:GetParametersByPath to the role or user that ran this",
    ),
    (
        |world| {
            let expired = testkit::aws::error("ExpiredTokenException", "The security token is expired");
            world.faults.add(Rule::service("ssm"), Fault::Respond(expired));
        },
        "access: parameters /token-keeper/tokens/*: ssm:GetParametersByPath failed: ExpiredTokenException",
        "the credentials have expired or are not valid",
    ),
];

#[tokio::test]
async fn doctor_finds_each_thing_that_is_wrong_shows_its_remedy_and_fails() {
    for (sicken, what, remedy) in WRONG {
        let world = practice().await;
        sicken(&world);
        world.faults.forget_calls();
        let (shown, done) = examine(&world, "").await;
        check(&shown, "wrong", what, remedy);
        let failure = done.expect_err(what);
        assert!(
            failure.ends_with("to repair\n  -> do what is written after each ->, then run doctor again"),
            "{failure}"
        );
        assert_eq!((world.zoho_calls(), world.writes()), (0, 0), "{what}");
        for secret in [EU_SECRET, US_SECRET, SIGNING_KEY, "hush", "1000.r", "short\n"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

/// Checks that a finding of this severity starts with `what`, and its third line with the remedy.
fn check(shown: &str, severity: &str, what: &str, remedy: &str) {
    let lines: Vec<_> = shown.lines().collect();
    let start = format!("{severity:<5}  {what}");
    let at = lines.iter().position(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {start} in\n{shown}"));
    let start = format!("       -> {remedy}");
    assert!(lines[at + 2].starts_with(&start), "no {start} in\n{shown}");
}

#[tokio::test]
async fn doctor_finds_what_zoho_answered_to_the_last_run() {
    let world = practice().await;
    world.zoho.kill(&world.refresh_token("books").expect("a refresh token"));
    world.faults.add(
        Rule::on("zoho", "refresh_token").about(&world.refresh_token("crm-prod").expect("a refresh token")),
        Fault::Respond(answers::throttled()),
    );
    world.advance_minutes(55);
    let _attention = type_in(&world, "refresh", "").await;
    world.faults.forget_calls();
    let (shown, done) = examine(&world, "").await;
    check(
        &shown,
        "wrong",
        "connections: books: Zoho no longer accepts its refresh token (invalid_code)",
        "make a link with `token-keeper connect books` and send it to an administrator",
    );
    assert!(shown.contains("\n       programs have a token until 2026-11-21T01:00:00Z, then none\n"), "{shown}");
    let throttled = "connections: crm-prod: Zoho got too many requests; the refresher waits until 2026-11-21T01:06:00Z";
    check(&shown, "note", throttled, "only waiting helps");
    assert!(done.expect_err("a dead grant").starts_with("1 finding to repair"));
    world.advance_minutes(5);
    let (shown, _) = examine(&world, "").await;
    check(&shown, "wrong", throttled, "only waiting helps");
    assert!(shown.contains("\n       programs have had no live token since 2026-11-21T01:00:00Z\n"), "{shown}");

    world.zoho.change_secret(CLIENT_ID, "eu", "another");
    world.faults.clear();
    world.advance_minutes(30);
    let _attention = type_in(&world, "refresh", "").await;
    let (shown, _) = examine(&world, "").await;
    check(&shown, "wrong", "connections: crm-prod: Zoho refuses its client (invalid_client", "compare client_id");
}

#[tokio::test]
async fn doctor_succeeds_if_there_are_only_notes() {
    let mut world = practice().await;
    world.link("people");
    type_in(&world, "client add old-app --client-id 1000.OLD", "hush").await.expect("stored");
    let newer = world.aws.secret(&grant_name("books")).expect("a secret").replace('{', "{\"note\":1,");
    world.aws.put_secret(&grant_name("books"), &newer);
    for (what, remedy) in [
        ("connections: people: nobody has consented yet", "make a link with `token-keeper connect people`"),
        ("clients: no connection uses client old-app", "token-keeper client remove old-app"),
        (
            "leases: the token comes from an older grant: books",
            "wait for the next run, or mint now with token-keeper refresh",
        ),
        (
            "schedule: every 30m, margin 35m; shortest life of a token that a program reads: 30 min",
            "run the refresher every 15m",
        ),
    ] {
        let (shown, done) = examine(&world, "--schedule 30m").await;
        check(&shown, "note", what, remedy);
        assert_eq!(done, Ok(()), "{shown}");
    }
    world.set("TOKEN_KEEPER_CALLBACK_URL", "http://localhost:8765");
    let (shown, _) = examine(&world, "").await;
    let redirect = "callback: each client needs the redirect URI http://localhost:8765/callback at its provider";
    check(&shown, "note", redirect, "set TOKEN_KEEPER_CALLBACK_URL to the callback function's https URL");
}

#[tokio::test]
async fn in_a_new_installation_doctor_says_what_comes_next() {
    let mut world = World::new().await;
    world.set("TOKEN_KEEPER_PREFIX", "team/new");
    let (shown, done) = examine(&world, "").await;
    let none = "connections: there are none yet: no secret's name starts with team/new/connections/";
    check(&shown, "note", none, "connect an account: token-keeper connect --help");
    check(
        &shown,
        "note",
        "callback: the callback function's URL is not known",
        "set TOKEN_KEEPER_CALLBACK_URL to the callback function's",
    );
    let create =
        "openssl rand -base64 48 | aws secretsmanager create-secret --name team/new/signing-key --secret-string";
    check(&shown, "note", "signing-key: secret team/new/signing-key: there is no secret of this name", create);
    assert_eq!(done, Ok(()), "{shown}");
}

#[tokio::test]
async fn doctor_says_nothing_about_what_it_could_not_read() {
    let world = practice().await;
    let skewed = testkit::aws::error("InvalidSignatureException", "Signature expired: 20261121T000000Z is now earlier");
    world.faults.add(Rule::service("ssm"), Fault::Respond(skewed.clone()));
    world.faults.add(Rule::service("secretsmanager"), Fault::Respond(skewed));
    let (shown, done) = examine(&world, "").await;
    check(
        &shown,
        "wrong",
        "access: parameters /token-keeper/tokens/*: ssm:GetParametersByPath failed",
        "set this machine's clock",
    );
    let checks: Vec<_> =
        shown.lines().filter_map(|line| line.get(7..)?.split_once(':')).map(|(check, _)| check).collect();
    for unseen in ["clock", "names", "connections", "clients", "leases", "limits"] {
        assert!(!checks.contains(&unseen), "{shown}");
    }
    assert!(done.is_err());

    let world = practice().await;
    world.aws.put_secret(&grant_name("books"), "{");
    world.aws.put_secret(&grant_name("crm-prod"), "{");
    let (shown, _) = examine(&world, "").await;
    assert!(shown.contains("\nok     clients: 1 client, use unknown: some connections could not be read"), "{shown}");
}

/// Secrets Manager's listing is minutes behind. The answer to a read by name is current.
#[tokio::test]
async fn a_connection_that_is_not_listed_yet_has_no_left_over_lease() {
    let world = practice().await;
    let client = world.aws.secret("token-keeper/clients/acme").expect("a client");
    let page = json!({"SecretValues": [
        {"Name": "token-keeper/clients/acme", "VersionId": "v", "SecretString": client, "ARN": "arn:aws:secretsmanager:::secret:x"},
    ]});
    let listing = Rule::on("secretsmanager", "BatchGetSecretValue").about("token-keeper/connections/").times(1);
    world.faults.add(listing, Fault::Respond(answers::status(200, &page)));
    let (shown, done) = examine(&world, "").await;
    assert!(shown.contains("ok     leases: 2 leases as they should be\n") && done.is_ok(), "{shown}");
}

#[tokio::test]
async fn programs_get_the_same_findings_as_json() {
    let world = practice().await;
    let (shown, done) = examine(&world, "--json").await;
    let healthy: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&healthy["ok"], done), (&json!(true), Ok(())));
    assert_eq!(healthy["checks"][1]["check"], "clock");
    assert_eq!(healthy["checks"][1].as_object().expect("an object").len(), 3, "no why and no remedy");

    world.aws.put_secret(&grant_name("books"), "{");
    world.advance_minutes(120);
    let (shown, done) = examine(&world, "--schedule 1h --json").await;
    assert!(done.is_err());
    let sick: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(sick["ok"], false);
    let field = |check: &Value, name: &str| check[name].as_str().map(str::to_owned);
    let printed = sick["checks"].as_array().expect("an array").iter().map(|check| {
        let [severity, name, what] = ["severity", "check", "what"].map(|name| field(check, name).expect(name));
        let rest = [("", field(check, "why")), ("-> ", field(check, "remedy"))];
        let rest = rest.into_iter().filter_map(|(mark, text)| Some(format!("       {mark}{}\n", text?)));
        format!("{severity:<5}  {name}: {what}\n{}", rest.collect::<String>())
    });
    let (shown, _) = examine(&world, "--schedule 1h").await;
    let (place, findings) = shown.split_once('\n').expect("more than a line");
    assert_eq!(place, "Region eu-central-1, prefix token-keeper");
    assert_eq!(findings.split("\n\n").next().map(|findings| format!("{findings}\n")), Some(printed.collect()));
}

#[tokio::test]
async fn a_schedule_that_is_not_a_time_is_refused() {
    let world = World::new().await;
    for schedule in ["often", "30s", "-15m"] {
        let refused = type_in(&world, &format!("doctor --schedule={schedule}"), "").await.expect_err(schedule);
        assert!(refused.contains("use a time such as 15m, at least 1m"), "{refused}");
    }
}
