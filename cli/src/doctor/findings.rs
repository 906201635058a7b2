//! Turns facts into findings. Calls nothing, so that a test can get every finding from values.

use std::fmt::Display;

use jiff::SignedDuration;
use token_keeper::address::BaseUrl;
use token_keeper::aws::{Publishing, Tier};
use token_keeper::connection::{StoredSecret, read_grants};
use token_keeper::failure::StoreError;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{ClientName, ConnectionName};
use token_keeper::run::decision::Policy;
use token_keeper::run::{Seen, see};
use token_keeper::secret::SigningKey;
use token_keeper::settings::Settings;

use super::connections::{clients, connections, leases};
use super::facts::Facts;
use super::finding::{Finding, Severity, or_ok};
use super::providers::providers;
use super::schedule;
use crate::stack::{Overruled, Stack, Unread};
use crate::text::counted;

/// The timeout that the stack gives the refresher, in seconds.
const FUNCTION_TIMEOUT: usize = 300;
/// Puts per second that AWS allows in an account and Region by default.
const PUTS: usize = 3;

/// Every check, in the order in which an operator would ask.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = access(facts);
    findings.extend(stack(facts));
    if let Ok(secrets) = &facts.secrets {
        let seen = seen(facts, secrets);
        findings.extend(names(facts, secrets));
        findings.extend(connections(facts, &seen));
        findings.extend(providers(facts, &seen, every(facts)));
        findings.extend(clients(facts, secrets, &seen));
        if let Ok(published) = &facts.leases {
            findings.extend(leases(facts, published, &seen));
        }
        findings.extend(limits(seen.len(), facts.publishing));
    }
    findings.extend([signing_key(facts), callback(facts.callback_url), schedule(facts)]);
    findings
}

/// The connections as a run sees them. If the leases could not be read, every connection counts as
/// due.
fn seen(facts: &Facts<'_>, secrets: &[StoredSecret]) -> Vec<Seen> {
    let Settings { prefix, data_centers, margin, .. } = facts.settings;
    let policy = Policy { margin: *margin, rotating: true, force: false };
    let leases = facts.leases.clone().unwrap_or_default();
    see(read_grants(secrets, prefix, data_centers), leases, facts.now, policy)
}

fn access(facts: &Facts<'_>) -> Vec<Finding> {
    let prefix = &facts.settings.prefix;
    let (grants, clients, leases) = (prefix.grant("*"), prefix.client("*"), prefix.lease("*"));
    let refused = |error: &StoreError, what: &str, why: &str| {
        Finding::new("access", Severity::Wrong, format!("{what}: {error}"), why, error.remedy())
    };
    let findings = [
        facts.secrets.as_ref().err().map(|error| {
            let why = "connections, clients and leases could not be checked; that needs secretsmanager:BatchGetSecretValue and \
                       secretsmanager:ListSecrets on *, and secretsmanager:GetSecretValue on these secrets";
            refused(error, &format!("secrets {grants} and {clients}"), why)
        }),
        facts.leases.as_ref().err().map(|error| {
            let why = "leases could not be checked; that needs ssm:GetParametersByPath on their path";
            refused(error, &format!("parameters {leases}"), why)
        }),
    ];
    let ok = format!(
        "you can list and read the secrets {grants} and {clients} and the parameters {leases}; doctor cannot see what the \
         functions' roles may do: compare them with infra/refresher-policy.json and infra/callback-policy.json"
    );
    let mut findings = or_ok(findings.into_iter().flatten().collect(), Finding::ok("access", ok));
    if facts.secrets.is_ok() || facts.leases.is_ok() {
        let clock = "right within five minutes: AWS accepted this machine's signature";
        findings.push(Finding::ok("clock", clock));
    }
    findings
}

fn names(facts: &Facts<'_>, secrets: &[StoredSecret]) -> Vec<Finding> {
    let prefix = &facts.settings.prefix;
    let (grants, clients) = (prefix.grants(), prefix.clients());
    let wrong = secrets.iter().filter_map(|StoredSecret { name, .. }| {
        let (severity, error, why) = if let Some(name) = name.as_str().strip_prefix(&grants) {
            (Severity::Wrong, name.parse::<ConnectionName>().err()?, "no token is minted for it")
        } else {
            let name = name.as_str().strip_prefix(&clients)?;
            (Severity::Note, name.parse::<ClientName>().err()?, "no connection can refer to it")
        };
        let (what, remedy) =
            (Broken::secret(name, Flaw::Name(error)), "store it under another name, then remove this one");
        Some(Finding::new("names", severity, what, why, remedy))
    });
    let ok = Finding::ok("names", format!("{} with valid names", counted(secrets.len(), "secret")));
    or_ok(wrong.collect(), ok)
}

fn signing_key(facts: &Facts<'_>) -> Finding {
    let name = facts.settings.prefix.signing_key();
    let severity = if facts.callback_url.is_some() { Severity::Wrong } else { Severity::Note };
    let why = "it signs consent links; without it only connect --local and grant work";
    let finding = |what: &dyn Display, remedy: String| Finding::new("signing-key", severity, what, why, remedy);
    let content = match &facts.key {
        Err(error) => return finding(error, error.remedy()),
        Ok(secret) => secret.content.as_ref(),
    };
    let flaw = match content {
        Ok(version) if SigningKey::new(version.text.expose()).is_strong() => {
            return Finding::ok("signing-key", format!("secret {name} exists and is long enough"));
        }
        Ok(_) => &Flaw::WeakKey,
        Err(flaw) => flaw,
    };
    let store = |how: &str| {
        format!("openssl rand -base64 48 | aws secretsmanager {how} {name} --secret-string file:///dev/stdin")
    };
    let remedy = match flaw {
        Flaw::NotFound => store("create-secret --name"),
        Flaw::WeakKey | Flaw::Binary => store("put-secret-value --secret-id"),
        Flaw::Deleted => format!("aws secretsmanager restore-secret --secret-id {name}"),
        Flaw::Denied(_) => {
            "allow the role or user that ran this to call secretsmanager:GetSecretValue on it".to_owned()
        }
        Flaw::Key(_) => "allow the role or user that ran this to call kms:Decrypt on its key".to_owned(),
        flaw => flaw.remedy(),
    };
    finding(&Broken::secret(&name, flaw.clone()), remedy)
}

/// What the stack says of its settings, and where the environment says something else.
fn stack(facts: &Facts<'_>) -> Vec<Finding> {
    let finding =
        |severity: Severity, what: &str, why: &str, remedy: &str| Finding::new("settings", severity, what, why, remedy);
    let Stack { parameter, overruled, .. } = match facts.stack {
        Ok(None) => return Vec::new(),
        Ok(Some(stack)) => stack,
        Err(unread) => {
            let (what, remedy) = match unread {
                Unread::Failed(error) => (error.to_string(), error.remedy()),
                Unread::Unusable { what, remedy } => (what.clone(), remedy.clone()),
            };
            let why = "commands that write refuse to work, because they could move tokens to another key or tier";
            return vec![finding(Severity::Wrong, &what, why, &remedy)];
        }
    };
    let notes = overruled.iter().map(|Overruled { field, variable, here, there }| {
        let there = if there.is_empty() { "unset" } else { there };
        let what = format!("{variable} is {here} here; {field} in parameter {parameter} is {there}");
        let why = "the command line goes by the environment, the functions by the stack";
        let remedy = format!("unset {variable} here, or deploy the stack with this value");
        finding(Severity::Note, &what, why, &remedy)
    });
    or_ok(notes.collect(), Finding::ok("settings", format!("as the stack has them in parameter {parameter}")))
}

fn schedule(facts: &Facts<'_>) -> Finding {
    let margin = facts.settings.margin;
    match every(facts) {
        Some(every) => schedule::check(every, margin),
        None => schedule::unclear(expression(facts).unwrap_or_default(), margin),
    }
}

/// The stack's schedule.
fn expression<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    facts.stack.as_ref().ok()?.as_ref()?.schedule.as_deref()
}

/// How often the refresher runs. `None` if the stack's schedule does not say.
fn every(facts: &Facts<'_>) -> Option<SignedDuration> {
    facts.schedule.or_else(|| match expression(facts) {
        Some(expression) => schedule::interval(expression),
        None => Some(schedule::DEFAULT),
    })
}

fn callback(url: Option<&BaseUrl>) -> Finding {
    let register = |url: &BaseUrl| {
        format!(
            "each client needs the redirect URI {} at its provider (for Zoho, in the API console)",
            url.redirect_uri()
        )
    };
    match url {
        Some(url) if url.is_secure() => Finding::ok("callback", register(url)),
        Some(url) => {
            let why = "this address is the machine of whoever opens the link, not the callback function";
            let remedy = "set TOKEN_KEEPER_CALLBACK_URL to the callback function's https URL";
            Finding::new("callback", Severity::Note, register(url), why, remedy)
        }
        None => {
            let why = "connect and reconnect need --callback-url each time, and doctor cannot name the redirect URI to register";
            let remedy = "set TOKEN_KEEPER_CALLBACK_URL to the callback function's public URL, or let the stack write its settings (connect --local needs no URL)";
            Finding::new("callback", Severity::Note, "the callback function's URL is not known", why, remedy)
        }
    }
}

/// Compares the number of connections with the limits of Parameter Store.
fn limits(connections: usize, publishing: &Publishing) -> Vec<Finding> {
    let (limit, words) = match publishing.tier {
        Tier::Standard => (10_000, "10,000 standard parameters"),
        Tier::Advanced | Tier::IntelligentTiering => (100_000, "100,000 advanced parameters"),
    };
    let parameters = connections * if publishing.plain { 2 } else { 1 };
    let rate = PUTS.min(usize::try_from(publishing.rate).unwrap_or(usize::MAX)).max(1);
    let seconds = parameters.div_ceil(rate);
    let room = format!(
        "{} of the {words} that an account can have in a Region, for {}",
        parameters,
        counted(connections, "connection")
    );
    let time = format!("a run in which all are due writes for {seconds} s at {rate} puts a second{}", {
        if rate == PUTS { ", which AWS allows by default" } else { "" }
    });
    let full = (parameters * 5 > limit * 4).then(|| {
        let severity = if parameters > limit { Severity::Wrong } else { Severity::Note };
        let why = "AWS refuses more than that, and other programs' parameters count too";
        let remedy = match publishing.tier {
            Tier::Standard => {
                "set TOKEN_KEEPER_TIER=Advanced (AWS bills each parameter), or spread the connections over accounts or Regions"
            }
            Tier::Advanced | Tier::IntelligentTiering => "spread the connections over accounts or Regions",
        };
        Finding::new("limits", severity, &room, why, remedy)
    });
    let slow = (seconds > FUNCTION_TIMEOUT).then(|| {
        let why = format!(
            "the function has {FUNCTION_TIMEOUT} s; the rest waits for the next run, unless the stack's queue splits the work"
        );
        let remedy = "switch on Parameter Store's higher throughput (10 puts a second), which the refresher then uses by itself; or \
                      raise the function's timeout (900 s at most)";
        Finding::new("limits", Severity::Note, &time, why, remedy)
    });
    or_ok([full, slow].into_iter().flatten().collect(), Finding::ok("limits", format!("{room}; {time}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::listed;

    #[test]
    fn the_limits_follow_from_tier_rate_and_timeout() {
        let check = |connections: usize, tier: Tier, plain: bool, rate: u32, expected: &[(Severity, &str)]| {
            let found = limits(connections, &Publishing { plain, rate, kms_key_id: None, tier });
            assert_eq!(found.len(), expected.len(), "{connections}: {found:?}");
            for (found, (severity, what)) in found.iter().zip(expected) {
                assert!(found.severity == *severity && found.what.contains(what), "{connections}: {found:?}");
            }
        };
        let (ok, note, wrong) = (Severity::Ok, Severity::Note, Severity::Wrong);
        check(0, Tier::Standard, false, 40, &[(ok, "writes for 0 s at 3 puts a second, which AWS allows")]);
        check(500, Tier::Standard, false, 40, &[(ok, "writes for 167 s at 3 ")]);
        check(500, Tier::Standard, true, 40, &[(note, "writes for 334 s at 3 ")]);
        check(900, Tier::Standard, false, 40, &[(ok, "300 s")]);
        check(901, Tier::Standard, false, 40, &[(note, "301 s")]);
        check(500, Tier::Standard, false, 1, &[(note, "writes for 500 s at 1 puts a second")]);
        let slow = (note, "puts a second");
        check(8000, Tier::Standard, false, 40, &[slow]);
        check(8001, Tier::Standard, false, 40, &[(note, "8001 of the 10,000 standard parameters"), slow]);
        check(5001, Tier::Standard, true, 40, &[(wrong, "10002 of the 10,000 standard parameters"), slow]);
        check(5001, Tier::Advanced, true, 40, &[slow]);
        check(90_000, Tier::IntelligentTiering, false, 40, &[(note, "90000 of the 100,000"), (note, "30000 s")]);
        check(100_001, Tier::Advanced, false, 40, &[(wrong, "100001 of the 100,000"), slow]);
    }

    #[test]
    fn a_sentence_lists_twenty_names_at_most() {
        let names: Vec<_> = std::iter::repeat_n("crm", 23).collect();
        assert_eq!(listed(&names[..2]), "crm, crm");
        assert!(listed(&names).ends_with("crm, crm and 3 more"));
    }
}
