//! AWS's request quotas as rules without a wire: the stand-in answers by them, and a simulation in
//! virtual time can hold the same.
//!
//! Each quota is a token bucket. Nobody outside AWS knows how large the buckets are; where no burst
//! is known, one second's worth is assumed. All callers of one account and Region share one
//! [`Gate`].

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

    /// Whether a call may pass now; counts it if so. A call that may not pass costs nothing.
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

/// How many calls a second one account may make in one Region. SQS has no limit that matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quotas {
    /// `PutParameter`. Deletions are counted with it: AWS names no figure for them.
    pub puts_per_second: f64,
    /// How many puts pass at once after a pause.
    pub put_burst: f64,
    /// Parameter Store's reading operations together.
    pub reads_per_second: f64,
    /// `BatchGetSecretValue`.
    pub batches_per_second: f64,
    /// `ListSecrets`.
    pub lists_per_second: f64,
    /// `GetSecretValue` and `DescribeSecret` together.
    pub values_per_second: f64,
    /// Secrets Manager's writing operations together.
    pub writes_per_second: f64,
}

impl Default for Quotas {
    /// What an account has without asking for more. AWS documents 40 calls a second for Parameter
    /// Store's gets and puts together; its support has named 3 a second for puts, and that is what
    /// is met in the field.
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
    /// Parameter Store's "higher throughput" setting, which is paid for.
    pub fn higher_throughput() -> Self {
        Self { puts_per_second: 10.0, reads_per_second: 100.0, ..Self::default() }
    }

    /// No limits, for tests of something else.
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

/// The call was over its quota: AWS answers `ThrottlingException` and does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled;

/// One account's quotas at work. The callers say what time it is.
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
    /// After a pause: every bucket is full.
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

    /// `PutParameter`, and Parameter Store's deletions.
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
