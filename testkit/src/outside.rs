//! What the programs meet outside: the stand-ins, the clock, and what the operator has stored.

mod oauth;

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use aws_config::SdkConfig;
use jiff::SignedDuration;
use serde_json::{Value, json};
use token_keeper::aws::{ParameterStore, SecretsManager, Sqs};
use token_keeper::config::Config;
use token_keeper::connection::{Clients, DataCenters, Grant, GrantSecret, SecretDocument};
use token_keeper::consent::link::{TICKET_LIFE, Ticket};
use token_keeper::http::{self, Roots};
use token_keeper::name::VersionId;
use token_keeper::notice::MARKER;
use token_keeper::secret::{SecretText, SigningKey};
use token_keeper::settings::Settings;
use token_keeper::source::Source;

use crate::aws::Aws;
use crate::clock::Clock;
use crate::oauth::OAuth;
use crate::wire::Faults;
use crate::zoho::Zoho;
pub use oauth::{CORP_ID, CORP_SCOPE, CORP_SECRET};

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

/// Zoho and AWS on this machine. At first nothing is stored, and AWS has its quotas.
pub struct Outside {
    /// The clock of everything here.
    pub clock: Clock,
    /// The faults on the wire, and every call so far.
    pub faults: Faults,
    /// Zoho's accounts servers.
    pub zoho: Zoho,
    /// AWS.
    pub aws: Aws,
    /// How long a program waits for Zoho.
    pub zoho_timeout: Duration,
    /// A provider other than Zoho, once it was asked for.
    oauth: OnceCell<OAuth>,
    environment: Vec<(String, String)>,
    /// Seed of the next process's random numbers.
    seed: Cell<u8>,
}

/// What a link asks for, apart from the connection.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The data centre where the consent starts.
    pub data_center: &'a str,
    /// Scopes to store. If empty, the stored ones stay.
    pub scopes: &'a [&'a str],
    /// Whether the account may live in another data centre than before.
    pub allow_move: bool,
    /// Whether it may be another account than before.
    pub allow_other_account: bool,
    /// How long the link works.
    pub life: SignedDuration,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { data_center: "eu", scopes: &[], allow_move: false, allow_other_account: false, life: TICKET_LIFE }
    }
}

impl Outside {
    /// A Zoho with these data centres, and an AWS.
    pub fn start(data_centers: &[&'static str], clock: Clock, faults: Faults) -> Self {
        let zoho = Zoho::start(data_centers, clock.clone(), faults.clone());
        let aws = Aws::start(clock.clone(), faults.clone());
        let environment = vec![("TOKEN_KEEPER_DATA_CENTERS".to_owned(), zoho.data_centers())];
        let (zoho_timeout, oauth, seed) = (ZOHO_TIMEOUT, OnceCell::new(), Cell::new(0));
        Self { clock, faults, zoho, aws, zoho_timeout, oauth, environment, seed }
    }

    /// Sets a variable of the operator's environment.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// The environment of a program of its own.
    pub fn environment(&self) -> Vec<(String, String)> {
        let aws = [
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "stand-in".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "stand-in".to_owned()),
            ("AWS_ENDPOINT_URL", self.aws.url()),
        ];
        let aws = aws.map(|(name, value)| (name.to_owned(), value));
        aws.into_iter().chain(self.environment.iter().cloned()).collect()
    }

    /// The configuration from the environment. Reads see writes at once here, so nothing waits.
    ///
    /// # Panics
    /// If the environment is wrong.
    pub fn config(&self) -> Config {
        let config = Config::read(self.environment.iter().cloned()).expect("a right environment");
        Config {
            settings: Settings { settling: Duration::ZERO, retry_after: Duration::ZERO, ..config.settings },
            ..config
        }
    }

    /// The adapters of a new process, without a pace, and its source.
    pub async fn process(&self) -> (Adapters, Source) {
        self.process_with(&self.config()).await
    }

    /// The same with this configuration.
    pub async fn process_with(&self, config: &Config) -> (Adapters, Source) {
        let source = self.source();
        let adapters = Adapters::with(self, config, &source).await;
        (Adapters { leases: adapters.leases.unpaced(), ..adapters }, source)
    }

    /// What the AWS clients of a new process have in common.
    ///
    /// # Panics
    /// Never: the built-in roots are right.
    pub async fn shared(&self) -> SdkConfig {
        let http = http::client(Roots::BuiltIn, None).expect("a client");
        let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .empty_test_environment()
            .test_credentials()
            .region(REGION)
            .endpoint_url(self.aws.url());
        token_keeper::aws::shared(loader, &http).await
    }

    /// The clock's time, and random numbers that are all different but the same in every run.
    pub fn source(&self) -> Source {
        self.seed.set(self.seed.get() + 1);
        let (clock, seed, drawn) = (self.clock.clone(), self.seed.get(), Cell::new(0_u16));
        let random = move || {
            drawn.set(drawn.get() + 1);
            let mut bytes = [seed; 32];
            let [low, high] = drawn.get().to_le_bytes();
            (bytes[0], bytes[1]) = (low, seed ^ high);
            bytes
        };
        Source::new(move || clock.now(), random)
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
        let Asked { data_center, scopes, .. } = asked;
        let stored = self.grant(connection);
        if stored.is_null() {
            self.store(connection, &json!({"data_center": data_center}));
        }
        if !scopes.is_empty() && stored["scopes"] != json!(scopes) {
            let mut grant = self.grant(connection);
            grant["scopes"] = json!(scopes);
            self.aws.put_secret(&grant_name(connection), &grant.to_string());
        }
        self.ticket(connection, asked, "")
    }

    /// A link for a connection as it is stored now.
    fn ticket(&self, connection: &str, asked: Asked<'_>, provider: &str) -> String {
        let Asked { data_center, allow_move, allow_other_account, life, .. } = asked;
        let version = self.aws.secret_version(&grant_name(connection)).expect("a stored grant");
        let version = VersionId::new(self.grant(connection)["link_version"].as_str().unwrap_or(&version));
        let expires_at = self.clock.now() + life;
        let connection = connection.parse().expect("a name");
        let (data_center, issued_at) = (data_center.to_owned(), self.clock.now());
        let ticket = Ticket {
            connection,
            version,
            data_center,
            provider: provider.to_owned(),
            allow_move,
            allow_other_account,
            issued_at,
            expires_at,
        };
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

    /// Whether the provider accepts the token that programs read now.
    pub fn token_lives(&self, connection: &str) -> bool {
        let elsewhere = |token: &str| self.oauth.get().is_some_and(|oauth| oauth.access_token_lives(token));
        let token = self.field(connection, "access_token");
        token.as_str().is_some_and(|token| self.zoho.access_token_lives(token) || elsewhere(token))
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
    pub issuer: token_keeper::issuer::Providers,
    /// The queue, if the settings name one.
    pub queue: Option<Sqs>,
}

impl Adapters {
    /// The adapters of one process, with the pace of a real one.
    ///
    /// # Panics
    /// If the environment is wrong.
    pub async fn connect(outside: &Outside, source: &Source) -> Self {
        // Boxed, because it is part of the future of every test.
        Box::pin(Self::with(outside, &outside.config(), source)).await
    }

    /// The same with this configuration.
    async fn with(outside: &Outside, config: &Config, source: &Source) -> Self {
        let Config { settings, publishing, queue_url, .. } = config.clone();
        let shared = outside.shared().await;
        let (secrets, leases) = token_keeper::aws::stores(&shared, &settings, publishing, source);
        let http = http::client(Roots::BuiltIn, None).expect("a client");
        let issuer = token_keeper::issuer::Providers::new(http, outside.zoho_timeout, source.clone());
        Self { secrets, leases, issuer, queue: queue_url.map(|url| Sqs::new(&shared, url)) }
    }
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
