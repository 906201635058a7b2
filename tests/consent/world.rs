//! A whole installation in one process: the callback's handler with its real adapters and the operator's commands, in front of both
//! stand-ins and a clock that the test moves; and browsers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::wire::Faults;
use testkit::zoho::Zoho;
use token_keeper::aws::{ParameterStore, SecretsManager};
use token_keeper_cli::{Cli, Console, Look, Operator};
use token_keeper::config::Config;
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::http::{self, Roots};
use token_keeper::lambda::callback::{Request, Response, respond};
use token_keeper::notice::MARKER;
use token_keeper::run::Settings;

/// Where the callback function is reached.
pub(crate) const BASE: &str = "https://consent.example";
pub(crate) const CLIENT_ID: &str = "1000.CLIENTIDOFACME";
pub(crate) const EU_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-eu";
pub(crate) const US_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-us";
pub(crate) const SIGNING_KEY: &str = "a-51gn1ng-key-of-more-than-32-characters";
/// Enough for a healthy stand-in on a busy machine, and short for a hung one.
const ZOHO_TIMEOUT: Duration = Duration::from_millis(500);

type Now = Box<dyn Fn() -> Timestamp>;
type Random = Box<dyn Fn() -> [u8; 32]>;

/// The installation and its surroundings.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) zoho: Zoho,
    pub(crate) aws: Aws,
    pub(crate) consent: Consent<SecretsManager, token_keeper::zoho::Zoho<Now>, ParameterStore<Now>, Random, Now>,
    environment: Vec<(String, String)>,
    /// What the operator's random numbers are made of.
    seed: Cell<u8>,
}

impl World {
    /// Data centres us and eu, a signing key, and client acme with its secret in each.
    pub(crate) async fn new() -> Self {
        let clock = Clock::at("2026-11-21T00:00:00Z");
        let faults = Faults::new();
        let zoho = Zoho::start(&["us", "eu", "in"], clock.clone(), faults.clone());
        let aws = Aws::start(clock.clone(), faults.clone());
        // These tests are about rules, not about AWS's pace.
        aws.quotas(Quotas::lifted());
        let redirect_uri = format!("{BASE}/callback");
        zoho.register(CLIENT_ID, &[&redirect_uri], &[("us", US_SECRET), ("eu", EU_SECRET), ("in", "unknown-here")]);
        aws.put_secret("token-keeper/signing-key", SIGNING_KEY);
        let client = json!({"client_id": CLIENT_ID, "client_secrets": {"eu": EU_SECRET, "us": US_SECRET}});
        aws.put_secret("token-keeper/clients/acme", &client.to_string());
        let environment = vec![("TOKEN_KEEPER_DATA_CENTERS".to_owned(), zoho.data_centers())];
        let Config { settings, publishing, .. } = Config::read(environment.clone()).expect("a right environment");
        let http = http::client(Roots::BuiltIn, None).expect("a client");
        let (secrets, leases) =
            token_keeper::aws::connect(loader(&aws), &http, &settings.prefix, publishing, now(&clock)).await;
        let consent = Consent {
            prefix: settings.prefix,
            data_centers: settings.data_centers,
            secrets,
            zoho: token_keeper::zoho::Zoho::new(http, ZOHO_TIMEOUT, now(&clock)),
            leases: leases.unpaced(),
            random: random(1),
            now: now(&clock),
            key: KeyRing::default(),
        };
        Self { clock, faults, zoho, aws, consent, environment, seed: Cell::new(100) }
    }

    /// Sets a variable of the operator's environment.
    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// Types a command; what it shows, or what it complains of.
    pub(crate) async fn type_in(&self, command: &str, answer: &str) -> Result<String, String> {
        let console = Typed { answer: answer.to_owned(), width: Some(80), ..Typed::default() };
        self.run(command, &console).await?;
        Ok(console.shown.into_inner())
    }

    /// Types a command on a terminal of so many columns.
    pub(crate) async fn type_in_at(&self, width: Option<u16>, command: &str) -> Result<String, String> {
        let console = Typed { width, ..Typed::default() };
        self.run(command, &console).await?;
        Ok(console.shown.into_inner())
    }

    /// Types a command at this console.
    pub(crate) async fn run(&self, command: &str, console: &dyn Console) -> Result<(), String> {
        let arguments = command.split_whitespace().map(|word| word.replace("BASE", BASE));
        let cli = Cli::try_parse_from(["token-keeper".to_owned()].into_iter().chain(arguments));
        let cli = cli.map_err(|error| error.to_string())?;
        let Config { settings, publishing, callback_url, .. } =
            Config::read(self.environment.clone()).expect("a right environment");
        let http = http::client(Roots::BuiltIn, None).expect("a client");
        let (secrets, leases) = token_keeper::aws::connect(
            loader(&self.aws),
            &http,
            &settings.prefix,
            publishing.clone(),
            now(&self.clock),
        )
        .await;
        let zoho = token_keeper::zoho::Zoho::new(http, ZOHO_TIMEOUT, now(&self.clock));
        self.seed.set(self.seed.get() + 1);
        let (random, now, leases) = (random(self.seed.get()), now(&self.clock), leases.unpaced());
        let settings = Settings { settling: Duration::ZERO, ..settings };
        let operator = Operator { settings, publishing, callback_url, secrets, zoho, leases, random, now };
        operator.run(cli, console).await.map_err(|failure| failure.to_string())
    }

    /// The operator's link for a connection of client acme in eu.
    pub(crate) async fn link(&self, connection: &str) -> String {
        self.link_with(&format!("{connection} --client acme --data-center eu --scope ZohoCRM.modules.ALL")).await
    }

    pub(crate) async fn link_with(&self, arguments: &str) -> String {
        let shown = self.type_in(&format!("connect {arguments} --callback-url BASE --json"), "").await;
        let shown: Value = serde_json::from_str(&shown.expect("a link")).expect("JSON");
        shown["url"].as_str().expect("a URL").to_owned()
    }

    pub(crate) async fn respond(&self, request: &Request) -> Response {
        respond(request, &self.consent, Some(BASE)).await
    }

    /// The fields of the connection's secret.
    pub(crate) fn grant(&self, connection: &str) -> Value {
        let text = self.aws.secret(&grant_name(connection)).unwrap_or_else(|| "null".to_owned());
        serde_json::from_str(&text).expect("a grant in JSON")
    }

    pub(crate) fn refresh_token(&self, connection: &str) -> Option<String> {
        self.grant(connection)["refresh_token"].as_str().map(str::to_owned)
    }

    /// The document that consumers of the connection read.
    pub(crate) fn document(&self, connection: &str) -> Option<Value> {
        let parameter = self.aws.parameter(&lease_name(connection))?;
        Some(serde_json::from_str(&parameter.value).expect("a document in JSON"))
    }

    /// What an operator is told of the connection: a put's description, if it is marked.
    pub(crate) fn notices(&self, connection: &str) -> Vec<String> {
        let versions = self.aws.parameter_versions(&lease_name(connection)).into_iter();
        versions.filter_map(|version| version.description).filter(|said| said.starts_with(MARKER)).collect()
    }

    pub(crate) fn zoho_calls(&self) -> usize {
        self.faults.calls().iter().filter(|call| call.service == "zoho" && call.operation != "decide").count()
    }

    pub(crate) fn writes(&self) -> usize {
        ["PutSecretValue", "CreateSecret"]
            .map(|operation| self.faults.count("secretsmanager", operation))
            .iter()
            .sum::<usize>()
            + self.faults.count("ssm", "PutParameter")
    }

    pub(crate) fn advance_minutes(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }
}

pub(crate) fn grant_name(connection: &str) -> String {
    format!("token-keeper/connections/{connection}")
}

pub(crate) fn lease_name(connection: &str) -> String {
    format!("/token-keeper/tokens/{connection}")
}

fn loader(aws: &Aws) -> aws_config::ConfigLoader {
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .empty_test_environment()
        .test_credentials()
        .region("eu-central-1")
        .endpoint_url(aws.url())
}

fn now(clock: &Clock) -> Now {
    let clock = clock.clone();
    Box::new(move || clock.now())
}

/// Numbers that are all different, and the same in every run.
fn random(seed: u8) -> Random {
    let drawn = Cell::new(0_u16);
    Box::new(move || {
        drawn.set(drawn.get() + 1);
        let mut bytes = [seed; 32];
        let [low, high] = drawn.get().to_le_bytes();
        (bytes[0], bytes[1]) = (low, seed ^ high);
        bytes
    })
}

/// A console at which somebody types `answer` when asked for a secret, and `yes` or not.
#[derive(Default)]
pub(crate) struct Typed {
    pub(crate) answer: String,
    pub(crate) yes: bool,
    /// What is read, whatever the file's name.
    pub(crate) file: Vec<u8>,
    pub(crate) width: Option<u16>,
    pub(crate) shown: RefCell<String>,
}

impl Console for Typed {
    fn show(&self, text: &str) {
        self.shown.borrow_mut().push_str(text);
        self.shown.borrow_mut().push('\n');
    }

    fn ask_secret(&self, _: &str) -> std::io::Result<String> {
        Ok(self.answer.clone())
    }

    fn confirm(&self, question: &str) -> std::io::Result<bool> {
        self.show(question);
        Ok(self.yes)
    }

    fn read_file(&self, _: Option<&std::path::Path>) -> std::io::Result<Vec<u8>> {
        Ok(self.file.clone())
    }

    fn progress(&self, _: usize, _: usize) {}

    fn look(&self) -> Look {
        Look { width: self.width, color: false }
    }
}

/// A browser: it follows redirects to the callback and keeps its cookies.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookies: RefCell<BTreeMap<String, String>>,
}

impl Browser {
    pub(crate) fn request(&self, url: &str) -> Request {
        let rest = url.strip_prefix(BASE).expect("an address of the callback");
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let cookies = self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        Request { method: "GET".to_owned(), path: path.to_owned(), query: query.to_owned(), cookies, domain: None }
    }

    pub(crate) async fn open(&self, world: &World, url: &str) -> Response {
        let response = world.respond(&self.request(url)).await;
        for cookie in &response.cookies {
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
        }
        response
    }

    /// Opens the operator's link; where Zoho is asked.
    pub(crate) async fn begin(&self, world: &World, link: &str) -> String {
        let response = self.open(world, link).await;
        assert_eq!(response.status, 303, "{}", response.body);
        header(&response, "location").to_owned()
    }

    /// The user decides at Zoho; where Zoho sends the browser then.
    pub(crate) async fn decide(&self, zoho: &str, decision: &str) -> String {
        let decide = zoho.replace("/oauth/v2/auth?", "/oauth/v2/decide?");
        let post = http::client(Roots::BuiltIn, None).expect("a client").post(decide).form(&[("decision", decision)]);
        let answer = post.send().await.expect("an answer of the consent page");
        let location = answer.headers().get("location").map(|to| to.to_str().expect("text").to_owned());
        let status = answer.status();
        location.unwrap_or_else(|| panic!("the consent page answered {status}, no redirect"))
    }

    /// The whole way with a user who agrees.
    pub(crate) async fn consent(&self, world: &World, link: &str) -> Response {
        let zoho = self.begin(world, link).await;
        let callback = self.decide(&zoho, "accept").await;
        self.open(world, &callback).await
    }
}

pub(crate) fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.iter().find(|(header, _)| *header == name).map_or("", |(_, value)| value)
}

/// The page's heading.
pub(crate) fn title(response: &Response) -> &str {
    let heading = response.body.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    heading.map_or("no page", |(heading, _)| heading)
}
