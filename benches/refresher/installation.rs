//! A whole installation behind stand-ins. Its connections are due, and it counts the refresher's
//! calls.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testkit::clock::Clock;
use testkit::outside::{Outside, grant_name, lease_name};
use testkit::quota::Quotas;
use testkit::seed::{self, Seeded};
use testkit::tls::{Authority, Kind};
use testkit::wire::Faults;

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
    outside: Outside,
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
        let mut outside = Outside::start(&["eu"], Clock::system(), faults.clone());
        outside.aws.quotas(quotas);
        let bundle = if outside.aws.url().starts_with("https:") { CA_BUNDLE } else { "" };
        outside.set("AWS_CA_BUNDLE", bundle);
        outside.set("TOKEN_KEEPER_CONCURRENCY", &CONCURRENCY.to_string());
        // Without quotas there is no ceiling either: a ceiling would slow the program, and the
        // benchmark would measure that.
        if quotas == Quotas::lifted() {
            outside.set("TOKEN_KEEPER_SSM_RATE", "100000");
        }
        let seeded = seed::connections(&outside.aws, &outside.zoho, connections as usize);
        let installation = Self { faults, seeded, outside };
        installation.seeded.iter().for_each(|seeded| installation.publish_due_lease(seeded));
        installation
    }

    /// The connections' names, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.seeded.iter().map(|seeded| seeded.name.as_str()).collect()
    }

    /// How many tokens Zoho has minted.
    pub(crate) fn mints(&self) -> usize {
        self.seeded.iter().map(|seeded| self.outside.zoho.mints(&seeded.refresh_token)).sum()
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
            "accounts_server": self.outside.zoho.accounts(data_center),
            "scope": "ZohoCRM.modules.ALL",
            "grant_version": self.outside.aws.secret_version(&grant_name(name)),
        });
        self.outside.aws.put_parameter(&lease_name(name), &lease.to_string());
    }

    /// The refresher's environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.outside.environment()
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
