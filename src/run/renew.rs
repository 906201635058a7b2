//! The second half of use case 1: mint for what is due, and publish.
//!
//! A connection takes its turn to write before it asks for a token, so that each minted token can
//! be stored. The healthy come first, in the order in which their tokens end. A
//! [brake](crate::run::brake) keeps connections from asking a service that fails.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use crate::claim::Claim;
use crate::connection::Grant;
use crate::failure::Refusal;
use crate::lease::{Lease, Status};
use crate::name::ConnectionName;
use crate::pace::Turn;
use crate::ports::{Claims, Grants, Issuer, Leases, Minted, SecretReplacer};
use crate::run::brake::{Permit, Start};
use crate::run::decision::Due;
use crate::run::report::{Deferral, Entry, Outcome};
use crate::run::{REPORT_RESERVE, Refresher, Request, token_end};
use crate::secret::RefreshToken;

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

impl Due {
    fn name(&self) -> String {
        self.grant.connection.to_string()
    }

    /// The lease, if its token came from this grant.
    fn of_this_grant(&self) -> Option<&Lease> {
        self.last.as_ref().filter(|last| last.grant_version == self.grant.version)
    }

    /// Whether the provider throttled it last time.
    fn throttled(&self) -> bool {
        self.of_this_grant().is_some_and(|last| matches!(last.status, Status::Throttled(_)))
    }

    /// Whether its grant worked when it was asked for last.
    fn proven(&self) -> bool {
        self.of_this_grant().is_some_and(|last| last.status == Status::Active)
    }

    /// Whether asking the provider will probably fail, so that it comes after all others.
    fn sick(&self, now: Timestamp) -> bool {
        let Some(last) = self.of_this_grant() else { return false };
        last.status != Status::Active
            || last.token.as_ref().is_none_or(|token| now.duration_since(token.expires_at) > LONG_PAST)
    }
}

/// What came of asking for a token.
#[expect(clippy::large_enum_variant, reason = "there is one for each mint, and not for long")]
pub(super) enum Answer {
    /// Tokens, from this grant. `over` are claims that have done their work; with `trouble` that is
    /// the outcome, although the token is published.
    Tokens { grant: Grant, minted: Minted, over: Vec<Claim>, trouble: Option<Outcome> },
    /// A refusal.
    Refused(Grant, Refusal),
    /// Nothing was asked, or nothing is to be published.
    Left(Outcome),
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

impl<G: Grants + SecretReplacer, I: Issuer, L: Leases + Claims> Refresher<G, I, L> {
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
        let ends = |due: &Due| (token_end(due.last.as_ref()), due.grant.refresh_token_expires_at);
        let mut open: BTreeMap<String, _> = due.iter().map(|due| (due.name(), ends(due))).collect();
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
            let (expires_at, refresh_token_expires_at) = ends(&due);
            let outcome = Outcome::Deferred(why);
            done.push(Entry { connection: due.name(), outcome, expires_at, refresh_token_expires_at });
        }
        done.extend(open.into_iter().map(|(connection, (expires_at, refresh_token_expires_at))| Entry {
            connection,
            outcome: Outcome::Deferred(Deferral::CutOff),
            expires_at,
            refresh_token_expires_at,
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

    /// Whether a token that is asked for now can be published before the end, however long the
    /// provider takes to answer.
    pub(super) fn time_to_mint(&self, end: Option<Instant>) -> bool {
        let needed = self.issuer.timeout() + self.leases.pace().backlog() + WRITE_RESERVE + REPORT_RESERVE;
        end.is_none_or(|end| Instant::now() + needed <= end)
    }

    /// One connection from start to end. Its failure is an entry and stops no other connection.
    async fn renew(&self, due: Due, start: Start<'_>, turn: Turn<'_>, end: Option<Instant>) -> Entry {
        let throttled = due.throttled();
        let (name, Due { grant, mut last, complaint_at }) = (due.name(), due);
        let mut refresh_token_expires_at = grant.refresh_token_expires_at;
        // Also a provider that should not rotate may have done so, and the new refresh token may be
        // in a claim: then the lease has the version that the grant is going to have.
        let in_a_claim = self.settings.rotating
            && grant.provider.data_center().is_none()
            && last.as_ref().is_some_and(|last| last.grant_version != grant.version);
        let answer = if grant.provider.rotates() || in_a_claim {
            self.redeem(grant, last.as_ref(), end).await
        } else {
            let answer = self.mint(&grant, end).await;
            self.keep_successor(grant, answer).await
        };
        let answer = match answer {
            Answer::Refused(grant, Refusal::ConsentRequired { error }) => {
                let (grant, answer) = self.look_again(grant, &mut last, error, end).await;
                self.keep_successor(grant, answer).await
            }
            answer => answer,
        };
        let (outcome, expires_at) = match answer {
            Answer::Tokens { grant, mut minted, over, trouble } => {
                start.answered(Ok(()), throttled);
                minted.token.complaint_at = complaint_at;
                refresh_token_expires_at = grant.refresh_token_expires_at;
                let (outcome, expires_at) = self.publish(&start, turn, &grant, last.as_ref(), minted).await;
                self.clear(&grant, &over).await;
                (trouble.unwrap_or(outcome), expires_at)
            }
            Answer::Refused(grant, refusal) => {
                start.answered(Err(&refusal), throttled);
                let outcome = self.note_refusal(&start, turn, &grant, last.as_ref(), refusal).await;
                (outcome, token_end(last.as_ref()))
            }
            Answer::Left(outcome) => (outcome, token_end(last.as_ref())),
        };
        Entry { connection: name, outcome, expires_at, refresh_token_expires_at }
    }

    /// What a provider that does not rotate has answered. If it has given another refresh token all
    /// the same, that one is stored, too.
    async fn keep_successor(&self, grant: Grant, answer: Result<Minted, Refusal>) -> Answer {
        match answer {
            Err(refusal) => Answer::Refused(grant, refusal),
            Ok(minted) => {
                let before = grant.refresh_token().map(RefreshToken::expose);
                let other = minted.refresh_token.clone().filter(|other| Some(other.expose()) != before);
                match other {
                    Some(other) => self.unexpected(grant, minted, other).await,
                    None => Answer::Tokens { grant, minted, over: Vec::new(), trouble: None },
                }
            }
        }
    }

    /// Asks the provider, and once more after a fault that may be over in a second.
    async fn mint(&self, grant: &Grant, end: Option<Instant>) -> Result<Minted, Refusal> {
        let answer = self.issuer.mint(grant).await;
        let again = answer.as_ref().is_err_and(Refusal::passes_at_once);
        let wait = self.retry_after(grant);
        if !again || !self.time_to_mint(end.map(|end| end - wait)) {
            return answer;
        }
        sleep(wait).await;
        self.issuer.mint(grant).await
    }

    /// The wait before the one retry: for each connection another one, up to three times the
    /// shortest, so that many retries do not come at once.
    pub(super) fn retry_after(&self, grant: &Grant) -> Duration {
        let name = grant.connection.as_str();
        let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        self.settings.retry_after * (1000 + 2 * (hash % 1000)) / 1000
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
            // Only a run that has claimed it may send its refresh token.
            Some(newer) if newer.provider.rotates() => {
                (grant, unclear("there is a newer grant, which the next run tries".to_owned()))
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
    pub(super) async fn current(&self, connection: &ConnectionName) -> Result<Grant, String> {
        let request = Request::Named { connections: vec![connection.clone()], force: false, skip_missing: false };
        let mut grants = self.list_grants(&request).await.map_err(|error| error.to_string())?;
        match grants.remove(connection.as_str()) {
            Some(grant) => grant.map_err(|broken| broken.to_string()),
            None => Err("AWS did not return its secret".to_owned()),
        }
    }
}

/// Whether a run that has nothing else to do waits until a brake lets one connection try.
fn worth_waiting(until: Instant, end: Option<Instant>) -> bool {
    until <= Instant::now() + BRAKE_PATIENCE && end.is_none_or(|end| until < end)
}
