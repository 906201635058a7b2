//! The pace alone, in front of an account's quotas.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use jiff::Timestamp;
use testkit::quota::{Gate, Quotas};
use token_keeper::failure::StoreError;
use token_keeper::pace::Pace;
use tokio::time::{Instant, sleep};

use crate::random::Random;
use crate::world::{millis, seconds};

/// An account that allows this many puts a second, and how many calls it got.
struct Account {
    start: Instant,
    gate: RefCell<Gate>,
    refused: Cell<u32>,
    random: RefCell<Random>,
}

impl Account {
    fn allowing(puts_per_second: f64) -> Self {
        let quotas = Quotas { puts_per_second, ..Quotas::default() };
        Self {
            start: Instant::now(),
            gate: RefCell::new(Gate::new(&quotas, Timestamp::UNIX_EPOCH)),
            refused: Cell::new(0),
            random: RefCell::new(Random::new(1)),
        }
    }

    async fn put(&self) -> Result<(), StoreError> {
        let latency = self.random.borrow_mut().between(millis(5), millis(40));
        sleep(latency).await;
        self.gate.borrow_mut().put(Timestamp::UNIX_EPOCH + self.start.elapsed()).map_err(|_| {
            self.refused.set(self.refused.get() + 1);
            StoreError::refused("ssm:PutParameter", "ThrottlingException")
        })
    }

    /// Puts at this pace for this long. Returns how many succeeded.
    async fn keep_putting(&self, pace: &Pace, length: Duration) -> u32 {
        let (end, done) = (Instant::now() + length, Cell::new(0));
        let one_after_the_other = async || {
            while Instant::now() < end {
                pace.call(async || self.put().await).await.expect("a put");
                done.set(done.get() + 1);
            }
        };
        // Several at the same time, so that only the pace limits them.
        tokio::join!(one_after_the_other(), one_after_the_other(), one_after_the_other(), one_after_the_other());
        done.get()
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_share_an_account_get_about_equal_parts() {
    for quota in [3.0, 10.0] {
        let account = Account::allowing(quota);
        let ((early, _), (late, _)) = (Pace::below(40), Pace::below(40));
        // The first process has had the account to itself for a minute.
        account.keep_putting(&early, seconds(60)).await;
        tokio::join!(account.keep_putting(&early, seconds(60)), account.keep_putting(&late, seconds(60)));
        let (early, late) =
            tokio::join!(account.keep_putting(&early, seconds(120)), account.keep_putting(&late, seconds(120)));
        let (least, sum) = (early.min(late), early + late);
        println!("two processes at {quota} a second: {early} and {late} in two minutes");
        assert!(f64::from(least) > 0.35 * f64::from(sum), "{early} and {late} at {quota} a second");
        assert!(f64::from(sum) > 0.8 * 120.0 * quota, "{sum} in two minutes at {quota} a second");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pace_finds_and_uses_what_the_account_allows() {
    for quota in [1.0, 3.0, 10.0, 30.0] {
        let account = Account::allowing(quota);
        let (puts, _) = Pace::below(40);
        account.keep_putting(&puts, seconds(30)).await;
        account.refused.set(0);
        let done = account.keep_putting(&puts, seconds(60)).await;
        println!("{quota} a second: {done} done in a minute, {} refused", account.refused.get());
        assert!(f64::from(done) > 0.8 * 60.0 * quota, "{done} in a minute at {quota} a second");
        assert!(f64::from(account.refused.get()) < 0.35 * f64::from(done), "{:?} refused of {done}", account.refused);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_does_not_grow_its_rate() {
    let account = Account::allowing(1000.0);
    let (puts, _) = Pace::below(40);
    for _ in 0..100 {
        puts.call(async || account.put().await).await.expect("a put");
        sleep(seconds(2)).await;
    }
    let start = Instant::now();
    for _ in 0..4 {
        drop(puts.turn().await);
        puts.call(async || account.put().await).await.expect("a put");
    }
    let taken = start.elapsed();
    assert!(taken >= Duration::from_millis(900), "four puts at three a second took {taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_returned_turn_is_used_once() {
    let account = Account::allowing(1000.0);
    let (puts, _) = Pace::below(40);
    drop(puts.turn().await);
    let start = Instant::now();
    puts.call(async || account.put().await).await.expect("a put");
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "{:?}: it takes the turn that was given back",
        start.elapsed()
    );
    puts.call(async || account.put().await).await.expect("a put");
    assert!(start.elapsed() > Duration::from_millis(300), "{:?}: the turn was there once", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn puts_and_reads_together_stay_below_the_ceiling() {
    let (puts, reads) = Pace::below(5);
    let calls = Cell::new(0);
    let end = Instant::now() + seconds(10);
    let keep_calling = async |pace: &Pace| {
        while Instant::now() < end {
            pace.call(async || Ok::<_, StoreError>(calls.replace(calls.get() + 1))).await.expect("a call");
        }
    };
    tokio::join!(keep_calling(&puts), keep_calling(&reads));
    assert!((45..=52).contains(&calls.get()), "{} calls in ten seconds", calls.get());
}
