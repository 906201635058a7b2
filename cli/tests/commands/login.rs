//! The ways to log in to AWS, with the real command line, the files of the AWS CLI, and a stand-in
//! for the servers that give credentials. Who is logged in shows in the signature that Token
//! Keeper's stores see.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::wire::{Bytes, Call, Fault, Faults, Request, Response, Rule, Server, StandIn};

/// SHA-1 of `corp`, by which the AWS CLI names the file of the session's token.
const SESSION_FILE: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
/// SHA-1 of the start URL, by which it names the file where the profile has no session.
const START_URL_FILE: &str = ".aws/sso/cache/a51746d4aa793ae07b25e90c3a5db96fc7832bd7.json";
/// SHA-256 of the user's ARN, by which it names the file of `aws login`.
const LOGIN_FILE: &str = ".aws/login/cache/54b26e94961ade5aa4cd61f3deff3136c953a65099a948739052499a875d5095.json";

const LIVE_TOKEN: &str = r#"{"accessToken": "sso-t0ken", "expiresAt": "2999-01-01T00:00:00Z"}"#;
const ENDED_TOKEN: &str = r#"{"accessToken": "sso-t0ken", "expiresAt": "2020-01-01T00:00:00Z"}"#;
const RENEWABLE_TOKEN: &str = r#"{"accessToken": "0ld-t0ken", "expiresAt": "2020-01-01T00:00:00Z", "refreshToken": "sso-refre5h",
    "clientId": "aws-cli", "clientSecret": "cl1ent-secret", "registrationExpiresAt": "2999-01-01T00:00:00Z"}"#;
const LIVE_LOGIN: &str = r#"{"accessToken": {"accessKeyId": "ASIALOGIN", "secretAccessKey": "l0gin-secret", "sessionToken": "l0gin-t0ken",
    "accountId": "111122223333", "expiresAt": "2999-01-01T00:00:00Z"}, "tokenType": "aws_sigv4", "refreshToken": "l0gin-refre5h",
    "clientId": "arn:aws:signin:::devtools/same-device", "dpopKey": "l0gin-key"}"#;

/// One profile for each way to log in.
const CONFIG: &str = "
[profile sso]
region = eu-central-1
sso_session = corp
sso_account_id = 111122223333
sso_role_name = Operator
[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://corp.awsapps.com/start
[profile sso-without-session]
region = eu-central-1
sso_region = eu-west-1
sso_start_url = https://corp.awsapps.com/start
sso_account_id = 111122223333
sso_role_name = Operator
[profile sso-without-role]
sso_session = corp
[profile sso-no-such-session]
sso_session = corpse
sso_account_id = 111122223333
sso_role_name = Operator
[profile role-over-sso]
region = eu-central-1
role_arn = arn:aws:iam::111122223333:role/operator
source_profile = sso
[profile login]
region = eu-central-1
login_session = arn:aws:iam::111122223333:user/ana
[profile process]
region = eu-central-1
credential_process = sh ~/process
[profile keys]
region = eu-central-1
aws_access_key_id = AKIAPROFILE
aws_secret_access_key = pr0file-secret
[profile role]
region = eu-central-1
role_arn = arn:aws:iam::111122223333:role/operator
source_profile = keys
[profile mfa]
region = eu-central-1
role_arn = arn:aws:iam::111122223333:role/operator
source_profile = keys
mfa_serial = arn:aws:iam::111122223333:mfa/ana
[profile role-over-empty]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = empty

[profile role-over-nothing]
role_arn = arn:aws:iam::111122223333:role/operator
source_profile = gone
[profile strange-source]
role_arn = arn:aws:iam::111122223333:role/operator
credential_source = Moon
[profile empty]
region = eu-central-1
";
const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "env1ronment-secret")];

/// Texts that may never be shown.
const SECRETS: [&str; 12] = [
    "sso-t0ken",
    "0ld-t0ken",
    "sso-refre5h",
    "cl1ent-secret",
    "sso-secret",
    "l0gin-",
    "pr0cess-secret",
    "pr0file-secret",
    "r0le-secret",
    "env1ronment-secret",
    "sess1on",
    "AKIAPROFILE",
];

/// IAM Identity Center and STS: who has the live token gets the role's keys, and so does everybody
/// who asks for a role.
struct Issuer;

impl StandIn for Issuer {
    fn identify(&self, request: &Request<Bytes>) -> Call {
        let operation = match request.uri().path() {
            "/federation/credentials" => "GetRoleCredentials",
            "/token" => "CreateToken",
            _ => "AssumeRole",
        };
        Call { service: "issuer", operation: operation.to_owned(), subject: String::new() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let body = match request.uri().path() {
            "/federation/credentials" if request.headers()["x-amz-sso_bearer_token"] != "sso-t0ken" => {
                return refusal(401, "UnauthorizedException");
            }
            "/federation/credentials" => {
                r#"{"roleCredentials": {"accessKeyId": "ASIASSO", "secretAccessKey": "sso-secret", "sessionToken": "sess1on",
                    "expiration": 32472144000000}}"#
            }
            "/token" => r#"{"accessToken": "sso-t0ken", "expiresIn": 3600, "tokenType": "Bearer"}"#,
            _ => {
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
                 <SecretAccessKey>r0le-secret</SecretAccessKey><SessionToken>sess1on</SessionToken>\
                 <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            }
        };
        Response::new(Bytes::from_static(body.as_bytes()))
    }
}

/// A refusal as the service's protocol has it: Identity Center reads the header, STS the body.
fn refusal(status: u16, code: &str) -> Response<Bytes> {
    let body =
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>of AKIAPROFILE</Message></Error></ErrorResponse>");
    let builder = Response::builder().status(status).header("x-amzn-errortype", code);
    builder.body(Bytes::from(if code == "AccessDenied" { body } else { "{}".to_owned() })).expect("a response")
}

/// An operator's machine.
struct Machine {
    home: PathBuf,
    aws: Aws,
    issuer: Server,
    faults: Faults,
}

impl Machine {
    /// Its home is a folder of this name.
    fn new(name: &str) -> Self {
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("login").join(name);
        let _new = std::fs::remove_dir_all(&home);
        let faults = Faults::new();
        let aws = Aws::start(Clock::system(), faults.clone());
        let issuer = Server::start(Arc::new(Issuer), faults.clone());
        let machine = Self { home, aws, issuer, faults };
        machine.file(".aws/config", CONFIG);
        machine
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.home.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Types a command; what it shows on standard output, or what it complains of.
    fn type_in(&self, command: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_token-keeper"));
        let inherited = std::env::vars_os()
            .filter(|(name, _)| ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|kept| name == kept));
        process.args(command.split_whitespace()).env_clear().envs(inherited).env("HOME", &self.home);
        for service in ["SECRETS_MANAGER", "SSM"] {
            process.env(format!("AWS_ENDPOINT_URL_{service}"), self.aws.url());
        }
        for service in ["SSO", "SSO_OIDC", "STS"] {
            process.env(format!("AWS_ENDPOINT_URL_{service}"), self.issuer.url());
        }
        process.env("AWS_EC2_METADATA_DISABLED", "true").envs(environment.iter().copied());
        let output = process.output().expect("the command line");
        let [shown, complaint] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        for secret in SECRETS {
            assert!(!shown.contains(secret) && !complaint.contains(secret), "{secret} is in {shown}{complaint}");
        }
        if output.status.success() { Ok(shown) } else { Err(complaint) }
    }

    /// Looks into the empty stores with the credentials that this is about.
    fn check_signer(&self, options: &str, environment: &[(&str, &str)], signer: &str) {
        let shown = self.type_in(&format!("list {options}"), environment).expect(options);
        assert!(shown.contains("There are no connections"), "{shown}");
        let signers: Vec<_> = self.aws.signers().into_iter().collect();
        assert_eq!(signers, [signer], "{options}");
    }

    /// Fails before the stores are asked.
    fn check_complaint(&self, options: &str, environment: &[(&str, &str)], what: &str, remedy: &str) {
        let complaint = self.type_in(&format!("list {options}"), environment).expect_err(options);
        // Both stores are asked at once, and the first to fail is named.
        let (_, complaint) = complaint.split_once(" failed: ").expect("an action that failed");
        assert_eq!(complaint, format!("{what}\n  -> {remedy}\n"), "{options}");
        assert!(self.aws.signers().is_empty(), "{options}");
    }

    fn refuse(&self, operation: &str, status: u16, code: &str) {
        self.faults.add(Rule::on("issuer", operation), Fault::Respond(refusal(status, code)));
    }
}

#[test]
fn a_login_at_identity_center_is_used() {
    let machine = Machine::new("sso");
    machine.file(SESSION_FILE, LIVE_TOKEN);
    machine.check_signer("--profile sso", &[], "ASIASSO");
    let machine = Machine::new("sso-without-session");
    machine.file(
        START_URL_FILE,
        &LIVE_TOKEN.replace('}', r#", "region": "eu-west-1", "startUrl": "https://corp.awsapps.com/start"}"#),
    );
    machine.check_signer("", &[("AWS_PROFILE", "sso-without-session")], "ASIASSO");
    let machine = Machine::new("sso-renewed");
    machine.file(SESSION_FILE, RENEWABLE_TOKEN);
    machine.check_signer("--profile sso", &[], "ASIASSO");
    assert_eq!(machine.faults.count("issuer", "CreateToken"), 1);
}

#[test]
fn a_login_at_identity_center_that_has_ended_says_how_to_log_in_again() {
    let ended = "the login of the AWS profile sso has ended, or there was none";
    let machine = Machine::new("sso-ended");
    machine.check_complaint("--profile sso", &[], ended, "type `aws sso login --profile sso`");
    machine.file(SESSION_FILE, ENDED_TOKEN);
    machine.check_complaint("--profile sso", &[], ended, "type `aws sso login --profile sso`");
    machine.check_complaint("--profile role-over-sso", &[], ended, "type `aws sso login --profile sso`");
    machine.file(SESSION_FILE, &LIVE_TOKEN.replace("sso-t0ken", "0ld-t0ken"));
    machine.check_complaint("--profile sso", &[], ended, "type `aws sso login --profile sso`");
    machine.refuse("CreateToken", 400, "InvalidGrantException");
    machine.file(SESSION_FILE, RENEWABLE_TOKEN);
    machine.check_complaint("--profile sso", &[], ended, "type `aws sso login --profile sso`");
}

#[test]
fn a_role_that_identity_center_refuses_is_named() {
    let machine = Machine::new("sso-refused");
    machine.file(SESSION_FILE, LIVE_TOKEN);
    machine.refuse("GetRoleCredentials", 403, "ForbiddenException");
    machine.check_complaint(
        "--profile sso",
        &[],
        "IAM Identity Center refused the role of the AWS profile sso (ForbiddenException)",
        "compare sso_account_id and sso_role_name of sso with what your access portal shows; if they are right, try again in a minute",
    );
}

#[test]
fn a_server_that_gives_credentials_and_does_not_answer_is_no_ended_login() {
    let machine = Machine::new("silent");
    machine.file(SESSION_FILE, LIVE_TOKEN);
    machine.faults.add(Rule::service("issuer"), Fault::Drop { handled: false });
    for profile in ["sso", "role"] {
        machine.check_complaint(
            &format!("--profile {profile}"),
            &[],
            "the server that gives credentials did not answer",
            "check the network, and the Region of the login in ~/.aws/config",
        );
    }
}

#[test]
fn a_login_at_the_console_is_used_and_asked_for() {
    let machine = Machine::new("console");
    machine.check_complaint(
        "--profile login",
        &[],
        "the login of the AWS profile login has ended, or there was none",
        "type `aws login --profile login`",
    );
    machine.file(LOGIN_FILE, LIVE_LOGIN);
    machine.check_signer("--profile login", &[], "ASIALOGIN");
}

#[test]
fn what_a_credential_process_prints_is_used_and_never_quoted() {
    let machine = Machine::new("process");
    for script in [
        "echo pr0cess-secret >&2; exit 3",
        "echo pr0cess-secret",
        "echo '{\"Version\": 1, \"AccessKeyId\": \"pr0cess-secret\"}'",
    ] {
        machine.file("process", script);
        machine.check_complaint(
            "--profile process",
            &[],
            "the credential_process of the AWS profile process failed, or printed no credentials",
            "run it yourself: `aws configure get credential_process --profile process` shows the command",
        );
    }
    machine.file("process", "echo pr0cess-secret >&2; exit 3");
    let complaint = machine.type_in("list --profile process --verbose", &[]).expect_err("a failed process");
    assert!(complaint.contains("printed no credentials"), "{complaint}");
    let printed = r#"{"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "pr0cess-secret"}"#;
    machine.file("process", &format!("echo run >> ~/runs; echo '{printed}'"));
    machine.check_signer("--profile process", &[], "AKIAPROCESS");
    let runs = std::fs::read_to_string(machine.home.join("runs")).expect("runs");
    assert_eq!(runs.lines().count(), 1, "credentials are kept");
}

#[test]
fn a_role_is_assumed_and_a_refusal_says_whose_it_is() {
    let machine = Machine::new("role");
    machine.check_signer("--profile role", &[], "ASIAROLE");
    let machine = Machine::new("mfa-not-asked-for");
    machine.check_signer("--profile mfa", &[], "ASIAROLE");
    let machine = Machine::new("role-refused");
    machine.refuse("AssumeRole", 403, "AccessDenied");
    machine.check_complaint(
        "--profile role",
        &[],
        "AWS refused the role of the AWS profile role (AccessDenied)",
        "check role_arn, who may assume that role, and the credentials of the profile keys",
    );
    machine.check_complaint(
        "--profile mfa",
        &[],
        "the AWS profile mfa needs a code of your second factor (mfa_serial), which token-keeper cannot ask for",
        "type `eval \"$(aws configure export-credentials --profile mfa --format env)\"`, then this command again with \
         AWS_PROFILE=mfa in place of --profile",
    );
    machine.check_signer("", &[&KEYS[..], &[("AWS_PROFILE", "mfa")]].concat(), "AKIAENVIRONMENT");
}

#[test]
fn the_option_wins_over_keys_and_keys_win_over_the_variable() {
    let with_variable = [&KEYS[..], &[("AWS_PROFILE", "keys")]].concat();
    Machine::new("option").check_signer("--profile keys", &KEYS, "AKIAPROFILE");
    Machine::new("keys").check_signer("", &with_variable, "AKIAENVIRONMENT");
    Machine::new("variable").check_signer("", &with_variable[2..], "AKIAPROFILE");
    Machine::new("blank").check_signer("", &[("AWS_ACCESS_KEY_ID", ""), ("AWS_PROFILE", "keys")], "AKIAPROFILE");
    for variables in [
        [("AWS_PROFILE", "keys"), ("AWS_DEFAULT_PROFILE", "gone")],
        [("AWS_PROFILE", " "), ("AWS_DEFAULT_PROFILE", "keys")],
    ] {
        Machine::new("both-variables").check_signer("", &variables, "AKIAPROFILE");
    }
    let keys_and_default = [&KEYS[..], &[("AWS_DEFAULT_PROFILE", "keys")]].concat();
    Machine::new("keys-and-default").check_signer("", &keys_and_default, "AKIAENVIRONMENT");
    let machine = Machine::new("default");
    machine.file(
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = pr0file-secret\n",
    );
    machine.check_signer("", &[("AWS_REGION", "eu-central-1")], "AKIADEFAULT");
    machine.check_signer("", &[("AWS_REGION", "eu-central-1"), ("AWS_PROFILE", "")], "AKIADEFAULT");
}

#[test]
fn a_profile_that_cannot_be_used_never_leaves_it_to_other_credentials() {
    let machine = Machine::new("unusable");
    let choose = "choose one that `aws configure list-profiles` shows, or correct ~/.aws/config";
    // Anything but an address of this machine would be refused with the token in the text.
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "sess1on\n"),
    ];
    let remedy = "see what `aws sts get-caller-identity` says";
    machine.check_complaint("--profile empty", &container, "this machine's role gave no credentials", remedy);
    let region = ("AWS_REGION", "eu-central-1");
    let environment = [&KEYS[..], &[region]].concat();
    machine.check_complaint("", &[("AWS_PROFILE", "gone"), region], "there is no AWS profile gone", choose);
    for (profile, what, remedy) in [
        ("gone", "there is no AWS profile gone", choose),
        ("default", "there is no AWS profile default", choose),
        ("role-over-nothing", "the AWS profile role-over-nothing needs the profile gone, which does not exist", choose),
        (
            "role-over-empty",
            "the AWS profile role-over-empty takes its credentials from the profile empty, which has none",
            "set empty up with `aws configure --profile empty`, or correct source_profile of role-over-empty",
        ),
        (
            "empty",
            "the AWS profile empty has no credentials",
            "set it up with `aws login --profile empty` or `aws configure sso --profile empty`",
        ),
        (
            "sso-without-role",
            "the AWS profile sso-without-role lacks a setting of IAM Identity Center",
            "complete it with `aws configure sso --profile sso-without-role`",
        ),
        (
            "sso-no-such-session",
            "the AWS profile sso-no-such-session cannot be used: sso-session named `corpse` \
             (referenced by profile `sso-no-such-session`) was not found",
            "correct ~/.aws/config",
        ),
        (
            "strange-source",
            "the AWS profile strange-source cannot be used: profile referenced `Moon` \
             provider but that provider is not supported",
            "correct ~/.aws/config",
        ),
    ] {
        machine.check_complaint(&format!("--profile {profile}"), &environment, what, remedy);
    }
}

#[test]
fn no_credentials_at_all_says_how_to_get_some() {
    let machine = Machine::new("nothing");
    let environment = [("AWS_REGION", "eu-central-1")];
    let remedy = "log in with `aws login` or `aws sso login`, or set up keys with `aws configure`";
    machine.check_complaint("", &environment, "no credentials", remedy);
    machine.file(".aws/config", "[profile keys]\naws_secret_access_key pr0file-secret\n");
    let complaint = machine.type_in("list", &environment).expect_err("a broken file");
    assert!(complaint.contains("/.aws/config"), "{complaint}");
    assert!(complaint.contains("line 2"), "{complaint}");
}

#[test]
fn a_command_says_where_it_looked_even_if_it_found_nothing_or_failed() {
    let machine = Machine::new("place");
    let shown = machine.type_in("list --profile keys --prefix mine", &[]).expect("a list");
    assert_eq!(
        shown,
        "Region eu-central-1, prefix mine, AWS profile keys\n\
         There are no connections: no secret's name starts with mine/connections/\nNext: token-keeper connect --help\n"
    );
    let shown = machine.type_in("list --region eu-west-1", &KEYS).expect("a list");
    assert!(shown.starts_with("Region eu-west-1, prefix token-keeper\n"), "{shown}");
    assert_eq!(
        machine.type_in("list --profile keys --json", &[]).expect("a list"),
        "{\"connections\":[],\"schema\":1}\n"
    );
}
