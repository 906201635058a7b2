//! One account at AWS and Zoho's accounts servers, as rules: quotas, outages, stale reads, limits
//! of refresh tokens. Everything is in memory and in the runtime's virtual time. One seed decides
//! every random choice.
//!
//! Any number of processes share a world. Each has its own paces and brakes, and all share the
//! account, as functions do.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use testkit::quota::{Gate, Quotas, Throttled};
use token_keeper::claim::Claim;
use token_keeper::connection::{
    Account, Client, Credential, DataCenter, DataCenters, Grant, Provider, SecretDocument, SecretVersion, StoredSecret,
};
use token_keeper::consent::link::{TICKET_LIFE, Ticket};
use token_keeper::consent::{Callback, Connected, Consent, KeyRing, Stop};
use token_keeper::failure::{Cause, Refusal, Silence, StoreError};
use token_keeper::flaw::Flaw;
use token_keeper::lease::{Lease, Status, Token, whole_second};
use token_keeper::name::{ConnectionName, Prefix, SecretName, VersionId};
use token_keeper::notice::MARKER;
use token_keeper::pace::{Pace, Turn};
use token_keeper::ports::{
    Authorizer, Claims, GrantNames, Grants, Issuer, Leases, Minted, Proof, Published, Queue, Revoked, SecretReplacer,
    SecretWriter, Unsent,
};
use token_keeper::run::brake::Brakes;
use token_keeper::run::report::Report;
use token_keeper::run::{Refresher, Request, RunError};
use token_keeper::secret::{AccessToken, AuthorizationCode, RefreshToken, SecretText, SigningKey};
use token_keeper::settings::{RETRY_AFTER, SETTLING, Settings};
use token_keeper::source::Source;
use tokio::time::{Instant, sleep};

use crate::random::Random;
use crate::rotation::{ClaimStore, EXISTS, Ledger, Server};

pub(crate) const DATA_CENTERS: [&str; 3] = ["eu", "us", "in"];
/// The refresher's margin: the setting's default.
pub(crate) const MARGIN: Duration = Duration::from_mins(35);
/// The program's default ceiling on calls per second.
pub(crate) const CEILING: u32 = 40;
pub(crate) const CONCURRENCY: usize = 16;
const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// As in the real adapters.
const ZOHO_TIMEOUT: Duration = Duration::from_secs(10);
const AWS_TIMEOUT: Duration = Duration::from_secs(5);
const AWS_TRIES: u32 = 6;
/// The oldest answer that either store can give.
pub(crate) const LAG: Duration = Duration::from_secs(1);
/// Zoho: requests for access tokens that pass in [`WINDOW`], and how long it refuses after one
/// more.
const REQUESTS: usize = 10;
const WINDOW: Duration = Duration::from_mins(10);
/// Zoho: live access tokens of one refresh token.
const LIVING: usize = 10;
/// Parameter Store keeps this many versions.
const VERSIONS: usize = 100;
const PARAMETERS_A_PAGE: usize = 10;
const SECRETS_A_PAGE: usize = 20;
const NAMES_A_PAGE: usize = 100;

/// How a service fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// It does not answer. Half of the writes happen all the same.
    Hang,
    /// The connection breaks.
    Break,
    /// It answers with a 5xx.
    Fail,
    /// It refuses for good, because of a policy or a limit. Only AWS does this.
    Refuse,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A data centre or another provider, for this share of the requests.
    DataCenter(usize, Way, f64),
    /// Zoho throttles a client with all its connections.
    ClientThrottled(usize),
    /// Zoho refuses a client's secret.
    ClientRefused(usize),
    /// Zoho throttles this connection, even after a pause.
    Throttled(usize),
    /// Zoho answers this connection with an unknown error.
    UnknownWord(usize),
    /// Parameter Store, for puts.
    Puts(Way),
    /// Parameter Store, for reads.
    Reads(Way),
    /// Secrets Manager.
    Secrets(Way),
    /// Secrets Manager, for writes.
    SecretWrites(Way),
    /// SQS.
    Queue(Way),
    /// Other programs in the account put this many parameters a second.
    Busy(f64),
}

/// A fault, with its beginning and end.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) fault: Fault,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// One write of a connection's parameter.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) at: Instant,
    pub(crate) lease: Rc<Lease>,
}

struct Secret {
    at: Instant,
    id: VersionId,
    text: SecretText,
    /// At Zoho the refresh token, elsewhere the grant that it belongs to.
    refresh_token: usize,
    token: String,
}

impl Secret {
    /// The version that links are for.
    fn link_version(&self) -> VersionId {
        SecretDocument::parse(&self.text).expect("a document").link_version(&self.id)
    }
}

pub(crate) struct Connection {
    pub(crate) name: ConnectionName,
    pub(crate) client: usize,
    pub(crate) data_center: usize,
    /// `None`: Zoho.
    pub(crate) server: Option<usize>,
    secrets: VecDeque<Secret>,
    /// The version that a writer has put aside last.
    aside: Option<SecretVersion>,
    pub(crate) claims: ClaimStore,
    /// The versions, newest last.
    parameter: VecDeque<Written>,
    /// Until then, another put of this parameter overlaps with the last one.
    busy: Option<Instant>,
    /// A passing fault never comes twice in a row.
    unlucky: bool,
}

/// Why a refresh token is dead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Death {
    /// The account's owner removed the app.
    Owner,
    /// A consent replaced it.
    Replaced,
    /// Its successor was lost.
    Lost,
}

pub(crate) struct Refresh {
    pub(crate) dead: Option<(Instant, Death)>,
    asked: VecDeque<Instant>,
    refused_until: Option<Instant>,
    /// Number and end of each live access token.
    living: VecDeque<(u64, Instant)>,
    minted: u64,
}

/// A request for an access token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) invocation: u64,
    pub(crate) connection: usize,
    pub(crate) refresh_token: usize,
    pub(crate) dead: bool,
}

/// A notice in a put.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) connection: usize,
    pub(crate) says: Says,
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Says {
    /// The grant of this version is dead.
    Dead(VersionId),
    /// The connection has recovered.
    Recovered,
    /// Somebody has consented: to the grant of this version.
    Consented(VersionId),
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) mints: u64,
    pub(crate) puts: u64,
    pub(crate) refused_puts: u64,
    pub(crate) put_right: u64,
    pub(crate) notices: u64,
    /// Calls to AWS by their action.
    pub(crate) calls: BTreeMap<&'static str, u64>,
}

pub(crate) struct State {
    pub(crate) random: Random,
    pub(crate) connections: Vec<Connection>,
    pub(crate) refresh_tokens: Vec<Refresh>,
    pub(crate) episodes: Vec<Episode>,
    /// Access tokens that no document has had so far: their connections, and the processes that
    /// minted them.
    pub(crate) unpublished: HashMap<String, (usize, u64)>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) queue: Vec<String>,
    pub(crate) counts: Counts,
    /// Since the last check: each connection's mints, and the shortest life that a reader had when
    /// its token was replaced.
    pub(crate) mints_of: Vec<u32>,
    pub(crate) least_life: Vec<Duration>,
    /// Every version of a grant, and its refresh token.
    versions: HashMap<VersionId, usize>,
    /// The versions that consents have stored.
    consented: HashSet<VersionId>,
    pub(crate) clients: usize,
    pub(crate) servers: Vec<Server>,
    pub(crate) ledger: Ledger,
    gate: Gate,
    beginning: Instant,
    /// The time up to which other programs' puts are counted.
    others: Instant,
}

pub(crate) struct World {
    start: Instant,
    /// Whether the stores give old answers.
    pub(crate) stale: Cell<bool>,
    /// Whether single calls fail now and then.
    pub(crate) faulty: Cell<bool>,
    /// The longest time that Zoho takes for an answer.
    pub(crate) zoho: Cell<(Duration, Duration)>,
    /// The setting of the processes that start from now on.
    pub(crate) rotating: Cell<bool>,
    pub(crate) state: RefCell<State>,
    prefix: Prefix,
    table: DataCenters,
    key: SigningKey,
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl World {
    pub(crate) fn new(seed: u64, quotas: Quotas) -> Rc<Self> {
        let beginning = Timestamp::from_second(BEGINNING).expect("a time");
        let state = State {
            random: Random::new(seed),
            connections: Vec::new(),
            refresh_tokens: Vec::new(),
            episodes: Vec::new(),
            unpublished: HashMap::new(),
            asks: Vec::new(),
            notices: Vec::new(),
            queue: Vec::new(),
            counts: Counts::default(),
            mints_of: Vec::new(),
            least_life: Vec::new(),
            versions: HashMap::new(),
            consented: HashSet::new(),
            clients: 0,
            servers: Vec::new(),
            ledger: Ledger::default(),
            gate: Gate::new(&quotas, beginning),
            beginning: Instant::now(),
            others: Instant::now(),
        };
        Rc::new(Self {
            start: Instant::now(),
            stale: Cell::new(false),
            faulty: Cell::new(false),
            zoho: Cell::new((millis(100), millis(400))),
            rotating: Cell::new(true),
            state: RefCell::new(state),
            prefix: "k".parse().expect("a prefix"),
            table: DataCenters::default(),
            key: SigningKey::new("a-51gn1ng-key-of-more-than-32-characters"),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time(Instant::now())
    }

    pub(crate) fn time(&self, instant: Instant) -> Timestamp {
        Timestamp::from_second(BEGINNING).expect("a time") + instant.duration_since(self.start)
    }

    /// A connection of this client, with a grant but without a lease.
    pub(crate) fn connect(&self, client: usize, data_center: usize) -> usize {
        let mut state = self.state.borrow_mut();
        state.clients = state.clients.max(client + 1);
        let refresh_token = state.issue();
        let text = json!({
            "client": format!("client-{client}"),
            "data_center": DATA_CENTERS[data_center],
            "scopes": ["ZohoCRM.modules.ALL"],
            "refresh_token": refresh_token.to_string(),
        });
        state.add(client, data_center, None, refresh_token, &text)
    }

    pub(crate) fn connect_many(&self, count: usize, client: usize) -> Vec<usize> {
        (0..count).map(|_| self.connect(client, 0)).collect()
    }

    /// An operator changes a field of the secret, with the command line.
    pub(crate) async fn edit(self: &Rc<Self>, index: usize) {
        let port = self.port(CEILING);
        let name = self.prefix.grant(self.state.borrow().connections[index].name.as_str());
        for _ in 0..3 {
            let StoredSecret { content: Ok(SecretVersion { id, text }), .. } =
                self.state.borrow().connections[index].secret(&self.prefix, Duration::ZERO)
            else {
                return;
            };
            let mut document = SecretDocument::parse(&text).expect("our own text");
            let note = self.state.borrow_mut().random.next();
            document.set("note", json!(note));
            match port.replace(&name, &document.text(), &id).await {
                Ok(_) => self.state.borrow_mut().ledger.counts.edits += 1,
                Err(error) if error.overtaken() => continue,
                Err(_) => {}
            }
            return;
        }
    }

    /// Gives a connection a lease whose token ends in `left` seconds.
    pub(crate) fn lease(&self, index: usize, left: i64) {
        let (token, grant) = self.token_of(index);
        let expires_at = whole_second(self.now()) + SignedDuration::from_secs(left);
        let token = Token::new(AccessToken::new(token), expires_at - LIFE, expires_at);
        self.write(index, Lease { token: Some(token), ..Lease::of(&grant, Status::Active, None) });
    }

    /// A new access token of a connection's refresh token, and its grant.
    fn token_of(&self, index: usize) -> (String, Grant) {
        let mut state = self.state.borrow_mut();
        let refresh_token = state.connections[index].secrets.back().expect("a secret").refresh_token;
        let token = state.mint(refresh_token);
        drop(state);
        (token, self.grant(index))
    }

    /// The true grant, without stale reads.
    fn grant(&self, index: usize) -> Grant {
        let state = self.state.borrow();
        let Connection { name, client, data_center, secrets, .. } = &state.connections[index];
        let secret = secrets.back().expect("a secret");
        Grant {
            connection: name.clone(),
            version: secret.id.clone(),
            link_version: secret.link_version(),
            client: Client { id: format!("id-{client}"), secret: token_keeper::secret::ClientSecret::new("hush") },
            provider: Provider::Zoho(self.table.get(DATA_CENTERS[*data_center]).expect("a data centre").clone()),
            scopes: vec!["ZohoCRM.modules.ALL".to_owned()],
            credential: Some(Credential::RefreshToken(RefreshToken::new(secret.refresh_token.to_string()))),
            api_domain: None,
            granted_at: None,
            account: None,
            kept: BTreeMap::new(),
            refresh_token_expires_at: None,
        }
    }

    /// Puts a lease without any of the rules.
    pub(crate) fn write(&self, index: usize, lease: Lease) -> i64 {
        let mut state = self.state.borrow_mut();
        let version = state.connections[index].parameter.back().map_or(0, |last| last.lease.version) + 1;
        let lease = Rc::new(Lease { version, ..lease });
        let parameter = &mut state.connections[index].parameter;
        parameter.push_back(Written { at: Instant::now(), lease });
        if parameter.len() > VERSIONS {
            parameter.pop_front();
        }
        version
    }

    /// The true lease, without stale reads.
    pub(crate) fn newest(&self, index: usize) -> Option<Rc<Lease>> {
        self.state.borrow().connections[index].parameter.back().map(|written| written.lease.clone())
    }

    /// When the current grant was stored, with its version and refresh token.
    pub(crate) fn in_force(&self, index: usize) -> (Instant, VersionId, usize) {
        let state = self.state.borrow();
        let secret = state.connections[index].secrets.back().expect("a secret");
        (secret.at, secret.id.clone(), secret.refresh_token)
    }

    /// How long the token that readers find still lives at Zoho.
    pub(crate) fn life(&self, index: usize) -> Duration {
        let state = self.state.borrow();
        let now = self.now();
        let newest = state.connections[index].parameter.back();
        newest.map_or(Duration::ZERO, |written| state.life_of(index, &written.lease, now))
    }

    /// Whether Zoho still accepts this lease's token.
    pub(crate) fn lives(&self, index: usize, lease: &Lease) -> bool {
        !self.state.borrow().life_of(index, lease, self.now()).is_zero()
    }

    /// The account's owner removes the app.
    pub(crate) fn take_back(&self, index: usize) {
        let (_, _, refresh_token) = self.in_force(index);
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.refresh_tokens[refresh_token].die(Death::Owner);
        let State { connections, servers, .. } = &mut *state;
        if let Some(server) = connections[index].server {
            servers[server].kill(now, connections[index].refresh_token());
        }
    }

    /// A fault from now on, for this long.
    pub(crate) fn out_of_order(&self, fault: Fault, length: Duration) {
        let from = Instant::now();
        self.state.borrow_mut().episodes.push(Episode { fault, from, until: from + length });
    }

    /// A new process of the refresher.
    pub(crate) fn instance(self: &Rc<Self>) -> Instance {
        self.instance_of(CONCURRENCY, CEILING)
    }

    pub(crate) fn instance_of(self: &Rc<Self>, concurrency: usize, ceiling: u32) -> Instance {
        let port = self.port(ceiling);
        let (world, random) = (self.clone(), self.random());
        let refresher = Refresher {
            settings: self.settings(concurrency),
            grants: port.clone(),
            issuer: port.clone(),
            leases: port.clone(),
            source: Source::new(move || world.now(), random),
            brakes: Brakes::default(),
        };
        Instance { refresher, port }
    }

    fn random(self: &Rc<Self>) -> impl Fn() -> [u8; 32] + use<> {
        let world = self.clone();
        move || {
            let mut bytes = [0; 32];
            let random = &mut world.state.borrow_mut().random;
            bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()));
            bytes
        }
    }

    fn settings(&self, concurrency: usize) -> Settings {
        Settings {
            prefix: self.prefix.clone(),
            data_centers: self.table.clone(),
            margin: SignedDuration::try_from(MARGIN).expect("minutes"),
            rotating: self.rotating.get(),
            concurrency,
            settling: SETTLING,
            retry_after: RETRY_AFTER,
        }
    }

    fn port(self: &Rc<Self>, ceiling: u32) -> Port {
        let (puts, reads) = Pace::below(ceiling);
        let process = Process {
            world: self.clone(),
            puts,
            reads,
            plain: Cell::new(false),
            invocation: Cell::new(0),
            since: Cell::new(self.start),
        };
        Port(Rc::new(process))
    }

    /// A user opens a link, thinks for a while and agrees, at a newly started callback function.
    pub(crate) async fn consent(self: &Rc<Self>, index: usize, thinking: Duration) -> Result<Connected, Stop> {
        let port = self.port(CEILING);
        let (world, random) = (self.clone(), self.random());
        let consent = Consent {
            settings: self.settings(CONCURRENCY),
            secrets: port.clone(),
            issuer: port.clone(),
            leases: port,
            source: Source::new(move || world.now(), random),
            key: KeyRing::of(self.key.clone()),
        };
        let (connection, version, data_center, provider) = {
            let state = self.state.borrow();
            let Connection { name, data_center, secrets, server, .. } = &state.connections[index];
            let version = secrets.back().expect("a secret").link_version();
            let client = server.map(|server| (state.servers[server].kind.client)());
            let provider = client.as_ref().and_then(|client| client["provider"].as_str()).unwrap_or_default();
            let data_center = DATA_CENTERS.get(*data_center).copied().unwrap_or_default();
            (name.clone(), version, data_center.to_owned(), provider.to_owned())
        };
        let issued_at = whole_second(self.now());
        let expires_at = issued_at + TICKET_LIFE;
        let (allow_move, allow_other_account) = (false, false);
        let ticket = Ticket {
            connection,
            version,
            data_center,
            provider,
            allow_move,
            allow_other_account,
            issued_at,
            expires_at,
        };
        let redirect_uri = "https://consent.example/callback";
        let begun = Box::pin(consent.begin(&self.key.seal_ticket(&ticket), redirect_uri)).await?;
        let (_, state) = begun.location.split_once("&state=").expect("a state");
        sleep(thinking).await;
        let answer = Ok(AuthorizationCode::new(index.to_string()));
        let callback =
            Callback { state: state.to_owned(), answer, accounts_server: None, issuer: None, kept: BTreeMap::new() };
        Ok(Box::pin(consent.complete(callback, &[begun.cookie], redirect_uri)).await?)
    }

    /// Whether a fault of this kind is active between these times.
    pub(crate) fn disturbed(&self, from: Instant, until: Instant, concerns: impl Fn(&Fault) -> bool) -> bool {
        let state = self.state.borrow();
        state.episodes.iter().any(|episode| episode.from <= until && from <= episode.until && concerns(&episode.fault))
    }

    /// The faults that are active now.
    fn fault<T>(&self, find: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let now = Instant::now();
        let state = self.state.borrow();
        let at_work = |episode: &&Episode| episode.from <= now && now < episode.until;
        state.episodes.iter().filter(at_work).find_map(|episode| find(&episode.fault))
    }

    fn chance(&self, probability: f64) -> bool {
        self.state.borrow_mut().random.chance(probability)
    }

    fn between(&self, least: Duration, most: Duration) -> Duration {
        self.state.borrow_mut().random.between(least, most)
    }

    /// How long a call to AWS takes one way.
    fn aws_latency(&self) -> Duration {
        let rare = self.faulty.get() && self.chance(0.001);
        self.between(millis(2), millis(if rare { 1000 } else { 20 }))
    }

    /// How long a request to Zoho takes one way.
    fn zoho_latency(&self) -> Duration {
        let (least, most) = self.zoho.get();
        let rare = self.faulty.get() && self.chance(0.005);
        self.between(least, if rare { seconds(8) } else { most }) / 2
    }

    /// How old the next answer of the stores is.
    fn lag(&self) -> Duration {
        if self.stale.get() && self.chance(0.3) { self.between(Duration::ZERO, LAG) } else { Duration::ZERO }
    }

    /// One call as AWS's SDK makes it: it repeats what may pass within a second.
    async fn tried<T>(&self, call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        for tries in 1.. {
            let answer = call().await;
            match &answer {
                Err(error)
                    if tries < AWS_TRIES
                        && (error.is_one_of(&["InternalServerError"]) || error.cause == Cause::NoAnswer) => {}
                // The pace repeats Parameter Store's own refusals.
                Err(error) if tries < AWS_TRIES && error.too_many_calls() && !error.action.starts_with("ssm") => {}
                _ => return answer,
            }
            let longest = millis(200) * 2_u32.pow(tries - 1);
            sleep(self.between(Duration::ZERO, longest)).await;
        }
        unreachable!("the last try is answered")
    }

    /// The way to AWS, what AWS checks before it looks at the call, then `effect`, and the way
    /// back.
    async fn aws<T>(
        &self,
        action: &'static str,
        concerns: impl Fn(&Fault) -> Option<Way>,
        effect: impl Fn(&mut State, Timestamp) -> Result<T, &'static str>,
    ) -> Result<T, StoreError> {
        let error = |code: &str| StoreError::refused(action, code);
        *self.state.borrow_mut().counts.calls.entry(action).or_default() += 1;
        sleep(self.aws_latency()).await;
        let way = match self.fault(concerns) {
            None if self.faulty.get() && self.chance(0.0005) => Some(Way::Fail),
            way => way,
        };
        match way {
            None => {}
            Some(Way::Hang | Way::Break) => {
                if WRITES.contains(&action) && self.chance(0.5) {
                    let _ = effect(&mut self.state.borrow_mut(), self.now());
                }
                sleep(if way == Some(Way::Hang) { AWS_TIMEOUT } else { millis(10) }).await;
                return Err(StoreError { action, cause: Cause::NoAnswer });
            }
            Some(Way::Fail) => return Err(error("InternalServerError")),
            Some(Way::Refuse) => return Err(error("AccessDeniedException")),
        }
        let answer = effect(&mut self.state.borrow_mut(), self.now());
        sleep(self.aws_latency()).await;
        answer.map_err(error)
    }

    async fn secrets_call<T>(
        &self,
        action: &'static str,
        effect: impl Fn(&mut State, Timestamp) -> Result<T, &'static str>,
    ) -> Result<T, StoreError> {
        let concerns = |fault: &Fault| match fault {
            Fault::Secrets(way) => Some(*way),
            Fault::SecretWrites(way) => WRITES.contains(&action).then_some(*way),
            _ => None,
        };
        self.tried(async || self.aws(action, concerns, &effect).await).await
    }
}

/// The time at which each world begins.
const BEGINNING: i64 = 1_800_000_000;
const PUT: &str = "ssm:PutParameter";
const PUT_ASIDE: &str = "secretsmanager:PutSecretValue";
const MAKE_CURRENT: &str = "secretsmanager:UpdateSecretVersionStage";
const DELETE: &str = "ssm:DeleteParameters";
/// Without an answer, half of these happen all the same.
const WRITES: [&str; 4] = [PUT, PUT_ASIDE, MAKE_CURRENT, DELETE];
const THROTTLED: &str = "ThrottlingException";
const OVERTAKEN: &str = "InvalidParameterException";

fn refused(_: Throttled) -> &'static str {
    THROTTLED
}

impl State {
    /// A new connection.
    pub(crate) fn add(
        &mut self,
        client: usize,
        data_center: usize,
        server: Option<usize>,
        refresh_token: usize,
        text: &serde_json::Value,
    ) -> usize {
        let index = self.connections.len();
        let id = VersionId::new(format!("first-version-of-{index:05}"));
        self.versions.insert(id.clone(), refresh_token);
        self.mints_of.push(0);
        self.least_life.push(Duration::MAX);
        let token = text["refresh_token"].as_str().expect("a refresh token").to_owned();
        let text = SecretText::new(text.to_string());
        let secret = Secret { at: self.beginning, id, text, refresh_token, token };
        self.connections.push(Connection {
            name: format!("c{index:05}").parse().expect("a name"),
            client,
            data_center,
            server,
            secrets: [secret].into(),
            aside: None,
            claims: ClaimStore::default(),
            parameter: VecDeque::new(),
            busy: None,
            unlucky: false,
        });
        index
    }

    /// A new refresh token.
    pub(crate) fn issue(&mut self) -> usize {
        self.refresh_tokens.push(Refresh {
            dead: None,
            asked: VecDeque::new(),
            refused_until: None,
            living: VecDeque::new(),
            minted: 0,
        });
        self.refresh_tokens.len() - 1
    }

    /// A new access token. It may be one too many.
    fn mint(&mut self, refresh_token: usize) -> String {
        let now = Instant::now();
        let refresh = &mut self.refresh_tokens[refresh_token];
        refresh.minted += 1;
        refresh.living.retain(|(_, end)| now < *end);
        refresh.living.push_back((refresh.minted, now + seconds(3600)));
        if refresh.living.len() > LIVING {
            refresh.living.pop_front();
        }
        format!("{refresh_token}.{}", refresh.minted)
    }

    /// Whether somebody has consented to the grant of this version. Its refresh token may be a
    /// later one.
    pub(crate) fn is_consented(&self, version: &VersionId) -> bool {
        self.consented.iter().any(|consented| self.versions[consented] == self.versions[version])
    }

    /// Why the grant of this version has died.
    pub(crate) fn death_of(&self, index: usize, version: &VersionId) -> Option<Death> {
        let secrets = &self.connections[index].secrets;
        assert!(secrets.iter().any(|secret| secret.id == *version), "an old version of c{index:05}: {version:?}");
        self.refresh_tokens[self.versions[version]].dead.map(|(_, why)| why)
    }

    /// Whether Zoho has asked for a pause at this time, if the document is right.
    pub(crate) fn pausing(&self, index: usize, at: Instant) -> bool {
        let connection = &self.connections[index];
        let Some(written) = connection.parameter.iter().rev().find(|written| written.at <= at) else { return false };
        let until = written.lease.status.trouble().and_then(|trouble| trouble.retry_after);
        until.is_some_and(|until| until.as_second() - BEGINNING > (at - self.beginning).as_secs().cast_signed())
    }

    fn life_of(&self, index: usize, lease: &Lease, now: Timestamp) -> Duration {
        if let Some(server) = self.connections[index].server {
            let living = |token: &&Token| self.servers[server].lives(now, token.access_token.expose());
            let token = lease.token.as_ref().filter(living);
            return token.and_then(|token| token.expires_at.duration_since(now).try_into().ok()).unwrap_or_default();
        }
        let life = || {
            let (refresh_token, number) = lease.token.as_ref()?.access_token.expose().split_once('.')?;
            let refresh = &self.refresh_tokens[refresh_token.parse::<usize>().ok()?];
            let number: u64 = number.parse().ok()?;
            let (_, end) = refresh.living.iter().find(|(living, _)| *living == number)?;
            Some(end.saturating_duration_since(Instant::now()))
        };
        life().unwrap_or_default()
    }

    /// Zoho's answer to a refresh token when the request arrives.
    fn answer(&mut self, refresh_token: usize) -> Result<String, Refusal> {
        let now = Instant::now();
        let refresh = &mut self.refresh_tokens[refresh_token];
        if refresh.dead.is_some() {
            return Err(Refusal::ConsentRequired { error: "invalid_code".to_owned() });
        }
        refresh.asked.retain(|asked| now.duration_since(*asked) < WINDOW);
        refresh.asked.push_back(now);
        if refresh.asked.len() > REQUESTS || refresh.refused_until.is_some_and(|until| now < until) {
            refresh.refused_until = Some(now + WINDOW);
            return Err(Refusal::Throttled);
        }
        Ok(self.mint(refresh_token))
    }

    fn put(&mut self, index: usize, lease: &Lease, description: &str, now: Timestamp) -> Result<i64, &'static str> {
        let at = Instant::now();
        self.put_passes(now)?;
        let State { connections, random, .. } = self;
        let connection = &mut connections[index];
        if connection.busy.is_some_and(|busy| at < busy) {
            return Err("TooManyUpdates");
        }
        connection.busy = Some(at + random.between(millis(2), millis(20)));
        if let Some(last) = connection.parameter.back().map(|last| last.lease.clone()) {
            let life = self.life_of(index, &last, now);
            self.least_life[index] = self.least_life[index].min(life);
        }
        let State { connections, unpublished, notices, counts, .. } = self;
        let connection = &mut connections[index];
        assert!(lease.token.is_some() || lease.status != Status::Active, "no reader can parse this: {lease:?}");
        if let Some(token) = &lease.token {
            unpublished.remove(token.access_token.expose());
        }
        if description.starts_with(MARKER) {
            let says = match lease.status {
                Status::ConsentRequired(_) => Says::Dead(lease.grant_version.clone()),
                _ if description.contains(" has a new consent") => Says::Consented(lease.grant_version.clone()),
                _ => Says::Recovered,
            };
            notices.push(Notice { connection: index, says });
            counts.notices += 1;
        }
        counts.puts += 1;
        let version = connection.parameter.back().map_or(0, |last| last.lease.version) + 1;
        connection.parameter.push_back(Written { at, lease: Rc::new(Lease { version, ..lease.clone() }) });
        if connection.parameter.len() > VERSIONS {
            connection.parameter.pop_front();
        }
        Ok(version)
    }
}

impl State {
    /// Whether the account's quota allows one more put.
    fn put_passes(&mut self, now: Timestamp) -> Result<(), &'static str> {
        self.others_put(Instant::now(), now);
        self.gate.put(now).map_err(|Throttled| {
            self.counts.refused_puts += 1;
            THROTTLED
        })
    }

    /// The puts of other programs in the account since our last put.
    fn others_put(&mut self, at: Instant, now: Timestamp) {
        let busy = self.episodes.iter().filter(|episode| episode.from <= at && at < episode.until);
        let rate: f64 = busy.map(|episode| if let Fault::Busy(rate) = episode.fault { rate } else { 0.0 }).sum();
        if rate == 0.0 {
            self.others = at;
            return;
        }
        let one = Duration::from_secs_f64(1.0 / rate);
        self.others = self.others.max(at - one * 100);
        while self.others + one <= at {
            self.others += one;
            // Each at its own time, so that the bucket fills up in between.
            let _ = self.gate.put(now - (at - self.others));
        }
    }
}

impl Refresh {
    pub(crate) fn die(&mut self, why: Death) {
        self.living.clear();
        self.dead.get_or_insert((Instant::now(), why));
    }
}

impl Connection {
    /// The refresh token that is stored.
    pub(crate) fn refresh_token(&self) -> &str {
        &self.secrets.back().expect("a secret").token
    }

    pub(crate) fn newest(&self) -> Option<&Lease> {
        self.parameter.back().map(|written| &*written.lease)
    }

    /// The lease as it was this long ago.
    fn lease(&self, lag: Duration) -> Option<&Rc<Lease>> {
        let now = Instant::now();
        self.parameter.iter().rev().find(|written| written.at + lag <= now).map(|written| &written.lease)
    }

    fn secret(&self, prefix: &Prefix, lag: Duration) -> StoredSecret {
        let now = Instant::now();
        let secret = self.secrets.iter().rev().find(|secret| secret.at + lag <= now).unwrap_or(&self.secrets[0]);
        let content = Ok(SecretVersion { id: secret.id.clone(), text: secret.text.clone() });
        StoredSecret { name: prefix.grant(self.name.as_str()), content }
    }
}

fn client_secret(state: &State, prefix: &Prefix, client: usize) -> StoredSecret {
    let server = state.servers.iter().find(|server| server.client == client);
    let zoho = || json!({"client_id": format!("id-{client}"), "client_secret": "hush"});
    let text = SecretText::new(server.map_or_else(zoho, Server::secret).to_string());
    let content = Ok(SecretVersion { id: VersionId::new("v1"), text });
    StoredSecret { name: prefix.client(&format!("client-{client}")), content }
}

fn index_of(connection: &str) -> usize {
    connection[1..].parse().expect("a connection of this world")
}

/// The state of one process.
pub(crate) struct Process {
    world: Rc<World>,
    puts: Pace,
    reads: Pace,
    /// Whether it also publishes bare tokens.
    pub(crate) plain: Cell<bool>,
    /// What it works on, and since when.
    pub(crate) invocation: Cell<u64>,
    pub(crate) since: Cell<Instant>,
}

/// A process's implementation of every port.
#[derive(Clone)]
pub(crate) struct Port(Rc<Process>);

/// A process of the refresher function.
pub(crate) struct Instance {
    pub(crate) refresher: Refresher<Port, Port, Port>,
    pub(crate) port: Port,
}

impl Instance {
    pub(crate) async fn run(&self, end: Option<Duration>) -> Result<Report, RunError> {
        self.port.begin(self.port.0.invocation.get());
        let end = end.map(|end| Instant::now() + end);
        Box::pin(self.refresher.run(&Request::All, end, |_, _| {})).await
    }
}

impl Port {
    pub(crate) fn process(&self) -> &Process {
        &self.0
    }

    /// Sets what it works on from now on.
    pub(crate) fn begin(&self, invocation: u64) {
        self.0.invocation.set(invocation);
        self.0.since.set(Instant::now());
    }

    async fn paced_read<T>(&self, action: &'static str, effect: impl Fn(&mut State) -> T) -> Result<T, StoreError> {
        let world = &self.0.world;
        let concerns = |fault: &Fault| match fault {
            Fault::Reads(way) => Some(*way),
            _ => None,
        };
        let effect = |state: &mut State, now| state.gate.read(now).map_err(refused).map(|()| effect(state));
        let call = async || world.tried(async || world.aws(action, concerns, effect).await).await;
        self.0.reads.call(call).await
    }

    fn read_some(state: &State, indexes: impl Iterator<Item = usize>, lag: Duration) -> Published {
        let lease = |index: usize| {
            let connection = &state.connections[index];
            let lease = Lease::clone(connection.lease(lag)?);
            Some((connection.name.to_string(), Ok(lease)))
        };
        indexes.filter_map(lease).collect()
    }

    async fn put(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        let world = &self.0.world;
        let index = index_of(connection.as_str());
        let concerns = |fault: &Fault| match fault {
            Fault::Puts(way) => Some(*way),
            _ => None,
        };
        let effect = |state: &mut State, now| state.put(index, lease, description, now);
        let call = async || world.tried(async || world.aws(PUT, concerns, effect).await).await;
        turn.call(call).await
    }
}

impl Grants for Port {
    async fn list(&self) -> Result<Vec<StoredSecret>, StoreError> {
        let world = &self.0.world;
        let (connections, clients) = {
            let state = world.state.borrow();
            (state.connections.len(), state.clients)
        };
        let mut secrets = Vec::with_capacity(connections + clients);
        let mut page = 0;
        while page < connections + clients {
            let lag = world.lag();
            let answer = |state: &mut State, now| {
                state.gate.batch(now).map_err(refused)?;
                let end = (page + SECRETS_A_PAGE).min(connections + clients);
                let secret = |place: usize| match state.connections.get(place) {
                    Some(connection) => connection.secret(&world.prefix, lag),
                    None => client_secret(state, &world.prefix, place - connections),
                };
                Ok((page..end).map(secret).collect::<Vec<_>>())
            };
            secrets.extend(world.secrets_call("secretsmanager:BatchGetSecretValue", answer).await?);
            page += SECRETS_A_PAGE;
        }
        Ok(secrets)
    }

    async fn read(&self, names: &[SecretName]) -> Result<Vec<StoredSecret>, StoreError> {
        let world = &self.0.world;
        let (grants, clients) = (world.prefix.grants(), world.prefix.clients() + "client-");
        let mut secrets = Vec::with_capacity(names.len());
        for names in names.chunks(SECRETS_A_PAGE) {
            let lag = world.lag();
            let answer = |state: &mut State, now| {
                state.gate.batch(now).map_err(refused)?;
                let secret = |full: &SecretName| {
                    let name = full.as_str();
                    if let Some(connection) = name.strip_prefix(&grants) {
                        return state.connections[index_of(connection)].secret(&world.prefix, lag);
                    }
                    match name.strip_prefix(&clients).and_then(|client| client.parse().ok()) {
                        Some(client) => client_secret(state, &world.prefix, client),
                        None => StoredSecret { name: full.clone(), content: Err(Flaw::NotFound) },
                    }
                };
                Ok(names.iter().map(secret).collect::<Vec<_>>())
            };
            secrets.extend(world.secrets_call("secretsmanager:BatchGetSecretValue", answer).await?);
        }
        Ok(secrets)
    }
}

impl GrantNames for Port {
    async fn names(&self) -> Result<Vec<SecretName>, StoreError> {
        let world = &self.0.world;
        let count = world.state.borrow().connections.len();
        let mut names = Vec::with_capacity(count);
        for page in (0..count).step_by(NAMES_A_PAGE) {
            let answer = |state: &mut State, now| {
                state.gate.list(now).map_err(refused)?;
                let page = state.connections[page..].iter().take(NAMES_A_PAGE);
                Ok(page.map(|connection| world.prefix.grant(connection.name.as_str())).collect::<Vec<_>>())
            };
            names.extend(world.secrets_call("secretsmanager:ListSecrets", answer).await?);
        }
        Ok(names)
    }
}

impl SecretWriter for Port {
    async fn create(&self, _: &SecretName, _: &SecretText) -> Result<VersionId, StoreError> {
        unreachable!("a consent creates no secret")
    }
}

impl Port {
    async fn put_claim(&self, connection: &ConnectionName, claim: &Claim, overwrite: bool) -> Result<(), StoreError> {
        let (world, index) = (&self.0.world, self.rotating(connection));
        let concerns = |fault: &Fault| match fault {
            Fault::Puts(way) => Some(*way),
            _ => None,
        };
        let effect = |state: &mut State, now| {
            state.put_passes(now)?;
            state.put_claim(index, claim, overwrite, self.0.invocation.get())
        };
        let call = async || world.tried(async || world.aws(PUT, concerns, effect).await).await;
        self.0.puts.call(call).await
    }

    /// The number of a connection, which has to be one with rotating refresh tokens.
    fn rotating(&self, connection: &ConnectionName) -> usize {
        let index = index_of(connection.as_str());
        let server = self.0.world.state.borrow().connections[index].server;
        assert!(server.is_some(), "{connection} is Zoho's and needs no claim");
        index
    }
}

impl Claims for Port {
    async fn claim(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError> {
        match self.put_claim(connection, claim, false).await {
            Err(error) if error.is_one_of(&[EXISTS]) => Err(StoreError { cause: Cause::Overtaken, ..error }),
            put => put,
        }
    }

    async fn rewrite(&self, connection: &ConnectionName, claim: &Claim) -> Result<(), StoreError> {
        self.put_claim(connection, claim, true).await
    }

    async fn claims(&self, connection: &ConnectionName) -> Result<Vec<Claim>, StoreError> {
        let (index, lag) = (self.rotating(connection), self.0.world.lag());
        let answer = |state: &mut State| state.connections[index].claims.read(lag);
        self.paced_read("ssm:GetParametersByPath", answer).await
    }

    async fn unclaim(&self, connection: &ConnectionName, claims: &[Claim]) -> Result<(), StoreError> {
        let (world, index) = (&self.0.world, self.rotating(connection));
        let names: Vec<_> = claims.iter().map(Claim::name).collect();
        let concerns = |fault: &Fault| match fault {
            Fault::Puts(way) => Some(*way),
            _ => None,
        };
        let effect = |state: &mut State, now| {
            state.put_passes(now)?;
            state.connections[index].claims.remove(&names);
            Ok(())
        };
        let call = async || world.tried(async || world.aws(DELETE, concerns, effect).await).await;
        self.0.puts.call(call).await
    }
}

impl SecretReplacer for Port {
    async fn put_aside(&self, name: &SecretName) -> Result<Option<SecretVersion>, StoreError> {
        let world = &self.0.world;
        let index = index_of(name.as_str().strip_prefix(&world.prefix.grants()).expect("a grant"));
        let answer = |state: &mut State, now| {
            state.gate.value(now).map_err(refused)?;
            Ok(state.connections[index].aside.clone())
        };
        world.secrets_call("secretsmanager:GetSecretValue", answer).await
    }

    async fn replace(&self, name: &SecretName, text: &SecretText, read: &VersionId) -> Result<VersionId, StoreError> {
        let world = &self.0.world;
        let index = index_of(name.as_str().strip_prefix(&world.prefix.grants()).expect("a grant"));
        let stored: serde_json::Value = serde_json::from_str(text.expose()).expect("a grant's text");
        let token = stored["refresh_token"].as_str().expect("a refresh token").to_owned();
        let refresh_token = match world.state.borrow().connections[index].server {
            None => token.parse().expect("a refresh token of this world"),
            Some(_) => world.state.borrow().family(&token),
        };
        let version = VersionId::after(read, text);
        let put = |state: &mut State, now| {
            state.gate.write(now).map_err(refused)?;
            state.connections[index].aside = Some(SecretVersion { id: version.clone(), text: text.clone() });
            Ok(())
        };
        world.secrets_call(PUT_ASIDE, put).await?;
        let make_current = |state: &mut State, now| {
            state.gate.write(now).map_err(refused)?;
            let current = state.connections[index].secrets.back().expect("a version");
            if current.id != *read {
                return Err(OVERTAKEN);
            }
            if current.refresh_token != refresh_token {
                assert!(!state.versions.values().any(|stored| *stored == refresh_token), "an older grant comes back");
                state.consented.insert(version.clone());
                state.forget_open(index);
            }
            state.versions.insert(version.clone(), refresh_token);
            state.store_of(&token, false, self.0.invocation.get());
            let secrets = &mut state.connections[index].secrets;
            let (id, text, token) = (version.clone(), text.clone(), token.clone());
            secrets.push_back(Secret { at: Instant::now(), id, text, refresh_token, token });
            if secrets.len() > 8 {
                secrets.pop_front();
            }
            Ok(())
        };
        let Err(mut why) = world.secrets_call(MAKE_CURRENT, make_current).await else { return Ok(version) };
        if !why.is_one_of(&[OVERTAKEN]) {
            return Err(why);
        }
        // As the real adapter does it: the answer to a first try may have been lost.
        let mut before = None;
        for wait in [Duration::ZERO, SETTLING] {
            sleep(wait).await;
            let seen = match self.read_one(name).await.map(|secret| secret.content) {
                Ok(Ok(current)) if current.id == version => return Ok(version),
                Ok(Ok(current)) => Some(current.id).filter(|id| id != read),
                Ok(Err(_)) | Err(_) => None,
            };
            why.cause = if seen.is_some() && seen == before { Cause::Overtaken } else { Cause::NoAnswer };
            before = seen;
        }
        Err(why)
    }
}

impl Queue for Port {
    async fn send(&self, messages: &[String]) -> Result<(), Unsent> {
        let world = &self.0.world;
        let concerns = |fault: &Fault| match fault {
            Fault::Queue(way) => Some(*way),
            _ => None,
        };
        for (sent, batch) in messages.chunks(10).enumerate() {
            let effect = |state: &mut State, _| {
                state.queue.extend(batch.iter().cloned());
                Ok(())
            };
            let answer = world.tried(async || world.aws("sqs:SendMessage", concerns, effect).await).await;
            answer.map_err(|error| Unsent { messages: messages.len() - 10 * sent, error })?;
        }
        Ok(())
    }
}

impl Leases for Port {
    async fn list(&self) -> Result<Published, StoreError> {
        let world = &self.0.world;
        let count = world.state.borrow().connections.len();
        let mut leases = Published::new();
        let mut page = 0;
        loop {
            let (lag, end) = (world.lag(), (page + PARAMETERS_A_PAGE).min(count));
            let answer = |state: &mut State| Self::read_some(state, page..end, lag);
            leases.extend(self.paced_read("ssm:GetParametersByPath", answer).await?);
            page = end;
            if page == count {
                return Ok(leases);
            }
        }
    }

    async fn read(&self, connections: &[ConnectionName]) -> Result<Published, StoreError> {
        let world = &self.0.world;
        let mut leases = Published::new();
        for page in connections.chunks(PARAMETERS_A_PAGE) {
            let lag = world.lag();
            let indexes = || page.iter().map(|name| index_of(name.as_str()));
            let answer = |state: &mut State| Self::read_some(state, indexes(), lag);
            leases.extend(self.paced_read("ssm:GetParameters", answer).await?);
        }
        Ok(leases)
    }

    async fn read_version(&self, connection: &ConnectionName, version: i64) -> Result<Option<Lease>, StoreError> {
        let index = index_of(connection.as_str());
        let answer = |state: &mut State| {
            state.counts.put_right += 1;
            let mut kept = state.connections[index].parameter.iter();
            kept.find(|written| written.lease.version == version).map(|written| Lease::clone(&written.lease))
        };
        self.paced_read("ssm:GetParameter", answer).await
    }

    fn pace(&self) -> &Pace {
        &self.0.puts
    }

    async fn publish(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        if !self.0.plain.get() {
            return self.put(turn, connection, lease, description).await;
        }
        let world = &self.0.world;
        let concerns = |fault: &Fault| match fault {
            Fault::Puts(way) => Some(*way),
            _ => None,
        };
        let effect = |state: &mut State, now| state.gate.put(now).map_err(refused);
        turn.call(async || {
            world.tried(async || world.aws("ssm:PutParameter of a bare token", concerns, effect).await).await
        })
        .await?;
        self.put(self.0.puts.another().await, connection, lease, description).await
    }

    async fn mark(
        &self,
        turn: Turn<'_>,
        connection: &ConnectionName,
        lease: &Lease,
        description: &str,
    ) -> Result<i64, StoreError> {
        self.put(turn, connection, lease, description).await
    }
}

/// A request with a refresh token that is good for one use. If the process ends, it may arrive all
/// the same.
struct Sent<'p> {
    port: &'p Port,
    index: usize,
    refresh_token: &'p str,
    answered: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let (world, now) = (&self.port.0.world, self.port.0.world.now());
        if self.answered || std::thread::panicking() {
            return;
        }
        let arrives = world.chance(0.5);
        let mut state = world.state.borrow_mut();
        if arrives && !state.arrived(self.refresh_token) {
            let _ = state.redeem(self.index, self.refresh_token, now, self.port.0.invocation.get());
        }
        state.sent(self.index, self.refresh_token, None);
    }
}

impl Port {
    /// Sends a refresh token to a server that rotates.
    async fn redeem(&self, index: usize, refresh_token: &str) -> Result<Minted, Refusal> {
        let world = &self.0.world;
        let issued_at = whole_second(world.now());
        world.state.borrow_mut().send(index, refresh_token, world.now());
        let mut sent = Sent { port: self, index, refresh_token, answered: false };
        let invocation = self.0.invocation.get();
        let rules = |state: &mut State| state.redeem(index, refresh_token, world.now(), invocation);
        let answer = self.ask(index, true, rules, |state, _| state.mints_of[index] += 1).await;
        sent.answered = true;
        world.state.borrow_mut().sent(index, refresh_token, Some(&answer));
        Ok(minted(answer?, issued_at))
    }
}

/// A server's answer as the adapter reads it.
fn minted(answer: testkit::oauth::rules::Minted, issued_at: Timestamp) -> Minted {
    let token = Token::new(AccessToken::new(answer.access_token), issued_at, issued_at + answer.life);
    Minted { refresh_token: answer.refresh_token.map(RefreshToken::new), ..Minted::new(token) }
}

impl Issuer for Port {
    async fn mint(&self, grant: &Grant) -> Result<Minted, Refusal> {
        let world = &self.0.world;
        let issued_at = whole_second(world.now());
        let index = index_of(grant.connection.as_str());
        self.is_allowed(index, grant);
        let refresh_token = grant.refresh_token().expect("a refresh token").expose();
        if grant.provider.rotates() {
            return self.redeem(index, refresh_token).await;
        }
        let refresh_token: usize = refresh_token.parse().expect("a refresh token of this world");
        let invocation = self.0.invocation.get();
        let rules = |state: &mut State| {
            let dead = state.refresh_tokens[refresh_token].dead.is_some();
            state.asks.push(Ask { invocation, connection: index, refresh_token, dead });
            state.answer(refresh_token)
        };
        let count = |state: &mut State, token: &String| {
            state.counts.mints += 1;
            state.mints_of[index] += 1;
            state.unpublished.insert(token.clone(), (index, invocation));
        };
        let token = self.ask(index, true, rules, count).await?;
        let token = Token::new(AccessToken::new(token), issued_at, issued_at + LIFE);
        Ok(Minted::new(token))
    }

    fn timeout(&self) -> Duration {
        ZOHO_TIMEOUT
    }
}

impl Port {
    /// Fails if Zoho is asked in a pause that the document has named since before this run began.
    fn is_allowed(&self, index: usize, grant: &Grant) {
        let world = &self.0.world;
        let state = world.state.borrow();
        let Some(newest) = state.connections[index].parameter.back() else { return };
        let until = newest.lease.status.trouble().and_then(|trouble| trouble.retry_after);
        if let Some(until) = until.filter(|_| newest.lease.grant_version == grant.version)
            && newest.at + LAG <= self.0.since.get()
        {
            let now = world.now();
            assert!(until <= now, "{} is asked for at {now}, before {until}", grant.connection);
        }
    }

    /// A request to a provider on its way. A fault answers it, or else the rules.
    async fn ask<T>(
        &self,
        index: usize,
        refreshing: bool,
        rules: impl FnOnce(&mut State) -> Result<T, Refusal>,
        count: impl FnOnce(&mut State, &T),
    ) -> Result<T, Refusal> {
        let world = &self.0.world;
        let (client, data_center, rotates) = {
            let state = world.state.borrow();
            let Connection { client, data_center, server, .. } = &state.connections[index];
            (*client, *data_center, server.is_some())
        };
        sleep(world.zoho_latency()).await;
        let out_of_order = world.fault(|fault| match fault {
            Fault::DataCenter(place, way, share) if *place == data_center => Some((*way, *share)),
            _ => None,
        });
        let way = out_of_order.filter(|(_, share)| world.chance(*share)).map(|(way, _)| way);
        let mut passing = world.faulty.get() && world.chance(0.0005);
        {
            // Never twice in a row: the refresher's one retry must succeed.
            let unlucky = &mut world.state.borrow_mut().connections[index].unlucky;
            passing &= !*unlucky;
            *unlucky = passing;
        }
        let way = way.or(passing.then_some(Way::Break));
        if let Some(way) = way {
            // Nothing was sent.
            if way == Way::Break && rotates && world.chance(0.5) {
                return Err(Refusal::OutOfOrder(Silence::Unreachable));
            }
            // The server may have minted all the same. Nobody can know, so the check does not count
            // it.
            if (way == Way::Hang || rotates) && world.chance(0.3) {
                let mut state = world.state.borrow_mut();
                let asks = state.asks.len();
                let _ = rules(&mut state);
                state.asks.truncate(asks);
            }
            return Err(Refusal::OutOfOrder(match way {
                Way::Hang => {
                    sleep(ZOHO_TIMEOUT).await;
                    Silence::TimedOut
                }
                Way::Break => Silence::Broken,
                Way::Fail | Way::Refuse => Silence::ServerError(503),
            }));
        }
        let answer = world.fault(|fault| match fault {
            Fault::ClientThrottled(place) if *place == client => Some(Refusal::Throttled),
            Fault::Throttled(place) if refreshing && *place == index => Some(Refusal::Throttled),
            Fault::ClientRefused(place) if *place == client => {
                Some(Refusal::Misconfigured { error: "invalid_client".to_owned() })
            }
            Fault::UnknownWord(place) if refreshing && *place == index => {
                Some(Refusal::Unclear { error: "odd_word (HTTP 200)".to_owned(), at_once: false })
            }
            _ => None,
        });
        let answer = answer.map_or_else(|| rules(&mut world.state.borrow_mut()), Err);
        if let Ok(answer) = &answer {
            count(&mut world.state.borrow_mut(), answer);
        }
        sleep(world.zoho_latency()).await;
        answer
    }
}

/// The name of Zoho's data centre.
fn home(at: &Provider) -> &str {
    at.data_center().expect("Zoho").name.as_str()
}

impl Authorizer for Port {
    async fn exchange(&self, client: &Client, at: &Provider, proof: &Proof) -> Result<Minted, Refusal> {
        let world = &self.0.world;
        let issued_at = whole_second(world.now());
        let index: usize = proof.code.expose().parse().expect("a code of this world");
        let server = world.state.borrow().connections[index].server;
        if let Some(server) = server {
            let agree = |state: &mut State| Ok(state.agree(server, world.now()).1);
            return Ok(minted(self.ask(index, false, agree, |_, _| {}).await?, issued_at));
        }
        assert!(client.id.starts_with("id-") && DATA_CENTERS.contains(&home(at)));
        let mut issued = None;
        let rules = |state: &mut State| {
            let refresh_token = *issued.insert(state.issue());
            Ok(state.mint(refresh_token))
        };
        // The refresher did not mint a consent's first token.
        let token = self.ask(index, false, rules, |_, _| {}).await?;
        let access_token = AccessToken::new(token);
        let expires_at = issued_at + LIFE;
        let scope = Some("ZohoCRM.modules.ALL".to_owned());
        let token = Token::new(access_token, issued_at, expires_at);
        let refresh_token = issued.map(|token| RefreshToken::new(token.to_string()));
        Ok(Minted { scope, refresh_token, ..Minted::new(token) })
    }

    async fn revoke(
        &self,
        refresh_token: &RefreshToken,
        _client: &Client,
        at: &Provider,
    ) -> Option<Result<Revoked, Refusal>> {
        let world = &self.0.world;
        // No server here ends one grant alone.
        at.data_center()?;
        sleep(world.zoho_latency()).await;
        let out = world.fault(|fault| match fault {
            Fault::DataCenter(place, _, share) if DATA_CENTERS.get(*place) == Some(&home(at)) => Some(*share),
            _ => None,
        });
        if out.is_some_and(|share| world.chance(share)) {
            return Some(Err(Refusal::OutOfOrder(Silence::ServerError(503))));
        }
        let token: usize = refresh_token.expose().parse().expect("a refresh token of this world");
        world.state.borrow_mut().refresh_tokens[token].die(Death::Replaced);
        sleep(world.zoho_latency()).await;
        Some(Ok(Revoked::Now))
    }

    async fn account(&self, _token: &AccessToken, _at: &DataCenter) -> Result<Account, Refusal> {
        unreachable!("no consent here has the scope to ask for it")
    }
}
