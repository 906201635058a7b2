//! Where time and randomness come from: the only file that reads the clock, and the only one that
//! draws random bytes.

use std::rc::Rc;

use jiff::Timestamp;

/// A clock, and random bytes that are fit for cryptography.
#[derive(Clone)]
pub struct Source {
    now: Rc<dyn Fn() -> Timestamp>,
    random: Rc<dyn Fn() -> [u8; 32]>,
}

impl Source {
    /// The clock and the random bytes of this machine.
    ///
    /// # Panics
    /// Drawing random bytes panics if the operating system cannot give any.
    pub fn system() -> Self {
        let random = || {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).expect("random bytes of the operating system");
            bytes
        };
        Self::new(Timestamp::now, random)
    }

    /// A clock and random bytes from the caller.
    pub fn new(now: impl Fn() -> Timestamp + 'static, random: impl Fn() -> [u8; 32] + 'static) -> Self {
        Self { now: Rc::new(now), random: Rc::new(random) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// 32 random bytes.
    pub fn random(&self) -> [u8; 32] {
        (self.random)()
    }
}
