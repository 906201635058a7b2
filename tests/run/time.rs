//! How a run uses its time: order, concurrency, a hung provider, the function's end. Ports are in
//! memory and time is virtual, so minutes pass at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use token_keeper::claim::Claim;
use token_keeper::connection::{Grant, SecretVersion, StoredSecret};
use token_keeper::failure::{Refusal, Silence, StoreError};
use token_keeper::lease::{Lease, Status, Token};
use token_keeper::name::{ConnectionName, SecretName, VersionId};
use token_keeper::pace::{Pace, Turn};
use token_keeper::ports::{Claims, Grants, Issuer, Leases, Minted, Published, SecretReplacer};
use token_keeper::run::brake::Brakes;
use token_keeper::run::report::Report;
use token_keeper::run::{Refresher, Request, RunError};
use token_keeper::secret::{AccessToken, SecretText};
use token_keeper::settings::{RETRY_AFTER, Settings};
use token_keeper::source::Source;
use tokio::time::{Instant, sleep};

/// Grants by connection: how many seconds Zoho takes (`None`: for ever), and its answer.
struct Memory {
    connections: BTreeMap<String, (Option<u64>, bool)>,
    listing: Duration,
    leases: RefCell<BTreeMap<String, Lease>>,
    asked: RefCell<Vec<String>>,
    running: Cell<usize>,
    most: Cell<usize>,
    pace: Pace,
}

/// The time-out of a hung request, as in the real issuer.
const TIMEOUT: u64 = 10;

impl Memory {
    fn with(connections: impl IntoIterator<Item = (String, Option<u64>, bool)>) -> Self {
        let connections = connections.into_iter().map(|(name, seconds, ok)| (name, (seconds, ok))).collect();
        Self {
            connections,
            listing: Duration::ZERO,
            leases: RefCell::default(),
            asked: RefCell::default(),
            running: Cell::default(),
            most: Cell::default(),
            pace: Pace::lifted(),
        }
    }

    async fn run(&self, concurrency: usize, end_s: Option<u64>) -> Result<Report, RunError> {
        let settings = Settings {
            prefix: "k".parse().expect("a prefix"),
            data_centers: token_keeper::connection::DataCenters::default(),
            margin: SignedDuration::from_secs(2100),
            rotating: false,
            concurrency,
            settling: Duration::from_secs(2),
            retry_after: RETRY_AFTER,
        };
        let refresher = Refresher {
            settings,
            grants: self,
            issuer: self,
            leases: self,
            source: Source::new(|| now(Instant::now()), || [0; 32]),
            brakes: Brakes::default(),
        };
        refresher.run(&Request::All, end_s.map(|end| Instant::now() + Duration::from_secs(end)), |_, _| {}).await
    }
}

thread_local! {
    static BEGINNING: Instant = Instant::now();
}

/// The virtual clock's time.
fn now(instant: Instant) -> Timestamp {
    let passed = instant.duration_since(BEGINNING.with(|beginning| *beginning));
    Timestamp::from_second(1_800_000_000).expect("a time") + passed
}

impl Grants for &Memory {
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError> {
        sleep(self.listing).await;
        let secret = |name: &String| {
            let data_center = if name.starts_with("us-") { "us" } else { "eu" };
            let text =
                format!(r#"{{"client_id":"c","client_secret":"s","refresh_token":"r","data_center":"{data_center}"}}"#);
            let content = Ok(SecretVersion { id: VersionId::new("v1"), text: SecretText::new(text) });
            StoredSecret { name: SecretName::found(format!("k/connections/{name}")), content }
        };
        Ok(self.connections.keys().map(secret).collect())
    }

    async fn read(&self, _: &[SecretName]) -> Result<Vec<StoredSecret>, StoreError> {
        Ok(Vec::new())
    }
}

impl SecretReplacer for &Memory {
    async fn put_aside(&self, _: &SecretName) -> Result<Option<SecretVersion>, StoreError> {
        unreachable!("no provider here rotates")
    }

    async fn replace(&self, _: &SecretName, _: &SecretText, _: &VersionId) -> Result<VersionId, StoreError> {
        unreachable!("no provider here rotates")
    }
}

impl Claims for &Memory {
    async fn claim(&self, _: &ConnectionName, _: &Claim) -> Result<(), StoreError> {
        unreachable!("no provider here rotates")
    }

    async fn rewrite(&self, _: &ConnectionName, _: &Claim) -> Result<(), StoreError> {
        unreachable!("no provider here rotates")
    }

    async fn claims(&self, _: &ConnectionName) -> Result<Vec<Claim>, StoreError> {
        unreachable!("no provider here rotates")
    }

    async fn unclaim(&self, _: &ConnectionName, _: &[Claim]) -> Result<(), StoreError> {
        unreachable!("no provider here rotates")
    }
}

impl Issuer for &Memory {
    async fn mint(&self, grant: &Grant) -> Result<Minted, Refusal> {
        let name = grant.connection.as_str();
        self.asked.borrow_mut().push(name.to_owned());
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
        let issued_at = now(Instant::now());
        let (seconds, ok) = self.connections[name];
        sleep(Duration::from_secs(seconds.unwrap_or(TIMEOUT))).await;
        self.running.set(self.running.get() - 1);
        let fault = |silence| Err(Refusal::OutOfOrder(silence));
        match (seconds, ok) {
            (None, _) => fault(Silence::TimedOut),
            (_, false) => fault(Silence::ServerError(500)),
            _ => {
                let expires_at = issued_at + SignedDuration::from_hours(1);
                let token = Token::new(AccessToken::new("a"), issued_at, expires_at);
                Ok(Minted::new(token))
            }
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(TIMEOUT)
    }
}

impl Leases for &Memory {
    async fn list(&self) -> Result<Published, StoreError> {
        Ok(self.leases.borrow().iter().map(|(name, lease)| (name.clone(), Ok(lease.clone()))).collect())
    }

    async fn read(&self, _: &[ConnectionName]) -> Result<Published, StoreError> {
        Ok(Published::new())
    }

    async fn read_version(&self, _: &ConnectionName, _: i64) -> Result<Option<Lease>, StoreError> {
        Ok(None)
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    async fn publish(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        self.mark(turn, connection, lease, description).await
    }

    async fn mark(&self, _: Turn<'_>, connection: &ConnectionName, lease: &Lease, _: &str) -> Result<i64, StoreError> {
        let version = self.leases.borrow().get(connection.as_str()).map_or(0, |lease| lease.version) + 1;
        self.leases.borrow_mut().insert(connection.to_string(), Lease { version, ..lease.clone() });
        Ok(version)
    }
}

fn quick(count: usize) -> impl Iterator<Item = (String, Option<u64>, bool)> {
    (0..count).map(|number| (format!("c{number:03}"), Some(1), true))
}

#[tokio::test(start_paused = true)]
async fn as_many_run_at_once_as_allowed() {
    let memory = Memory::with(quick(100));
    let start = Instant::now();
    let report = memory.run(16, None).await.expect("a report");
    assert_eq!((report.refreshed, memory.most.get()), (100, 16));
    assert_eq!(start.elapsed().as_secs(), 7, "100 requests of a second, 16 at a time");
}

#[tokio::test(start_paused = true)]
async fn the_shortest_life_comes_first() {
    let memory =
        Memory::with(["fresh", "b-expired", "never", "soon", "later"].map(|name| (name.to_owned(), Some(0), true)));
    for (name, left_s) in [("b-expired", -500), ("soon", 60), ("later", 1800), ("fresh", 3000)] {
        let expires_at = now(Instant::now()) + SignedDuration::from_secs(left_s);
        let lease = Lease {
            status: Status::Active,
            token: Some(Token::new(AccessToken::new("a"), expires_at, expires_at)),
            api_domain: None,
            provider: "zoho".to_owned(),
            data_center: Some("eu".to_owned()),
            accounts_server: None,
            account: BTreeMap::new(),
            scope: String::new(),
            grant_version: VersionId::new("v1"),
            version: 0,
        };
        memory.leases.borrow_mut().insert(name.to_owned(), lease);
    }
    memory.run(1, None).await.expect("a report");
    assert_eq!(*memory.asked.borrow(), ["b-expired", "never", "soon", "later"]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_connection_delays_no_other() {
    let memory = Memory::with(quick(60).chain([("a-hung".to_owned(), None, true)]));
    let start = Instant::now();
    let report = memory.run(4, None).await.expect("a report");
    assert_eq!((report.refreshed, report.failed), (60, vec!["a-hung".to_owned()]));
    assert_eq!(start.elapsed().as_secs(), 18, "70 seconds of work over four places");
    assert_eq!(memory.asked.borrow().iter().filter(|name| *name == "a-hung").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hung_data_center_does_not_use_up_the_time_of_another() {
    let hung = (0..200).map(|number| (format!("eu-{number:03}"), None, true));
    let healthy = (0..50).map(|number| (format!("us-{number:03}"), Some(1), true));
    let memory = Memory::with(hung.chain(healthy));
    let start = Instant::now();
    let report = memory.run(16, Some(60)).await.expect("a report");
    // Sixteen were under way at the first failure, and two were tried again, each after a pause.
    assert_eq!((report.refreshed, report.failed.len(), report.deferred.len()), (50, 18, 182));
    assert_eq!(start.elapsed().as_secs(), 50, "three time-outs and the pauses between them");
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_tried_once_more_after_a_short_wait() {
    let memory = Memory::with([("down".to_owned(), Some(0), false)]);
    let start = Instant::now();
    let report = memory.run(1, None).await.expect("a report");
    assert_eq!((report.failed.len(), memory.asked.borrow().len()), (1, 2));
    assert!((500..1500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn near_the_functions_end_nothing_starts_and_the_rest_is_deferred() {
    let memory = Memory::with(quick(100));
    let start = Instant::now();
    let report = memory.run(2, Some(30)).await.expect("a report");
    assert_eq!(start.elapsed().as_secs(), 18, "from then on Zoho might take until after the end");
    assert_eq!((report.refreshed, report.deferred.len()), (36, 64));
    assert_eq!(memory.asked.borrow().len(), 36);
    // The next run continues where this one stopped.
    let report = memory.run(100, None).await.expect("a report");
    assert_eq!((report.fresh, report.refreshed), (36, 64));
}

#[tokio::test(start_paused = true)]
async fn work_at_the_functions_end_is_stopped_and_deferred() {
    let memory = Memory::with(quick(3).chain([("slow".to_owned(), Some(60), true)]));
    let report = memory.run(16, Some(20)).await.expect("a report");
    assert_eq!((report.refreshed, report.deferred), (3, vec!["slow".to_owned()]));
    assert_eq!(report.duration_ms, 19_500, "there is time left to report");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_takes_all_the_time_is_an_error() {
    let memory = Memory { listing: Duration::from_mins(1), ..Memory::with(quick(3)) };
    let error = memory.run(16, Some(30)).await.expect_err("an error");
    assert_eq!(error.error_type(), "OutOfTime");
}
