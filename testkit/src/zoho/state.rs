//! Zoho's memory: clients, codes, grants, access tokens and request windows. It does not know HTTP.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::settings::{Settings, User};
use crate::clock::Clock;
use crate::digest::sha256;

/// How long an access token lives.
const ACCESS_TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(3600);
/// How long a code lives. The documents say between one and three minutes.
const CODE_LIFE: SignedDuration = SignedDuration::from_secs(120);
/// The window in which requests are counted, and the length of a block.
const WINDOW: SignedDuration = SignedDuration::from_secs(600);

pub(super) struct State {
    pub(super) settings: Settings,
    /// The data centres' names, with the base URLs of their accounts servers.
    pub(super) accounts: Vec<(String, String)>,
    pub(super) clients: HashMap<String, Client>,
    /// The live refresh tokens, oldest first.
    pub(super) grants: Vec<Grant>,
    /// Successful refreshes by refresh token.
    pub(super) mints: HashMap<String, usize>,
    clock: Clock,
    codes: HashMap<String, (Code, Timestamp)>,
    /// The requests of the device flow, by their device codes.
    devices: HashMap<String, Device>,
    access_tokens: HashMap<String, Access>,
    /// Data centre and client of every consent so far.
    consents: HashSet<(String, String)>,
    windows: HashMap<String, Window>,
    /// Codes and tokens made so far.
    made: u64,
}

pub(super) struct Client {
    /// Empty for a self client and for a non-browser application.
    pub(super) redirect_uris: Vec<String>,
    /// Whether it is a non-browser application.
    pub(super) device: bool,
    /// The secrets, by data centre.
    pub(super) secrets: HashMap<String, String>,
}

pub(super) struct Grant {
    pub(super) refresh_token: String,
    pub(super) data_center: String,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    pub(super) user: User,
    /// The live access tokens, oldest first.
    access_tokens: VecDeque<String>,
}

/// What a code was made for.
pub(super) struct Code {
    pub(super) data_center: String,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    /// Who agreed.
    pub(super) user: User,
    /// `None` for a self client.
    pub(super) redirect_uri: Option<String>,
    /// The S256 challenge of PKCE.
    pub(super) challenge: Option<String>,
    /// Whether the exchange gives a refresh token.
    pub(super) offline: bool,
}

/// A request of the device flow, and what became of it.
pub(super) struct Device {
    pub(super) user_code: String,
    pub(super) data_center: String,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    pub(super) offline: bool,
    pub(super) prompt: bool,
    pub(super) expires: Timestamp,
    /// When it was polled last, wherever.
    pub(super) polled: Option<Timestamp>,
    pub(super) decision: Option<Decision>,
}

/// What the user has decided.
pub(super) enum Decision {
    Refused,
    Accepted {
        /// The user's own data centre.
        home: String,
        user: User,
        /// Whether there will be a refresh token.
        offline: bool,
    },
}

/// What an access token is good for.
struct Access {
    expires: Timestamp,
    data_center: String,
    scopes: Vec<String>,
    user: User,
}

struct Window {
    since: Timestamp,
    requests: usize,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            settings: Settings::default(),
            accounts: Vec::new(),
            clients: HashMap::new(),
            grants: Vec::new(),
            mints: HashMap::new(),
            clock,
            codes: HashMap::new(),
            devices: HashMap::new(),
            access_tokens: HashMap::new(),
            consents: HashSet::new(),
            windows: HashMap::new(),
            made: 0,
        }
    }

    /// The client, if this data centre knows it.
    pub(super) fn client(&self, data_center: &str, client_id: &str) -> Option<&Client> {
        self.clients.get(client_id).filter(|client| client.secrets.contains_key(data_center))
    }

    /// The scopes that are granted of those that were asked for.
    pub(super) fn granted<S: AsRef<str>>(&self, asked: &[S]) -> Vec<String> {
        let asked = asked.iter().map(|scope| scope.as_ref().to_owned());
        asked.filter(|scope| !self.settings.withheld_scopes.contains(scope)).collect()
    }

    /// Remembers that the user consents. Returns whether it is the first time.
    pub(super) fn consents(&mut self, data_center: &str, client_id: &str) -> bool {
        self.consents.insert((data_center.to_owned(), client_id.to_owned()))
    }

    pub(super) fn issue_code(&mut self, code: Code) -> String {
        let text = self.make();
        self.codes.insert(text.clone(), (code, self.clock.now() + CODE_LIFE));
        text
    }

    /// What a code was made for. A code works once, in time, for its own client in its own data
    /// centre.
    pub(super) fn spend_code(&mut self, data_center: &str, client_id: &str, text: &str) -> Option<Code> {
        let (code, _) = self.codes.get(text)?;
        if code.data_center != data_center || code.client_id != client_id {
            return None;
        }
        let (code, expires) = self.codes.remove(text)?;
        (self.clock.now() < expires).then_some(code)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Remembers a request of the device flow. Returns its device code.
    pub(super) fn ask(&mut self, device: Device) -> String {
        let code = self.make();
        self.devices.insert(code.clone(), device);
        code
    }

    pub(super) fn device(&mut self, code: &str) -> Option<&mut Device> {
        self.devices.get_mut(code)
    }

    pub(super) fn device_of_user(&mut self, user_code: &str) -> Option<&mut Device> {
        self.devices.values_mut().find(|device| device.user_code == user_code)
    }

    pub(super) fn forget_device(&mut self, code: &str) -> Option<Device> {
        self.devices.remove(code)
    }

    /// A new user code: eight letters, the same in every run.
    pub(super) fn user_code(&mut self) -> String {
        self.made += 1;
        let letters: String =
            sha256(&self.made.to_be_bytes())[..8].iter().map(|byte| char::from(b'A' + byte % 26)).collect();
        format!("{}-{}", &letters[..4], &letters[4..])
    }

    /// A new refresh token. If the user then has too many, the oldest ends.
    pub(super) fn grant(&mut self, data_center: &str, client_id: &str, scopes: Vec<String>, user: User) -> String {
        let mut of_the_user = self.grants.iter().filter(|grant| grant.data_center == data_center && grant.user == user);
        if let Some(oldest) = of_the_user.next()
            && 1 + of_the_user.count() >= self.settings.refresh_tokens_per_user
        {
            let oldest = oldest.refresh_token.clone();
            self.kill(&oldest);
        }
        let refresh_token = self.make();
        self.grants.push(Grant {
            refresh_token: refresh_token.clone(),
            data_center: data_center.to_owned(),
            client_id: client_id.to_owned(),
            scopes,
            user,
            access_tokens: VecDeque::new(),
        });
        refresh_token
    }

    /// Whether the refresh token was alive before.
    pub(super) fn kill(&mut self, refresh_token: &str) -> bool {
        let Some(position) = self.grants.iter().position(|grant| grant.refresh_token == refresh_token) else {
            return false;
        };
        for access_token in self.grants.remove(position).access_tokens {
            self.access_tokens.remove(&access_token);
        }
        true
    }

    /// A new access token without a refresh token: no limit or death of one affects it.
    pub(super) fn access_token(&mut self, data_center: &str, scopes: Vec<String>, user: User) -> String {
        let access_token = self.make();
        let expires = self.clock.now() + ACCESS_TOKEN_LIFE;
        let access = Access { expires, data_center: data_center.to_owned(), scopes, user };
        self.access_tokens.insert(access_token.clone(), access);
        access_token
    }

    /// A new access token of a live refresh token. If it then has too many, the oldest ends.
    ///
    /// # Panics
    /// If the refresh token is dead.
    pub(super) fn access_token_of(&mut self, refresh_token: &str) -> String {
        let lives = |grant: &&Grant| grant.refresh_token == refresh_token;
        let Grant { data_center, scopes, user, .. } = self.grants.iter().find(lives).expect("a live refresh token");
        let (data_center, scopes, user) = (data_center.clone(), scopes.clone(), user.clone());
        let access_token = self.access_token(&data_center, scopes, user);
        let now = self.clock.now();
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.refresh_token == refresh_token) {
            grant.access_tokens.push_back(access_token.clone());
            grant
                .access_tokens
                .retain(|token| self.access_tokens.get(token).is_some_and(|access| now < access.expires));
            let surplus = grant.access_tokens.len().saturating_sub(self.settings.live_access_tokens);
            for evicted in grant.access_tokens.drain(..surplus) {
                self.access_tokens.remove(&evicted);
            }
        }
        access_token
    }

    /// Whose account an access token is for, or the code of the refusal.
    pub(super) fn user_of(&self, data_center: &str, access_token: &str) -> Result<&User, &'static str> {
        let now = self.clock.now();
        let access = self.access_tokens.get(access_token);
        let access = access.filter(|access| now < access.expires && access.data_center == data_center);
        let access = access.ok_or("INVALID_OAUTHTOKEN")?;
        let tells = access.scopes.iter().any(|scope| scope.eq_ignore_ascii_case("AaaServer.profile.READ"));
        if tells { Ok(&access.user) } else { Err("INVALID_OAUTHSCOPE") }
    }

    /// Ends an access token before its time, as if the user or a limit ended it.
    pub(super) fn end_access_token(&mut self, access_token: &str) {
        self.access_tokens.remove(access_token);
    }

    pub(super) fn access_token_lives(&self, access_token: &str) -> bool {
        self.access_tokens.get(access_token).is_some_and(|access| self.clock.now() < access.expires)
    }

    /// Counts a request for `key` and says whether it is one too many. Such a request starts the
    /// block anew.
    pub(super) fn throttles(&mut self, key: &str) -> bool {
        let now = self.clock.now();
        let window = self.windows.entry(key.to_owned()).or_insert(Window { since: now, requests: 0 });
        if now.duration_since(window.since) >= WINDOW {
            *window = Window { since: now, requests: 0 };
        }
        let throttled = window.requests >= self.settings.requests_per_window;
        if throttled {
            window.since = now;
        } else {
            window.requests += 1;
        }
        throttled
    }

    /// The text of a new code or token: unique, about 70 characters, and the same in every run.
    fn make(&mut self) -> String {
        self.made += 1;
        let parts = sha256(&self.made.to_be_bytes());
        let hex = |part: &[u8]| part.iter().fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
        let (left, right) = parts.split_at(16);
        format!("1000.{:032x}.{:032x}", hex(left), hex(right))
    }
}
