//! After a deployment, the command line takes its defaults from the parameter that the stack
//! writes. The tests fill in the template's own text.

use std::process::Command;

use serde_json::{Value, json};
use testkit::browser::Browser;
use testkit::wire::{Fault, Rule};
use testkit::world::{BASE, EU_SECRET, World, grant_name, lease_name};

use crate::typed::{Typed, run, type_in};

const PARAMETER: &str = "/token-keeper/settings";
const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd";
const OTHER_KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/abcd1234";
const CONNECT: &str = "connect new --client acme --data-center eu --scope ZohoCRM.modules.READ";

/// What the stack writes with these parameters beside the default ones.
fn written(parameters: &[(&str, &str)]) -> String {
    let template = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/operation.yaml"));
    let (_, value) = template.split_once("- >-\n          {\"schema\"").expect("the settings");
    let (value, _) = value.split_once("\n        - Url:").expect("the end of the settings");
    let defaults = [
        ("Url", BASE),
        ("KmsKeyArn", ""),
        ("Tier", "Standard"),
        ("Publish", "document"),
        ("DataCenters", ""),
        ("RotatingProviders", "false"),
        ("MarginSeconds", "2100"),
        ("ScheduleExpression", "rate(15 minutes)"),
        ("SsmRate", "40"),
    ];
    let all = parameters.iter().chain(&defaults);
    let text =
        all.fold(format!("{{\"schema\"{value}"), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    assert!(!text.contains("${"), "every parameter has a value: {text}");
    text
}

/// A world with a stack that was deployed with these parameters.
async fn deployed(parameters: &[(&str, &str)]) -> World {
    let world = World::new().await;
    let data_centers = world.zoho.data_centers();
    let parameters: Vec<_> = parameters.iter().copied().chain([("DataCenters", data_centers.as_str())]).collect();
    world.aws.put_string_parameter(PARAMETER, &written(&parameters));
    world
}

/// The keys of a connection's secret and of its parameters, and whether its bare token is there.
fn kept(world: &World, connection: &str) -> (Option<String>, Option<String>, bool) {
    let plain = world.aws.parameter(&format!("/token-keeper/access-tokens/{connection}"));
    let lease = world.aws.parameter(&lease_name(connection)).and_then(|lease| lease.key_id);
    (world.aws.secret_key(&grant_name(connection)), lease, plain.is_some())
}

#[test]
fn the_reference_shows_what_the_stack_writes() {
    let reference = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md"));
    let (_, section) = reference.split_once("## The stack's settings\n").expect("the section");
    let shown = section.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let [shown, written] = [shown, &written(&[])].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
    assert_eq!(shown, written);
}

#[tokio::test]
async fn after_a_deployment_connect_needs_no_url() {
    let world = deployed(&[]).await;
    let shown = type_in(&world, CONNECT, "").await.expect("a link");
    assert!(shown.contains("https://consent.example/connect?ticket="), "{shown}");
    let shown = type_in(&world, "client add shop --client-id 1000.SHOP", "hush").await.expect("stored");
    assert!(!shown.contains("--callback-url"), "{shown}");
    let reconnect = async |options: &str| {
        let console = Typed::default();
        run(&world, &format!("reconnect {options}"), &console).await.expect_err("somebody is needed");
        console.shown.into_inner()
    };
    let shown = reconnect("").await;
    assert!(shown.contains("\nnew (nobody has consented yet)\n  https://consent.example/connect?ticket="), "{shown}");
    let shown = reconnect("--callback-url https://other.example").await;
    assert!(shown.contains("https://other.example/connect?ticket="), "the option wins: {shown}");
}

#[tokio::test]
async fn refresh_keeps_the_key_the_tier_and_the_plain_token_of_the_functions() {
    let world = deployed(&[("KmsKeyArn", KEY), ("Publish", "document,plain"), ("Tier", "Advanced")]).await;
    world.connect("crm");
    type_in(&world, "refresh crm --force", "").await.expect("a token");
    let lease = world.aws.parameter(&lease_name("crm")).expect("a lease");
    assert_eq!((lease.key_id.as_deref(), lease.tier.as_str()), (Some(KEY), "Advanced"));
    let plain = world.aws.parameter("/token-keeper/access-tokens/crm").expect("the bare token");
    assert_eq!((plain.key_id.as_deref(), json!(plain.value)), (Some(KEY), world.field("crm", "access_token")));
}

#[tokio::test]
async fn new_secrets_are_under_the_stacks_key_and_a_consent_keeps_it() {
    let mut world = deployed(&[("KmsKeyArn", KEY)]).await;
    type_in(&world, CONNECT, "").await.expect("a link");
    type_in(&world, "client add shop --client-id 1000.SHOP", "hush").await.expect("stored");
    let client = || world.aws.secret_key("token-keeper/clients/shop");
    assert_eq!((client().as_deref(), kept(&world, "new").0.as_deref()), (Some(KEY), Some(KEY)));
    Browser::default().consent(&world, &world.link("new")).await;
    assert!(world.refresh_token("new").is_some());
    assert_eq!(kept(&world, "new").0.as_deref(), Some(KEY), "a replaced secret keeps its key");

    world.set("TOKEN_KEEPER_KMS_KEY_ID", OTHER_KEY);
    type_in(&world, "client add shop --client-id 1000.SHOP", "hush").await.expect("updated");
    assert_eq!(world.aws.secret_key("token-keeper/clients/shop").as_deref(), Some(KEY));
    type_in(&world, "refresh new --force", "").await.expect("a token");
    assert_eq!(kept(&world, "new").1.as_deref(), Some(OTHER_KEY), "the environment wins");
}

#[tokio::test]
async fn without_the_parameter_the_accounts_own_keys_are_used() {
    let world = World::new().await;
    type_in(&world, &format!("{CONNECT} --callback-url BASE"), "").await.expect("a link");
    world.connect("crm");
    type_in(&world, "refresh crm --force", "").await.expect("a token");
    assert_eq!(kept(&world, "crm"), (None, Some("alias/aws/ssm".to_owned()), false));
    assert_eq!(kept(&world, "new").0, None);
}

#[tokio::test]
async fn doctor_knows_the_stacks_schedule_and_margin() {
    let world = deployed(&[("ScheduleExpression", "rate(1 hour)"), ("MarginSeconds", "3480")]).await;
    let findings = async |options: &str| {
        let shown = type_in(&world, &format!("doctor --json {options}"), "").await;
        shown.unwrap_or_else(|failure| failure)
    };
    let shown = findings("--schedule 15m").await;
    assert!(shown.contains("every 15m, margin 58m; shortest life"), "the option wins: {shown}");
    assert!(shown.contains("as the stack has them in parameter /token-keeper/settings"), "{shown}");
    let failure = findings("").await;
    assert!(failure.starts_with("1 finding to repair"), "an hourly schedule leaves no living token: {failure}");

    world.aws.put_string_parameter(PARAMETER, &written(&[("ScheduleExpression", "cron(0/10 * * * ? *)")]));
    let shown = type_in(&world, "doctor", "").await.expect("notes");
    let note = "note   schedule: cron(0/10 * * * ? *), margin 35m: doctor can compare only rate(...) with the margin\n";
    assert!(shown.contains(note), "{shown}");
    assert!(shown.contains("-> give that pause, for example token-keeper doctor --schedule 30m\n"), "{shown}");
}

#[tokio::test]
async fn doctor_says_where_environment_and_stack_disagree() {
    let mut world = deployed(&[("Tier", "Advanced")]).await;
    world.set("TOKEN_KEEPER_MARGIN_S", "600");
    world.set("TOKEN_KEEPER_TIER", "Advanced");
    world.set("TOKEN_KEEPER_KMS_KEY_ID", KEY);
    let shown = type_in(&world, "doctor --schedule 5m", "").await.expect("notes");
    let notes: Vec<_> = shown.lines().filter(|line| line.contains(" settings: ")).collect();
    assert_eq!(
        notes,
        [
            &format!(
                "note   settings: TOKEN_KEEPER_KMS_KEY_ID is {KEY} here; kms_key_id in parameter {PARAMETER} is unset"
            ),
            &format!("note   settings: TOKEN_KEEPER_MARGIN_S is 600 here; margin_s in parameter {PARAMETER} is 2100"),
        ]
    );
    assert!(shown.contains("-> unset TOKEN_KEEPER_MARGIN_S here, or deploy the stack with this value\n"), "{shown}");
}

/// A way in which the parameter may be there and be of no use, the start of the error, and its
/// remedy.
type Trouble = (fn(&World), &'static str, &'static str);

const UNUSABLE: [Trouble; 4] = [
    (
        |world| {
            let denied = testkit::aws::error("AccessDeniedException", "not you");
            world.faults.add(Rule::on("ssm", "GetParameter").about(PARAMETER), Fault::Respond(denied));
        },
        "the stack's settings cannot be read: ssm:GetParameter failed: AccessDeniedException (not you)",
        "allow ssm:GetParameter on /token-keeper/settings to the role or user that ran this, as infra/operator-policy.json does",
    ),
    (
        |world| world.aws.put_string_parameter(PARAMETER, "{\"schema\": 2}"),
        "parameter /token-keeper/settings: it has schema 2, and this version of token-keeper reads only schema 1",
        "update token-keeper",
    ),
    (
        |world| world.aws.put_string_parameter(PARAMETER, &written(&[("Tier", "Gold")])),
        "parameter /token-keeper/settings: tier: \"Gold\" is not one of Standard | Advanced | Intelligent-Tiering",
        "deploy the stack again, which writes this parameter",
    ),
    (
        |world| world.aws.put_parameter(PARAMETER, &written(&[])),
        "parameter /token-keeper/settings: not JSON",
        "deploy the stack again, which writes this parameter",
    ),
];

#[tokio::test]
async fn settings_that_cannot_be_used_stop_what_writes_and_nothing_else() {
    for (spoil, what, remedy) in UNUSABLE {
        let world = World::new().await;
        world.connect("crm");
        spoil(&world);
        world.faults.forget_calls();
        let connect = format!("{CONNECT} --callback-url BASE");
        for command in [
            "refresh crm --force",
            "refresh",
            &connect,
            "grant crm",
            "import tokens.csv",
            "client add shop --client-id 1000.SHOP",
        ] {
            let refused = type_in(&world, command, EU_SECRET).await.expect_err(command);
            assert!(refused.starts_with(what), "{command}: {refused}");
            assert!(refused.ends_with(&format!("\n  -> {remedy}; nothing was done")), "{command}: {refused}");
        }
        assert_eq!((world.writes(), world.zoho_calls()), (0, 0), "{what}");
        for command in ["list", "client list", "refresh --dry-run", "reconnect --callback-url BASE"] {
            type_in(&world, command, "").await.expect(command);
        }
        let failure = type_in(&world, "doctor", "").await.expect_err("a finding");
        assert!(failure.starts_with("2 findings to repair"), "the settings, and a missing token: {failure}");
        // What ends something never waits for a setting.
        for command in ["connect crm --void", "revoke crm --yes", "client remove acme"] {
            type_in(&world, command, "").await.expect(command);
        }
    }
}

#[tokio::test]
async fn token_reads_one_parameter_and_no_settings() {
    let world = deployed(&[]).await;
    world.connect("crm");
    world.run().await;
    world.faults.forget_calls();
    type_in(&world, "token crm", "").await.expect("a token");
    let calls: Vec<_> = world.faults.calls().into_iter().map(|call| call.subject).collect();
    assert_eq!(calls, [lease_name("crm")]);
}

/// Types a command at the program as it is installed. Returns what it shows, and what it complains
/// of.
fn type_at_the_program(world: &World, command: &str) -> [String; 2] {
    let mut program = Command::new(env!("CARGO_BIN_EXE_token-keeper"));
    let inherited = std::env::vars_os()
        .filter(|(name, _)| ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|kept| name == kept));
    program.args(command.split(' ')).env_clear().envs(inherited).envs(world.environment());
    let ended = program.output().expect("the command line");
    [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).expect("text"))
}

#[tokio::test]
async fn the_program_itself_reads_the_parameter() {
    let world = deployed(&[]).await;
    let [shown, complaint] = type_at_the_program(&world, CONNECT);
    assert!(shown.contains("https://consent.example/connect?ticket=") && complaint.is_empty(), "{shown}{complaint}");

    world.aws.put_string_parameter(PARAMETER, "{\"schema\": 2}");
    let [shown, warning] = type_at_the_program(&world, "list");
    assert!(shown.contains("awaits consent"), "{shown}");
    assert!(warning.starts_with("The stack's settings are not used: parameter /token-keeper/settings"), "{warning}");
    let [_, complaint] = type_at_the_program(&world, "refresh");
    assert!(complaint.ends_with("-> update token-keeper; nothing was done\n"), "{complaint}");
}

#[tokio::test]
async fn a_host_for_secrets_never_comes_from_the_parameter() {
    let world = World::new().await;
    world.connect("crm");
    let theirs = "eu=https://accounts.attacker.example";
    let text = json!({"schema": 1, "data_centers": theirs}).to_string();
    world.aws.put_string_parameter(PARAMETER, &text);
    world.faults.forget_calls();
    for command in ["refresh crm --force", "revoke crm --yes", "grant crm", "connect crm --local"] {
        let refused = type_in(&world, command, "code").await.expect_err(command);
        assert!(refused.contains("the stack has data centres that are not set here"), "{command}: {refused}");
        assert!(refused.contains(&format!("TOKEN_KEEPER_DATA_CENTERS='{theirs}'")), "{command}: {refused}");
    }
    assert_eq!((world.writes(), world.zoho_calls()), (0, 0));
    type_in(&world, "list", "").await.expect("it sends nothing");
}
