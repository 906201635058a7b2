//! A whole installation in one process: the real use cases with their real adapters, in front of
//! both stand-ins and a clock that the test moves.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde_json::{Value, json};
use token_keeper::aws::{ParameterStore, SecretsManager, Sqs};
use token_keeper::config::Config;
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::lambda::callback::{Request, Response, respond};
use token_keeper::lambda::refresher::{HandlerError, handle};
use token_keeper::run::Refresher;
use token_keeper::run::brake::Brakes;
use token_keeper::run::dispatch::Dispatcher;
use tokio::time::Instant;

use crate::clock::Clock;
pub use crate::outside::*;
use crate::quota::Quotas;
use crate::wire::Faults;

/// The installation and what it talks to. Zoho has the data centres `us`, `eu` and `in`. The store
/// has a signing key and the client `acme` with its secrets for `us` and `eu`; it has no secret for
/// `in`.
pub struct World {
    /// What the programs meet.
    pub outside: Outside,
    /// The refresher in one process.
    pub refresher: TestRefresher,
    /// The refresher's queue, if the settings name one.
    pub dispatcher: Option<Dispatcher<Sqs>>,
    /// The callback's consent in one process.
    pub consent: TestConsent,
}

impl Deref for World {
    type Target = Outside;

    fn deref(&self) -> &Outside {
        &self.outside
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Outside {
        &mut self.outside
    }
}

/// The refresher with its real adapters.
pub type TestRefresher = Refresher<SecretsManager, token_keeper::issuer::Providers, ParameterStore>;
/// The consent with its real adapters.
pub type TestConsent = Consent<SecretsManager, token_keeper::issuer::Providers, ParameterStore>;

impl World {
    /// A world without AWS's quotas and without a pace: most tests are about rules.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world with these settings beside the necessary ones.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::made(settings, ParameterStore::unpaced, ZOHO_TIMEOUT).await
    }

    /// A world for tests that hold calls back: nobody gets tired of waiting.
    pub async fn patient() -> Self {
        Self::made(&[], ParameterStore::unpaced, Duration::from_mins(1)).await
    }

    /// A world with the pace of a real process.
    pub async fn paced() -> Self {
        Self::made(&[], |leases| leases, ZOHO_TIMEOUT).await
    }

    async fn made(
        settings: &[(&str, &str)],
        pace: fn(ParameterStore) -> ParameterStore,
        zoho_timeout: Duration,
    ) -> Self {
        let mut outside = Outside::start(&["us", "eu", "in"], Clock::at(START), Faults::new());
        outside.zoho_timeout = zoho_timeout;
        for (name, value) in settings {
            outside.set(name, value);
        }
        let Outside { zoho, aws, .. } = &outside;
        aws.quotas(Quotas::lifted());
        let redirect_uri = format!("{BASE}/callback");
        zoho.register(CLIENT_ID, &[&redirect_uri], &[("us", US_SECRET), ("eu", EU_SECRET), ("in", "unknown-here")]);
        aws.put_secret("token-keeper/signing-key", SIGNING_KEY);
        let client = json!({"client_id": CLIENT_ID, "client_secrets": {"eu": EU_SECRET, "us": US_SECRET}});
        aws.put_secret("token-keeper/clients/acme", &client.to_string());

        let Config { settings, queue_above, .. } = outside.config();
        let source = outside.source();
        let Adapters { secrets, leases, issuer, queue } = Adapters::connect(&outside, &source).await;
        let refresher = Refresher {
            settings: settings.clone(),
            grants: secrets,
            issuer,
            leases: pace(leases),
            source,
            brakes: Brakes::default(),
        };
        let dispatcher = queue.map(|queue| Dispatcher { queue, above: queue_above });
        let source = outside.source();
        let Adapters { secrets, leases, issuer, .. } = Adapters::connect(&outside, &source).await;
        let consent = Consent { settings, secrets, issuer, leases: pace(leases), source, key: KeyRing::default() };
        Self { outside, refresher, dispatcher, consent }
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
}
