//! A whole installation in one process: the real use cases with their real adapters, in front of
//! both stand-ins and a clock that the test moves.

use std::cell::Cell;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use token_keeper::aws::{ParameterStore, SecretsManager, Sqs};
use token_keeper::config::Config;
use token_keeper::connection::{Clients, DataCenters, Grant, GrantSecret, SecretDocument};
use token_keeper::consent::link::{TICKET_LIFE, Ticket};
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::http::{self, Roots};
use token_keeper::lambda::callback::{Request, Response, respond};
use token_keeper::lambda::refresher::{HandlerError, handle};
use token_keeper::name::VersionId;
use token_keeper::notice::MARKER;
use token_keeper::run::brake::Brakes;
use token_keeper::run::dispatch::Dispatcher;
use token_keeper::run::{Refresher, Settings};
use token_keeper::secret::{SecretText, SigningKey};
use token_keeper::source::Source;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::clock::Clock;
use crate::quota::Quotas;
use crate::wire::Faults;
use crate::zoho::Zoho;

/// The time at which every world begins.
pub const START: &str = "2026-11-21T00:00:00Z";
/// The public URL of the callback function.
pub const BASE: &str = "https://consent.example";
/// The Region of everything here.
pub const REGION: &str = "eu-central-1";
/// The client id of `acme`.
pub const CLIENT_ID: &str = "1000.CLIENTIDOFACME";
/// The secret of `acme` in the data centre `eu`.
pub const EU_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-eu";
/// The secret of `acme` in the data centre `us`.
pub const US_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-us";
/// The key that signs links.
pub const SIGNING_KEY: &str = "a-51gn1ng-key-of-more-than-32-characters";
/// The scope of a connection, unless a test asks for another.
pub const SCOPE: &str = "ZohoCRM.modules.ALL";
/// The time-out for Zoho: enough for a busy machine, short for a hung stand-in.
pub const ZOHO_TIMEOUT: Duration = Duration::from_millis(500);

/// The installation and what it talks to. Zoho has the data centres `us`, `eu` and `in`. The store
/// has a signing key and the client `acme` with its secrets for `us` and `eu`; it has no secret for
/// `in`.
pub struct World {
    /// The clock of everything here.
    pub clock: Clock,
    /// The faults on the wire, and every call so far.
    pub faults: Faults,
    /// Zoho's accounts servers.
    pub zoho: Zoho,
    /// AWS.
    pub aws: Aws,
    /// The refresher in one process.
    pub refresher: TestRefresher,
    /// The refresher's queue, if the settings name one.
    pub dispatcher: Option<Dispatcher<Sqs>>,
    /// The callback's consent in one process.
    pub consent: TestConsent,
    environment: Vec<(String, String)>,
    /// Seed of the next process's random numbers.
    seed: Cell<u8>,
}

/// The refresher with its real adapters.
pub type TestRefresher = Refresher<SecretsManager, token_keeper::zoho::Zoho, ParameterStore>;
/// The consent with its real adapters.
pub type TestConsent = Consent<SecretsManager, token_keeper::zoho::Zoho, ParameterStore>;

/// What a link asks for, apart from the connection.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The data centre where the consent starts.
    pub data_center: &'a str,
    /// Scopes to store. If empty, the stored ones stay.
    pub scopes: &'a [&'a str],
    /// Whether the account may live in another data centre than before.
    pub allow_move: bool,
    /// How long the link works.
    pub life: SignedDuration,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { data_center: "eu", scopes: &[], allow_move: false, life: TICKET_LIFE }
    }
}

impl World {
    /// A world without AWS's quotas and without a pace: most tests are about rules.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world with these settings beside the necessary ones.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::made(settings, ParameterStore::unpaced).await
    }

    /// A world with the pace of a real process.
    pub async fn paced() -> Self {
        Self::made(&[], |leases| leases).await
    }

    async fn made(settings: &[(&str, &str)], pace: fn(ParameterStore) -> ParameterStore) -> Self {
        let clock = Clock::at(START);
        let faults = Faults::new();
        let zoho = Zoho::start(&["us", "eu", "in"], clock.clone(), faults.clone());
        let aws = Aws::start(clock.clone(), faults.clone());
        aws.quotas(Quotas::lifted());
        let redirect_uri = format!("{BASE}/callback");
        zoho.register(CLIENT_ID, &[&redirect_uri], &[("us", US_SECRET), ("eu", EU_SECRET), ("in", "unknown-here")]);
        aws.put_secret("token-keeper/signing-key", SIGNING_KEY);
        let client = json!({"client_id": CLIENT_ID, "client_secrets": {"eu": EU_SECRET, "us": US_SECRET}});
        aws.put_secret("token-keeper/clients/acme", &client.to_string());
        let mut environment = vec![("TOKEN_KEEPER_DATA_CENTERS".to_owned(), zoho.data_centers())];
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));

        let Config { settings, queue_above, .. } = config(&environment);
        let Adapters { secrets, leases, zoho: issuer, queue } =
            Adapters::connect(&aws, &environment, &source(&clock, 1)).await;
        let refresher = Refresher {
            settings: settings.clone(),
            grants: secrets,
            issuer,
            leases: pace(leases),
            source: source(&clock, 1),
            brakes: Brakes::default(),
        };
        let dispatcher = queue.map(|queue| Dispatcher { queue, above: queue_above });
        let Adapters { secrets, leases, zoho: authorizer, .. } =
            Adapters::connect(&aws, &environment, &source(&clock, 2)).await;
        let consent = Consent {
            prefix: settings.prefix,
            data_centers: settings.data_centers,
            secrets,
            zoho: authorizer,
            leases: pace(leases),
            source: source(&clock, 2),
            key: KeyRing::default(),
        };
        Self { clock, faults, zoho, aws, refresher, dispatcher, consent, environment, seed: Cell::new(100) }
    }

    /// Sets a variable of the operator's environment.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// The configuration from the environment. Reads see writes at once here, so nothing waits.
    pub fn config(&self) -> Config {
        config(&self.environment)
    }

    /// The adapters of a new process, without a pace, and its source.
    pub async fn process(&self) -> (Adapters, Source) {
        self.seed.set(self.seed.get() + 1);
        let source = source(&self.clock, self.seed.get());
        let adapters = Adapters::connect(&self.aws, &self.environment, &source).await;
        (Adapters { leases: adapters.leases.unpaced(), ..adapters }, source)
    }

    /// Sends an event through the refresher's handler.
    ///
    /// # Errors
    /// The handler's error.
    pub async fn send(&self, event: Value) -> Result<Value, HandlerError> {
        self.send_until(event, None).await
    }

    /// Like `send`, with the function's time over at `end`.
    ///
    /// # Errors
    /// The handler's error.
    pub async fn send_until(&self, event: Value, end: Option<Instant>) -> Result<Value, HandlerError> {
        Box::pin(handle(&event, &self.refresher, self.dispatcher.as_ref(), end, |_| {})).await
    }

    /// A scheduled run. Returns its report.
    ///
    /// # Panics
    /// If the run fails as a whole.
    pub async fn run(&self) -> Value {
        self.send(json!({})).await.expect("a run that could list")
    }

    /// Sends a request through the callback's handler.
    ///
    /// # Panics
    /// Never: the base URL is right.
    pub async fn respond(&self, request: &Request) -> Response {
        // Boxed, because the compiler's default limit is too low for futures nested this deep.
        let base = BASE.parse().expect("a base URL");
        Box::pin(respond(request, &self.consent, Some(&base))).await
    }

    /// A user in `eu` consents, and the operator stores the grant. Returns the refresh token.
    pub fn connect(&self, connection: &str) -> String {
        // One user consents to everything here. Without this, the twenty-first grant would end the
        // first.
        self.zoho.settings(|settings| settings.refresh_tokens_per_user = 1000);
        let refresh_token = self.zoho.consent("eu", CLIENT_ID, &[SCOPE]);
        self.store(connection, &json!({"refresh_token": refresh_token}));
        refresh_token
    }

    /// Stores a grant of client acme in `eu`, with these fields added or replaced. Returns its
    /// version.
    ///
    /// # Panics
    /// If `fields` is not an object.
    pub fn store(&self, connection: &str, fields: &Value) -> String {
        let mut grant = json!({"client": "acme", "data_center": "eu", "scopes": [SCOPE]});
        for (field, value) in fields.as_object().expect("an object of fields") {
            grant[field] = value.clone();
        }
        self.aws.put_secret(&grant_name(connection), &grant.to_string())
    }

    /// The operator's link for a connection of client acme in `eu`. Stores the connection if it is
    /// new.
    pub fn link(&self, connection: &str) -> String {
        self.link_with(connection, Asked::default())
    }

    /// The same, with other wishes.
    ///
    /// # Panics
    /// If the connection's name breaks the rules.
    pub fn link_with(&self, connection: &str, asked: Asked<'_>) -> String {
        let Asked { data_center, scopes, allow_move, life } = asked;
        let stored = self.grant(connection);
        if stored.is_null() {
            self.store(connection, &json!({"data_center": data_center}));
        }
        if !scopes.is_empty() && stored["scopes"] != json!(scopes) {
            let mut grant = self.grant(connection);
            grant["scopes"] = json!(scopes);
            self.aws.put_secret(&grant_name(connection), &grant.to_string());
        }
        let version = VersionId::new(self.aws.secret_version(&grant_name(connection)).expect("a stored grant"));
        let expires_at = self.clock.now() + life;
        let connection = connection.parse().expect("a name");
        let ticket = Ticket { connection, version, data_center: data_center.to_owned(), allow_move, expires_at };
        let key = SigningKey::new(self.aws.secret("token-keeper/signing-key").expect("a signing key"));
        format!("{BASE}/connect?ticket={}", key.seal_ticket(&ticket))
    }

    /// The fields of the connection's secret, or null.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn grant(&self, connection: &str) -> Value {
        let text = self.aws.secret(&grant_name(connection)).unwrap_or_else(|| "null".to_owned());
        serde_json::from_str(&text).expect("a grant in JSON")
    }

    /// The stored refresh token.
    pub fn refresh_token(&self, connection: &str) -> Option<String> {
        self.grant(connection)["refresh_token"].as_str().map(str::to_owned)
    }

    /// The document that programs read for the connection.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn document(&self, connection: &str) -> Option<Value> {
        let parameter = self.aws.parameter(&lease_name(connection))?;
        Some(serde_json::from_str(&parameter.value).expect("a document in JSON"))
    }

    /// A field of the document, or null.
    pub fn field(&self, connection: &str, field: &str) -> Value {
        self.document(connection).map_or(Value::Null, |document| document[field].clone())
    }

    /// The notices that the operator gets about the connection: the marked descriptions of its
    /// puts.
    pub fn notices(&self, connection: &str) -> Vec<String> {
        let versions = self.aws.parameter_versions(&lease_name(connection)).into_iter();
        versions.filter_map(|version| version.description).filter(|said| said.starts_with(MARKER)).collect()
    }

    /// Whether Zoho accepts the token that programs read now.
    pub fn token_lives(&self, connection: &str) -> bool {
        self.field(connection, "access_token").as_str().is_some_and(|token| self.zoho.access_token_lives(token))
    }

    /// Requests to Zoho, without the user's own decisions.
    pub fn zoho_calls(&self) -> usize {
        self.faults.calls().iter().filter(|call| call.service == "zoho" && call.operation != "decide").count()
    }

    /// Puts to Parameter Store.
    pub fn puts(&self) -> usize {
        self.faults.count("ssm", "PutParameter")
    }

    /// Writes to both stores.
    pub fn writes(&self) -> usize {
        let secrets = ["PutSecretValue", "CreateSecret"].map(|call| self.faults.count("secretsmanager", call));
        secrets.iter().sum::<usize>() + self.puts()
    }

    /// Lets time pass.
    pub fn advance_minutes(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }
}

/// The adapters of one process.
pub struct Adapters {
    /// Secrets Manager.
    pub secrets: SecretsManager,
    /// Parameter Store.
    pub leases: ParameterStore,
    /// Zoho.
    pub zoho: token_keeper::zoho::Zoho,
    /// The queue, if the settings name one.
    pub queue: Option<Sqs>,
}

impl Adapters {
    async fn connect(aws: &Aws, environment: &[(String, String)], source: &Source) -> Self {
        let Config { settings, publishing, queue_url, .. } = config(environment);
        let http = http::client(Roots::BuiltIn, None).expect("a client");
        let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .empty_test_environment()
            .test_credentials()
            .region(REGION)
            .endpoint_url(aws.url());
        let shared = token_keeper::aws::shared(loader, &http).await;
        let (secrets, leases) = token_keeper::aws::stores(&shared, &settings.prefix, publishing, source);
        let zoho = token_keeper::zoho::Zoho::new(http, ZOHO_TIMEOUT, source.clone());
        Self { secrets, leases, zoho, queue: queue_url.map(|url| Sqs::new(&shared, url)) }
    }
}

fn config(environment: &[(String, String)]) -> Config {
    let config = Config::read(environment.iter().cloned()).expect("a right environment");
    Config { settings: Settings { settling: Duration::ZERO, ..config.settings }, ..config }
}

/// The clock's time, and random numbers that are all different but the same in every run.
fn source(clock: &Clock, seed: u8) -> Source {
    let (clock, drawn) = (clock.clone(), Cell::new(0_u16));
    let random = move || {
        drawn.set(drawn.get() + 1);
        let mut bytes = [seed; 32];
        let [low, high] = drawn.get().to_le_bytes();
        (bytes[0], bytes[1]) = (low, seed ^ high);
        bytes
    };
    Source::new(move || clock.now(), random)
}

/// The name of the secret with a connection's grant.
pub fn grant_name(connection: &str) -> String {
    format!("token-keeper/connections/{connection}")
}

/// The name of the parameter with a connection's lease.
pub fn lease_name(connection: &str) -> String {
    format!("/token-keeper/tokens/{connection}")
}

/// The grant `crm` of version `v1` from a secret's text. Its client is inline.
///
/// # Panics
/// If the text is not a complete grant.
pub fn grant_of(text: &str, table: &DataCenters) -> Grant {
    let document = SecretDocument::parse(&SecretText::new(text)).expect("a document");
    let grant = GrantSecret::of("crm".parse().expect("a name"), VersionId::new("v1"), &document, table);
    grant.expect("a grant").resolve(&Clients::new(), &"k".parse().expect("a prefix")).expect("a client")
}
