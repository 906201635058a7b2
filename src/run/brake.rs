//! Brakes are circuit breakers. A run stops asking a service that fails, so a sick data centre, a
//! throttled client or a refusing store costs the healthy connections no time and no tokens.
//!
//! A brake stops the calls to a [service](Service) after some failures in a row. After a pause it
//! lets one connection try, and lets all go on if that works. The brakes live as long as the
//! process, so the next run knows what this one has learnt.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::connection::Grant;
use crate::failure::{Refusal, StoreError};
use crate::name::ConnectionName;

/// A data centre is stopped after this many connections in a row without an answer.
const UNANSWERED_IN_A_ROW: u32 = 10;
/// A client is stopped after this many throttled connections in a row. Zoho's pages disagree on
/// what Zoho counts, client or refresh token. Each further request would make the pause longer.
const THROTTLED_IN_A_ROW: u32 = 3;
/// The store is stopped after this many failed puts in a row. Each failure has cost a token.
const UNSTORED_IN_A_ROW: u32 = 2;
/// The length of the first pause.
const PAUSE: Duration = Duration::from_secs(5);
/// Each further pause is this many times longer.
const LONGER: u32 = 3;
/// The longest pause: shorter than the interval between runs, so that each run tries again.
const LONGEST_PAUSE: Duration = Duration::from_mins(4);

/// After a complaint, no other one makes this process ask Zoho for the same connection within this
/// time, whatever came of it. It is a little less than the five minutes within which SQS takes no
/// equal message, so a reader that complains again after a fault does not come too early.
const COMPLAINT_PAUSE: SignedDuration = SignedDuration::from_mins(4);

/// The brakes of one process.
#[derive(Default)]
pub struct Brakes {
    services: RefCell<HashMap<Service, Brake>>,
    /// When Zoho was asked because of a complaint.
    complaints: RefCell<HashMap<ConnectionName, Timestamp>>,
}

/// What a connection needs and a brake can stop: a service, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// A server that mints.
    Server {
        /// What it is called in a sentence.
        place: String,
        /// Where it is asked.
        address: String,
    },
    /// A client at its server.
    Client {
        /// The provider's name for people.
        provider: &'static str,
        /// Where the server is asked.
        address: String,
        /// The `client_id`.
        id: String,
    },
    /// Parameter Store, for parameters that exist.
    Store,
    /// Parameter Store, for parameters that do not exist yet. A full account refuses only these.
    NewParameters,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { place, .. } => write!(f, "{place} seems to be out of order"),
            Self::Client { provider, id, .. } => {
                write!(f, "{provider} has had too many requests from the client {id}")
            }
            Self::Store => f.write_str("Parameter Store refuses new tokens"),
            Self::NewParameters => f.write_str("Parameter Store refuses new parameters"),
        }
    }
}

/// Whether a connection may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Go,
    /// It may: it is the one connection that tries whether the service works again.
    Try,
    /// Not before this time; without a time, not before another connection's try has ended.
    Wait(Service, Option<Instant>),
}

#[derive(Default)]
struct Brake {
    failures: u32,
    stopped: Option<Stopped>,
}

struct Stopped {
    until: Instant,
    pause: Duration,
    /// Whether a connection is trying now.
    trying: bool,
}

impl Brakes {
    /// A run begins: on each stopped service, one connection may try at once. How much of a pause
    /// is over is not certain, because a function's clock may stop between two runs.
    pub fn begin(&self, now: Instant) {
        for stopped in self.services.borrow_mut().values_mut().filter_map(|brake| brake.stopped.as_mut()) {
            stopped.until = now;
        }
    }

    /// Whether a connection with this grant may start now. `new`: it has no parameter yet.
    pub fn permit(&self, grant: &Grant, new: bool, now: Instant) -> Permit {
        let brakes = self.services.borrow();
        let mut permit = Permit::Go;
        for service in services(grant, new) {
            match brakes.get(&service).and_then(|brake| brake.stopped.as_ref()) {
                None => {}
                Some(stopped) if stopped.trying => return Permit::Wait(service, None),
                Some(stopped) if now < stopped.until => return Permit::Wait(service, Some(stopped.until)),
                Some(_) => permit = Permit::Try,
            }
        }
        permit
    }

    /// Starts a connection that has a [`permit`](Self::permit). The result notes what the
    /// connection finds out.
    pub fn start(&self, grant: &Grant, new: bool) -> Start<'_> {
        let mut brakes = self.services.borrow_mut();
        let steps = services(grant, new).map(|service| {
            let stopped = brakes.get_mut(&service).and_then(|brake| brake.stopped.as_mut());
            let tries = stopped.map(|stopped| stopped.trying = true).is_some();
            Step { service, tries }
        });
        Start { brakes: self, steps }
    }

    /// Whether Zoho may be asked for this connection because of a complaint; if so, not again
    /// within four minutes. The document remembers a complaint for longer, but only if it could be
    /// written.
    pub fn permit_complaint(&self, connection: &ConnectionName, now: Timestamp) -> bool {
        let mut complaints = self.complaints.borrow_mut();
        complaints.retain(|_, asked_at| now.duration_since(*asked_at) < COMPLAINT_PAUSE);
        let permitted = !complaints.contains_key(connection);
        if permitted {
            complaints.insert(connection.clone(), now);
        }
        permitted
    }

    fn note(&self, Step { service, tries }: &Step, works: bool, limit: u32) {
        let mut brakes = self.services.borrow_mut();
        if works {
            brakes.remove(service);
            return;
        }
        let brake = brakes.entry(service.clone()).or_default();
        brake.failures += 1;
        let until = |pause| Instant::now() + pause;
        match &mut brake.stopped {
            // A connection that had already started when the brake stopped says nothing new.
            Some(_) if !tries => {}
            Some(stopped) => {
                let pause = match service {
                    Service::Server { .. } | Service::Client { .. } => (stopped.pause * LONGER).min(LONGEST_PAUSE),
                    // Each try costs a token.
                    Service::Store | Service::NewParameters => LONGEST_PAUSE,
                };
                *stopped = Stopped { until: until(pause), pause, trying: false };
            }
            stopped if brake.failures >= limit => {
                *stopped = Some(Stopped { until: until(PAUSE), pause: PAUSE, trying: false });
            }
            None => {}
        }
    }
}

/// A connection that has started. If it ends before it has found out anything, the next one tries.
pub struct Start<'b> {
    brakes: &'b Brakes,
    steps: [Step; 3],
}

/// A service, and whether this connection is the one that tries it.
struct Step {
    service: Service,
    tries: bool,
}

impl Start<'_> {
    /// Notes the provider's answer. `throttled`: whether it throttled this connection last time.
    pub fn answered(&self, answer: Result<(), &Refusal>, throttled: bool) {
        let [server, client, _] = &self.steps;
        self.brakes.note(server, !matches!(answer, Err(Refusal::OutOfOrder { .. })), UNANSWERED_IN_A_ROW);
        match answer {
            Ok(()) => self.brakes.note(client, true, THROTTLED_IN_A_ROW),
            // A connection that is always throttled says nothing about the others of its client.
            Err(Refusal::Throttled) if !throttled => self.brakes.note(client, false, THROTTLED_IN_A_ROW),
            Err(_) => {}
        }
    }

    /// Notes the result of a put. Too many calls are for the pace to handle, and two updates at the
    /// same moment concern one parameter only: neither is a failure of the store.
    pub fn put<T>(&self, answer: &Result<T, StoreError>) {
        if !answer.as_ref().err().is_some_and(|error| error.too_many_calls() || error.overlapped()) {
            self.brakes.note(&self.steps[2], answer.is_ok(), UNSTORED_IN_A_ROW);
        }
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        let mut brakes = self.brakes.services.borrow_mut();
        for Step { service, .. } in self.steps.iter().filter(|step| step.tries) {
            if let Some(stopped) = brakes.get_mut(service).and_then(|brake| brake.stopped.as_mut()) {
                stopped.trying = false;
            }
        }
    }
}

fn services(grant: &Grant, new: bool) -> [Service; 3] {
    let (provider, address) = (grant.provider.title(), grant.provider.address().to_owned());
    [
        Service::Server { place: grant.provider.place(), address: address.clone() },
        Service::Client { provider, address, id: grant.client.id.clone() },
        if new { Service::NewParameters } else { Service::Store },
    ]
}
