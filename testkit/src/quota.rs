//! AWS's request quotas as plain rules, without a wire. The stand-in and the simulation in virtual
//! time share them.
//!
//! Each quota is a token bucket. AWS does not publish the size of the buckets; where no burst is
//! known, one second's worth is assumed. All callers in one account and Region share one [`Gate`].

use jiff::Timestamp;

/// Holds up to `burst` permits and gains `per_second` of them.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    permits: f64,
    as_of: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: f64, burst: f64, now: Timestamp) -> Self {
        Self { per_second, burst, permits: burst, as_of: now }
    }

    /// Whether a call may pass now. Counts a call that passes; a refused call costs nothing.
    pub fn take(&mut self, now: Timestamp) -> bool {
        if now > self.as_of {
            let gained = now.duration_since(self.as_of).as_secs_f64() * self.per_second;
            self.permits = self.burst.min(self.permits + gained);
            self.as_of = now;
        }
        let passes = self.permits >= 1.0;
        if passes {
            self.permits -= 1.0;
        }
        passes
    }
}

/// Calls per second that one account may make in one Region. SQS has no limit that matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quotas {
    /// `PutParameter`. Deletions count too: AWS documents no number for them.
    pub puts_per_second: f64,
    /// How many puts pass at once after a pause.
    pub put_burst: f64,
    /// All reading operations of Parameter Store together.
    pub reads_per_second: f64,
    /// `BatchGetSecretValue`.
    pub batches_per_second: f64,
    /// `ListSecrets`.
    pub lists_per_second: f64,
    /// `GetSecretValue` and `DescribeSecret` together.
    pub values_per_second: f64,
    /// All writing operations of Secrets Manager together.
    pub writes_per_second: f64,
}

impl Default for Quotas {
    /// The default quotas. AWS documents 40 calls a second for Parameter Store's gets and puts
    /// together. Its support has named 3 a second for puts, and users see that number.
    fn default() -> Self {
        Self {
            puts_per_second: 3.0,
            put_burst: 5.0,
            reads_per_second: 40.0,
            batches_per_second: 100.0,
            lists_per_second: 100.0,
            values_per_second: 10_000.0,
            writes_per_second: 50.0,
        }
    }
}

impl Quotas {
    /// Parameter Store's "higher throughput" setting, which AWS bills.
    pub fn higher_throughput() -> Self {
        Self { puts_per_second: 10.0, reads_per_second: 100.0, ..Self::default() }
    }

    /// No limits, for tests about something else.
    pub fn lifted() -> Self {
        Self {
            puts_per_second: f64::MAX,
            put_burst: f64::MAX,
            reads_per_second: f64::MAX,
            batches_per_second: f64::MAX,
            lists_per_second: f64::MAX,
            values_per_second: f64::MAX,
            writes_per_second: f64::MAX,
        }
    }
}

/// The call exceeds its quota. AWS answers `ThrottlingException` and does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled;

/// One account's quotas. The caller passes the time.
#[derive(Clone, Debug)]
pub struct Gate {
    puts: Bucket,
    reads: Bucket,
    batches: Bucket,
    lists: Bucket,
    values: Bucket,
    writes: Bucket,
}

impl Gate {
    /// Fills every bucket, as after a pause.
    pub fn new(quotas: &Quotas, now: Timestamp) -> Self {
        let bucket = |per_second: f64| Bucket::new(per_second, per_second.max(1.0), now);
        Self {
            puts: Bucket::new(quotas.puts_per_second, quotas.put_burst, now),
            reads: bucket(quotas.reads_per_second),
            batches: bucket(quotas.batches_per_second),
            lists: bucket(quotas.lists_per_second),
            values: bucket(quotas.values_per_second),
            writes: bucket(quotas.writes_per_second),
        }
    }

    /// `PutParameter` and Parameter Store's deletions.
    pub fn put(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.puts, now)
    }

    /// Any read of Parameter Store.
    pub fn read(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.reads, now)
    }

    /// `BatchGetSecretValue`.
    pub fn batch(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.batches, now)
    }

    /// `ListSecrets`.
    pub fn list(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.lists, now)
    }

    /// `GetSecretValue` or `DescribeSecret`.
    pub fn value(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.values, now)
    }

    /// Any write of Secrets Manager.
    pub fn write(&mut self, now: Timestamp) -> Result<(), Throttled> {
        pass(&mut self.writes, now)
    }
}

fn pass(bucket: &mut Bucket, now: Timestamp) -> Result<(), Throttled> {
    if bucket.take(now) { Ok(()) } else { Err(Throttled) }
}
