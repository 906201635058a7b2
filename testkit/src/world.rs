//! A whole installation in one process: the real use cases with their real adapters, in front of both stand-ins and a clock that a test
//! moves.

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

/// When every world begins.
pub const START: &str = "2026-11-21T00:00:00Z";
/// Where the callback function is reached.
pub const BASE: &str = "https://consent.example";
/// The Region of everything here.
pub const REGION: &str = "eu-central-1";
/// The client `acme`.
pub const CLIENT_ID: &str = "1000.CLIENTIDOFACME";
/// Its secret in the data centre `eu`.
pub const EU_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-eu";
/// Its secret in the data centre `us`.
pub const US_SECRET: &str = "c11e27-5ec2e7-0f-acme-in-us";
/// What links are signed with.
pub const SIGNING_KEY: &str = "a-51gn1ng-key-of-more-than-32-characters";
/// What a connection is granted unless a test says otherwise.
pub const SCOPE: &str = "ZohoCRM.modules.ALL";
/// Enough for a healthy stand-in on a busy machine, and short for a hung one.
pub const ZOHO_TIMEOUT: Duration = Duration::from_millis(500);

/// The installation and its surroundings: data centres us and eu (and in, where acme's secret is wrong), a signing key, and the client
/// `acme` with its secret in each.
pub struct World {
    /// The time of everything here.
    pub clock: Clock,
    /// What goes wrong on the wire, and every call that was made.
    pub faults: Faults,
    /// Zoho's accounts servers.
    pub zoho: Zoho,
    /// AWS.
    pub aws: Aws,
    /// The refresher, as one process has it.
    pub refresher: TestRefresher,
    /// Its way to the queue, if the settings name one.
    pub dispatcher: Option<Dispatcher<Sqs>>,
    /// The callback's consent, as one process has it.
    pub consent: TestConsent,
    environment: Vec<(String, String)>,
    /// What the next process's random numbers are made of.
    seed: Cell<u8>,
}

/// The refresher over the wire.
pub type TestRefresher = Refresher<SecretsManager, token_keeper::zoho::Zoho, ParameterStore>;
/// The consent over the wire.
pub type TestConsent = Consent<SecretsManager, token_keeper::zoho::Zoho, ParameterStore>;

/// What a link asks for beside the connection.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where the consent starts.
    pub data_center: &'a str,
    /// Scopes to store; those stored already if there are none here.
    pub scopes: &'a [&'a str],
    /// Whether an account of another data centre than before will do.
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
    /// Without AWS's quotas and without a pace: most tests are about rules.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these settings beside the necessary ones.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::made(settings, ParameterStore::unpaced).await
    }

    /// With the pace of a real process.
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

    /// What the environment says. Writes are seen by all at once.
    pub fn config(&self) -> Config {
        config(&self.environment)
    }

    /// The adapters of one more process, without a pace, and its source.
    pub async fn process(&self) -> (Adapters, Source) {
        self.seed.set(self.seed.get() + 1);
        let source = source(&self.clock, self.seed.get());
        let adapters = Adapters::connect(&self.aws, &self.environment, &source).await;
        (Adapters { leases: adapters.leases.unpaced(), ..adapters }, source)
    }

    /// Sends an event through the refresher's handler.
    ///
    /// # Errors
    /// The handler's own.
    pub async fn send(&self, event: Value) -> Result<Value, HandlerError> {
        self.send_until(event, None).await
    }

    /// As `send`, with the function's time up at `end`.
    ///
    /// # Errors
    /// The handler's own.
    pub async fn send_until(&self, event: Value, end: Option<Instant>) -> Result<Value, HandlerError> {
        Box::pin(handle(&event, &self.refresher, self.dispatcher.as_ref(), end, |_| {})).await
    }

    /// A scheduled run; its report.
    ///
    /// # Panics
    /// If it could do nothing.
    pub async fn run(&self) -> Value {
        self.send(json!({})).await.expect("a run that could list")
    }

    /// Sends a request through the callback's handler.
    pub async fn respond(&self, request: &Request) -> Response {
        // Boxed, as above: futures this deep are more than the compiler follows by default.
        Box::pin(respond(request, &self.consent, Some(BASE))).await
    }

    /// A user in `eu` consents, and the operator stores the grant. Returns the refresh token.
    pub fn connect(&self, connection: &str) -> String {
        // One user consents to everything here, and would otherwise lose the first of twenty-one grants.
        self.zoho.settings(|settings| settings.refresh_tokens_per_user = 1000);
        let refresh_token = self.zoho.consent("eu", CLIENT_ID, &[SCOPE]);
        self.store(connection, &json!({"refresh_token": refresh_token}));
        refresh_token
    }

    /// Stores a grant of client acme in `eu` with these fields added or replaced. Returns its version.
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

    /// The operator's link for a connection of client acme in eu, which is stored if it is new.
    pub fn link(&self, connection: &str) -> String {
        self.link_with(connection, Asked::default())
    }

    /// The same with other wishes.
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

    /// The fields of the connection's secret; null if there is none.
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

    /// The document that consumers of the connection read.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn document(&self, connection: &str) -> Option<Value> {
        let parameter = self.aws.parameter(&lease_name(connection))?;
        Some(serde_json::from_str(&parameter.value).expect("a document in JSON"))
    }

    /// A field of the document; null if there is none.
    pub fn field(&self, connection: &str, field: &str) -> Value {
        self.document(connection).map_or(Value::Null, |document| document[field].clone())
    }

    /// What an operator is told of the connection: a put's description, if it is marked.
    pub fn notices(&self, connection: &str) -> Vec<String> {
        let versions = self.aws.parameter_versions(&lease_name(connection)).into_iter();
        versions.filter_map(|version| version.description).filter(|said| said.starts_with(MARKER)).collect()
    }

    /// Whether Zoho would accept now what consumers read.
    pub fn token_lives(&self, connection: &str) -> bool {
        self.field(connection, "access_token").as_str().is_some_and(|token| self.zoho.access_token_lives(token))
    }

    /// Requests to Zoho, but for a user's own decision.
    pub fn zoho_calls(&self) -> usize {
        self.faults.calls().iter().filter(|call| call.service == "zoho" && call.operation != "decide").count()
    }

    /// Puts to Parameter Store.
    pub fn puts(&self) -> usize {
        self.faults.count("ssm", "PutParameter")
    }

    /// Changes of either store.
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

/// The clock's time, and random numbers that are all different and the same in every run.
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

/// The secret of a connection's grant.
pub fn grant_name(connection: &str) -> String {
    format!("token-keeper/connections/{connection}")
}

/// The parameter of a connection's lease.
pub fn lease_name(connection: &str) -> String {
    format!("/token-keeper/tokens/{connection}")
}

/// The grant `crm` of version `v1` that a secret's text says, with its client inline.
///
/// # Panics
/// If the text is not a whole grant.
pub fn grant_of(text: &str, table: &DataCenters) -> Grant {
    let document = SecretDocument::parse(&SecretText::new(text)).expect("a document");
    let grant = GrantSecret::of("crm".parse().expect("a name"), VersionId::new("v1"), &document, table);
    grant.expect("a grant").resolve(&Clients::new(), &"k".parse().expect("a prefix")).expect("a client")
}
