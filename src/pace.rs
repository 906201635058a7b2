//! How fast to call Parameter Store. AWS does not say what an account allows, and other programs
//! use the same quota. So the pace finds the rate while it calls: the rate grows while AWS refuses
//! nothing, and falls at a refusal.
//!
//! Two instances share an account's quota and do not know of each other. Both rates fall at a
//! refusal, and grow by the same step (additive increase, multiplicative decrease, as in RFC 5681).
//! The process keeps its rate as long as it lives. This module knows no AWS type, so a simulation
//! uses it too.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use crate::failure::StoreError;

/// Puts per second at the start: the lowest quota that AWS's support has named (its pages say 40).
const FIRST_PUTS: f64 = 3.0;
/// Reads per second at the start. AWS allows 40 to all readers of an account together.
const FIRST_READS: f64 = 10.0;
/// The slowest pace of puts, in calls per second.
const SLOWEST_PUTS: f64 = 0.5;
/// The slowest pace of reads, in calls per second. Other programs' reads may cause the refusals,
/// and a run can do nothing before it has read all pages.
const SLOWEST_READS: f64 = 2.0;
/// A refusal multiplies the rate by this.
const CUT: f64 = 0.7;
/// How much the rate grows in a second after the first refusal, in calls per second.
const GROWTH: f64 = 0.2;
/// How often an update is tried again if another update of the same parameter is under way.
const OVERLAPS: u32 = 5;
/// How long such an update waits before each try.
const OVERLAP_PAUSE: Duration = Duration::from_secs(1);
/// How long a call is tried again that AWS refuses for too many calls: as long as the longest run
/// of a Lambda function.
const PATIENCE: Duration = Duration::from_mins(15);

/// The pace of one kind of calls.
pub struct Pace {
    /// Calls per second.
    rate: Cell<f64>,
    slowest: f64,
    /// Until the first refusal the rate doubles each second.
    unrefused: Cell<bool>,
    /// The earliest time of the next turn.
    next: Cell<Option<Instant>>,
    /// When the rate was cut last.
    cut: Cell<Option<Instant>>,
    /// Calls that wait for another turn. They go before all others: their tokens exist already.
    waiting: Cell<u32>,
    /// Turns that somebody holds.
    open: Cell<u32>,
    ceiling: Rc<Ceiling>,
}

/// What all calls of one instance share.
struct Ceiling {
    per_second: f64,
    next: Cell<Option<Instant>>,
}

/// The right to call once.
pub struct Turn<'p> {
    pace: &'p Pace,
    taken: Instant,
    /// The time that was planned for the turn after this one.
    next: Instant,
    /// Whether this turn came right after the one before. After a gap, a success says nothing about
    /// a faster pace.
    busy: bool,
    used: bool,
}

impl Pace {
    /// The paces of puts and of reads. Together they stay below a ceiling, in calls per second.
    pub fn below(ceiling: u32) -> (Self, Self) {
        let ceiling = Rc::new(Ceiling { per_second: ceiling.into(), next: Cell::new(None) });
        (
            Self::starting_at(FIRST_PUTS, SLOWEST_PUTS, ceiling.clone()),
            Self::starting_at(FIRST_READS, SLOWEST_READS, ceiling),
        )
    }

    /// No pace: each turn comes at once.
    pub fn lifted() -> Self {
        Self::starting_at(
            f64::INFINITY,
            SLOWEST_PUTS,
            Rc::new(Ceiling { per_second: f64::INFINITY, next: Cell::new(None) }),
        )
    }

    fn starting_at(rate: f64, slowest: f64, ceiling: Rc<Ceiling>) -> Self {
        Self {
            rate: Cell::new(rate.min(ceiling.per_second)),
            slowest,
            unrefused: Cell::new(true),
            next: Cell::new(None),
            cut: Cell::new(None),
            waiting: Cell::new(0),
            open: Cell::new(0),
            ceiling,
        }
    }

    /// Waits for a turn. A caller that stops waiting loses nothing.
    pub async fn turn(&self) -> Turn<'_> {
        self.wait(|now| if self.waiting.get() == 0 { self.free_at(now) } else { self.after(now) }).await
    }

    /// Waits until the next turn is free, as `free_at` says it at each moment.
    async fn wait(&self, free_at: impl Fn(Instant) -> Instant) -> Turn<'_> {
        loop {
            let now = Instant::now();
            let free = free_at(now);
            if free <= now {
                return self.take(now);
            }
            sleep_until(free).await;
        }
    }

    /// Waits for a turn, and calls. Calls again if AWS refuses for too many calls, or because of
    /// another update at the same moment.
    ///
    /// # Errors
    /// Any other error at once. Those two if they last: too many calls for a quarter of an hour,
    /// another update for some seconds.
    pub async fn call<T>(&self, call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.turn().await.call(call).await
    }

    /// How long the turns that are taken now need at the most: twice their time at this pace.
    pub fn backlog(&self) -> Duration {
        Duration::from_secs_f64(2.0 * f64::from(self.open.get()) / self.rate.get())
    }

    fn free_at(&self, now: Instant) -> Instant {
        self.next.get().max(self.ceiling.next.get()).map_or(now, |next| next.max(now))
    }

    /// One turn later than `now`.
    fn after(&self, now: Instant) -> Instant {
        now + Duration::from_secs_f64(1.0 / self.rate.get())
    }

    fn take(&self, now: Instant) -> Turn<'_> {
        let next = self.after(now);
        let busy = self.next.replace(Some(next)).is_some_and(|free| now.duration_since(free) < next - now);
        self.ceiling.next.set(Some(now + Duration::from_secs_f64(1.0 / self.ceiling.per_second)));
        self.open.set(self.open.get() + 1);
        Turn { pace: self, taken: now, next, busy, used: false }
    }

    /// Waits for another turn of work that has begun: a refused call, or the second call of two. It
    /// goes before work that waits for its first turn.
    pub async fn another(&self) -> Turn<'_> {
        let _waiting = Waiting::begin(&self.waiting);
        self.wait(|now| self.free_at(now)).await
    }

    fn grow(&self) {
        let step = if self.unrefused.get() { 1.0 } else { GROWTH / self.rate.get() };
        self.rate.set((self.rate.get() + step).min(self.ceiling.per_second));
    }

    /// Lowers the rate: once for all calls that were under way at the last fall.
    fn fall(&self, taken: Instant) {
        if self.cut.get().is_none_or(|cut| cut < taken) {
            let now = Instant::now();
            self.cut.set(Some(now));
            if self.unrefused.replace(false) {
                info!("Parameter Store refused a call as one too many; from now on the pace is slower");
            }
            self.rate.set((self.rate.get() * CUT).max(self.slowest.min(self.ceiling.per_second)));
            self.next.set(Some(self.after(now)));
        }
    }
}

impl Turn<'_> {
    /// As [`Pace::call`], with this turn for the first try.
    ///
    /// # Errors
    /// As [`Pace::call`].
    pub async fn call<T>(mut self, call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let pace = self.pace;
        let end = Instant::now() + PATIENCE;
        let mut overlaps = 0;
        loop {
            self.used = true;
            let answer = call().await;
            match &answer {
                Ok(_) => {
                    if self.busy {
                        pace.grow();
                    }
                    return answer;
                }
                Err(error) if Instant::now() < end && error.too_many_calls() => pace.fall(self.taken),
                // Another update is under way. This call waits for it; other calls do not.
                Err(error) if overlaps < OVERLAPS && error.overlapped() => {
                    overlaps += 1;
                    sleep(OVERLAP_PAUSE).await;
                    self = pace.turn().await;
                    continue;
                }
                Err(_) => return answer,
            }
            self = pace.another().await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pace.open.set(self.pace.open.get() - 1);
        // Nobody used this turn: the next call may have it, unless a later turn was planned since.
        if !self.used && self.pace.next.get() == Some(self.next) {
            self.pace.next.set(Some(self.taken));
        }
    }
}

/// Counts a call that waits for another turn, as long as it waits.
struct Waiting<'p>(&'p Cell<u32>);

impl<'p> Waiting<'p> {
    fn begin(count: &'p Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
