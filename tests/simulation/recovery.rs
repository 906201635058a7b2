//! Stories of rotating refresh tokens: runs that are cut off, the runs that recover from that, and
//! somebody else beside them. The [ledger](crate::rotation) fails on the way if a refresh token is
//! sent that must not be sent, or a grant is lost that no cut explains.

use std::rc::Rc;
use std::time::Duration;

use testkit::quota::Quotas;
use token_keeper::lease::Status;
use tokio::time::sleep;

use crate::platform::FUNCTION;
use crate::rotation::{KINDS, Kind};
use crate::world::{Death, Fault, Way, World, millis, seconds};

const INTERVAL: Duration = Duration::from_mins(15);

/// What happens to a run, at moments after its beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    cut: Option<Duration>,
    /// Another process starts.
    second: Option<Duration>,
    /// An operator changes a field.
    edit: Option<Duration>,
    /// As soon as a refresh token is redeemed, the secrets are out of order for a minute.
    store_out: Option<Way>,
}

async fn at(moment: Option<Duration>, work: impl Future<Output = ()>) {
    if let Some(moment) = moment {
        sleep(moment).await;
        work.await;
    }
}

async fn run(world: &Rc<World>, beside: Beside) {
    let run = async {
        // A run that cannot read the stores does nothing.
        let _ = world.instance().run(Some(FUNCTION)).await;
    };
    let cut_off = async {
        tokio::select! {
            biased;
            () = run => {}
            () = sleep(beside.cut.unwrap_or(FUNCTION)) => {}
        }
    };
    let second = at(beside.second, async { drop(world.instance().run(Some(FUNCTION)).await) });
    let edit = at(beside.edit, world.edit(0));
    let out = async {
        let Some(way) = beside.store_out else { return };
        for _ in 0..400 {
            if world.state.borrow().is_redeemed() {
                return world.out_of_order(Fault::Secrets(way), seconds(60));
            }
            sleep(millis(5)).await;
        }
    };
    tokio::join!(cut_off, second, edit, out);
}

/// A connection is due, and its run and the next one are disturbed. Returns whether it was lost.
async fn live(kind: &'static Kind, seed: u64, first: Beside, next: Beside) -> bool {
    let story = format!("{}, seed {seed}: {first:?}, then {next:?}", kind.name);
    let world = World::new(seed, Quotas::lifted());
    world.stale.set(true);
    let server = world.server(kind);
    let index = world.connect_to(server);
    let told = Told(&story);
    let quiet = Beside::default();
    // The disturbed run comes when a refresh token is to be replaced.
    for _ in 0..if kind.name.starts_with("sometimes") { 4 } else { 1 } {
        run(&world, quiet).await;
        sleep(if kind.late { INTERVAL * 31 } else { INTERVAL * 2 }).await;
    }
    for beside in [first, next, quiet, quiet, quiet, quiet, quiet] {
        run(&world, beside).await;
        sleep(seconds(780)).await;
    }
    std::mem::forget(told);
    let (_, version, family) = world.in_force(index);
    let state = world.state.borrow();
    let lost = state.refresh_tokens[family].dead.map(|(_, why)| why);
    let lease = state.connections[index].newest().expect("a lease");
    let claims = state.connections[index].claims.now();
    // A copy goes with the next mint, which is hours away where it comes late.
    assert!(kind.late || claims.values().all(|claim| claim.kept.is_none()), "{story}: a claim keeps a token");
    assert!(claims.len() <= 8, "{story}: {} claims", claims.len());
    if lost == Some(Death::Lost) {
        assert!(
            matches!(&lease.status, Status::ConsentRequired(trouble) if trouble.error == "rotation_lost"),
            "{story}"
        );
        return true;
    }
    assert_eq!((&lease.status, &lease.grant_version), (&Status::Active, &version), "{story}");
    drop(state);
    assert!(!world.life(index).is_zero(), "{story}: no living token");
    false
}

/// Says which story fails.
struct Told<'s>(&'s str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("{}", self.0);
    }
}

/// Every so often until a run is over.
fn moments(every: u64) -> impl Iterator<Item = Duration> {
    (0..1500 / every).map(move |count| millis(every * count))
}

#[tokio::test(start_paused = true)]
async fn a_run_and_its_recovery_may_be_cut_off_at_any_moment() {
    for kind in &KINDS {
        let (mut lost, mut stories) = (0, 0);
        for cut in moments(60) {
            for again in moments(100) {
                let cut_at = |cut| Beside { cut: Some(cut), ..Beside::default() };
                lost += u64::from(live(kind, 1 + stories % 3, cut_at(cut), cut_at(again)).await);
                stories += 1;
            }
        }
        println!("{}: {lost} of {stories} lost", kind.name);
        assert_eq!(lost > 0, kind.kills, "{}", kind.name);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_claim_keeps_is_stored_by_the_next_run_though_that_is_cut_off_too() {
    for kind in &KINDS {
        for way in [Way::Fail, Way::Break, Way::Refuse, Way::Hang] {
            for cut in moments(40) {
                let first = Beside { store_out: Some(way), ..Beside::default() };
                let next = Beside { cut: Some(cut), ..Beside::default() };
                assert!(!live(kind, 1, first, next).await, "{}: {way:?}, {cut:?}", kind.name);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_at_once_one_recovers() {
    for kind in &KINDS {
        for cut in moments(100) {
            for second in moments(150) {
                let first = Beside { cut: Some(cut), second: Some(second), ..Beside::default() };
                live(kind, 2, first, Beside::default()).await;
                let first = Beside { cut: Some(cut), ..Beside::default() };
                let next = Beside { second: Some(second), ..Beside::default() };
                live(kind, 3, first, next).await;
            }
            let first = Beside { store_out: Some(Way::Fail), ..Beside::default() };
            let next = Beside { second: Some(cut), ..Beside::default() };
            assert!(!live(kind, 4, first, next).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_change_a_field_at_any_moment() {
    for kind in &KINDS {
        for edit in moments(50) {
            for seed in 0..2 {
                let edited = Beside { edit: Some(edit), ..Beside::default() };
                assert!(!live(kind, seed, edited, edited).await);
                let twice = Beside { second: Some(edit / 2), ..edited };
                assert!(!live(kind, seed, twice, twice).await);
                let out = Beside { store_out: Some(Way::Fail), ..edited };
                assert!(!live(kind, seed, out, edited).await);
                assert!(!live(kind, seed, Beside { store_out: Some(Way::Fail), ..Beside::default() }, twice).await);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_refresh_ends_the_access_token_a_lost_answer_is_no_reason_to_wait() {
    let kind = KINDS.iter().find(|kind| kind.late).expect("one");
    for cut in moments(50) {
        let world = World::new(1, Quotas::lifted());
        let index = world.connect_to(world.server(kind));
        run(&world, Beside::default()).await;
        sleep(INTERVAL).await;
        // Long before the token ends, an edit makes the connection due.
        world.edit(index).await;
        run(&world, Beside { cut: Some(cut), ..Beside::default() }).await;
        for _ in 0..2 {
            sleep(INTERVAL).await;
            run(&world, Beside::default()).await;
        }
        let (.., family) = world.in_force(index);
        let lost = world.state.borrow().refresh_tokens[family].dead.is_some();
        assert!(lost || !world.life(index).is_zero(), "cut after {cut:?}: programs have no living token");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zoho_connection_costs_not_one_call_more_where_others_rotate() {
    let calls = async |rotating: bool| {
        let world = World::new(7, Quotas::lifted());
        world.rotating.set(rotating);
        world.stale.set(true);
        world.faulty.set(true);
        world.connect_many(60, 0);
        world.take_back(3);
        for _ in 0..20 {
            world.instance().run(Some(FUNCTION)).await.expect("a report");
            sleep(INTERVAL).await;
        }
        let counts = &world.state.borrow().counts;
        (counts.mints, counts.calls.clone())
    };
    let with = calls(true).await;
    assert_eq!(with, calls(false).await);
    let actions: Vec<_> = with.1.keys().copied().collect();
    let wanted =
        ["secretsmanager:BatchGetSecretValue", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:PutParameter"];
    assert_eq!(actions, wanted);
}
