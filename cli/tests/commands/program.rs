//! The compiled command line where standard output, standard error, the environment or the machine
//! are not as they should be. It says so and ends with the right code. It never panics.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _, pipe};
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use testkit::clock::Clock;
use testkit::wire::{Fault, Faults, Hold, Rule};
use testkit::world::{BASE, CLIENT_ID, EU_SECRET, Outside, SIGNING_KEY};
use testkit::zoho::answers;

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-keeper");

/// Bytes that are not text in UTF-8.
fn no_text() -> OsString {
    OsString::from_vec(b"caf\xe9".to_vec())
}

/// An installation with a live connection `books`, and `people` that awaits its consent.
fn installation() -> Outside {
    let outside = Outside::start(&["eu"], Clock::system(), Faults::new());
    outside.zoho.register(CLIENT_ID, &[&format!("{BASE}/callback")], &[("eu", EU_SECRET)]);
    let client = json!({"client_id": CLIENT_ID, "client_secret": EU_SECRET});
    outside.aws.put_secret("token-keeper/clients/acme", &client.to_string());
    outside.aws.put_secret("token-keeper/signing-key", SIGNING_KEY);
    outside.connect("books");
    let refreshed = program(&outside, "refresh books").output().expect("the command line");
    assert!(refreshed.status.success(), "{refreshed:?}");
    outside.link("people");
    outside
}

/// The program with a command, in the operator's environment. Nothing is piped in.
fn program(outside: &Outside, command: &str) -> Command {
    let mut program = Command::new(PROGRAM);
    let inherited = std::env::vars_os()
        .filter(|(name, _)| ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|kept| name == kept));
    program.args(command.split_whitespace().map(|word| word.replace("BASE", BASE)));
    program.env_clear().envs(inherited).envs(outside.environment()).env("AWS_EC2_METADATA_DISABLED", "true");
    program.stdin(Stdio::null());
    program
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("a full disk")
}

/// A pipe that nobody reads.
fn torn() -> Stdio {
    let (_nobody, writer) = pipe().expect("a pipe");
    writer.into()
}

/// Each command and its arguments, and how it ends if all is well.
const COMMANDS: [(&str, i32); 16] = [
    ("client add shop --client-id 1000.SHOP", 0),
    ("client list", 0),
    ("connect crm --client acme --data-center eu --scope ZohoCRM.modules.READ --callback-url BASE", 0),
    ("reconnect --callback-url BASE", 1),
    ("list", 1),
    ("token books", 0),
    ("token books --header", 0),
    ("refresh --dry-run", 0),
    ("refresh books", 0),
    ("doctor", 0),
    ("scopes", 0),
    ("providers", 0),
    ("completions bash", 0),
    ("revoke books --yes", 0),
    ("client remove shop", 0),
    ("import --format env --connection taken", 0),
];

/// Runs each command with these channels. Returns its code and what it says on standard error.
fn run_each(options: &str, set: impl Fn(&mut Command), check: impl Fn(&str, i32, i32, &str)) {
    let outside = installation();
    for (command, well) in COMMANDS {
        let mut program = program(&outside, &format!("{command} {options}"));
        let input = match command.split_whitespace().next() {
            Some("client") => "hush".to_owned(),
            _ => format!(
                "ZOHO_CLIENT_ID={CLIENT_ID}\nZOHO_CLIENT_SECRET={EU_SECRET}\nZOHO_REFRESH_TOKEN=1000.taken\nZOHO_DC=eu"
            ),
        };
        let (reader, mut writer) = pipe().expect("a pipe");
        writer.write_all(input.as_bytes()).expect("room for the input");
        drop(writer);
        let (mut said, stderr) = pipe().expect("a pipe");
        program.stdin(reader).stderr(stderr);
        set(&mut program);
        let mut child = program.spawn().expect("the command line");
        // The parent's ends of the pipes.
        drop(program);
        let mut complaint = String::new();
        said.read_to_string(&mut complaint).expect("text");
        let code = child.wait().expect("an end").code().expect("a code, not a signal");
        assert!(!complaint.contains("panicked"), "{command}: {complaint}");
        check(command, code, well, &complaint);
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let set = |program: &mut Command| {
        program.stdout(full());
    };
    for options in ["", "--json"] {
        run_each(options, set, |command, code, well, complaint| {
            let lost = "the answer cannot be written to standard output: No space left on device";
            assert_eq!(code, 1, "{command}: {complaint}");
            assert!(complaint.contains(lost) && well < 2, "{command}: {complaint}");
        });
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let set = |program: &mut Command| {
        program.stdout(torn());
    };
    run_each("", set, |command, code, well, complaint| {
        assert_eq!(code, well, "{command}: {complaint}");
        assert!(!complaint.contains("pipe") && (well == 1 || complaint.is_empty()), "{command}: {complaint}");
    });
}

#[test]
fn without_standard_error_the_commands_end_as_always() {
    for option in ["--json", "--verbose"] {
        let set = |program: &mut Command| {
            program.stdout(Stdio::null()).stderr(torn());
        };
        run_each(option, set, |command, code, well, _| assert_eq!(code, well, "{command} {option}"));
    }
    let set = |program: &mut Command| {
        program.stdout(Stdio::null()).stderr(full());
    };
    run_each("", set, |command, code, well, _| assert_eq!(code, well, "{command}"));
}

#[test]
fn closed_channels_are_no_panic() {
    let outside = installation();
    for closed in ["2>&-", ">&- 2>&-", "<&- 2>&-"] {
        let environment = program(&outside, "");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {PROGRAM} token books {closed}")]).env_clear();
        shell.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(shell.output().expect("a shell").status.success(), "{closed}");
    }
}

#[test]
fn a_command_whose_answer_is_lost_has_done_its_work() {
    let outside = installation();
    let ended = program(&outside, "revoke books --yes")
        .stdout(full())
        .stderr(Stdio::null())
        .status()
        .expect("the command line");
    assert_eq!((ended.code(), outside.document("books")), (Some(1), None));
}

#[test]
fn a_watch_ends_when_nobody_reads_it_any_more() {
    let outside = installation();
    for option in ["", "--json"] {
        for (stdout, code) in [(torn(), 0), (full().into(), 1)] {
            let mut watch = program(&outside, &format!("refresh books --watch 1m {option}"));
            assert_eq!(
                watch.stdout(stdout).stderr(Stdio::null()).status().expect("the command line").code(),
                Some(code)
            );
        }
    }
}

#[test]
fn what_was_typed_wrong_ends_with_2_and_help_that_cannot_be_written_with_1() {
    let outside = installation();
    let code = |command: &str, stdout: Stdio, stderr: Stdio| {
        program(&outside, command).stdout(stdout).stderr(stderr).status().expect("the command line").code()
    };
    assert_eq!(code("lits", Stdio::null(), Stdio::null()), Some(2));
    assert_eq!(code("lits --json", Stdio::null(), torn()), Some(2));
    assert_eq!(code("list --help", Stdio::null(), Stdio::null()), Some(0));
    for help in ["--help", "--version", "list --help"] {
        assert_eq!(code(help, full().into(), Stdio::null()), Some(1), "{help}");
        assert_eq!(code(help, full().into(), torn()), Some(1), "{help}");
        assert_eq!(code(help, torn(), Stdio::null()), Some(0), "{help}");
    }
}

#[test]
fn an_argument_that_is_no_text_is_wrong_usage() {
    let outside = installation();
    let name = no_text();
    let wrong: [&[&OsStr]; 4] = [
        &["token".as_ref(), &name],
        &["list".as_ref(), "--prefix".as_ref(), &name],
        &["list".as_ref(), "--region".as_ref(), &name],
        &[&name],
    ];
    for arguments in wrong {
        let ran = program(&outside, "").args(arguments).output().expect("the command line");
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.starts_with("error: "), "{complaint}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_named_if_it_matters_and_no_panic_if_not() {
    let outside = installation();
    for (variable, code) in [
        ("TOKEN_KEEPER_PREFIX", 2),
        ("TOKEN_KEEPER_CALLBACK_URL", 2),
        ("AWS_PROFILE", 2),
        ("AWS_DEFAULT_PROFILE", 2),
        ("AWS_REGION", 2),
        ("AWS_ACCESS_KEY_ID", 2),
        ("AWS_ENDPOINT_URL", 2),
        ("HOME", 0),
        ("PATH", 0),
        ("HTTPS_PROXY", 0),
        ("NO_PROXY", 0),
        ("NO_COLOR", 0),
        ("TERM", 0),
        ("COLUMNS", 0),
        ("RUST_BACKTRACE", 0),
        ("LANG", 0),
        ("TOKIO_WORKER_THREADS", 0),
        ("CAF", 0),
    ] {
        let ran = program(&outside, "token books").env(variable, no_text()).output().expect("the command line");
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{variable}: {complaint}");
        assert!(code == 0 || complaint.contains(variable), "{variable}: {complaint}");
    }
    let mut unnamed = program(&outside, "token books");
    let ran = unnamed.env(no_text(), "x").output().expect("the command line");
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn a_machine_without_certificate_authorities_is_told_what_to_install() {
    let outside = installation();
    let mut bare = program(&outside, "list");
    bare.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
    let ran = bare.output().expect("the command line");
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{complaint}");
    assert!(complaint.starts_with("no certificate authority of this machine could be loaded"), "{complaint}");
}

#[test]
fn scopes_are_shown_without_a_region_credentials_or_a_network() {
    let mut scopes = Command::new(PROGRAM);
    scopes.args(["scopes", "desk", "--json"]).env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    let inherited = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, std::env::var_os(name)));
    scopes.envs(inherited.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let ran = scopes.output().expect("the command line");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    let answer: Value = serde_json::from_slice(&ran.stdout).expect("one object");
    assert_eq!((&answer["schema"], &answer["date"]), (&json!(1), &json!("2026-11")));
    assert!(answer["scopes"].as_array().is_some_and(|scopes| scopes.iter().any(|scope| scope["module"] == "tickets")));
}

/// The one line that a watch for programs prints in its first run.
fn first_run(outside: &Outside) -> Value {
    let mut watch = program(outside, "refresh --watch 1m --json");
    let mut running = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command line");
    let mut stderr = BufReader::new(running.stderr.take().expect("a pipe")).lines();
    let waits = |line: io::Result<String>| line.expect("text").starts_with("The next run comes in 1m");
    assert!(stderr.any(waits), "the command goes on");
    running.kill().expect("it ran");
    let ran = running.wait_with_output().expect("an end");
    let answers = String::from_utf8(ran.stdout).expect("text");
    assert_eq!(answers.lines().count(), 1, "{answers}");
    serde_json::from_str(&answers).expect("one object")
}

#[test]
fn a_watch_prints_one_line_of_json_for_each_run_also_if_the_run_fails() {
    let outside = installation();
    let report = first_run(&outside);
    assert_eq!((&report["schema"], &report["fresh"]), (&json!(1), &json!(1)));
    let refused = Fault::Respond(testkit::aws::error("AccessDeniedException", "not you"));
    outside.faults.add(Rule::on("secretsmanager", "BatchGetSecretValue"), refused);
    let failure = first_run(&outside);
    assert_eq!(failure["schema"], 1);
    assert!(failure["error"].is_string() && failure["remedy"].is_string(), "{failure}");
}

#[tokio::test]
async fn a_signal_waits_until_the_new_refresh_token_is_stored() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        end_grant_by(signal).await;
    }
}

fn send(signal: &str, running: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill {signal} {}", running.id())]).status().expect("a shell");
    assert!(sent.success());
}

async fn end_grant_by(signal: &str) {
    let outside = installation();
    let code = outside.zoho.code("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"], None);
    let stored = Hold::default();
    outside.faults.add(Rule::on("secretsmanager", "UpdateSecretVersionStage").times(1), Fault::Hold(stored.clone()));
    let mut grant = program(&outside, "grant books");
    let mut running = grant.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("grant");
    writeln!(running.stdin.take().expect("a pipe"), "{code}").expect("a code");
    stored.reached().await;
    send(signal, &running);
    let mut said = BufReader::new(running.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("One moment: Zoho's code is being exchanged.") {
        line.clear();
        assert!(said.read_line(&mut line).expect("text") > 0, "it says that it finishes");
    }
    stored.release();
    assert_eq!(running.wait().expect("an end").code(), Some(0));
    assert!(outside.zoho.refresh_token_lives(&outside.refresh_token("books").expect("a refresh token")));
    assert_eq!(outside.zoho.refresh_tokens().len(), 1, "the old one is revoked");
}

/// An installation with the non-browser application `tv`.
fn with_device() -> Outside {
    let outside = installation();
    outside.zoho.register("1000.TV", &[], &[("eu", EU_SECRET)]);
    outside.zoho.allow_device("1000.TV");
    let client = json!({"client_id": "1000.TV", "client_secret": EU_SECRET});
    outside.aws.put_secret("token-keeper/clients/tv", &client.to_string());
    outside
}

/// `connect --device`, its standard output, and the user code that it shows there.
fn connect_device(outside: &Outside) -> (Child, impl Iterator<Item = String>, String) {
    let mut connect = program(outside, "connect tv-crm --client tv --data-center eu --scope ZohoCRM.org.READ --device");
    let mut running = connect.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("connect");
    let shown = BufReader::new(running.stdout.take().expect("a pipe")).lines();
    let mut shown = shown.map(|line| line.expect("text"));
    assert!(shown.any(|line| line.contains("types this code")));
    let code = shown.next().expect("a code").trim().to_owned();
    (running, shown, code)
}

#[tokio::test]
async fn while_a_device_waits_a_signal_ends_it_at_once_but_not_while_the_tokens_come() {
    let outside = with_device();
    let pending = Fault::Respond(answers::refusal("authorization_pending"));
    outside.faults.add(Rule::on("zoho", "device_token").times(1), pending);
    let (mut waiting, _shown, _) = connect_device(&outside);
    while outside.faults.count("zoho", "device_token") == 0 {
        tokio::task::yield_now().await;
    }
    send("-INT", &waiting);
    let status = waiting.wait().expect("an end");
    assert_eq!(status.code(), Some(130), "long before the next poll: {status:?}");
    assert_eq!(outside.refresh_token("tv-crm"), None);

    let (polled, stored) = (Hold::default(), Hold::default());
    outside.faults.add(Rule::on("zoho", "device_token"), Fault::Hold(polled.clone()));
    outside.faults.add(Rule::on("secretsmanager", "UpdateSecretVersionStage"), Fault::Hold(stored.clone()));
    let (mut running, _shown, code) = connect_device(&outside);
    polled.reached().await;
    outside.zoho.decide(&code, true).expect("a code that waits");
    send("-INT", &running);
    let mut said = BufReader::new(running.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("One moment: Zoho's code is being exchanged.") {
        line.clear();
        assert!(said.read_line(&mut line).expect("text") > 0, "it says that it finishes");
    }
    polled.release();
    stored.reached().await;
    stored.release();
    assert_eq!(running.wait().expect("an end").code(), Some(0));
    let refresh_token = outside.refresh_token("tv-crm").expect("a refresh token");
    assert!(outside.zoho.refresh_token_lives(&refresh_token) && outside.token_lives("tv-crm"));
}
