//! Time as a value that a test moves by hand, or the system's time for the served stand-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A clock. All its clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The time set by hand, in milliseconds since the epoch. `None` reads the system's clock.
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that shows `time` until [`advance`](Clock::advance) moves it.
    ///
    /// # Panics
    /// If `time` is not an RFC 3339 time.
    pub fn at(time: &str) -> Self {
        let time: Timestamp = time.parse().expect("an RFC 3339 time");
        Self { manual: Some(Arc::new(AtomicI64::new(time.as_millisecond()))) }
    }

    /// The system's clock.
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// The time now.
    ///
    /// # Panics
    /// If the clock was moved out of the range of representable times.
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            Some(time) => Timestamp::from_millisecond(time.load(Ordering::SeqCst)).expect("a representable time"),
            None => Timestamp::now(),
        }
    }

    /// Moves a hand-set clock forward.
    ///
    /// # Panics
    /// If this is the system's clock.
    pub fn advance(&self, by: SignedDuration) {
        let time = self.manual.as_ref().expect("only a hand-set clock can be moved");
        time.fetch_add(i64::try_from(by.as_millis()).expect("a representable time"), Ordering::SeqCst);
    }
}
