//! `token-keeper doctor`: checks what can be checked without asking Zoho or another provider.
//!
//! This file reads the stores into `Facts` and shows the findings. `findings` turns facts into
//! findings; it calls nothing.

mod facts;
mod finding;
mod schedule;
mod connections;
mod providers;
mod findings;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::json;
use token_keeper::connection::StoredSecret;
use token_keeper::failure::StoreError;
use token_keeper::flaw::Flaw;
use token_keeper::ports::{Grants as _, Leases as _, Published};

use self::facts::Facts;
use self::finding::{Finding, Severity};
use self::findings::findings;
use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::refresh::every;
use crate::text::counted;

/// The schedule, with which the margin is compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  token-keeper doctor\n  token-keeper doctor --schedule 30m --json\n\n\
                  doctor reads the stores with your own permissions. It writes nothing and asks no provider. It exits with 1 if something \
                  is wrong. Notes alone exit with 0.")]
pub struct Arguments {
    /// How often the refresher runs: 15m, 30m. Without it, as the stack's settings say; without a
    /// stack, 15m
    #[arg(long, value_name = "EVERY", value_parser = every)]
    pub schedule: Option<SignedDuration>,
}

impl Operator {
    /// Fails if something is wrong. Notes alone are a success.
    pub(super) async fn doctor(&self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let facts = Box::pin(self.facts(arguments.schedule)).await;
        let findings = findings(&facts);
        let wrong = findings.iter().filter(|finding| finding.severity == Severity::Wrong).count();
        console.answer(json!({"ok": wrong == 0, "checks": findings}));
        for finding in &findings {
            console.show(&finding.to_string());
        }
        console.show(&summary(&findings));
        if wrong == 0 {
            return Ok(());
        }
        Err(Failure::new(
            counted(wrong, "finding") + " to repair",
            "do what is written after each ->, then run doctor again",
        ))
    }

    async fn facts(&self, schedule: Option<SignedDuration>) -> Facts<'_> {
        let Self { settings, publishing, callback_url, stack, .. } = self;
        let key = settings.prefix.signing_key();
        let (secrets, leases, key) = tokio::join!(self.secrets.list(), self.leases.list(), self.secrets.read_one(&key));
        let mut gone = BTreeMap::new();
        let secrets = match (secrets, &leases) {
            (Ok(secrets), Ok(leases)) => self.with_unlisted(secrets, leases, &mut gone).await,
            (secrets, _) => secrets,
        };
        let (callback_url, now) = (callback_url.as_ref(), self.source.now());
        Facts { settings, publishing, callback_url, stack, schedule, now, secrets, gone, leases, key }
    }

    /// Adds secrets that have a lease but are not listed yet. The listing is minutes behind, so a
    /// lease counts as left over only after its secret was asked for by name.
    async fn with_unlisted(
        &self,
        mut secrets: Vec<StoredSecret>,
        leases: &Published,
        gone: &mut BTreeMap<String, Flaw>,
    ) -> Result<Vec<StoredSecret>, StoreError> {
        let prefix = &self.settings.prefix;
        let listed: BTreeSet<_> = secrets.iter().map(|secret| secret.name.as_str()).collect();
        let names: Vec<_> = leases.keys().map(|connection| prefix.grant(connection)).collect();
        let names: Vec<_> = names.into_iter().filter(|name| !listed.contains(name.as_str())).collect();
        for secret in self.secrets.read(&names).await? {
            match (&secret.content, secret.name.as_str().strip_prefix(&prefix.grants())) {
                (Err(flaw @ (Flaw::NotFound | Flaw::Deleted)), Some(connection)) => {
                    gone.insert(connection.to_owned(), flaw.clone());
                }
                _ => secrets.push(secret),
            }
        }
        Ok(secrets)
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (ok, notes, wrong) = (count(Severity::Ok), count(Severity::Note), count(Severity::Wrong));
    format!("\n{ok} ok, {}, {wrong} wrong. Nothing was changed, and no provider was asked.", counted(notes, "note"))
}
