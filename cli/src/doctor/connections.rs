//! The checks of connections, their clients and their leases.

use std::collections::BTreeSet;

use jiff::Timestamp;
use token_keeper::connection::{Grant, StoredSecret, clients_of, read_clients};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::ConnectionName;
use token_keeper::ports::Published;
use token_keeper::run::Seen;
use token_keeper::run::decision::State;
use token_keeper::run::report::Outcome;
use token_keeper::settings::Settings;

use super::facts::Facts;
use super::finding::{Finding, Severity, listed, or_ok};
use crate::text::counted;

/// What stops a connection from getting a new token, as far as the stores show.
pub(super) fn connections(facts: &Facts<'_>, seen: &[Seen]) -> Vec<Finding> {
    if seen.is_empty() {
        let what = format!("there are none yet: no secret's name starts with {}", facts.settings.prefix.grants());
        let (why, remedy) = ("there is nothing to keep fresh", "connect an account: token-keeper connect --help");
        return vec![Finding::new("connections", Severity::Note, what, why, remedy)];
    }
    // If many connections share a client, its flaw is one finding, not many.
    let mut troubles: Vec<(Vec<&str>, Finding)> = Vec::new();
    for seen in seen.iter().filter(|seen| seen.name.parse::<ConnectionName>().is_ok()) {
        let Some(trouble) = trouble(seen, facts.now) else { continue };
        let same = |(_, other): &&mut (_, Finding)| (&other.what, &other.remedy) == (&trouble.what, &trouble.remedy);
        match troubles.iter_mut().find(same) {
            Some((names, _)) => names.push(&seen.name),
            None => troubles.push((vec![&seen.name], trouble)),
        }
    }
    let troubles = troubles.into_iter().map(|(names, trouble)| {
        let what = format!("{}: {}", listed(&names), trouble.what);
        Finding { what, ..trouble }
    });
    let zoho = seen.iter().all(|seen| seen.grant().is_some_and(|grant| grant.provider.data_center().is_some()));
    let place = if zoho { " for its data centre" } else { "" };
    let ok = format!(
        "{}, each with a refresh token or client credentials, and its client's secret{place}",
        counted(seen.len(), "connection")
    );
    or_ok(troubles.collect(), Finding::ok("connections", ok))
}

/// What is wrong with one connection. The text leaves out its name.
fn trouble(seen: &Seen, now: Timestamp) -> Option<Finding> {
    let outcome = seen.outcome()?;
    let remedy = outcome.remedy(&seen.name)?;
    if let (Outcome::Rejected, Some(what), Some(since)) = (&outcome, outcome.error(), seen.rejected_at()) {
        let why = format!("they have said so since {since}");
        return Some(Finding::new("connections", Severity::Note, what, why, remedy));
    }
    let state = seen.state()?;
    let title = match (seen.grant(), seen.lease()) {
        (Some(grant), _) => grant.provider.title(),
        (None, Some(lease)) => lease.title(),
        (None, None) => "Zoho",
    };
    let last = last_token(seen, now);
    let (severity, what, why) = match state {
        // `leases` reports the flaw of a lease.
        State::Fresh { .. } | State::BrokenLease(_) => return None,
        State::BrokenGrant(broken) => {
            let why = match broken.flaw {
                Flaw::Denied(_) | Flaw::Key(_) => {
                    "doctor read it with your permissions, not the refresher's; the refresher needs it too"
                }
                _ => "no token can be minted until this is repaired",
            };
            (Severity::Wrong, broken.to_string(), why.to_owned())
        }
        State::AwaitingConsent => {
            (Severity::Note, "nobody has consented yet".to_owned(), "no token can be minted until then".to_owned())
        }
        State::ConsentRequired(trouble) => {
            (Severity::Wrong, format!("{title} no longer accepts its refresh token ({})", trouble.error), last)
        }
        State::Misconfigured(trouble) => {
            (Severity::Wrong, format!("{title} refuses its client ({})", trouble.error), last)
        }
        State::MayNotRotate => (Severity::Wrong, outcome.error().unwrap_or_default(), last),
        State::Throttled { until } => {
            let lives = seen.token().is_some_and(|token| token.expires_at > now);
            let severity = if lives { Severity::Note } else { Severity::Wrong };
            (severity, format!("{title} got too many requests; the refresher waits until {until}"), last)
        }
    };
    Some(Finding::new("connections", severity, what, why, remedy))
}

/// What this means for programs that read the token.
fn last_token(seen: &Seen, now: Timestamp) -> String {
    match seen.token() {
        None => "programs have no token".to_owned(),
        Some(token) if token.expires_at <= now => format!("programs have had no live token since {}", token.expires_at),
        Some(token) => format!("programs have a token until {}, then none", token.expires_at),
    }
}

/// Clients that no connection uses. `connections` reports a broken client that is in use.
pub(super) fn clients(facts: &Facts<'_>, secrets: &[StoredSecret], seen: &[Seen]) -> Vec<Finding> {
    let Settings { prefix, data_centers, .. } = facts.settings;
    let used: BTreeSet<_> = clients_of(secrets, prefix, data_centers);
    let unread = |seen: &Seen| match seen.state() {
        Some(State::BrokenGrant(broken)) => {
            broken.subject == Broken::secret(&prefix.grant(&seen.name), Flaw::NotFound).subject
        }
        _ => false,
    };
    let clients = read_clients(secrets, prefix);
    // A connection whose secret cannot be read may use any client.
    let known = !seen.iter().any(unread);
    let idle = clients.keys().filter(|name| known && !used.contains(name)).map(|name| {
        let what = format!("no connection uses client {name}");
        let why = "nothing needs its secret, unless you are about to connect an account with it";
        Finding::new("clients", Severity::Note, what, why, format!("token-keeper client remove {name}"))
    });
    let use_of = if known { "each in use" } else { "use unknown: some connections could not be read" };
    or_ok(idle.collect(), Finding::ok("clients", format!("{}, {use_of}", counted(clients.len(), "client"))))
}

/// Compares what programs can read with what they should be able to read.
pub(super) fn leases(facts: &Facts<'_>, published: &Published, seen: &[Seen]) -> Vec<Finding> {
    let foreign = published.values().filter_map(|lease| lease.as_ref().err()).map(|broken| {
        let why = "the refresher does not overwrite it, so no token is published there";
        Finding::new("leases", Severity::Wrong, broken, why, broken.flaw.remedy())
    });
    let due: Vec<_> = seen.iter().filter(|seen| seen.state().is_none()).collect();
    let group = |severity: Severity, what: &str, why: &str, remedy: &str, belongs: &dyn Fn(&Seen) -> bool| {
        let names: Vec<_> = due.iter().filter(|seen| belongs(seen)).map(|seen| seen.name.as_str()).collect();
        (!names.is_empty())
            .then(|| Finding::new("leases", severity, format!("{what}: {}", listed(&names)), why, remedy))
    };
    let mint = "mint now with token-keeper refresh; then check the refresher's schedule, its log and its role";
    // Finding `providers` has the others.
    let may_mint = |grant: &Grant| !grant.provider.rotates() || facts.settings.rotating;
    let expired = |seen: &Seen| seen.token().is_some_and(|token| token.expires_at <= facts.now);
    let of_another_grant = |seen: &Seen| match (seen.grant(), seen.lease()) {
        (Some(grant), Some(lease)) => lease.token.is_some() && lease.grant_version != grant.version,
        _ => false,
    };
    let groups = [
        group(
            Severity::Wrong,
            "the token has expired",
            "programs read a dead token: the refresher has not run for a while, or its runs fail",
            mint,
            &expired,
        ),
        group(
            Severity::Wrong,
            "there is no token yet",
            "there is a refresh token, but no run has used it yet",
            mint,
            &|seen| seen.token().is_none() && seen.grant().is_none_or(may_mint),
        ),
        group(
            Severity::Note,
            "the token comes from an older grant",
            "the connection's secret has changed since then; the next run mints a new token",
            "wait for the next run, or mint now with token-keeper refresh",
            &|seen| of_another_grant(seen) && !expired(seen),
        ),
    ];
    let left_over = facts.gone.iter().filter(|(name, _)| published.get(*name).is_some_and(Result::is_ok));
    let left_over = left_over.map(|(name, flaw)| left_over_lease(facts, name, flaw));
    let ok = format!("{} as they should be", counted(published.len(), "lease"));
    or_ok(foreign.chain(groups.into_iter().flatten()).chain(left_over).collect(), Finding::ok("leases", ok))
}

fn left_over_lease(facts: &Facts<'_>, connection: &str, flaw: &Flaw) -> Finding {
    let prefix = &facts.settings.prefix;
    let (parameter, secret) = (prefix.lease(connection), prefix.grant(connection));
    let remedy = if *flaw == Flaw::Deleted {
        format!(
            "end it with token-keeper revoke {connection} --yes, or restore it with aws secretsmanager restore-secret --secret-id {secret}"
        )
    } else {
        let plain = prefix.plain_token(connection);
        format!("aws ssm delete-parameters --names {parameter} {plain}")
    };
    let what = format!("parameter {parameter} is left over: {}", Broken::secret(&secret, flaw.clone()));
    let why = "nothing renews it, so programs that still read it find a dead token";
    Finding::new("leases", Severity::Wrong, what, why, remedy)
}
