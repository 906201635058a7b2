//! A token bucket, the shape of AWS's request quotas.

use jiff::Timestamp;

/// Holds up to `burst` permits and gains `per_second` of them.
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    permits: f64,
    as_of: Timestamp,
}

impl Bucket {
    pub(super) fn new(per_second: f64, burst: f64, now: Timestamp) -> Self {
        Self { per_second, burst, permits: burst, as_of: now }
    }

    /// Whether a call may pass now; counts it if so.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let gained = now.duration_since(self.as_of).as_secs_f64() * self.per_second;
        self.permits = self.burst.min(self.permits + gained);
        self.as_of = now;
        let passes = self.permits >= 1.0;
        if passes {
            self.permits -= 1.0;
        }
        passes
    }
}
