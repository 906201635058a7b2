//! Use case 1: see which leases are due, mint for them, publish, report.
//!
//! It knows the outside only through [`ports`](crate::ports), is given its clock, and decides nothing itself: that is
//! [`decision`](crate::decision)'s.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::brake::Brakes;
use crate::connection::{self, Broken, ConnectionName, DataCenters, Grant, Prefix, clients_of, read_grants};
use crate::decision::{Decision, Policy, decide};
use crate::lease::{Lease, Status, Token, Trouble, whole_second};
use crate::ports::{Grants, Issuer, Leases, Minted, Published, Refusal, StoreError, Untrusted};
use crate::report::{Entry, Outcome, Report};

/// How long a throttled connection is left alone: the ten minutes that Zoho documents, and one more because a request that
/// comes too early starts them anew.
pub const COOL_DOWN: SignedDuration = SignedDuration::from_secs(660);
/// How long a refused client is left alone while its grant stays the same.
pub const MISCONFIGURED_PAUSE: SignedDuration = SignedDuration::from_secs(3600);
/// The shortest wait before the one retry; up to a second more by the connection's name, so that many do not come at once.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// With less time than this before the end, no connection is started.
const START_RESERVE: Duration = Duration::from_secs(2);
/// This long before the end, what still runs is broken off, so that there is time to report.
const REPORT_RESERVE: Duration = Duration::from_millis(500);

/// Which connections, and how hard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Every connection that is due.
    All,
    /// These; with `force` the fresh, the misconfigured and the dead among them too.
    Named {
        /// Each once.
        connections: Vec<ConnectionName>,
        /// Mint even where it is not due.
        force: bool,
    },
}

/// Why a run could do nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The grants could not be listed.
    #[error("no grant could be read: {0}; {remedy}", remedy = .0.remedy())]
    Grants(StoreError),
    /// The leases could not be listed; minting without knowing them would ask Zoho for too much.
    #[error("no lease could be read: {0}; {remedy}", remedy = .0.remedy())]
    Leases(StoreError),
    /// The queue did not take every message. Those that it took are worked; the next run sends all again.
    #[error("{unsent} of {of} messages could not be queued: {error}; {remedy}", remedy = error.remedy())]
    Queue {
        /// Messages that are not in the queue.
        unsent: usize,
        /// Messages in all.
        of: usize,
        /// Why not one of them.
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

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First part of every name.
    pub prefix: Prefix,
    /// The hosts that may be asked.
    pub data_centers: DataCenters,
    /// A lease with no more than this left is due.
    pub margin: SignedDuration,
    /// How many connections are worked on at the same time.
    pub concurrency: usize,
}

/// The refresher: settings and the world it works in.
pub struct Refresher<G, I, L, Now> {
    /// What the operator chose.
    pub settings: Settings,
    /// Secrets Manager.
    pub grants: G,
    /// Zoho.
    pub issuer: I,
    /// Parameter Store.
    pub leases: L,
    /// The time.
    pub now: Now,
}

/// A connection as a run finds it.
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its grant, or why there is none.
    pub grant: Result<Grant, Broken>,
    /// Its lease, if it has one that can be read.
    pub lease: Result<Option<Lease>, Broken>,
    /// What is to be done.
    pub decision: Decision,
}

impl Decision {
    /// What becomes of a connection that is not worked on; `None` for one that is due.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Due => None,
            Self::Fresh { .. } => Some(Outcome::Fresh),
            Self::AwaitingConsent => Some(Outcome::AwaitingConsent),
            Self::ConsentRequired(trouble) => Some(Outcome::ConsentRequired { error: trouble.error.clone() }),
            Self::Misconfigured(trouble) => Some(misconfigured(trouble.error.clone())),
            Self::CoolingDown { until } => Some(Outcome::Throttled { until: *until }),
            Self::Broken(flaw) => Some(broken(flaw)),
        }
    }
}

/// A connection that is to get a new token.
struct Due {
    name: String,
    grant: Grant,
    last: Option<Lease>,
}

impl<G: Grants, I: Issuer, L: Leases, Now: Fn() -> Timestamp> Refresher<G, I, L, Now> {
    /// One run. It may be repeated, doubled or broken off at any call. `progress` is told how many of those due are done, and how
    /// many there are.
    ///
    /// # Errors
    /// If grants or leases could not be listed. The failure of a connection is an outcome in the report.
    pub async fn run(
        &self,
        request: &Request,
        end: Option<Instant>,
        progress: impl Fn(usize, usize),
    ) -> Result<Report, RunError> {
        let started = (self.now)();
        let force = matches!(request, Request::Named { force: true, .. });
        let seen = self.look(request, force, end).await?;
        let mut entries = Vec::with_capacity(seen.len());
        let mut due = Vec::new();
        for Seen { name, grant, lease, decision } in seen {
            let expires_at = lease.as_ref().ok().and_then(|lease| token_end(lease.as_ref()));
            match (decision.outcome(), grant, lease) {
                (Some(outcome), ..) => entries.push(Entry { connection: name, outcome, expires_at }),
                (None, Ok(grant), Ok(last)) => due.push(Due { name, grant, last }),
                (None, ..) => {}
            }
        }
        entries.extend(self.renew_all(due, end, progress).await);
        entries.sort_by(|a, b| a.connection.cmp(&b.connection));
        let ended = (self.now)();
        Ok(Report::of(&entries, ended, ended.duration_since(started)))
    }

    /// What a run would find, and decide for each connection. Reads the stores, asks nobody else and changes nothing.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn look(&self, request: &Request, force: bool, end: Option<Instant>) -> Result<Vec<Seen>, RunError> {
        let listing = async { tokio::try_join!(self.list_grants(request), self.list_leases(request)) };
        let (grants, mut leases) = in_time(end, Box::pin(listing)).await?;
        let (now, policy) = ((self.now)(), Policy { margin: self.settings.margin, force });
        let see = |(name, grant): (String, Result<Grant, Broken>)| {
            let lease = leases.remove(&name).transpose();
            let decision = decide(&grant, &lease, now, policy);
            Seen { name, grant, lease, decision }
        };
        Ok(grants.into_iter().map(see).collect())
    }

    async fn list_grants(&self, request: &Request) -> Result<connection::Grants, RunError> {
        let Settings { prefix, data_centers, .. } = &self.settings;
        let secrets = match request {
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
        Ok(read_grants(&secrets, prefix, data_centers))
    }

    async fn list_leases(&self, request: &Request) -> Result<Published, RunError> {
        match request {
            Request::All => self.leases.list().await,
            Request::Named { connections, .. } => self.leases.read(connections).await,
        }
        .map_err(RunError::Leases)
    }

    /// Works through what is due, the shortest life first, several at a time, until all is done or the time is up.
    async fn renew_all(&self, mut due: Vec<Due>, end: Option<Instant>, progress: impl Fn(usize, usize)) -> Vec<Entry> {
        due.sort_by_key(|due| (due.last.as_ref().map(Lease::expires_at), due.name.clone()));
        let mut open: BTreeMap<String, Option<Timestamp>> =
            due.iter().map(|due| (due.name.clone(), token_end(due.last.as_ref()))).collect();
        let brakes = Brakes::new(self.settings.concurrency);
        let mut done = Vec::with_capacity(due.len());
        {
            let renewals = due.into_iter().map(|due| self.renew(due, &brakes, end));
            let mut renewals = pin!(stream::iter(renewals).buffer_unordered(self.settings.concurrency));
            let mut cut = pin!(async {
                match end {
                    Some(end) => sleep_until(end - REPORT_RESERVE).await,
                    None => pending().await,
                }
            });
            loop {
                tokio::select! {
                    biased;
                    entry = renewals.next() => match entry {
                        Some(entry) => {
                            open.remove(&entry.connection);
                            done.push(entry);
                            progress(done.len(), done.len() + open.len());
                        }
                        None => break,
                    },
                    () = &mut cut => break,
                }
            }
        }
        done.extend(open.into_iter().map(|(connection, expires_at)| {
            let outcome = Outcome::Deferred { error: "the time was up while it was being worked on".to_owned() };
            Entry { connection, outcome, expires_at }
        }));
        done
    }

    /// One connection, start to end. Whatever happens here stays here.
    async fn renew(&self, due: Due, brakes: &Brakes, end: Option<Instant>) -> Entry {
        let Due { name, grant, last } = due;
        let deferred = if end.is_some_and(|end| Instant::now() + START_RESERVE > end) {
            Some("the time was up before its turn".to_owned())
        } else {
            brakes.stopped(&grant)
        };
        if let Some(error) = deferred {
            let expires_at = token_end(last.as_ref());
            return Entry { connection: name, outcome: Outcome::Deferred { error }, expires_at };
        }
        let answer = self.mint(&grant).await;
        let (grant, answer) = match answer {
            Err(Refusal::ConsentRequired { error }) => match self.newer(&grant).await {
                Ok(Some(newer)) => {
                    let answer = self.mint(&newer).await;
                    (newer, answer)
                }
                Ok(None) => (grant, Err(Refusal::ConsentRequired { error })),
                // Whether there is a newer grant is not known, so the old one is not called dead.
                Err(why) => (grant, Err(Refusal::Passing { error: format!("{error}, but {why}"), at_once: false })),
            },
            answer => (grant, answer),
        };
        brakes.note(&grant, &answer);
        let (outcome, expires_at) = match answer {
            Ok(minted) => self.publish(&grant, last.as_ref(), minted).await,
            Err(refusal) => (self.note_refusal(&grant, last.as_ref(), refusal).await, token_end(last.as_ref())),
        };
        Entry { connection: name, outcome, expires_at }
    }

    /// Asks Zoho, and once more after a fault that may be over in a second.
    async fn mint(&self, grant: &Grant) -> Result<Minted, Refusal> {
        match self.issuer.refresh(grant).await {
            Err(Refusal::Passing { at_once: true, .. }) => {
                sleep(RETRY_AFTER + spread(grant.connection.as_str())).await;
                self.issuer.refresh(grant).await
            }
            answer => answer,
        }
    }

    /// The grant as it stands now, if it is another version than the one just refused.
    async fn newer(&self, refused: &Grant) -> Result<Option<Grant>, String> {
        let request = Request::Named { connections: vec![refused.connection.clone()], force: false };
        let mut grants = self.list_grants(&request).await.map_err(|error| error.to_string())?;
        match grants.remove(refused.connection.as_str()) {
            Some(Ok(grant)) if grant.version == refused.version => Ok(None),
            Some(Ok(grant)) if grant.refresh_token.is_some() => Ok(Some(grant)),
            Some(Ok(_)) => Err("its refresh token has just been taken out".to_owned()),
            Some(Err(broken)) => Err(broken.to_string()),
            None => Err("its secret was not answered".to_owned()),
        }
    }

    async fn publish(&self, grant: &Grant, last: Option<&Lease>, minted: Minted) -> (Outcome, Option<Timestamp>) {
        let Minted { access_token, issued_at, expires_at, api_domain, scope } = minted;
        let mut lease = Lease::of(grant, Status::Active, last);
        lease.token = Some(Token { access_token, issued_at, expires_at });
        lease.api_domain = api_domain.or(lease.api_domain);
        lease.scope = scope.unwrap_or(lease.scope);
        match self.leases.publish(&grant.connection, &lease, last).await {
            Ok(()) => {
                let needed =
                    |last: &Lease| matches!(last.status, Status::ConsentRequired(_) | Status::Misconfigured(_));
                (Outcome::Refreshed { recovered: last.is_some_and(needed) }, Some(expires_at))
            }
            Err(error) => {
                let parameter = self.settings.prefix.lease(grant.connection.as_str());
                let remedy = error.remedy();
                let error = format!("the new token could not be published in parameter {parameter}: {error}");
                (Outcome::Failed { error, remedy }, token_end(last))
            }
        }
    }

    /// Turns a refusal into an outcome, and into the document's status where the next run has to know of it.
    async fn note_refusal(&self, grant: &Grant, last: Option<&Lease>, refusal: Refusal) -> Outcome {
        let now = whole_second((self.now)());
        let trouble = |error: &str, pause: Option<SignedDuration>| Trouble {
            error: error.to_owned(),
            since: now,
            retry_after: pause.map(|pause| now + pause),
        };
        let (mut status, mut outcome) = match refusal {
            Refusal::ConsentRequired { error } => {
                (Status::ConsentRequired(trouble(&error, None)), Outcome::ConsentRequired { error })
            }
            Refusal::Misconfigured { error } => {
                (Status::Misconfigured(trouble(&error, Some(MISCONFIGURED_PAUSE))), misconfigured(error))
            }
            Refusal::Throttled => {
                let trouble = trouble("too_many_requests", Some(COOL_DOWN));
                (Status::Throttled(trouble), Outcome::Throttled { until: now + COOL_DOWN })
            }
            Refusal::Passing { error, .. } => {
                let remedy = Untrusted::told(&error).map_or(
                    "the next run tries again; if it stays, check Zoho's status page and the network",
                    Untrusted::remedy,
                );
                return Outcome::Failed { error, remedy: remedy.to_owned() };
            }
        };
        let same_before =
            last.filter(|last| last.grant_version == grant.version && last.status.word() == status.word());
        if let (Some(before), Some(trouble)) =
            (same_before.and_then(|last| last.status.trouble()), status.trouble_mut())
        {
            trouble.since = before.since;
        }
        if same_before.is_some_and(|last| last.status == status) {
            return outcome;
        }
        let lease = Lease::of(grant, status, last);
        if let Err(why) = self.leases.mark(&grant.connection, &lease, last).await {
            let parameter = self.settings.prefix.lease(grant.connection.as_str());
            outcome = Outcome::Failed {
                error: format!("{} and parameter {parameter} could not be marked: {why}", lease.status.word()),
                remedy: why.remedy(),
            };
        }
        outcome
    }
}

/// What has to be done before the time is up, with enough left to report.
pub(crate) async fn in_time<T>(
    end: Option<Instant>,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    match end {
        Some(end) => timeout_at(end - REPORT_RESERVE, work).await.map_err(|_| RunError::OutOfTime)?,
        None => work.await,
    }
}

/// A refusal of the client, with what to compare.
fn misconfigured(error: String) -> Outcome {
    let remedy = "compare client_id, the data centre's own client secret and data_center with Zoho's API console; then run it with \
                  force, or wait an hour"
        .to_owned();
    Outcome::Misconfigured { error, remedy }
}

/// Trouble found before anything was asked: it never changes a document.
pub(crate) fn broken(broken: &Broken) -> Outcome {
    let (error, remedy) = (broken.to_string(), broken.flaw.remedy());
    if broken.flaw.passes() { Outcome::Failed { error, remedy } } else { Outcome::Misconfigured { error, remedy } }
}

/// Up to a second, always the same for one name.
fn spread(name: &str) -> Duration {
    let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    Duration::from_millis(u64::from(hash % 1000))
}

fn token_end(lease: Option<&Lease>) -> Option<Timestamp> {
    lease.and_then(|lease| lease.token.as_ref()).map(|token| token.expires_at)
}
