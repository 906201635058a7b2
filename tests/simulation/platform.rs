//! Lambda and SQS, as far as they matter: warm processes, invocations that are cut off, messages
//! that come twice.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use token_keeper::lambda::refresher::handle;
use token_keeper::run::dispatch::Dispatcher;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{Instance, World, millis, seconds};

/// The function's time-out, as in the template.
pub(crate) const FUNCTION: Duration = Duration::from_mins(5);
/// The queue's visibility time-out and the most receives of a message, as in the template.
const VISIBILITY: Duration = Duration::from_secs(330);
const RECEIVES: u32 = 2;

/// One finished invocation.
pub(crate) struct Invocation {
    pub(crate) id: u64,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// The time that the invocation had.
    pub(crate) length: Duration,
    pub(crate) killed: bool,
    /// The connections whose leases it handled. `None`: all of them.
    pub(crate) connections: Option<Vec<usize>>,
    /// Whether it only sent messages.
    pub(crate) dispatched: bool,
}

impl Invocation {
    pub(crate) fn covers(&self, connection: usize) -> bool {
        !self.dispatched && self.connections.as_ref().is_none_or(|covered| covered.contains(&connection))
    }

    pub(crate) fn whole(&self) -> bool {
        !self.killed && self.length == FUNCTION
    }

    /// Whether its time was over before it had finished.
    pub(crate) fn cut(&self) -> bool {
        !self.killed && self.until + seconds(1) >= self.from + self.length
    }
}

/// The function with its queue.
pub(crate) struct Platform {
    world: Rc<World>,
    idle: RefCell<Vec<Instance>>,
    /// A run with more connections than this uses the queue.
    above: usize,
    workers: Semaphore,
    next: Cell<u64>,
    pub(crate) plain: bool,
    /// How often an invocation for a message is killed.
    pub(crate) kills: f64,
    pub(crate) duplicates: f64,
    pub(crate) over: RefCell<Vec<Invocation>>,
    pub(crate) dead_letters: Cell<usize>,
}

impl Platform {
    pub(crate) fn new(world: Rc<World>, above: usize, workers: usize) -> Self {
        Self {
            world,
            idle: RefCell::default(),
            above,
            workers: Semaphore::new(workers),
            next: Cell::new(1),
            plain: false,
            kills: 0.0,
            duplicates: 0.0,
            over: RefCell::default(),
            dead_letters: Cell::new(0),
        }
    }

    /// Ends all warm processes.
    pub(crate) fn recycle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// One invocation, in a warm process or a new one. Returns its answer, unless it fails or is
    /// cut off.
    async fn invoke(&self, event: &Value, length: Duration, kill: Option<Duration>) -> Option<Value> {
        let idle = self.idle.borrow_mut().pop();
        let instance = idle.unwrap_or_else(|| self.world.instance());
        let id = self.next.replace(self.next.get() + 1);
        instance.port.process().plain.set(self.plain);
        instance.port.begin(id);
        let from = Instant::now();
        let dispatcher = Dispatcher { queue: instance.port.clone(), above: self.above };
        let work = handle(event, &instance.refresher, Some(&dispatcher), Some(from + length), |_| {});
        let answer = tokio::select! {
            biased;
            answer = Box::pin(work) => Some(answer),
            () = sleep(kill.unwrap_or(length)) => None,
        };
        let (killed, answer) = (answer.is_none(), answer.and_then(Result::ok));
        let covered = event["Records"][0]["body"].as_str().map(|body| {
            let body: Value = serde_json::from_str(body).expect("a message");
            let index = |name: &Value| name.as_str().and_then(|name| name[1..].parse().ok()).expect("a name");
            body["connections"].as_array().expect("names").iter().map(index).collect()
        });
        let scheduled = covered.is_none();
        let in_chunks = scheduled && self.world.state.borrow().connections.len() > self.above;
        let until = Instant::now();
        self.over.borrow_mut().push(Invocation {
            id,
            from,
            until,
            length,
            killed,
            connections: covered,
            dispatched: in_chunks,
        });
        // After a time-out Lambda starts a new process. The old one may continue after a pause.
        if !killed || id.is_multiple_of(2) {
            self.idle.borrow_mut().push(instance);
        }
        answer
    }

    /// The schedule's event, and the invocations that follow through the queue.
    pub(crate) async fn schedule(&self, length: Duration, kill: Option<Duration>) {
        let event = json!({"detail-type": "Scheduled Event", "source": "aws.events"});
        self.invoke(&event, length, kill).await;
        let messages = std::mem::take(&mut self.world.state.borrow_mut().queue);
        let twice = |message: String| {
            let twice = self.world.state.borrow_mut().random.chance(self.duplicates);
            std::iter::repeat_n(message, if twice { 2 } else { 1 })
        };
        join_all(messages.into_iter().flat_map(twice).map(|message| self.deliver(message))).await;
    }

    async fn deliver(&self, message: String) {
        let event = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": message}]});
        for _ in 0..RECEIVES {
            let (way, kill) = {
                let random = &mut self.world.state.borrow_mut().random;
                let kill = random.chance(self.kills).then(|| random.between(Duration::ZERO, seconds(60)));
                (random.between(millis(20), seconds(1)), kill)
            };
            sleep(way).await;
            let worker = self.workers.acquire().await.expect("an open semaphore");
            let received = Instant::now();
            let answer = self.invoke(&event, FUNCTION, kill).await;
            drop(worker);
            if answer.is_some_and(|answer| answer["batchItemFailures"].as_array().is_some_and(Vec::is_empty)) {
                return;
            }
            sleep_until(received + VISIBILITY).await;
        }
        self.dead_letters.set(self.dead_letters.get() + 1);
    }
}
