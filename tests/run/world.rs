//! A whole installation in one process: the real refresher with its real adapters, in front of both stand-ins and a clock that the
//! test moves.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::wire::Faults;
use testkit::zoho::Zoho;
use token_keeper::aws::{ParameterStore, SecretsManager, Sqs};
use token_keeper::config::Config;
use token_keeper::lambda::refresher::{HandlerError, handle};
use token_keeper::notice::MARKER;
use token_keeper::run::brake::Brakes;
use token_keeper::run::dispatch::Dispatcher;
use token_keeper::run::{Refresher, Settings};
use tokio::time::Instant;

/// The beginning of every test.
pub(crate) const START: &str = "2026-11-21T00:00:00Z";
/// Enough for a healthy stand-in on a busy machine, and short for a hung one.
pub(crate) const ZOHO_TIMEOUT: Duration = Duration::from_millis(400);
pub(crate) const CLIENT_ID: &str = "1000.CLIENTIDOFACME";
pub(crate) const CLIENT_SECRET: &str = "c11e27-5ec2e7-0f-acme";

type Now = Box<dyn Fn() -> Timestamp>;

/// The installation and its surroundings.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) zoho: Zoho,
    pub(crate) aws: Aws,
    /// There is one if the settings name a queue.
    pub(crate) dispatcher: Option<Dispatcher<Sqs>>,
    pub(crate) refresher: Refresher<SecretsManager, token_keeper::zoho::Zoho<Now>, ParameterStore<Now>, Now>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these settings beside the necessary ones.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::made(settings, ParameterStore::unpaced).await
    }

    /// With the pace of a real process.
    pub(crate) async fn paced() -> Self {
        Self::made(&[], |leases| leases).await
    }

    async fn made(settings: &[(&str, &str)], pace: impl FnOnce(ParameterStore<Now>) -> ParameterStore<Now>) -> Self {
        let clock = Clock::at(START);
        let faults = Faults::new();
        let zoho = Zoho::start(&["us", "eu"], clock.clone(), faults.clone());
        let aws = Aws::start(clock.clone(), faults.clone());
        // These tests are about rules, not about AWS's pace.
        aws.quotas(Quotas::lifted());
        // One user consents to everything here, and would otherwise lose the first of twenty-one grants.
        zoho.settings(|settings| settings.refresh_tokens_per_user = 1000);
        zoho.register(CLIENT_ID, &[], &[("us", CLIENT_SECRET), ("eu", CLIENT_SECRET)]);
        aws.put_secret(
            "token-keeper/clients/acme",
            &json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}).to_string(),
        );
        let data_centers = zoho.data_centers();
        let base = [("TOKEN_KEEPER_DATA_CENTERS", data_centers.as_str())];
        let environment = base.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let Config { settings, publishing, queue_url, queue_above, .. } =
            Config::read(environment).expect("a right environment");
        let now = || -> Now {
            let clock = clock.clone();
            Box::new(move || clock.now())
        };
        let http = token_keeper::http::client(token_keeper::http::Roots::BuiltIn, None).expect("a client");
        let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .empty_test_environment()
            .test_credentials()
            .region("eu-central-1")
            .endpoint_url(aws.url());
        let shared = token_keeper::aws::shared(loader, &http).await;
        let (grants, leases) = token_keeper::aws::stores(&shared, &settings.prefix, publishing, now());
        let dispatcher = queue_url.map(|url| Dispatcher { queue: Sqs::new(&shared, url), above: queue_above });
        // Here, writes are seen by all at once.
        let (leases, settings) = (pace(leases), Settings { settling: Duration::ZERO, ..settings });
        let issuer = token_keeper::zoho::Zoho::new(http, ZOHO_TIMEOUT, now());
        let refresher = Refresher { settings, grants, issuer, leases, now: now(), brakes: Brakes::default() };
        Self { clock, faults, zoho, aws, dispatcher, refresher }
    }

    /// A user in `eu` consents, and the operator stores the grant. Returns the refresh token.
    pub(crate) fn connect(&self, connection: &str) -> String {
        let refresh_token = self.zoho.consent("eu", CLIENT_ID, &["ZohoCRM.modules.ALL"]);
        self.store(connection, &json!({"refresh_token": refresh_token}));
        refresh_token
    }

    /// Stores a grant of client acme in `eu` with these fields added or replaced. Returns its version.
    pub(crate) fn store(&self, connection: &str, fields: &Value) -> String {
        let mut grant = json!({"client": "acme", "data_center": "eu", "scopes": ["ZohoCRM.modules.ALL"]});
        for (field, value) in fields.as_object().expect("an object of fields") {
            grant[field] = value.clone();
        }
        self.aws.put_secret(&grant_name(connection), &grant.to_string())
    }

    /// Sends an event through the function's handler.
    pub(crate) async fn send(&self, event: Value) -> Result<Value, HandlerError> {
        self.send_until(event, None).await
    }

    /// As `send`, with the function's time up at `end`.
    pub(crate) async fn send_until(&self, event: Value, end: Option<Instant>) -> Result<Value, HandlerError> {
        handle(&event, &self.refresher, self.dispatcher.as_ref(), end, |_| {}).await
    }

    /// A scheduled run; its report.
    pub(crate) async fn run(&self) -> Value {
        self.send(json!({})).await.expect("a run that could list")
    }

    pub(crate) fn advance_minutes(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }

    /// The document that consumers of the connection read.
    pub(crate) fn document(&self, connection: &str) -> Option<Value> {
        let parameter = self.aws.parameter(&lease_name(connection))?;
        Some(serde_json::from_str(&parameter.value).expect("a document in JSON"))
    }

    /// A field of the document; null if there is none.
    pub(crate) fn field(&self, connection: &str, field: &str) -> Value {
        self.document(connection).map_or(Value::Null, |document| document[field].clone())
    }

    /// What an operator is told of the connection: a put's description, if it is marked.
    pub(crate) fn notices(&self, connection: &str) -> Vec<String> {
        let versions = self.aws.parameter_versions(&lease_name(connection)).into_iter();
        versions.filter_map(|version| version.description).filter(|said| said.starts_with(MARKER)).collect()
    }

    /// Whether what consumers read would be accepted by Zoho now.
    pub(crate) fn token_lives(&self, connection: &str) -> bool {
        self.field(connection, "access_token").as_str().is_some_and(|token| self.zoho.access_token_lives(token))
    }

    pub(crate) fn zoho_calls(&self) -> usize {
        self.faults.calls().iter().filter(|call| call.service == "zoho").count()
    }

    pub(crate) fn puts(&self) -> usize {
        self.faults.count("ssm", "PutParameter")
    }
}

pub(crate) fn grant_name(connection: &str) -> String {
    format!("token-keeper/connections/{connection}")
}

pub(crate) fn lease_name(connection: &str) -> String {
    format!("/token-keeper/tokens/{connection}")
}

/// The line about one connection in a report.
pub(crate) fn line<'r>(report: &'r Value, connection: &str) -> &'r Value {
    let lines = report["outcomes"].as_array().expect("outcomes");
    lines.iter().find(|line| line["connection"] == connection).unwrap_or(&Value::Null)
}
