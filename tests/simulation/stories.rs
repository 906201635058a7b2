//! Single stories: a quota, a sick neighbour, a consent at the worst moment.

use std::rc::Rc;
use std::time::Duration;

use testkit::quota::Quotas;
use token_keeper::lease::Status;
use token_keeper::run::report::Report;
use tokio::time::{Instant, sleep};

use crate::platform::{FUNCTION, Platform};
use crate::world::{CONCURRENCY, Fault, MARGIN, Says, Way, World, millis, seconds};

const INTERVAL: Duration = Duration::from_mins(15);
const WEEKS: Duration = Duration::from_hours(24 * 21);

fn puts(puts_per_second: f64, put_burst: f64) -> Quotas {
    Quotas { puts_per_second, put_burst, ..Quotas::higher_throughput() }
}

/// How many minted tokens were never published.
fn wasted(world: &World) -> usize {
    world.state.borrow().unpublished.len()
}

fn mints(world: &World) -> u64 {
    world.state.borrow().counts.mints
}

/// A world with this many due connections of one client, and a run over them in a new process.
async fn run_of(due: usize, quotas: Quotas, end: Duration) -> (Rc<World>, Report, Duration) {
    let world = World::new(1, quotas);
    world.connect_many(due, 0);
    let start = Instant::now();
    let report = world.instance().run(Some(end)).await.expect("a report");
    (world, report, start.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "hundreds")]
#[tokio::test(start_paused = true)]
async fn for_any_quota_no_token_is_lost_and_hardly_any_time() {
    for (due, quota, burst) in [
        (120, 3.0, 5.0),
        (300, 3.0, 5.0),
        (120, 3.0, 3.0),
        (120, 3.0, 15.0),
        (120, 3.0, 60.0),
        (300, 10.0, 10.0),
        (300, 10.0, 50.0),
        (60, 1.0, 1.0),
        (60, 1.0, 5.0),
        (60, 1.0, 20.0),
    ] {
        let (world, report, taken) = run_of(due, puts(quota, burst), FUNCTION).await;
        let story = format!("{due} due at {quota} a second with a burst of {burst}: {taken:?}");
        println!("{story}");
        assert_eq!((report.refreshed, wasted(&world)), (due, 0), "{story}");
        // At one put a second, one step of the pace is a large part of the rate.
        let longest = if quota > 1.0 { 1.2 * due as f64 / quota + 3.0 } else { 1.6 * due as f64 / quota + 3.0 };
        assert!(taken.as_secs_f64() <= longest, "{story}");
    }
}

#[tokio::test(start_paused = true)]
async fn forty_puts_a_second_are_used_if_the_account_allows_them() {
    let (world, report, taken) = run_of(600, puts(40.0, 40.0), FUNCTION).await;
    println!("600 due at 40 a second: {taken:?}");
    assert_eq!((report.refreshed, wasted(&world)), (600, 0));
    assert!(taken.as_secs_f64() <= 1.5 * 600.0 / 40.0, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_functions_end_the_rest_is_deferred_without_minting() {
    for end in [20, 40, 60, 80] {
        let (world, report, _) = run_of(400, puts(3.0, 5.0), seconds(end)).await;
        assert!(report.refreshed > 0 && wasted(&world) <= 1, "{} wasted at {end} s", wasted(&world));
        assert_eq!(report.refreshed + report.deferred.len(), 400);
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_the_accounts_quota_fairly() {
    let world = World::new(1, puts(3.0, 5.0));
    let (one, other) = (world.instance(), world.instance());
    let names = |range: std::ops::Range<usize>| token_keeper::run::Request::Named {
        connections: range.map(|index| format!("c{index:05}").parse().expect("a name")).collect(),
        force: false,
        skip_missing: false,
    };
    world.connect_many(100, 0);
    let end = Some(Instant::now() + FUNCTION);
    let start = Instant::now();
    let done = std::cell::Cell::new([0, 0]);
    let (first, second) = (names(0..50), names(50..100));
    let halves = tokio::join!(
        one.refresher.run(&first, end, |count, _| done.set([count, done.get()[1]])),
        other.refresher.run(&second, end, |count, _| {
            done.set([done.get()[0], count]);
            // Not all at once, but when most work is done, both have had their share.
            if count == 35 {
                assert!(done.get()[0] >= 20, "{:?}", done.get());
            }
        }),
    );
    let refreshed = [halves.0, halves.1].map(|report| report.expect("a report").refreshed);
    println!("100 due in two processes at 3 a second: {:?}", start.elapsed());
    assert_eq!((refreshed, wasted(&world)), ([50, 50], 0));
    assert!(start.elapsed().as_secs_f64() <= 1.2 * 100.0 / 3.0 + 3.0, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn always_throttled_connections_do_not_delay_healthy_ones() {
    // Their number and their place in the order of work are random.
    for (seed, sick) in (0..20).flat_map(|seed| [1, 3, 8].map(|sick| (seed, sick))) {
        let world = World::new(seed, puts(10.0, 10.0));
        let mut healthy = world.connect_many(120 + sick, 0);
        for _ in 0..sick {
            let place = world.state.borrow_mut().random.below(healthy.len());
            world.out_of_order(Fault::Throttled(healthy.remove(place)), WEEKS);
        }
        let instance = world.instance();
        for run in 0..4 {
            instance.run(Some(FUNCTION)).await.expect("a report");
            let fresh = healthy.iter().filter(|&&index| world.life(index) > MARGIN).count();
            assert_eq!(fresh, 120, "run {run} with {sick} sick, seed {seed}");
            sleep(INTERVAL).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_with_an_unknown_error_do_not_delay_healthy_ones() {
    let world = World::new(1, puts(10.0, 10.0));
    let all = world.connect_many(160, 0);
    for &sick in &all[..40] {
        world.out_of_order(Fault::UnknownWord(sick), WEEKS);
    }
    let instance = world.instance();
    for _ in 0..6 {
        instance.run(Some(FUNCTION)).await.expect("a report");
        assert!(all[40..].iter().all(|&index| world.life(index) > MARGIN));
        sleep(INTERVAL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_data_center_does_not_delay_the_other() {
    let world = World::new(1, puts(10.0, 10.0));
    let hung: Vec<_> = (0..60).map(|_| world.connect(0, 0)).collect();
    let healthy: Vec<_> = (0..60).map(|_| world.connect(1, 1)).collect();
    world.out_of_order(Fault::DataCenter(0, Way::Hang, 1.0), WEEKS);
    let instance = world.instance();
    for _ in 0..6 {
        let start = world.now();
        instance.run(Some(FUNCTION)).await.expect("a report");
        assert!(healthy.iter().all(|&index| world.life(index) > MARGIN));
        let issued = |&index: &usize| world.newest(index).and_then(|lease| Some(lease.token.as_ref()?.issued_at));
        let last = healthy.iter().filter_map(issued).max().expect("a token").duration_since(start).as_secs();
        println!("60 due beside 60 of a hung data centre: the last is renewed after {last} s");
        // Ten seconds for the requests that are under way before the fault is known, plus the work.
        assert!(last <= 20, "{last} s");
        sleep(INTERVAL).await;
    }
    assert!(hung.iter().all(|&index| world.life(index).is_zero()));
}

#[tokio::test(start_paused = true)]
async fn if_the_store_refuses_for_good_a_few_tokens_are_lost_and_then_one_a_run() {
    let world = World::new(1, puts(10.0, 10.0));
    world.connect_many(120, 0);
    world.out_of_order(Fault::Puts(Way::Refuse), WEEKS);
    let instance = world.instance();
    instance.run(Some(FUNCTION)).await.expect("a report");
    let first = wasted(&world);
    assert!(first <= 3 + CONCURRENCY, "{first}");
    for _ in 0..5 {
        sleep(INTERVAL).await;
        let before = wasted(&world);
        instance.run(Some(FUNCTION)).await.expect("a report");
        assert!(wasted(&world) - before <= 3, "{before}, then {}", wasted(&world));
    }
    println!("puts refused for good: {first} wasted, {} after six runs", wasted(&world));
}

#[tokio::test(start_paused = true)]
async fn a_brake_releases_within_the_run_in_which_the_outage_ends() {
    // When a run can do nothing else, it waits for ten seconds at most.
    for (fault, length) in [
        (Fault::DataCenter(0, Way::Fail, 1.0), 20),
        (Fault::DataCenter(0, Way::Hang, 1.0), 20),
        (Fault::ClientThrottled(0), 20),
        (Fault::Puts(Way::Refuse), 4),
    ] {
        let world = World::new(1, puts(10.0, 10.0));
        world.connect_many(60, 0);
        // The other connections keep the run busy until the outage is over.
        let others: Vec<_> = (0..600).map(|_| world.connect(1, 1)).collect();
        world.out_of_order(fault, seconds(length));
        let report = world.instance().run(Some(FUNCTION)).await.expect("a report");
        let fresh = |index: &usize| world.life(*index) > MARGIN;
        let (concerned, rest) = ((0..60).filter(fresh).count(), others.iter().filter(|index| fresh(index)).count());
        println!("{fault:?} for {length} s: {concerned} of 60 concerned and {rest} of 600 others in the same run");
        // Requests that were under way before the fault was known have failed.
        assert!(concerned >= 30, "{fault:?}: {concerned} of 60, {:?}", report.failed);
        assert!(rest == 600 || fault == Fault::Puts(Way::Refuse), "{fault:?}: {rest} of 600");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_tried_again_with_the_grant_that_has_worked_last() {
    let world = World::new(1, puts(10.0, 10.0));
    let healthy = world.connect_many(20, 0);
    let throttled = world.connect(0, 0);
    let instance = world.instance();
    instance.run(Some(FUNCTION)).await.expect("a report");
    // Nothing can be written, so that nobody remembers who is throttled; its lease is of an older
    // grant, and says nothing.
    world.out_of_order(Fault::Puts(Way::Refuse), 11 * INTERVAL + seconds(600));
    world.out_of_order(Fault::Throttled(throttled), WEEKS);
    assert!(!world.consent(throttled, seconds(10)).await.expect("a consent").published);
    for _ in 0..12 {
        sleep(INTERVAL).await;
        instance.run(Some(FUNCTION)).await.expect("a report");
    }
    assert!(healthy.iter().all(|&index| world.life(index) > MARGIN));
}

/// Fails if, after a consent, a revoked token is active or a fresh grant is marked dead.
fn put_right(world: &World, index: usize) -> Result<(), String> {
    let lease = world.newest(index).ok_or("no lease")?;
    let (_, version, _) = world.in_force(index);
    match lease.status {
        Status::Active if !world.lives(index, &lease) => Err(format!("a revoked token is active: {lease:?}")),
        Status::ConsentRequired(_) => Err(format!("a fresh grant is called dead: {lease:?}")),
        _ if lease.grant_version != version => Err(format!("not of the new grant: {lease:?}")),
        _ => Ok(()),
    }
}

/// Starts a run and, this much later, a consent. Returns the state after both.
async fn run_and_consent(after: Duration, seed: u64, stale: bool, dead: bool, plain: bool) -> Result<(), String> {
    let world = World::new(seed, puts(3.0, 5.0));
    world.stale.set(stale);
    let index = world.connect(0, 0);
    world.connect_many(8, 0);
    world.lease(index, if dead { -600 } else { 600 });
    if dead {
        world.take_back(index);
    }
    sleep(seconds(10)).await;
    let instance = world.instance();
    instance.port.process().plain.set(plain);
    let consent = async {
        sleep(after).await;
        world.consent(index, Duration::ZERO).await
    };
    let (report, connected) = tokio::join!(instance.run(Some(FUNCTION)), consent);
    let (report, connected) = (report.expect("a report"), connected.map_err(|stop| format!("{stop:?}"))?);
    assert!(connected.published, "{connected:?}");
    put_right(&world, index).map_err(|wrong| format!("{wrong}, {:?}", report.outcomes))
}

#[tokio::test(start_paused = true)]
async fn a_consent_at_any_moment_of_a_run_is_in_force_afterwards() {
    let mut moments = 0;
    for (dead, stale, plain) in [
        (false, false, false),
        (false, true, false),
        (true, false, false),
        (true, true, false),
        (false, true, true),
        (true, true, true),
    ] {
        // A run over nine connections takes four seconds. The consent starts at every 25 ms from
        // the run's beginning to its end.
        for moment in 0..280 {
            for seed in 0..2 {
                let after = millis(25 * moment);
                let wrong = run_and_consent(after, seed, stale, dead, plain).await;
                wrong.unwrap_or_else(|wrong| {
                    panic!("{wrong}: {after:?} into a run, dead {dead}, stale {stale}, plain {plain}, seed {seed}")
                });
                moments += 1;
            }
        }
    }
    println!("{moments} moments for a consent");
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_of_both_stores_does_not_mark_a_fresh_grant_dead() {
    // The owner removes the app and agrees again at once, and a run starts in the same second.
    for seed in 0..400 {
        let world = World::new(seed, puts(3.0, 5.0));
        world.stale.set(true);
        let index = world.connect(0, 0);
        world.lease(index, 600);
        sleep(seconds(10)).await;
        world.take_back(index);
        world.consent(index, Duration::ZERO).await.expect("a consent");
        world.instance().run(Some(FUNCTION)).await.expect("a report");
        put_right(&world, index).unwrap_or_else(|wrong| panic!("{wrong}, seed {seed}"));
        let notices = &world.state.borrow().notices;
        assert!(notices.iter().all(|notice| matches!(notice.says, Says::Consented(_))), "{notices:?}, seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_workers_refresh_ten_thousand_connections_once_each_through_the_queue() {
    let world = World::new(1, puts(10.0, 10.0));
    world.connect_many(10_000, 0);
    let platform = Platform::new(world.clone(), 500, 2);
    let start = Instant::now();
    platform.schedule(FUNCTION, None).await;
    let invocations = platform.over.borrow().len();
    println!("10,000 through the queue at 10 puts a second: {:?} in {invocations} invocations", start.elapsed());
    assert_eq!((mints(&world), wasted(&world), platform.dead_letters.get()), (10_000, 0, 0));
    assert!((0..10_000).all(|index| !world.life(index).is_zero()), "one is forgotten");
}
