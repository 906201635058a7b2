//! The rules of AWS's request quotas, with times that the tests choose.

use jiff::{SignedDuration, Timestamp};
use testkit::quota::{Bucket, Gate, Quotas, Throttled};

type Call = fn(&mut Gate, Timestamp) -> Result<(), Throttled>;

const CALLS: [Call; 6] = [Gate::put, Gate::read, Gate::batch, Gate::list, Gate::value, Gate::write];

fn after(milliseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
}

/// How many of many calls at the same moment pass.
fn passing(gate: &mut Gate, call: Call, now: Timestamp) -> usize {
    (0..20_000).take_while(|_| call(gate, now).is_ok()).count()
}

#[test]
fn a_bucket_lets_its_burst_pass_and_then_its_rate() {
    let mut bucket = Bucket::new(3.0, 5.0, after(0));
    let passed: Vec<_> = (0..7).map(|_| bucket.take(after(0))).collect();
    assert_eq!(passed, [true, true, true, true, true, false, false]);
    assert!(!bucket.take(after(333)));
    assert!(bucket.take(after(334)), "what was refused has cost nothing");
    assert!(!bucket.take(after(334)));
    let passed = (0..30_000).filter(|ms| bucket.take(after(334 + ms))).count();
    assert!((89..=90).contains(&passed), "{passed} in thirty seconds");
}

#[test]
fn a_long_pause_fills_a_bucket_only_to_its_burst() {
    let mut bucket = Bucket::new(3.0, 5.0, after(0));
    assert_eq!((0..10).filter(|_| bucket.take(after(3_600_000))).count(), 5);
}

#[test]
fn a_clock_that_goes_back_gives_nothing_and_takes_nothing() {
    let mut bucket = Bucket::new(1.0, 2.0, after(1_000));
    assert!(bucket.take(after(0)));
    assert!(bucket.take(after(0)));
    assert!(!bucket.take(after(1_000)));
    assert!(!bucket.take(after(1_999)));
    assert!(bucket.take(after(2_000)));
}

#[test]
fn each_kind_of_call_has_its_own_quota() {
    for (quotas, expected) in [
        (Quotas::default(), [5, 40, 100, 100, 10_000, 50]),
        (Quotas::higher_throughput(), [5, 100, 100, 100, 10_000, 50]),
    ] {
        let mut gate = Gate::new(&quotas, after(0));
        assert_eq!(CALLS.map(|call| passing(&mut gate, call, after(0))), expected);
    }
}

#[test]
fn in_the_long_run_puts_pass_three_times_a_second_or_ten_times() {
    for (quotas, expected) in [(Quotas::default(), 30), (Quotas::higher_throughput(), 100)] {
        let mut gate = Gate::new(&quotas, after(0));
        passing(&mut gate, Gate::put, after(0));
        let passed = (1..=10_000).filter(|ms| gate.put(after(*ms)).is_ok()).count();
        assert!((expected - 1..=expected).contains(&passed), "{passed} in ten seconds");
    }
}

#[test]
fn lifted_quotas_never_refuse() {
    let mut gate = Gate::new(&Quotas::lifted(), after(0));
    for now in [after(0), after(1), after(3_600_000)] {
        assert_eq!(CALLS.map(|call| passing(&mut gate, call, now)), [20_000; 6]);
    }
}
