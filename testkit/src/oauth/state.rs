//! What a running server remembers beside its rules: its clients, and how often they asked.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::request::Seen;
use super::rules::Rules;
use crate::clock::Clock;

/// The window in which requests are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// A running server's memory.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) clients: HashMap<String, Client>,
    /// The requests so far, in their order.
    pub(super) seen: Vec<Seen>,
    /// The base URL.
    pub(super) url: String,
    pub(super) clock: Clock,
    windows: HashMap<String, (Timestamp, usize)>,
}

pub(super) struct Client {
    pub(super) secret: String,
    pub(super) redirect_uris: Vec<String>,
}

impl State {
    pub(super) fn new(name: &'static str, clock: Clock) -> Self {
        Self {
            rules: Rules::new(name),
            clients: HashMap::new(),
            seen: Vec::new(),
            url: String::new(),
            clock,
            windows: HashMap::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the server calls itself (RFC 8414 §2).
    pub(super) fn issuer(&self) -> String {
        format!("{}{}", self.url, self.rules.settings.issuer_path)
    }

    /// Counts a request of the client and says whether it is one too many.
    pub(super) fn throttles(&mut self, client_id: &str) -> bool {
        let now = self.now();
        let (since, requests) = self.windows.entry(client_id.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *requests) = (now, 0);
        }
        *requests += 1;
        *requests > self.rules.settings.requests_per_minute
    }
}
