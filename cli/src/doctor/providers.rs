//! The checks of connections at other providers than Zoho: whether this schedule and these stores
//! can keep them fresh.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use token_keeper::connection::{Grant, Provider};
use token_keeper::run::Seen;

use super::facts::Facts;
use super::finding::{Finding, Severity, listed, or_ok};
use super::schedule::Worst;
use crate::prepare::ALLOW_ROTATION;
use crate::text::counted;

/// The versions of one secret that Secrets Manager keeps. All of the last 24 hours count.
const VERSIONS_A_DAY: u64 = 100;

/// What keeps a provider's connections from being served. `every` is the schedule, if it is known.
pub(super) fn providers(facts: &Facts<'_>, seen: &[Seen], every: Option<SignedDuration>) -> Vec<Finding> {
    let others: Vec<_> = seen.iter().filter(|seen| seen.grant().is_some_and(is_other)).collect();
    if others.is_empty() {
        return Vec::new();
    }
    // One finding for all connections with the same trouble.
    let mut troubles = BTreeMap::<_, Vec<&str>>::new();
    for seen in &others {
        let grant = seen.grant().expect("it was looked for");
        let rotation = grant.provider.rotates() && !facts.settings.rotating;
        let found = rotation.then(|| unallowed(&grant.provider)).into_iter().chain(incomplete(grant)).chain(
            every.zip(life(seen, grant)).and_then(|(every, life)| {
                too_short(&grant.provider, life, every).or_else(|| {
                    let margin = grant.provider.margin(facts.settings.margin, life);
                    too_many(&grant.provider, life, margin, every)
                        .or_else(|| no_reserve(&grant.provider, life, margin, every))
                })
            }),
        );
        for trouble in found {
            troubles.entry(trouble).or_default().push(&seen.name);
        }
    }
    let troubles = troubles.into_iter().map(|(Trouble { served, what, why, remedy }, names)| {
        let severity = if served { Severity::Note } else { Severity::Wrong };
        Finding::new("providers", severity, format!("{}: {what}", listed(&names)), why, remedy)
    });
    let ok = format!("{} at other providers than Zoho can be kept fresh", counted(others.len(), "connection"));
    or_ok(troubles.collect(), Finding::ok("providers", ok))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    /// Whether the connection is served all the same.
    served: bool,
    what: String,
    why: String,
    remedy: String,
}

/// What keeps a connection from being served.
fn wrong(what: String, why: String, remedy: String) -> Trouble {
    Trouble { served: false, what, why, remedy }
}

fn is_other(grant: &Grant) -> bool {
    grant.provider.profile().is_some()
}

/// How long an access token lives: as the last answer said, or else the table.
fn life(seen: &Seen, grant: &Grant) -> Option<SignedDuration> {
    let told = seen.token().map(|token| token.expires_at.duration_since(token.issued_at));
    let Provider::Other(server) = &grant.provider else { return None };
    told.or_else(|| (!server.is_custom()).then(|| server.profile.access_token_life()))
}

fn unallowed(provider: &Provider) -> Trouble {
    wrong(
        format!("a refresh at {} gives a new refresh token, and the refresher may not store it", provider.title()),
        "no token is minted for it, because that would lose the connection".to_owned(),
        ALLOW_ROTATION.to_owned(),
    )
}

fn incomplete(grant: &Grant) -> Option<Trouble> {
    let profile = grant.provider.profile().filter(|_| grant.refresh_token().is_some())?;
    let unfit = |name: &str, pattern: token_keeper::provider::Pattern| {
        grant.kept.get(name).is_none_or(|value| !pattern.matches(value))
    };
    let missing = profile.kept.iter().find(|value| value.needed && unfit(value.name, value.pattern))?;
    Some(wrong(
        format!("its secret has no usable `kept.{}`", missing.name),
        format!("callers of {}'s API need it", profile.title),
        format!("make a new consent with token-keeper connect, or add `kept.{}` to the secret", missing.name),
    ))
}

fn too_short(provider: &Provider, life: SignedDuration, every: SignedDuration) -> Option<Trouble> {
    (life < every * 2).then(|| {
        wrong(
            format!("an access token of {} lives {life:#}, and the refresher runs every {every:#}", provider.title()),
            "a token has to live for two runs at least; programs would read expired ones".to_owned(),
            format!(
                "run the refresher every {:#} or more often; if it does already, give that with --schedule",
                life / 2
            ),
        )
    })
}

/// Each mint of a rotating connection is a version of its secret.
fn too_many(
    provider: &Provider,
    life: SignedDuration,
    margin: SignedDuration,
    every: SignedDuration,
) -> Option<Trouble> {
    let a_day = mints_a_day(life, margin, every);
    (provider.rotates() && a_day > VERSIONS_A_DAY).then(|| {
        wrong(
            format!(
                "{a_day} new refresh tokens a day (an access token of {} lives {life:#}, margin {margin:#}, a run every {every:#})",
                provider.title()
            ),
            format!("Secrets Manager keeps {VERSIONS_A_DAY} versions of a secret and refuses more in a day"),
            "run the refresher at an interval with fewer mints, such as 15m, or with a smaller TOKEN_KEEPER_MARGIN_S".to_owned(),
        )
    })
}

/// A token that has ended when the next run comes, if one was lost.
fn no_reserve(
    provider: &Provider,
    life: SignedDuration,
    margin: SignedDuration,
    every: SignedDuration,
) -> Option<Trouble> {
    (Worst::of(every, margin, life).one_lost <= 0).then(|| Trouble {
        served: true,
        what: format!(
            "an access token of {} lives {life:#} and is renewed when {margin:#} are left, by a run every {every:#}",
            provider.title()
        ),
        why: "one run that fails or is late leaves programs with an expired token".to_owned(),
        remedy: "run the refresher each 5 minutes (ScheduleExpression, IntervalMinutes): that leaves a reserve, and it mints as often".to_owned(),
    })
}

/// How often a token is minted in a day: at the first run that finds no more than the margin left.
fn mints_a_day(life: SignedDuration, margin: SignedDuration, every: SignedDuration) -> u64 {
    let seconds = |time: SignedDuration| time.as_secs().max(0).unsigned_abs();
    let every = seconds(every).max(1);
    let runs = seconds(life - margin).div_ceil(every).max(1);
    86_400_u64.div_ceil(runs.saturating_mul(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mints_of_a_day_follow_from_life_margin_and_schedule() {
        let check = |life: i64, margin: i64, every: i64, mints: u64| {
            let [life, margin, every] = [life, margin, every].map(SignedDuration::from_secs);
            assert_eq!(mints_a_day(life, margin, every), mints, "{life:#}, {margin:#}, {every:#}");
        };
        // Xero's half an hour, with 7/12 of it as the margin.
        check(1800, 1050, 900, 96);
        check(1800, 1050, 60, 111);
        check(1800, 1050, 600, 72);
        // An hour with Zoho's margin, and a day.
        check(3600, 2100, 900, 48);
        check(3600, 2100, 60, 58);
        check(86_400, 2100, 900, 2);
        check(28_800, 1050, 900, 4);
        // Five minutes, every minute.
        check(300, 175, 60, 480);
        check(300, 300, 60, 1440);
        check(3600, 2100, 90_000, 1);
        check(3600, 2100, 0, 58);
    }
}
