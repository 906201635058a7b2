//! A whole installation behind stand-ins. Its connections are due, and it counts the refresher's
//! calls.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::seed::{self, Seeded};
use testkit::tls::{Authority, Kind};
use testkit::wire::Faults;
use testkit::zoho::Zoho;

/// How long Zoho takes to answer.
pub(crate) const ZOHO_LATENCY: Duration = Duration::from_millis(150);
/// How many connections are refreshed at the same time.
pub(crate) const CONCURRENCY: u32 = 16;
/// The life left of each lease at the start: less than the margin, as in normal running.
const LEFT: SignedDuration = SignedDuration::from_mins(30);
/// The file with the authority's certificate, for the function over TLS.
const CA_BUNDLE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/ca.pem");
/// Stand-ins for AWS and Zoho, each on its own thread.
pub(crate) struct Installation {
    pub(crate) faults: Faults,
    pub(crate) seeded: Vec<Seeded>,
    quotas: Quotas,
    aws: Aws,
    zoho: Zoho,
}

impl Installation {
    /// An installation with `connections` connections, without AWS's quotas. Each connection has
    /// its client inline and a lease that is due.
    pub(crate) fn with_due(connections: u32) -> Self {
        Self::start(connections, Faults::new(), Quotas::lifted())
    }

    /// The same, with these quotas.
    pub(crate) fn with_due_within(connections: u32, quotas: Quotas) -> Self {
        Self::start(connections, Faults::new(), quotas)
    }

    /// The same, over TLS.
    pub(crate) fn with_due_over_tls(connections: u32) -> Self {
        let authority = Authority::new();
        std::fs::write(CA_BUNDLE, authority.pem()).expect("a file in the target folder");
        Self::start(connections, Faults::new().over_tls(&authority.certify(Kind::Good)), Quotas::lifted())
    }

    fn start(connections: u32, faults: Faults, quotas: Quotas) -> Self {
        faults.latency("zoho", ZOHO_LATENCY);
        let aws = Aws::start(Clock::system(), faults.clone());
        aws.quotas(quotas);
        let zoho = Zoho::start(&["eu"], Clock::system(), faults.clone());
        let seeded = seed::connections(&aws, &zoho, connections as usize);
        let installation = Self { faults, seeded, quotas, aws, zoho };
        installation.seeded.iter().for_each(|seeded| installation.publish_due_lease(seeded));
        installation
    }

    /// The connections' names, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.seeded.iter().map(|seeded| seeded.name.as_str()).collect()
    }

    /// How many tokens Zoho has minted.
    pub(crate) fn mints(&self) -> usize {
        self.seeded.iter().map(|seeded| self.zoho.mints(&seeded.refresh_token)).sum()
    }

    fn publish_due_lease(&self, Seeded { name, data_center, .. }: &Seeded) {
        let expires_at = Timestamp::now() + LEFT;
        let lease = json!({
            "schema": 1,
            "status": "active",
            "access_token": format!("1000.{:032x}.{:032x}", 1, 2),
            "token_type": "Zoho-oauthtoken",
            "expires_at": expires_at,
            "issued_at": expires_at - SignedDuration::from_hours(1),
            "api_domain": "https://www.zohoapis.eu",
            "data_center": data_center,
            "accounts_server": self.zoho.accounts(data_center),
            "scope": "ZohoCRM.modules.ALL",
            "grant_version": self.aws.secret_version(&format!("token-keeper/connections/{name}")),
        });
        self.aws.put_parameter(&format!("/token-keeper/tokens/{name}"), &lease.to_string());
    }

    /// The refresher's environment. Without quotas it sets no ceiling either: a ceiling would slow
    /// the program, and the benchmark would measure that.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let bundle = if self.aws.url().starts_with("https:") { CA_BUNDLE } else { "" };
        let mut environment = vec![
            ("AWS_CA_BUNDLE", bundle.to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "benchmark".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "benchmark".to_owned()),
            ("AWS_ENDPOINT_URL", self.aws.url()),
            ("TOKEN_KEEPER_DATA_CENTERS", self.zoho.data_centers()),
            ("TOKEN_KEEPER_CONCURRENCY", CONCURRENCY.to_string()),
        ];
        if self.quotas == Quotas::lifted() {
            environment.push(("TOKEN_KEEPER_SSM_RATE", "100000".to_owned()));
        }
        environment
    }

    /// The calls since the last count.
    pub(crate) fn take_calls(&self) -> Calls {
        let mut calls = Calls::default();
        for call in self.faults.calls() {
            match (call.service, call.operation.as_str()) {
                ("secretsmanager", "BatchGetSecretValue") => calls.batches += 1,
                ("ssm", "GetParametersByPath") => calls.pages += 1,
                ("ssm", "PutParameter") => calls.puts += 1,
                ("zoho", "refresh_token") => calls.mints += 1,
                _ => calls.others.push(call.to_string()),
            }
        }
        self.faults.forget_calls();
        calls
    }
}

/// The calls of a run to AWS and Zoho.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Calls {
    batches: u32,
    pages: u32,
    puts: u32,
    mints: u32,
    others: Vec<String>,
}

impl Calls {
    /// The calls that a run needs: whole pages of 20 secrets and of 10 parameters, and one token
    /// and one put for each connection that is due.
    pub(crate) fn needed(connections: u32, due: u32) -> Self {
        Self {
            batches: connections.div_ceil(20),
            pages: connections.div_ceil(10),
            puts: due,
            mints: due,
            others: Vec::new(),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} + {} + {}; {}", self.batches, self.pages, self.puts, self.mints)?;
        self.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}
