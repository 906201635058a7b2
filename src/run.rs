//! Use case 1: find the leases that are due, mint and publish (`renew`), and
//! report.
//!
//! It knows the outside only through [`ports`](crate::ports) and gets its clock from the caller.
//! What to do about a connection is decided in [`decision`].

pub mod brake;
mod complaints;
pub mod decision;
pub mod dispatch;
mod renew;
pub mod report;
pub mod verdict;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use self::decision::{Decision, Policy, Settled, State, decide};
use crate::connection::{Grant, GrantsByName, clients_of, read_grants};
use crate::failure::StoreError;
use crate::flaw::Flaw;
use crate::lease::{Lease, Token};
use crate::name::ConnectionName;
use crate::ports::{Grants, Issuer, Leases, Published};
use crate::run::brake::Brakes;
use crate::run::report::{Entry, Outcome, Report};
use crate::settings::Settings;
use crate::source::Source;

/// Work that still runs this long before the end is stopped, so that there is time to report.
pub(crate) const REPORT_RESERVE: Duration = Duration::from_millis(500);

/// Which connections a run works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Every connection that is due.
    All,
    /// These connections; with `force` also the fresh, the misconfigured and the dead among them.
    Named {
        /// Each once.
        connections: Vec<ConnectionName>,
        /// Mint even for a connection that is not due.
        force: bool,
        /// Skip a name without a secret: the secret was removed after somebody had listed it.
        skip_missing: bool,
    },
}

/// Why a run could do nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The grants could not be listed.
    #[error("no grant could be read: {0}; {remedy}", remedy = .0.remedy())]
    Grants(StoreError),
    /// The leases could not be listed. Without them, a run would ask Zoho for too many tokens.
    #[error("no lease could be read: {0}; {remedy}", remedy = .0.remedy())]
    Leases(StoreError),
    /// The queue did not take every message. The messages that it took are worked on; the next run
    /// sends all again.
    #[error("{unsent} of {of} messages could not be queued: {error}; {remedy}", remedy = error.remedy())]
    Queue {
        /// Messages that are not in the queue.
        unsent: usize,
        /// Messages in all.
        of: usize,
        /// Why the queue did not take one of them.
        error: StoreError,
    },
    /// The function's time was up before everything was listed, or queued.
    #[error("the time was up before everything was listed or queued; give the function a longer timeout")]
    OutOfTime,
}

impl RunError {
    /// A stable word for alarms and programs.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Grants(_) => "GrantsUnavailable",
            Self::Leases(_) => "LeasesUnavailable",
            Self::Queue { .. } => "QueueUnavailable",
            Self::OutOfTime => "OutOfTime",
        }
    }
}

/// The refresher: settings and the world it works in.
pub struct Refresher<G, I, L> {
    /// What the operator chose.
    pub settings: Settings,
    /// Secrets Manager.
    pub grants: G,
    /// Zoho.
    pub issuer: I,
    /// Parameter Store.
    pub leases: L,
    /// The time.
    pub source: Source,
    /// What this process has learnt about services that fail.
    pub brakes: Brakes,
}

/// A connection as a run finds it.
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// What to do about it.
    pub decision: Decision,
}

impl Seen {
    /// Its grant, if it can be read.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.decision {
            Decision::Due(due) => Some(&due.grant),
            Decision::Settled(settled) => settled.grant.as_ref(),
        }
    }

    /// What is published, if it can be read.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.decision {
            Decision::Due(due) => due.last.as_ref(),
            Decision::Settled(settled) => settled.lease.as_ref(),
        }
    }

    /// The token that programs read.
    pub fn token(&self) -> Option<&Token> {
        self.lease()?.token.as_ref()
    }

    /// Since when readers complain about its token although it is new.
    pub fn rejected_at(&self) -> Option<Timestamp> {
        self.token()?.rejected_at
    }

    /// What is to be said about it before a run; `None` if it is only due.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state() {
            None | Some(State::Fresh { .. }) if self.rejected_at().is_some() => Some(Outcome::Rejected),
            state => state.map(State::outcome),
        }
    }

    /// Why no token is minted; `None` if it is due.
    pub fn state(&self) -> Option<&State> {
        match &self.decision {
            Decision::Due(_) => None,
            Decision::Settled(settled) => Some(&settled.state),
        }
    }
}

/// Joins grants with leases, and decides for each.
pub fn see(grants: GrantsByName, mut leases: Published, now: Timestamp, policy: Policy) -> Vec<Seen> {
    let see = |(name, grant): (String, _)| {
        let lease = leases.remove(&name).transpose();
        Seen { name, decision: decide(grant, lease, now, policy) }
    };
    grants.into_iter().map(see).collect()
}

impl State {
    /// What becomes of the connection.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Fresh { .. } => Outcome::Fresh,
            Self::AwaitingConsent => Outcome::AwaitingConsent,
            Self::ConsentRequired(trouble) => Outcome::ConsentRequired { error: trouble.error.clone() },
            Self::Misconfigured(trouble) => Outcome::refused_client(trouble.error.clone()),
            Self::Throttled { until } => Outcome::Throttled { until: *until },
            Self::BrokenGrant(flaw) | Self::BrokenLease(flaw) => Outcome::broken(flaw),
        }
    }
}

impl<G: Grants, I: Issuer, L: Leases> Refresher<G, I, L> {
    /// One run. It may be repeated, done twice at the same time, or cut off at any call. `progress`
    /// gets how many of the due connections are done, and how many are due.
    ///
    /// # Errors
    /// If grants or leases could not be listed. The failure of a connection is an outcome in the
    /// report.
    pub async fn run(
        &self,
        request: &Request,
        end: Option<Instant>,
        progress: impl Fn(usize, usize),
    ) -> Result<Report, RunError> {
        let started = self.source.now();
        let force = matches!(request, Request::Named { force: true, .. });
        let seen = self.look(request, force, end).await?;
        let (seen, mut entries) = self.look_again_at_consents(seen, force, end).await;
        let mut due = Vec::new();
        for Seen { name, decision } in seen {
            match decision {
                Decision::Due(connection) => due.push(connection),
                Decision::Settled(Settled { state, lease, .. }) => {
                    let (outcome, expires_at) = (state.outcome(), token_end(lease.as_ref()));
                    entries.push(Entry { connection: name, outcome, expires_at, refresh_token_expires_at: None });
                }
            }
        }
        entries.extend(self.renew_all(due, end, progress).await);
        entries.sort_by(|a, b| a.connection.cmp(&b.connection));
        let ended = self.source.now();
        Ok(Report::of(&entries, ended, ended.duration_since(started)))
    }

    /// Just after a consent, Secrets Manager may answer with the grant before it, while the lease
    /// is already that of the new one. Such connections are looked at again when every write is
    /// seen, before anybody asks Zoho with the old grant. If that fails, the next run does them.
    async fn look_again_at_consents(
        &self,
        seen: Vec<Seen>,
        force: bool,
        end: Option<Instant>,
    ) -> (Vec<Seen>, Vec<Entry>) {
        let old = |seen: &Seen| matches!(&seen.decision, Decision::Due(due) if self.may_be_old(&due.grant, due.last.as_ref()));
        let (old, mut seen): (Vec<_>, Vec<_>) = seen.into_iter().partition(old);
        if old.is_empty() {
            return (seen, Vec::new());
        }
        sleep(self.settings.settling).await;
        let connections = old.iter().filter_map(|seen| seen.name.parse().ok()).collect();
        // A secret that has been removed meanwhile is passed over.
        let request = Request::Named { connections, force, skip_missing: true };
        match self.look(&request, force, end).await {
            Ok(again) => {
                seen.extend(again);
                (seen, Vec::new())
            }
            Err(error) => {
                let left = |old: Seen| Entry {
                    expires_at: token_end(old.lease()),
                    refresh_token_expires_at: None,
                    outcome: Outcome::Failed {
                        error: format!("its grant may be old, and a second look failed: {error}"),
                        remedy: "the next run tries again".to_owned(),
                    },
                    connection: old.name,
                };
                (seen, old.into_iter().map(left).collect())
            }
        }
    }

    /// What a run would find and decide for each connection. It reads the stores, asks Zoho nothing
    /// and changes nothing.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn look(&self, request: &Request, force: bool, end: Option<Instant>) -> Result<Vec<Seen>, RunError> {
        let listing = async { tokio::try_join!(self.list_grants(request), self.list_leases(request)) };
        let (grants, leases) = in_time(end, Box::pin(listing)).await?;
        Ok(see(grants, leases, self.source.now(), Policy { margin: self.settings.margin, force }))
    }

    pub(crate) async fn list_grants(&self, request: &Request) -> Result<GrantsByName, RunError> {
        let Settings { prefix, data_centers, .. } = &self.settings;
        let mut secrets = match request {
            Request::All => self.grants.list().await.map_err(RunError::Grants)?,
            Request::Named { connections, .. } => {
                let names: Vec<_> = connections.iter().map(|name| prefix.grant(name.as_str())).collect();
                let mut secrets = self.grants.read(&names).await.map_err(RunError::Grants)?;
                let clients = clients_of(&secrets, prefix, data_centers);
                let names: Vec<_> = clients.iter().map(|name| prefix.client(name.as_str())).collect();
                secrets.extend(self.grants.read(&names).await.map_err(RunError::Grants)?);
                secrets
            }
        };
        if matches!(request, Request::Named { skip_missing: true, .. }) {
            secrets.retain(|secret| !matches!(secret.content, Err(Flaw::NotFound | Flaw::Deleted)));
        }
        Ok(read_grants(&secrets, prefix, data_centers))
    }

    async fn list_leases(&self, request: &Request) -> Result<Published, RunError> {
        match request {
            Request::All => self.leases.list().await,
            Request::Named { connections, .. } => self.leases.read(connections).await,
        }
        .map_err(RunError::Leases)
    }
}

/// Waits for `work`, but stops early enough to report.
pub(crate) async fn in_time<T>(
    end: Option<Instant>,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    match end {
        Some(end) => timeout_at(end - REPORT_RESERVE, work).await.map_err(|_| RunError::OutOfTime)?,
        None => work.await,
    }
}

pub(crate) fn token_end(lease: Option<&Lease>) -> Option<Timestamp> {
    lease.and_then(|lease| lease.token.as_ref()).map(|token| token.expires_at)
}
