//! What a run did, as one JSON document: for logs, metrics, destinations and people.
//!
//! Pure: it counts outcomes, and knows nothing about how they came.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::failure::refused_client_remedy;
use crate::flaw::Broken;
use crate::run::brake::Service;

/// The version of the report's format.
const SCHEMA: u64 = 1;
/// The most outcomes that a report lists, so that it stays within the size of an event.
const MAX_OUTCOMES: usize = 500;

/// What became of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had to be done.
    Fresh,
    /// A new token is published.
    Refreshed {
        /// Whether it needed an operator before.
        recovered: bool,
    },
    /// Nobody has consented yet.
    AwaitingConsent,
    /// The grant is dead.
    ConsentRequired {
        /// Zoho's code.
        error: String,
    },
    /// Something that the operator has to correct.
    Misconfigured {
        /// What is wrong: Zoho's code, or the sentence that names the secret or parameter.
        error: String,
        /// How to fix it.
        remedy: String,
    },
    /// Zoho asked for a pause.
    Throttled {
        /// Zoho is asked again after this time.
        until: Timestamp,
    },
    /// A fault that may pass.
    Failed {
        /// What happened.
        error: String,
        /// What helps if it continues.
        remedy: String,
    },
    /// Not started, or cut off without harm: the next run does it.
    Deferred(Deferral),
    /// Readers say that Zoho refuses the token, and it is too young for another one to help.
    Rejected,
}

/// Why a connection is left to the next run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Deferral {
    /// It was not started, because there was no time left to publish its token.
    #[error("there was too little time left to publish a new token")]
    NoTime,
    /// It was cut off.
    #[error("the time was up while it was being worked on")]
    CutOff,
    /// A brake kept it back.
    #[error("{0}")]
    Braked(Service),
    /// Another run has claimed its refresh token.
    #[error("another run is refreshing it")]
    Claimed,
    /// Its grant has changed since this run has read it.
    #[error("its grant has just changed")]
    Changed,
    /// This process has asked Zoho for it because of a complaint, less than four minutes ago.
    #[error("the provider was asked for it because of a complaint less than four minutes ago")]
    AskedAlready,
}

impl Outcome {
    /// Zoho refuses the client.
    pub(crate) fn refused_client(error: String) -> Self {
        let remedy = refused_client_remedy(&error).to_owned();
        Self::Misconfigured { error, remedy }
    }

    /// The provider rotates refresh tokens, and the refresher may not store them.
    pub(crate) fn may_not_rotate() -> Self {
        Self::Misconfigured {
            error: "its provider rotates refresh tokens, and this installation does not store them".to_owned(),
            remedy: "deploy the stack with RotatingProviders=true; without a stack, set TOKEN_KEEPER_ROTATING_PROVIDERS=true and \
                     give the refresher's role the rights in infra/rotating-policy.json"
                .to_owned(),
        }
    }

    /// A secret or parameter has a flaw. This never changes a document.
    pub(crate) fn broken(broken: &Broken) -> Self {
        let (error, remedy) = (broken.to_string(), broken.flaw.remedy());
        if broken.flaw.passes() { Self::Failed { error, remedy } } else { Self::Misconfigured { error, remedy } }
    }

    /// The word in the report.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Refreshed { .. } => "refreshed",
            Self::AwaitingConsent => "awaiting_consent",
            Self::ConsentRequired { .. } => "consent_required",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Throttled { .. } => "throttled",
            Self::Failed { .. } => "failed",
            Self::Deferred(_) => "deferred",
            Self::Rejected => "rejected",
        }
    }

    /// Whether a run right after this one might succeed.
    fn is_undone(&self) -> bool {
        match self {
            Self::Failed { .. } => true,
            Self::Deferred(why) => !matches!(why, Deferral::Braked(Service::Client { .. })),
            _ => false,
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Fresh | Self::Refreshed { .. } | Self::AwaitingConsent => None,
            Self::Throttled { until } => Some(format!("too many requests; the provider is asked again after {until}")),
            Self::ConsentRequired { error } | Self::Misconfigured { error, .. } | Self::Failed { error, .. } => {
                Some(error.clone())
            }
            Self::Deferred(why) => Some(why.to_string()),
            Self::Rejected => Some("readers say that the provider refuses its token, although it is new".to_owned()),
        }
    }

    /// What a person can do about it, if there is anything.
    pub fn remedy(&self, connection: &str) -> Option<String> {
        match self {
            Self::Fresh | Self::Refreshed { .. } => None,
            Self::AwaitingConsent | Self::ConsentRequired { .. } => Some(format!(
                "make a link with `token-keeper connect {connection}` and send it to an administrator of the account"
            )),
            Self::Throttled { .. } => {
                Some("only waiting helps; check that no other program mints tokens with this client".to_owned())
            }
            Self::Rejected => Some(format!(
                "another token does not help; look at the provider's code in the readers' logs: either the scopes do not fit \
                 (make a link with `token-keeper connect {connection} --scope ...`), or the account may not use the \
                 API, or another program mints with the same refresh token and so ends these tokens"
            )),
            Self::Deferred(Deferral::Braked(_) | Deferral::AskedAlready | Deferral::Claimed | Deferral::Changed) => {
                Some("the next run tries again".to_owned())
            }
            Self::Deferred(_) => {
                Some("the next run does it; if this continues, give the function more time".to_owned())
            }
            Self::Misconfigured { remedy, .. } | Self::Failed { remedy, .. } => Some(remedy.clone()),
        }
    }
}

/// One connection after the run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name as found.
    pub connection: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The end of the token that consumers can read now.
    pub expires_at: Option<Timestamp>,
    /// The end of the grant's refresh token, if it is known.
    pub refresh_token_expires_at: Option<Timestamp>,
}

/// The report of one run. Its fields are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    schema: u64,
    /// How many connections were looked at.
    pub connections: usize,
    /// How many were sent to the queue; absent in a run that sends none. This run did not look at
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<usize>,
    /// How many have more than the margin left.
    pub fresh: usize,
    /// How many got a new token.
    pub refreshed: usize,
    /// How many have no consent yet.
    pub awaiting_consent: usize,
    /// Those with a dead grant.
    pub consent_required: Vec<String>,
    /// Those with something that the operator has to correct.
    pub misconfigured: Vec<String>,
    /// Those in a pause that Zoho asked for.
    pub throttled: Vec<String>,
    /// Those with a fault that may pass.
    pub failed: Vec<String>,
    /// Those left to the next run.
    pub deferred: Vec<String>,
    /// Those refreshed after they had needed an operator.
    pub recovered: Vec<String>,
    /// Those whose token is refused by Zoho although it is new, as readers say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<String>,
    /// How many different complaints the run has answered; absent in a run without complaints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaints: Option<usize>,
    /// The shortest life left, in seconds, of all connections that a run can keep fresh: those that
    /// await consent or have a dead grant do not count. 0 if one has no token; `null` if there is
    /// no such connection.
    pub min_remaining_s: Option<i64>,
    /// The shortest life left of a refresh token, in seconds, of the same connections; 0 if one has
    /// ended. Absent if no end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_refresh_token_remaining_s: Option<i64>,
    /// From the first call to the last, in milliseconds.
    pub duration_ms: i64,
    /// What became of each connection that was not fresh; at most 500.
    pub outcomes: Vec<Line>,
    /// How many of the failed and deferred might succeed in a run right after this one: all but
    /// those of a client that has to wait.
    #[serde(skip)]
    pub undone: usize,
}

/// One connection in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name.
    pub connection: String,
    /// The outcome's word.
    pub outcome: &'static str,
    /// The end of the token that consumers can read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Report {
    /// Sums up a run that sent `queued` connections to the queue, and looked at no lease.
    pub fn dispatched(entries: &[Entry], queued: usize, now: Timestamp, duration: SignedDuration) -> Self {
        Self { queued: Some(queued), min_remaining_s: None, ..Self::of(entries, now, duration) }
    }

    /// Sums up a run that answered this many complaints.
    pub fn answered(entries: &[Entry], complaints: usize, now: Timestamp, duration: SignedDuration) -> Self {
        Self { complaints: Some(complaints), ..Self::of(entries, now, duration) }
    }

    /// Sums up a run that ended at `now`.
    pub fn of(entries: &[Entry], now: Timestamp, duration: SignedDuration) -> Self {
        let mut report = Self {
            schema: SCHEMA,
            connections: entries.len(),
            queued: None,
            fresh: 0,
            refreshed: 0,
            awaiting_consent: 0,
            consent_required: Vec::new(),
            misconfigured: Vec::new(),
            throttled: Vec::new(),
            failed: Vec::new(),
            deferred: Vec::new(),
            recovered: Vec::new(),
            rejected: Vec::new(),
            complaints: None,
            min_remaining_s: None,
            min_refresh_token_remaining_s: None,
            duration_ms: i64::try_from(duration.as_millis()).unwrap_or(i64::MAX),
            outcomes: Vec::new(),
            undone: 0,
        };
        let mut good = Vec::new();
        let seconds_left = |end: Timestamp| end.duration_since(now).as_secs().max(0);
        for Entry { connection, outcome, expires_at, refresh_token_expires_at } in entries {
            // Whether a run can keep it fresh.
            let mut kept = true;
            match outcome {
                Outcome::Fresh => report.fresh += 1,
                Outcome::Refreshed { recovered } => {
                    report.refreshed += 1;
                    report.recovered.extend(recovered.then(|| connection.clone()));
                }
                Outcome::AwaitingConsent => {
                    report.awaiting_consent += 1;
                    kept = false;
                }
                Outcome::ConsentRequired { .. } => {
                    report.consent_required.push(connection.clone());
                    kept = false;
                }
                Outcome::Misconfigured { .. } => report.misconfigured.push(connection.clone()),
                Outcome::Throttled { .. } => report.throttled.push(connection.clone()),
                Outcome::Failed { .. } => report.failed.push(connection.clone()),
                Outcome::Deferred(_) => report.deferred.push(connection.clone()),
                Outcome::Rejected => report.rejected.push(connection.clone()),
            }
            if kept {
                let remaining = expires_at.map_or(0, seconds_left);
                report.min_remaining_s = least(report.min_remaining_s, Some(remaining));
                report.min_refresh_token_remaining_s =
                    least(report.min_refresh_token_remaining_s, refresh_token_expires_at.map(seconds_left));
            }
            report.undone += usize::from(outcome.is_undone());
            let line = Line {
                connection: connection.clone(),
                outcome: outcome.word(),
                expires_at: *expires_at,
                error: outcome.error(),
                remedy: outcome.remedy(connection),
            };
            match outcome {
                Outcome::Fresh => {}
                Outcome::Refreshed { .. } => good.push(line),
                _ => report.outcomes.push(line),
            }
        }
        // If the list is too long, good news is left out first.
        report.outcomes.extend(good);
        report.outcomes.truncate(MAX_OUTCOMES);
        report
    }
}

/// The lower of two numbers, or the only one.
fn least(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refresh_token_that_ends_first_counts_unless_it_is_dead_already() {
        let now = Timestamp::UNIX_EPOCH;
        let entry = |days: Option<i64>, outcome| Entry {
            connection: "crm".to_owned(),
            outcome,
            expires_at: None,
            refresh_token_expires_at: days.map(|days| now + SignedDuration::from_hours(24 * days)),
        };
        let shortest = |entries: &[Entry]| Report::of(entries, now, SignedDuration::ZERO).min_refresh_token_remaining_s;
        let dead = Outcome::ConsentRequired { error: "invalid_grant".to_owned() };
        assert_eq!(shortest(&[entry(None, Outcome::Fresh)]), None, "no end is known");
        let (none, month, fortnight) =
            (entry(None, Outcome::Fresh), entry(Some(30), Outcome::Fresh), entry(Some(14), Outcome::Rejected));
        assert_eq!(shortest(&[month, none, fortnight, entry(Some(-1), dead)]), Some(14 * 86_400));
        assert_eq!(shortest(&[entry(Some(-1), Outcome::Fresh)]), Some(0), "it has ended, and nobody has noticed yet");
    }
}
