//! A year in a minute: 35,040 runs over 200 connections of Zoho's and some that rotate, in a world
//! full of faults.
//!
//! A seed is a quarter of a year at one quota, with or without the queue. Four seeds in a row are a
//! year with every combination.
//!
//! A step is what the schedule starts, with everything that follows from it. **The promises**,
//! checked after every step:
//!
//! 1. If a step reached a connection, its lease is active and belongs to the current grant. Its
//!    token lives at Zoho for at least 35 minutes (the margin) after the step began. So no failure
//!    delays another connection's renewal, and a connection that failed has a token again one step
//!    later.
//! 2. From then on a reader has that token, whatever fails. It has at least 15 minutes of life
//!    until the next step that reaches the connection, if that is the very next one and no process
//!    was killed in it. If one step was lost, the token still lives. It cannot last longer: a token
//!    lives an hour and is minted at half of its life.
//! 3. Every minted token is published. The exceptions: 16 (all at work at once) in a killed
//!    process; 3 and those 16 in an invocation beside an outage of the store; 1 in an invocation
//!    whose time is over.
//! 4. No connection gets more than 50 tokens a day, plus one for each wasted token, each consent
//!    and each overlapping invocation.
//! 5. Zoho is asked once for a dead grant, and never in a pause that it asked for.
//! 6. When a consent and the run beside it are over, the consent is in force: no revoked token is
//!    active, and no fresh grant is marked dead.
//! 7. A death and a recovery send one notice each, and so does each consent whose lease is
//!    published. Every notice is true, and every death has one.
//!
//! 8. Connections whose refresh tokens rotate, at providers with every rule for a second use:
//!    - A refresh token has one sender at a time. It is not sent again if its successor is stored;
//!      or if an answer was lost where a second use kills, except near the end of the access token,
//!      or where a refresh ends that anyway.
//!    - A grant ends only by a revocation, or because an answer was lost, or the process that had
//!      it, where that kills; or where it was out of reach for as long as it takes a refresh token
//!      again. Each such cut costs one grant at most.
//!    - Promises 1, 2 and 4 to 7 hold for them too, but after a cut only this: two steps later
//!      programs have a living token, or the grant is lost.
//!    - A grant that a consent has replaced never comes back.
//!    - There are few claims, and none keeps a refresh token once things have gone well for
//!      an hour.
//!
//! **What reaches a connection**: an invocation over it that is not lost or killed and has at least
//! five minutes. From four minutes (the longest pause of a brake) before the step to its end, no
//! fault affects the connection. These faults affect:
//!
//! - all connections: an outage of Parameter Store, Secrets Manager or the queue in use;
//! - those of a data centre or of another provider: its outage;
//! - those of a client: its throttle or refusal;
//! - those that rotate: an outage of Secrets Manager for writes;
//! - one connection: its own throttle, its unknown error, a dead grant, a consent or an edit in
//!   this step, and a pause that Zoho asked for.
//!
//! These affect none, because the refresher must cope with them: passing faults, stale reads, slow
//! answers, other programs that use half of the account's puts, doubled invocations, and new
//! processes.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use testkit::quota::Quotas;
use token_keeper::claim::TokenHash;
use token_keeper::lease::Status;
use token_keeper::name::VersionId;
use token_keeper::secret::RefreshToken;
use tokio::time::{Instant, sleep, sleep_until};

use crate::platform::{FUNCTION, Invocation, Platform};
use crate::random::Random;
use crate::rotation::{Counted, KINDS, Lost};
use crate::world::{CONCURRENCY, Death, Episode, Fault, MARGIN, Notice, Says, Way, World, millis, seconds};

const CONNECTIONS: usize = 200;
const CLIENTS: usize = 12;
/// Connections at each kind of provider whose refresh tokens rotate. They come after Zoho's.
const OF_EACH_KIND: usize = 2;
const ALL: usize = CONNECTIONS + OF_EACH_KIND * KINDS.len();
/// A quarter of a year.
const STEPS: u32 = 8760;
const STEPS_A_DAY: u32 = 96;
const INTERVAL: Duration = Duration::from_mins(15);
/// The longest pause of a brake, plus the last request that can lengthen it.
const BRAKES: Duration = Duration::from_secs(250);
/// The shortest life that a reader has.
const LEAST_LIFE: Duration = Duration::from_mins(15);
const MINTS_A_DAY: u32 = 50;
/// Claims of a connection to which nothing has happened for hours.
const MOST_CLAIMS: usize = 5;
const DAY: Duration = Duration::from_hours(24);

/// What happened in a quarter.
#[derive(Default)]
struct Sum {
    steps: u64,
    invocations: u64,
    killed: u64,
    mints: u64,
    puts: u64,
    refused_puts: u64,
    late_writes: u64,
    wasted: u64,
    outages: u64,
    consents: u64,
    unpublished_consents: u64,
    deaths: u64,
    notices: u64,
    reached: u64,
    shortest_life: Option<Duration>,
    rotating: Counted,
    rotating_reached: u64,
    most_claims: usize,
}

/// What the checks remember of a connection.
#[derive(Clone, Default)]
struct Memory {
    /// When the last step that reached it began.
    reached: Option<Instant>,
    /// The same, before this step.
    before: Option<Instant>,
    /// Whether an invocation over it was killed in this step, so that its renewal was late.
    late: bool,
    /// Steps that would have reached it without its dead grant.
    dead_for: u32,
    /// When the grant of these steps died.
    died: Option<Instant>,
    more_mints: u32,
    notified_dead: bool,
    /// The rest is about connections that rotate. Whether there is a claim on the stored token.
    open: bool,
    /// Steps in a row that reached it and in which no answer was lost.
    steady: u32,
    steady_steps: Vec<Instant>,
    /// Since when it has been as one of Zoho's.
    whole: Option<Instant>,
}

struct Quarter {
    seed: u64,
    step: Cell<u32>,
    queue: bool,
    quota: f64,
    world: Rc<World>,
    platform: Platform,
    timetable: Vec<Episode>,
    memory: Vec<Memory>,
    /// The connections whose user will agree, and from which step on.
    agreeing: Vec<(u32, usize)>,
    asked_dead: HashMap<usize, u32>,
    dead_notices: HashMap<VersionId, u32>,
    /// What started in this step.
    story: Vec<String>,
    sum: Sum,
}

/// Prints how to repeat a failure.
impl Drop for Quarter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, step) = (self.seed, self.step.get());
            eprintln!("in step {step} of seed {seed}; to see it again: make simulate SEED={seed}");
            let time = |instant| self.world.time(instant);
            for line in &self.story {
                eprintln!("  {line}");
            }
            // If the world itself panics, it still holds the state.
            if let Ok(state) = self.world.state.try_borrow() {
                for Episode { fault, from, until } in &state.episodes {
                    eprintln!("  {} to {}: {fault:?}", time(*from), time(*until));
                }
            }
        }
    }
}

type Activity<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

impl Quarter {
    fn new(seed: u64) -> Self {
        let (quota, queue) = (if seed.is_multiple_of(2) { 3.0 } else { 10.0 }, seed / 2 % 2 == 1);
        let quotas = Quotas { puts_per_second: quota, ..Quotas::default() };
        let world = World::new(seed, quotas);
        world.stale.set(true);
        world.faulty.set(true);
        for index in 0..CONNECTIONS {
            // Each client lives in one data centre.
            world.connect(index % CLIENTS, index % 3);
        }
        for kind in &KINDS {
            let server = world.server(kind);
            (0..OF_EACH_KIND).for_each(|_| _ = world.connect_to(server));
        }
        let mut platform = Platform::new(world.clone(), if queue { 50 } else { 500 }, 2);
        // Twice as many puts, if the quota allows them.
        platform.plain = seed % 8 >= 5;
        (platform.kills, platform.duplicates) = (0.01, 0.02);
        let timetable = timetable(&mut Random::new(!seed), quota, queue);
        Self {
            seed,
            step: Cell::new(0),
            queue,
            quota,
            world,
            platform,
            timetable,
            memory: vec![Memory::default(); ALL],
            agreeing: Vec::new(),
            asked_dead: HashMap::new(),
            dead_notices: HashMap::new(),
            story: Vec::new(),
            sum: Sum::default(),
        }
    }

    fn chance(&self, probability: f64) -> bool {
        self.world.state.borrow_mut().random.chance(probability)
    }

    fn between(&self, least: Duration, most: Duration) -> Duration {
        self.world.state.borrow_mut().random.between(least, most)
    }

    async fn live(mut self, steps: u32) -> Sum {
        let start = Instant::now();
        for step in 0..steps {
            self.step.set(step);
            let begin = start + INTERVAL * step;
            sleep_until(begin).await;
            self.announce(begin);
            let consents = self.happen(step).await;
            self.check(begin, &consents);
            // The last moment before the next step.
            sleep_until(start + INTERVAL * (step + 1) - millis(1)).await;
            self.check_readers();
        }
        let state = self.world.state.borrow();
        let counts = &state.counts;
        self.sum.steps = steps.into();
        (self.sum.mints, self.sum.puts, self.sum.refused_puts) = (counts.mints, counts.puts, counts.refused_puts);
        (self.sum.late_writes, self.sum.notices) = (counts.put_right, counts.notices);
        drop(state);
        self.sum.rotating = std::mem::take(&mut self.world.state.borrow_mut().ledger.counts);
        std::mem::take(&mut self.sum)
    }

    /// Starts the faults of this step and removes those that are over.
    fn announce(&mut self, begin: Instant) {
        let soon = self.timetable.partition_point(|episode| episode.from < begin + INTERVAL);
        let mut state = self.world.state.borrow_mut();
        state.episodes.retain(|episode| begin < episode.until + INTERVAL);
        self.sum.outages += soon as u64;
        state.episodes.extend(self.timetable.drain(..soon));
        for connection in 0..ALL {
            state.least_life[connection] = Duration::MAX;
        }
    }

    /// Runs everything that starts in this step to its end. Returns the consents and their results.
    async fn happen(&mut self, step: u32) -> Vec<(usize, bool)> {
        if self.chance(0.02) {
            self.platform.recycle();
        }
        let this = &*self;
        let (deaths, done, again) = (Cell::new(0), RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let consented = Cell::new([0, 0]);
        let mut activities: Vec<Activity<'_>> = Vec::new();
        if !this.chance(0.01) {
            let length = if this.chance(0.01) { this.between(seconds(5), seconds(100)) } else { FUNCTION };
            let kill = this.chance(0.01).then(|| this.between(Duration::ZERO, seconds(60)));
            let late = this.between(Duration::ZERO, seconds(60));
            activities.push(Box::pin(async move {
                sleep(late).await;
                this.platform.schedule(length, kill).await;
            }));
        }
        // A schedule may start the function twice, and people start it by hand.
        if this.chance(0.04) {
            let late = this.between(Duration::ZERO, seconds(if this.chance(0.5) { 3 } else { 120 }));
            let kill = this.chance(0.1).then(|| this.between(Duration::ZERO, seconds(60)));
            activities.push(Box::pin(async move {
                sleep(late).await;
                this.platform.schedule(FUNCTION, kill).await;
            }));
        }
        // Where tokens rotate, more happens to each.
        let somebody = || {
            let random = &mut this.world.state.borrow_mut().random;
            if random.chance(0.8) { random.below(CONNECTIONS) } else { CONNECTIONS + random.below(ALL - CONNECTIONS) }
        };
        // Most consents come while a run is at work, because that is the interesting case.
        let when = || this.between(Duration::ZERO, seconds(if this.chance(0.7) { 90 } else { 500 }));
        let agreeing = RefCell::new(Vec::new());
        if this.chance(0.035) {
            let (index, late, at_once) = (somebody(), when(), this.chance(0.2));
            let later = this.world.state.borrow_mut().random.of_any_size(seconds(600), DAY * 2);
            let later = u32::try_from(later.as_secs() / INTERVAL.as_secs()).expect("days");
            agreeing.borrow_mut().push((step + u32::from(!at_once) * later, index));
            let deaths = &deaths;
            activities.push(Box::pin(async move {
                sleep(late).await;
                this.world.take_back(index);
                deaths.set(deaths.get() + 1);
            }));
        }
        if this.chance(0.04) {
            agreeing.borrow_mut().push((step, somebody()));
        }
        if this.chance(0.1) {
            let random = || this.world.state.borrow_mut().random.below(ALL - CONNECTIONS);
            let (index, late, done) = (CONNECTIONS + random(), when(), &done);
            activities.push(Box::pin(async move {
                sleep(late).await;
                this.world.edit(index).await;
                done.borrow_mut().push((index, false));
            }));
        }
        agreeing.borrow_mut().extend(&this.agreeing);
        let (now, later) = agreeing.take().into_iter().partition(|(from, _)| *from <= step);
        let now: Vec<(u32, usize)> = now;
        for (_, index) in now {
            for _ in 0..if this.chance(0.05) { 2 } else { 1 } {
                let (late, thinking) = (when(), this.between(millis(100), seconds(20)));
                let (done, again, consented) = (&done, &again, &consented);
                activities.push(Box::pin(async move {
                    sleep(late).await;
                    let connected = this.world.consent(index, thinking).await;
                    let published = connected.as_ref().is_ok_and(|connected| connected.published);
                    done.borrow_mut().push((index, published));
                    consented.set([consented.get()[0] + 1, consented.get()[1] + u64::from(!published)]);
                    if connected.is_err() {
                        // A user who meets an outage comes back some hours later.
                        again.borrow_mut().push((step + 10, index));
                    }
                }));
            }
        }
        join_all(activities).await;
        let (deaths, [consents, unpublished]) = (deaths.get(), consented.get());
        self.agreeing = later;
        // Nobody agrees again if the grant is alive.
        let again = again.take().into_iter().filter(|(_, index)| self.dead(*index).is_some());
        let again: Vec<_> = again.collect();
        self.agreeing.extend(again);
        self.note_lost(step);
        self.sum.deaths += deaths;
        self.sum.consents += consents;
        self.sum.unpublished_consents += unpublished;
        done.take()
    }

    /// Why and when the current grant died.
    fn dead(&self, index: usize) -> Option<(Instant, Death)> {
        let (.., refresh_token) = self.world.in_force(index);
        self.world.state.borrow().refresh_tokens[refresh_token].dead
    }

    fn check(&mut self, begin: Instant, consents: &[(usize, bool)]) {
        let end = Instant::now();
        assert!(end < begin + INTERVAL, "the step took {:?}", end - begin);
        let invocations = self.platform.over.take();
        self.sum.invocations += invocations.len() as u64;
        self.sum.killed += invocations.iter().filter(|invocation| invocation.killed).count() as u64;
        let time = |instant| self.world.time(instant);
        let line = |one: &Invocation| {
            let what = match &one.connections {
                None if one.dispatched => "dispatch".to_owned(),
                None => "all".to_owned(),
                Some(connections) => format!("from c{:05}", connections[0]),
            };
            let killed = if one.killed { ", killed" } else { "" };
            format!(
                "{} to {}: invocation {} over {what}, of {:?}{killed}",
                time(one.from),
                time(one.until),
                one.id,
                one.length
            )
        };
        self.story =
            invocations.iter().map(line).chain(consents.iter().map(|consent| format!("{consent:?}"))).collect();
        self.check_waste(&invocations);
        self.check_dead(&invocations, consents);
        self.check_notices(begin, end, &invocations, consents);
        self.check_consents(begin, end, &invocations, consents);
        self.check_reached(begin, end, &invocations, consents);
        if (self.step.get() + 1).is_multiple_of(STEPS_A_DAY) {
            for (index, memory) in self.memory.iter_mut().enumerate() {
                let mints = std::mem::take(&mut self.world.state.borrow_mut().mints_of[index]);
                let most = MINTS_A_DAY + std::mem::take(&mut memory.more_mints);
                assert!(mints <= most, "c{index:05} got {mints} tokens in a day, and {most} are the most");
            }
        }
    }

    /// Checks promise 3.
    fn check_waste(&mut self, invocations: &[Invocation]) {
        let wasted = std::mem::take(&mut self.world.state.borrow_mut().unpublished);
        self.sum.wasted += wasted.len() as u64;
        let mut by_invocation: HashMap<u64, usize> = HashMap::new();
        for (connection, invocation) in wasted.into_values() {
            *by_invocation.entry(invocation).or_default() += 1;
            self.memory[connection].more_mints += 1;
        }
        for (id, count) in by_invocation {
            let invocation = invocations.iter().find(|invocation| invocation.id == id).expect("one of this step");
            let outage =
                self.world.disturbed(invocation.from, invocation.until, |fault| matches!(fault, Fault::Puts(_)));
            let most = match (invocation.killed, outage, invocation.cut()) {
                (_, true, _) => 3 + CONCURRENCY,
                (true, ..) => CONCURRENCY,
                (.., true) => 1,
                _ => 0,
            };
            assert!(count <= most, "invocation {id} wasted {count} tokens; at most {most} are allowed");
        }
    }

    /// Whether another invocation over this connection was at work at the same time, or so close
    /// that stale reads may hide one from the other.
    fn overlapped(invocations: &[Invocation], one: &Invocation, connection: usize) -> bool {
        let margin = seconds(2);
        invocations.iter().any(|other| {
            other.id != one.id
                && other.covers(connection)
                && other.from <= one.until + margin
                && one.from <= other.until + margin
        })
    }

    /// Checks the first half of promise 5. The world checks the second half.
    fn check_dead(&mut self, invocations: &[Invocation], consents: &[(usize, bool)]) {
        let asks = std::mem::take(&mut self.world.state.borrow_mut().asks);
        // In another version a dead grant is tried again.
        for (index, _) in consents {
            self.asked_dead.remove(&self.world.in_force(*index).2);
        }
        for ask in asks.into_iter().filter(|ask| ask.dead) {
            let one = invocations.iter().find(|invocation| invocation.id == ask.invocation).expect("one of this step");
            let store = |fault: &Fault| {
                matches!(fault, Fault::Puts(_) | Fault::Reads(_) | Fault::Secrets(_) | Fault::SecretWrites(_))
            };
            // Beside a consent, one store may answer as before it and the other as after it.
            if one.killed
                || one.cut()
                || consents.iter().any(|(index, _)| *index == ask.connection)
                || self.world.disturbed(one.from, one.until, store)
                || Self::overlapped(invocations, one, ask.connection)
            {
                continue;
            }
            let asked = self.asked_dead.entry(ask.refresh_token).or_default();
            *asked += 1;
            assert!(*asked <= 1, "c{:05} is asked for {asked} times with one dead grant", ask.connection);
        }
    }

    /// Checks promise 7.
    fn check_notices(&mut self, begin: Instant, end: Instant, invocations: &[Invocation], consents: &[(usize, bool)]) {
        let notices = std::mem::take(&mut self.world.state.borrow_mut().notices);
        for (index, _) in consents.iter().filter(|(_, published)| *published) {
            let said = |notice: &Notice| notice.connection == *index && matches!(notice.says, Says::Consented(_));
            assert!(notices.iter().any(said), "c{index:05}: no notice of its consent");
        }
        let puts = self.world.disturbed(begin, end, |fault| matches!(fault, Fault::Puts(_)));
        for notice in notices {
            let index = notice.connection;
            let covering = || invocations.iter().filter(|invocation| invocation.covers(index));
            // Two invocations at the same time cannot see each other, and a put without an answer
            // is repeated.
            let twice = puts
                || covering().any(|one| Self::overlapped(invocations, one, index))
                || consents.iter().any(|(consenting, _)| *consenting == index);
            let memory = &mut self.memory[index];
            if let Says::Consented(version) = &notice.says {
                let consented = self.world.state.borrow().is_consented(version);
                assert!(consented, "nobody consented to c{index:05}");
                memory.notified_dead = false;
            } else if let Says::Dead(version) = notice.says {
                let death = self.world.state.borrow().death_of(index, &version);
                assert!(
                    matches!(death, Some(Death::Owner | Death::Lost)),
                    "c{index:05} is called dead in {version:?}: {death:?}"
                );
                let notices = self.dead_notices.entry(version).or_default();
                *notices += 1;
                assert!(*notices == 1 || twice, "c{index:05} was marked dead {notices} times");
                memory.notified_dead = true;
            } else {
                assert!(memory.notified_dead || twice, "c{index:05} has recovered from nothing");
                memory.notified_dead = false;
            }
        }
    }

    /// Checks promise 6.
    fn check_consents(&mut self, begin: Instant, end: Instant, invocations: &[Invocation], consents: &[(usize, bool)]) {
        let stores = |fault: &Fault| {
            matches!(fault, Fault::Puts(_) | Fault::Reads(_) | Fault::Secrets(_) | Fault::SecretWrites(_))
        };
        let quiet = !self.world.disturbed(begin, end, stores);
        for &(index, published) in consents {
            self.memory[index].more_mints += 2;
            self.memory[index].reached = None;
            let cut = invocations.iter().any(|one| one.covers(index) && (one.killed || one.cut()));
            // An operator's edit after it gives the grant another version.
            let edited = index >= CONNECTIONS && consents.iter().filter(|(other, _)| *other == index).count() > 1;
            if !published || edited || cut || !quiet || self.dead(index).is_some() {
                continue;
            }
            let lease = self.world.newest(index).expect("a lease");
            let (_, version, _) = self.world.in_force(index);
            let lives = self.world.lives(index, &lease);
            assert!(lives || lease.status != Status::Active, "c{index:05}: a revoked token is active: {lease:?}");
            assert_eq!(lease.grant_version, version, "c{index:05}: not of the consent's grant: {lease:?}");
        }
        // This must hold during any fault: nothing would ever repair it.
        for index in 0..ALL {
            let Some(lease) = self.world.newest(index) else { continue };
            let (_, version, _) = self.world.in_force(index);
            let called_dead = matches!(lease.status, Status::ConsentRequired(_)) && lease.grant_version == version;
            assert!(
                !called_dead || self.dead(index).is_some(),
                "c{index:05}: a living grant is called dead: {lease:?}"
            );
        }
    }

    /// Checks promises 1 and 2.
    fn check_reached(&mut self, begin: Instant, end: Instant, invocations: &[Invocation], consents: &[(usize, bool)]) {
        let from = begin.checked_sub(BRAKES).unwrap_or(begin);
        let queue = self.queue;
        let everybody = self.world.disturbed(from, end, |fault| match fault {
            Fault::Puts(_) | Fault::Reads(_) | Fault::Secrets(_) => true,
            Fault::Queue(_) => queue,
            _ => false,
        });
        let consenting: HashSet<usize> = consents.iter().map(|(index, _)| *index).collect();
        self.world.state.borrow_mut().count_cuts();
        for index in 0..ALL {
            let name = format!("c{index:05}");
            let covering: Vec<_> = invocations.iter().filter(|one| one.covers(index)).collect();
            if covering.iter().any(|one| Self::overlapped(invocations, one, index)) {
                self.memory[index].more_mints += 1;
            }
            let (client, data_center) = {
                let state = self.world.state.borrow();
                (state.connections[index].client, state.connections[index].data_center)
            };
            let concerned = |fault: &Fault| match *fault {
                Fault::DataCenter(place, ..) => place == data_center,
                Fault::ClientThrottled(place) | Fault::ClientRefused(place) => place == client,
                Fault::Throttled(place) | Fault::UnknownWord(place) => place == index,
                Fault::SecretWrites(_) => index >= CONNECTIONS,
                _ => false,
            };
            let dead = self.dead(index);
            let memory = &mut self.memory[index];
            memory.before = memory.reached;
            memory.late = covering.iter().any(|one| one.killed);
            if dead.is_some() || consenting.contains(&index) {
                (memory.before, memory.reached) = (None, None);
            }
            // A run with little time may hold a claim and give it back, while another passes over
            // it.
            let held = index >= CONNECTIONS && covering.iter().any(|one| !one.whole());
            let reached = !everybody
                && !held
                && covering.iter().any(|one| one.whole())
                && !self.world.disturbed(from, end, concerned)
                && !consenting.contains(&index)
                && !self.world.state.borrow().pausing(index, begin);
            let reached = if index < CONNECTIONS {
                reached
            } else {
                self.check_rotation(index, begin, reached, dead.is_some()) || (reached && dead.is_some())
            };
            if !reached {
                continue;
            }
            let lease = self.world.newest(index).unwrap_or_else(|| panic!("{name} has no lease"));
            let (stored, version, _) = self.world.in_force(index);
            assert!(index >= CONNECTIONS || stored <= begin, "{name}: a consent that nobody counted");
            if let Some((died, how)) = dead {
                // The last token ends before anybody can know.
                let memory = &mut self.memory[index];
                if memory.died != Some(died) {
                    (memory.died, memory.dead_for) = (Some(died), 0);
                }
                memory.dead_for += u32::from(died < begin);
                // Where an answer was lost, the published token stays until near its end.
                let most = if index < CONNECTIONS { 3 } else { 6 };
                let late = self.world.kind(index).is_some_and(|kind| kind.late);
                let marked = matches!(lease.status, Status::ConsentRequired(_)) && lease.grant_version == version;
                let notified = self.dead_notices.contains_key(&version);
                let since = self.world.time(died);
                assert!(
                    (marked && notified) || memory.dead_for < most || late,
                    "{name} is dead since {since} ({how:?}, {} steps) and no notice was sent: {lease:?}",
                    memory.dead_for
                );
                continue;
            }
            let promised = self.world.time(begin) + self.margin(index);
            assert_eq!(lease.status, Status::Active, "{name}: {lease:?}");
            assert_eq!(lease.grant_version, version, "{name}: {lease:?}");
            assert!(self.world.lives(index, &lease), "{name}: its token is not alive: {lease:?}");
            assert!(lease.expires_at() >= promised, "{name}: its token ends before {promised}: {lease:?}");
            self.memory[index].reached = Some(begin);
            self.sum.reached += u64::from(index < CONNECTIONS);
        }
        self.world.state.borrow_mut().ledger.cut.clear();
    }

    /// How much life a token has at least after a step that reached its connection.
    fn margin(&self, index: usize) -> Duration {
        let state = self.world.state.borrow();
        state.connections[index].server.map_or(MARGIN, |server| state.servers[server].margin())
    }

    /// Checks promise 8, as far as the ledger does not. Returns whether the connection has to be as
    /// one of Zoho's.
    fn check_rotation(&mut self, index: usize, begin: Instant, reached: bool, dead: bool) -> bool {
        let now = self.world.time(begin);
        let state = self.world.state.borrow();
        let connection = &state.connections[index];
        let kind = state.servers[connection.server.expect("a server")].kind;
        let claims = connection.claims.now();
        let stored = TokenHash::of(&RefreshToken::new(connection.refresh_token()));
        let of_stored = || claims.values().filter(|claim| claim.token == stored);
        let memory = &mut self.memory[index];
        let (open_before, cut) = (memory.open, memory.late || state.ledger.cut.contains(&index));
        memory.open = of_stored().next().is_some();
        let steady = reached && !cut;
        memory.steady = if steady { memory.steady + 1 } else { 0 };
        if steady {
            memory.steady_steps.push(begin);
        }
        let name = &connection.name;
        // A claim of the step before may be held; a later one has shown what is to be done.
        let again = memory.steady >= 2 && !kind.kills && kind.grace.is_none();
        let whole = steady && !dead && (again || !open_before);
        assert!(!whole || !memory.open, "{name}: nobody has the successor, and no answer was lost: {claims:?}");
        memory.whole = if whole { memory.whole.or(Some(begin)) } else { None };
        // They go with a mint, which is hours away where it comes late. Nobody mints just after a
        // consent.
        let for_long = |time| !kind.late && memory.whole.is_some_and(|since| begin - since > time);
        let kept = claims.values().any(|claim| claim.kept.is_some());
        assert!(!kept || !for_long(INTERVAL * 3), "{name}: a claim keeps a refresh token: {claims:?}");
        let long = for_long(Duration::from_hours(3));
        let (most, count) = (if long { MOST_CLAIMS } else { 40 }, claims.len());
        assert!(count <= most, "{name} has {count} claims at {now}");
        let most_claims = &mut self.sum.most_claims;
        *most_claims = (*most_claims).max(count);
        if steady && !dead {
            self.sum.rotating_reached += 1;
        }
        whole
    }

    /// Checks that a provider that takes a refresh token again for a while was out of reach all
    /// that time, if a connection was lost there. Somebody agrees again to what was lost.
    fn note_lost(&mut self, step: u32) {
        let (minutes, held) = (Duration::from_mins(24), Duration::from_mins(10));
        let lost = std::mem::take(&mut self.world.state.borrow_mut().ledger.lost);
        for Lost { connection, since } in lost {
            let asked = |begin: &&Instant| since + held < **begin && **begin < since + minutes;
            let steps = &self.memory[connection].steady_steps;
            let kind = self.world.kind(connection).expect("no grant of Zoho's is lost");
            assert!(
                kind.grace.is_none() || !steps.iter().rev().take(10).any(|begin| asked(&begin)),
                "c{connection:05} is lost, and there was time to ask again"
            );
            self.agreeing.push((step + 2, connection));
        }
    }

    /// Checks promise 2: the life that a reader had at the worst moment of this step.
    fn check_readers(&mut self) {
        let now = Instant::now();
        for (index, memory) in self.memory.iter().enumerate() {
            let margin = self.margin(index);
            if self.dead(index).is_some() {
                continue;
            }
            let (replaced, late) = (self.world.state.borrow().least_life[index], self.world.kind(index));
            let late = late.is_some_and(|kind| kind.late);
            let life = self.world.life(index);
            assert!(memory.steady < 2 || !life.is_zero(), "c{index:05}: programs have no living token");
            // An earlier step promised the life of a token that this step replaced.
            for (life, reached) in [(life, memory.reached), (if late { life } else { replaced }, memory.before)] {
                let Some(since) = reached.map(|reached| now - reached) else { continue };
                let promised = margin.saturating_sub(since);
                assert!(life >= promised, "c{index:05}: a reader had {life:?}, {since:?} after it was reached");
                // No step was lost or late.
                if !memory.late
                    && !late
                    && memory.reached > memory.before
                    && memory.before.is_some_and(|before| now - before <= INTERVAL * 2)
                {
                    assert!(life >= LEAST_LIFE, "c{index:05}: a reader had {life:?}");
                    self.sum.shortest_life = Some(self.sum.shortest_life.map_or(life, |shortest| shortest.min(life)));
                }
            }
        }
    }
}

/// The faults and their times, in order of their beginning.
fn timetable(random: &mut Random, quota: f64, queue: bool) -> Vec<Episode> {
    let start = Instant::now();
    let mut episodes = Vec::new();
    let mut recurring = |gap: Duration, least: Duration, most: Duration, faults: &dyn Fn(&mut Random) -> Vec<Fault>| {
        let mut from = random.between(Duration::ZERO, gap * 2);
        while from < INTERVAL * STEPS {
            let length = random.of_any_size(least, most);
            let begin = start + from;
            episodes.extend(faults(random).into_iter().map(|fault| Episode {
                fault,
                from: begin,
                until: begin + length,
            }));
            from += length + random.between(Duration::ZERO, gap * 2);
        }
    };
    let hours = Duration::from_hours;
    let way = |random: &mut Random, ways: &[Way]| ways[random.below(ways.len())];
    let zoho = [Way::Hang, Way::Break, Way::Fail];
    let aws = [Way::Hang, Way::Break, Way::Fail, Way::Refuse];
    let kinds = KINDS.len();
    for place in 0..3 + kinds {
        recurring(DAY * 5, seconds(10), hours(4), &|random| {
            let share = if random.chance(0.5) { 1.0 } else { 0.5 };
            vec![Fault::DataCenter(place, way(random, &zoho), share)]
        });
    }
    for client in 0..CLIENTS + kinds {
        recurring(DAY * 6, seconds(60), hours(3), &|_| vec![Fault::ClientThrottled(client)]);
        recurring(DAY * 20, seconds(60), hours(24), &|_| vec![Fault::ClientRefused(client)]);
    }
    // Some connections of one client at the same time, or all of them.
    let some = |random: &mut Random, most: usize, fault: fn(usize) -> Fault| {
        let (client, together) = (random.below(CLIENTS), random.chance(0.5));
        let one = |random: &mut Random| {
            if random.chance(0.1) {
                CONNECTIONS + random.below(ALL - CONNECTIONS)
            } else if together {
                client + CLIENTS * random.below(CONNECTIONS / CLIENTS)
            } else {
                random.below(CONNECTIONS)
            }
        };
        (0..=random.below(most)).map(|_| fault(one(random))).collect()
    };
    recurring(DAY, seconds(60), DAY * 21, &|random| some(random, 6, Fault::Throttled));
    recurring(DAY, seconds(60), DAY * 21, &|random| some(random, 20, Fault::UnknownWord));
    recurring(DAY * 5, seconds(5), hours(4), &|random| vec![Fault::Puts(way(random, &aws))]);
    recurring(DAY * 5, seconds(5), hours(4), &|random| vec![Fault::Reads(way(random, &aws))]);
    recurring(DAY * 5, seconds(5), hours(4), &|random| vec![Fault::Secrets(way(random, &aws))]);
    recurring(DAY * 3, seconds(5), hours(1), &|random| vec![Fault::SecretWrites(way(random, &aws))]);
    recurring(DAY * 3, seconds(60), hours(6), &|_| vec![Fault::Busy(quota / 2.0)]);
    if queue {
        recurring(DAY * 5, seconds(5), hours(4), &|random| vec![Fault::Queue(way(random, &aws))]);
    }
    episodes.sort_by_key(|episode| episode.from);
    episodes
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs the quarter of one seed.
fn quarter(seed: u64) -> Sum {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let quarter = Quarter::new(seed);
        let (quota, queue) = (quarter.quota, quarter.queue);
        let sum = quarter.live(STEPS).await;
        let Sum { steps, invocations, killed, mints, puts, refused_puts, late_writes, wasted, .. } = sum;
        let Sum { outages, consents, unpublished_consents, deaths, notices, reached, .. } = sum;
        println!(
            "seed {seed}, {quota} puts a second, {}: {steps} runs in {invocations} invocations ({killed} killed), {mints} mints \
             ({wasted} wasted), {puts} puts ({refused_puts} refused, {late_writes} beside another's), {outages} outages and \
             sick ones, {consents} consents ({unpublished_consents} without a lease), {deaths} dead grants, {notices} notices; \
             {} % of all renewals had to succeed, and a reader's shortest life was {:?}",
            if queue { "queue" } else { "no queue" },
            100 * reached / (steps * CONNECTIONS as u64),
            sum.shortest_life.unwrap_or_default(),
        );
        let rotating = &sum.rotating;
        let Counted { mints, claims, lost_answers, cut_off, from_claim, from_aside, asked_again, edits, .. } = rotating;
        let lost: u64 = rotating.lost.values().sum();
        assert!(lost <= lost_answers + cut_off, "{lost} connections lost by fewer cuts");
        let why = rotating.lost.iter().map(|((kind, delivered), count)| {
            let what = if *delivered { "the process that had the answer" } else { "the answer" };
            format!("{count} with {what} ({kind})")
        });
        println!(
            "  rotating, {} connections: {mints} mints, {claims} claims ({} at once at most), {lost_answers} lost answers, \
             {cut_off} processes cut off with an answer, {edits} edits; {from_claim} completed from a claim, {from_aside} \
             from what was put aside, {asked_again} asked again; {lost} lost: {}; {} % of all steps reached one undisturbed",
            ALL - CONNECTIONS,
            sum.most_claims,
            why.collect::<Vec<_>>().join(", "),
            100 * sum.rotating_reached / (steps * (ALL - CONNECTIONS) as u64),
        );
        sum
    })
}

/// Runs for `SIMULATE_SECONDS` with new seeds, or one seed, `SIMULATE_SEED`. Without either, runs a
/// year with the same seeds each time.
#[test]
#[ignore = "a minute: make simulation"]
fn a_year_in_a_minute() {
    if let Some(seed) = number("SIMULATE_SEED") {
        quarter(seed);
        return;
    }
    let start = std::time::Instant::now();
    let length = number("SIMULATE_SECONDS").map(Duration::from_secs);
    let first = match length {
        Some(_) => std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs() * 1000,
        None => 0,
    };
    let next = AtomicU64::new(0);
    let runs = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= 4 && length.is_none_or(|length| start.elapsed() >= length) {
                        return;
                    }
                    let sum = quarter(first + place);
                    *runs.lock().expect("no panic so far") += sum.steps;
                }
            });
        }
    });
    println!("{} runs in {:?}", runs.lock().expect("no panic"), start.elapsed());
}
