//! The second half of use case 1: mint for what is due, and publish.
//!
//! A connection takes its turn to write before it asks Zoho, so that each minted token can be
//! stored. The healthy come first, in the order in which their tokens end. A
//! [brake](crate::run::brake) keeps connections from asking a service that fails.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::connection::Grant;
use crate::failure::{Refusal, StoreError, Untrusted};
use crate::lease::{Lease, Status, Trouble, whole_second};
use crate::name::ConnectionName;
use crate::notice::{self, Replaced};
use crate::pace::Turn;
use crate::ports::{Grants, Issuer, Leases, Minted};
use crate::run::brake::{Permit, Start};
use crate::run::decision::{Due, what_is_right};
use crate::run::report::{Deferral, Entry, Outcome};
use crate::run::{REPORT_RESERVE, Refresher, Request, token_end};

/// How long a throttled connection is left alone: the ten minutes that Zoho documents, and one
/// more, because a request that comes too early starts the ten minutes again.
const THROTTLED_PAUSE: SignedDuration = SignedDuration::from_secs(660);
/// How long a refused client is left alone while its grant stays the same.
const MISCONFIGURED_PAUSE: SignedDuration = SignedDuration::from_secs(3600);
/// The shortest wait before the one retry. Each connection adds up to a second, by its name, so
/// that many retries do not come at once.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a minted token needs until it is published, without the wait for turns taken before.
const WRITE_RESERVE: Duration = Duration::from_secs(2);
/// How long a run that has nothing else to do waits for a brake: time for three tries, because the
/// connection that tries may fail for another reason.
const BRAKE_PATIENCE: Duration = Duration::from_mins(1);
/// A connection whose token ended longer ago than this is probably sick.
const LONG_PAST: SignedDuration = SignedDuration::from_mins(30);
/// A lease younger than this counts more than what Secrets Manager says about the grant, which may
/// be old.
const STALE_AT_MOST: SignedDuration = SignedDuration::from_mins(1);
/// How often a run corrects a document after two writers have met, if they meet each time.
const PUT_RIGHT: usize = 3;

impl Due {
    fn name(&self) -> String {
        self.grant.connection.to_string()
    }

    /// The lease, if its token came from this grant.
    fn of_this_grant(&self) -> Option<&Lease> {
        self.last.as_ref().filter(|last| last.grant_version == self.grant.version)
    }

    /// Whether Zoho throttled it last time.
    fn throttled(&self) -> bool {
        self.of_this_grant().is_some_and(|last| matches!(last.status, Status::Throttled(_)))
    }

    /// Whether its grant worked when it was asked for last.
    fn proven(&self) -> bool {
        self.of_this_grant().is_some_and(|last| last.status == Status::Active)
    }

    /// Whether asking Zoho will probably fail, so that it comes after all others.
    fn sick(&self, now: Timestamp) -> bool {
        let Some(last) = self.of_this_grant() else { return false };
        last.status != Status::Active
            || last.token.as_ref().is_none_or(|token| now.duration_since(token.expires_at) > LONG_PAST)
    }
}

/// What can start next.
enum Next {
    /// The connection at this place.
    Start(usize),
    /// Nothing before this time.
    Hold(Instant),
    /// Nothing, until one of those under way ends.
    Nothing,
}

impl<G: Grants, I: Issuer, L: Leases> Refresher<G, I, L> {
    /// Works through what is due until all is done or the time is up.
    pub(crate) async fn renew_all(
        &self,
        mut due: Vec<Due>,
        end: Option<Instant>,
        progress: impl Fn(usize, usize),
    ) -> Vec<Entry> {
        let now = self.source.now();
        self.brakes.begin(Instant::now());
        // A connection that never had a token comes after those whose token has ended, and before
        // those whose token is still valid.
        due.sort_by_cached_key(|due| (due.sick(now), token_end(due.last.as_ref()).unwrap_or(now), due.name()));
        let mut open: BTreeMap<String, Option<Timestamp>> =
            due.iter().map(|due| (due.name(), token_end(due.last.as_ref()))).collect();
        let mut waiting = VecDeque::from(due);
        let mut running = FuturesUnordered::new();
        let mut done = Vec::with_capacity(waiting.len());
        let mut cut = pin!(async {
            match end {
                Some(end) => sleep_until(end - REPORT_RESERVE).await,
                None => pending().await,
            }
        });
        loop {
            let next = self.next(&waiting, running.len(), end);
            let hold = match next {
                Next::Hold(until) if !running.is_empty() || worth_waiting(until, end) => Some(until),
                Next::Start(_) => None,
                _ if running.is_empty() => break,
                _ => None,
            };
            tokio::select! {
                biased;
                Some(entry) = running.next(), if !running.is_empty() => {
                    let entry: Entry = entry;
                    open.remove(&entry.connection);
                    done.push(entry);
                    progress(done.len(), done.len() + open.len());
                }
                () = &mut cut => break,
                turn = self.leases.pace().turn(), if matches!(next, Next::Start(_)) => {
                    // While this turn came, those under way may have found out that a service
                    // fails.
                    if let Next::Start(place) = self.next(&waiting, running.len(), end)
                        && let Some(due) = waiting.remove(place)
                    {
                        let start = self.brakes.start(&due.grant, due.last.is_none());
                        running.push(self.renew(due, start, turn, end));
                    }
                }
                () = sleep_until(hold.unwrap_or_else(Instant::now)), if hold.is_some() => {}
            }
        }
        drop(running);
        for due in waiting {
            open.remove(due.grant.connection.as_str());
            let why = match self.brakes.permit(&due.grant, due.last.is_none(), Instant::now()) {
                Permit::Wait(service, _) => Deferral::Braked(service),
                Permit::Go | Permit::Try => Deferral::NoTime,
            };
            let expires_at = token_end(due.last.as_ref());
            done.push(Entry {
                connection: due.name(),
                outcome: Outcome::Deferred(why),
                expires_at,
                refresh_token_expires_at: None,
            });
        }
        done.extend(open.into_iter().map(|(connection, expires_at)| Entry {
            connection,
            outcome: Outcome::Deferred(Deferral::CutOff),
            expires_at,
            refresh_token_expires_at: None,
        }));
        done
    }

    fn next(&self, waiting: &VecDeque<Due>, running: usize, end: Option<Instant>) -> Next {
        if running >= self.settings.concurrency || !self.time_to_mint(end) {
            return Next::Nothing;
        }
        let now = Instant::now();
        let (mut tries, mut hold) = (None, None);
        for (place, due) in waiting.iter().enumerate() {
            match self.brakes.permit(&due.grant, due.last.is_none(), now) {
                Permit::Go => return Next::Start(place),
                // The one whose grant has worked last: if it fails too, the service is probably
                // sick.
                Permit::Try => tries = tries.max(Some((due.proven(), token_end(due.last.as_ref()), place))),
                Permit::Wait(_, until) => hold = [hold, until].into_iter().flatten().min(),
            }
        }
        match (tries, hold) {
            (Some((.., place)), _) => Next::Start(place),
            (None, Some(until)) => Next::Hold(until),
            (None, None) => Next::Nothing,
        }
    }

    /// Whether a token that is asked for now can be published before the end, however long Zoho
    /// takes to answer.
    fn time_to_mint(&self, end: Option<Instant>) -> bool {
        let needed = self.issuer.timeout() + self.leases.pace().backlog() + WRITE_RESERVE + REPORT_RESERVE;
        end.is_none_or(|end| Instant::now() + needed <= end)
    }

    /// One connection from start to end. Its failure is an entry and stops no other connection.
    async fn renew(&self, due: Due, start: Start<'_>, turn: Turn<'_>, end: Option<Instant>) -> Entry {
        let throttled = due.throttled();
        let (name, Due { grant, mut last, complaint_at }) = (due.name(), due);
        let (grant, answer) = match self.mint(&grant, end).await {
            Err(Refusal::ConsentRequired { error }) => self.look_again(grant, &mut last, error, end).await,
            answer => (grant, answer),
        };
        start.answered(&answer, throttled);
        let (outcome, expires_at) = match answer {
            Ok(mut minted) => {
                minted.token.complaint_at = complaint_at;
                self.publish(&start, turn, &grant, last.as_ref(), minted).await
            }
            Err(refusal) => {
                let outcome = self.note_refusal(&start, turn, &grant, last.as_ref(), refusal).await;
                (outcome, token_end(last.as_ref()))
            }
        };
        Entry { connection: name, outcome, expires_at, refresh_token_expires_at: None }
    }

    /// Asks Zoho, and once more after a fault that may be over in a second.
    async fn mint(&self, grant: &Grant, end: Option<Instant>) -> Result<Minted, Refusal> {
        let answer = self.issuer.mint(grant).await;
        let again = answer.as_ref().is_err_and(Refusal::passes_at_once);
        let wait = RETRY_AFTER + spread(grant.connection.as_str());
        if !again || !self.time_to_mint(end.map(|end| end - wait)) {
            return answer;
        }
        sleep(wait).await;
        self.issuer.mint(grant).await
    }

    /// Before a grant is called dead: is it still the current one? This waits until the stores show
    /// every recent write, and reads both again. `last` becomes the lease as it is now.
    async fn look_again(
        &self,
        grant: Grant,
        last: &mut Option<Lease>,
        error: String,
        end: Option<Instant>,
    ) -> (Grant, Result<Minted, Refusal>) {
        sleep(self.settings.settling).await;
        let connection = &grant.connection;
        let unclear = |why: String| Err(Refusal::Unclear { error: format!("{error}, but {why}"), at_once: false });
        let newer = match self.current(connection).await {
            Ok(current) if current.version == grant.version => None,
            Ok(current) => Some(current),
            // There may be a newer grant, so the old one is not called dead.
            Err(why) => return (grant, unclear(why)),
        };
        let leases = self.leases.read(std::slice::from_ref(connection)).await;
        let lease = match leases.map(|mut leases| leases.remove(connection.as_str()).transpose()) {
            Ok(Ok(lease)) => lease,
            Ok(Err(broken)) => return (grant, unclear(broken.to_string())),
            Err(why) => return (grant, unclear(why.to_string())),
        };
        // A lease of another grant that came since the run began: what Secrets Manager says is old.
        let foreign = lease.as_ref().filter(|lease| lease.grant_version != grant.version);
        let came = |lease: &Lease| last.as_ref().is_none_or(|last| last.grant_version != lease.grant_version);
        let newer_lease = foreign.is_some_and(came) || self.may_be_old(&grant, lease.as_ref());
        *last = lease;
        match newer {
            Some(newer) if newer.credential.is_none() => {
                (grant, unclear("its refresh token has just been removed".to_owned()))
            }
            Some(_) if !self.time_to_mint(end) => {
                (grant, unclear("there is a newer grant, and no time left to try it".to_owned()))
            }
            Some(newer) => {
                let answer = self.mint(&newer, end).await;
                (newer, answer)
            }
            None if newer_lease => (grant, unclear("a newer grant has just been published".to_owned())),
            None => (grant, Err(Refusal::ConsentRequired { error })),
        }
    }

    /// Whether Secrets Manager may have answered an old grant: the lease is of another one, and has
    /// a token of the last minute.
    pub(super) fn may_be_old(&self, grant: &Grant, lease: Option<&Lease>) -> bool {
        let foreign = lease.filter(|lease| lease.grant_version != grant.version);
        let token = foreign.and_then(|lease| lease.token.as_ref());
        token.is_some_and(|token| self.source.now().duration_since(token.issued_at).abs() < STALE_AT_MOST)
    }

    /// The grant as it is in Secrets Manager now.
    async fn current(&self, connection: &ConnectionName) -> Result<Grant, String> {
        let request = Request::Named { connections: vec![connection.clone()], force: false, skip_missing: false };
        let mut grants = self.list_grants(&request).await.map_err(|error| error.to_string())?;
        match grants.remove(connection.as_str()) {
            Some(grant) => grant.map_err(|broken| broken.to_string()),
            None => Err("AWS did not return its secret".to_owned()),
        }
    }

    async fn publish(
        &self,
        start: &Start<'_>,
        turn: Turn<'_>,
        grant: &Grant,
        last: Option<&Lease>,
        minted: Minted,
    ) -> (Outcome, Option<Timestamp>) {
        let Minted { token, api_domain, scope, kept, .. } = minted;
        let expires_at = token.expires_at;
        let mut lease = Lease::active(grant, token, last);
        lease.account.extend(kept);
        let told = grant.provider.profile().and_then(|_| grant.provider.api_domain(&lease.account));
        lease.api_domain = api_domain.or(told).or(lease.api_domain);
        lease.scope = scope.unwrap_or(lease.scope);
        let description = if notice::unannounced(grant, last) {
            let replaced = match last.map(|last| &last.status) {
                None => Replaced::Nothing,
                Some(Status::ConsentRequired(_)) => Replaced::Dead,
                Some(_) => Replaced::Living,
            };
            notice::consented(&grant.connection, &lease, replaced, grant.account.as_ref())
        } else {
            notice::description(&grant.connection, &lease, last)
        };
        let written = self.leases.publish(turn, &grant.connection, &lease, &description).await;
        start.put(&written);
        match written {
            Ok(version) => {
                self.put_right(grant, last, lease, version).await;
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

    /// Turns a refusal into an outcome. Changes the document's status if the next run has to know
    /// about the refusal.
    async fn note_refusal(
        &self,
        start: &Start<'_>,
        turn: Turn<'_>,
        grant: &Grant,
        last: Option<&Lease>,
        refusal: Refusal,
    ) -> Outcome {
        let now = whole_second(self.source.now());
        let trouble = |error: &str, pause: Option<SignedDuration>| Trouble {
            error: error.to_owned(),
            since: now,
            retry_after: pause.map(|pause| now + pause),
        };
        let (mut status, outcome) = match refusal {
            Refusal::ConsentRequired { error } => {
                (Status::ConsentRequired(trouble(&error, None)), Outcome::ConsentRequired { error })
            }
            Refusal::Misconfigured { error } => {
                (Status::Misconfigured(trouble(&error, Some(MISCONFIGURED_PAUSE))), Outcome::refused_client(error))
            }
            Refusal::Throttled => {
                let trouble = trouble("too_many_requests", Some(THROTTLED_PAUSE));
                (Status::Throttled(trouble), Outcome::Throttled { until: now + THROTTLED_PAUSE })
            }
            Refusal::OutOfOrder(_) | Refusal::Unclear { .. } => {
                let remedy = refusal.untrusted().map_or(
                    "the next run tries again; if this continues, check Zoho's status page and the network",
                    Untrusted::remedy,
                );
                return Outcome::Failed { error: refusal.to_string(), remedy: remedy.to_owned() };
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
        let description = notice::description(&grant.connection, &lease, last);
        let written = self.leases.mark(turn, &grant.connection, &lease, &description).await;
        start.put(&written);
        match written {
            Ok(version) => {
                self.put_right(grant, last, lease, version).await;
                outcome
            }
            Err(why) => {
                let parameter = self.settings.prefix.lease(grant.connection.as_str());
                Outcome::Failed {
                    error: format!("{}, but parameter {parameter} could not be updated: {why}", lease.status.word()),
                    remedy: why.remedy(),
                }
            }
        }
    }

    /// Corrects the document if two writers have met: `version` shows whether somebody else wrote
    /// after this run had `seen` the lease. If the correction fails, the next run does it.
    pub(super) async fn put_right(&self, grant: &Grant, seen: Option<&Lease>, mut ours: Lease, mut version: i64) {
        let mut expected = seen.map_or(0, |seen| seen.version) + 1;
        let connection = &grant.connection;
        for _ in 0..PUT_RIGHT {
            if version == expected {
                return;
            }
            sleep(self.settings.settling).await;
            let done: Result<_, StoreError> = async {
                let Some(replaced) = self.leases.read_version(connection, version - 1).await? else { return Ok(None) };
                let current = self.current(connection).await.ok();
                let current = current.as_ref().map(|current| &current.version);
                let Some(right) = what_is_right(&ours, &replaced, seen, current) else { return Ok(None) };
                let turn = self.leases.pace().another().await;
                let description = notice::description(connection, &right, Some(&ours));
                let newer = self.leases.publish(turn, connection, &right, &description).await?;
                Ok(Some((right, newer)))
            }
            .await;
            match done {
                Ok(None) => return,
                Ok(Some((right, newer))) => {
                    (expected, version, ours) = (version + 1, newer, right);
                }
                Err(error) => {
                    warn!(connection = connection.as_str(), %error, "the document could not be corrected");
                    return;
                }
            }
        }
    }
}

/// Whether a run that has nothing else to do waits until a brake lets one connection try.
fn worth_waiting(until: Instant, end: Option<Instant>) -> bool {
    until <= Instant::now() + BRAKE_PATIENCE && end.is_none_or(|end| until < end)
}

/// Up to a second; always the same for one name.
fn spread(name: &str) -> Duration {
    let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    Duration::from_millis(u64::from(hash % 1000))
}
