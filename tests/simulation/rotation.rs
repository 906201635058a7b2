//! OAuth servers whose refresh tokens are good for one use, the claims on them, and a ledger of
//! every use. The ledger fails as soon as a refresh token is sent that must not be sent, or a grant
//! is lost that nothing explains.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::oauth::rules::{Agreed, Minted, Refused, Rules};
use testkit::oauth::{EndsAccessToken, Grace, Rotation, Settings, Stale};
use token_keeper::claim::Claim;
use token_keeper::failure::Refusal;
use tokio::time::Instant;

use crate::world::{Ask, DATA_CENTERS, Death, LAG, MARGIN, State, World};

/// A provider's rules, in words of a client's secret and as the server plays them.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) client: fn() -> Value,
    settings: fn(&mut Settings),
    /// Whether an answer that was lost may cost the grant.
    pub(crate) kills: bool,
    /// How long a refresh token may be sent again, if not for ever.
    pub(crate) grace: Option<Duration>,
    /// Whether a refresh ends the access token before it.
    pub(crate) late: bool,
}

const GRACE: Duration = Duration::from_mins(30);

fn custom(more: &Value) -> Value {
    let mut client = json!({
        "provider": "custom",
        "authorization_endpoint": "https://login.example/authorize",
    });
    client.as_object_mut().expect("fields").append(&mut more.as_object().expect("fields").clone());
    client
}

pub(crate) static KINDS: [Kind; 6] = [
    Kind {
        name: "kills",
        client: || custom(&json!({"reuse": "kills"})),
        settings: |_| {},
        kills: true,
        grace: None,
        late: false,
    },
    Kind {
        name: "for half an hour",
        client: || custom(&json!({"reuse": 1800})),
        settings: |settings| settings.grace = Grace::For(SignedDuration::from_mins(30)),
        kills: false,
        grace: Some(GRACE),
        late: false,
    },
    Kind {
        name: "until used",
        client: || custom(&json!({"reuse": "until_used"})),
        settings: |settings| settings.grace = Grace::UntilUsed,
        kills: false,
        grace: None,
        late: false,
    },
    Kind {
        name: "tolerated",
        client: || custom(&json!({"reuse": "tolerated"})),
        settings: |settings| settings.grace = Grace::Always,
        kills: false,
        grace: None,
        late: false,
    },
    Kind {
        name: "sometimes, kills",
        client: || custom(&json!({"rotation": "sometimes", "reuse": "kills"})),
        settings: |settings| settings.rotation = Rotation::After(SignedDuration::from_hours(2)),
        kills: true,
        grace: None,
        late: false,
    },
    Kind {
        name: "ends the access token, kills",
        client: || json!({"provider": "github"}),
        settings: |settings| {
            settings.access_token_life = SignedDuration::from_hours(8);
            settings.ends_access_token = EndsAccessToken::AtOnce;
            settings.stale = Stale::Refused;
        },
        kills: true,
        grace: None,
        late: true,
    },
];

/// A server and the one client that is registered at it.
pub(crate) struct Server {
    pub(crate) kind: &'static Kind,
    pub(crate) client: usize,
    rules: Rules,
}

/// What became of the requests with one refresh token.
#[derive(Default)]
struct Sends {
    /// While one is under way: whether it has arrived.
    under_way: Option<bool>,
    /// Whether an answer did not come.
    unanswered: bool,
    /// Whether a store has its successor.
    replaced: bool,
}

/// A new refresh token that is not the grant's yet.
pub(crate) struct Open {
    connection: usize,
    family: usize,
    before: String,
    invocation: u64,
    since: Instant,
    /// Whether the answer came.
    delivered: bool,
    /// Whether a claim keeps it.
    kept: bool,
    counted: bool,
}

/// A grant that was lost with an answer, or with the process that had it.
pub(crate) struct Lost {
    pub(crate) connection: usize,
    /// When its refresh token was redeemed first.
    pub(crate) since: Instant,
}

#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) mints: u64,
    pub(crate) claims: u64,
    pub(crate) lost_answers: u64,
    pub(crate) cut_off: u64,
    pub(crate) from_claim: u64,
    pub(crate) from_aside: u64,
    pub(crate) asked_again: u64,
    pub(crate) edits: u64,
    /// Lost grants by the name of their provider's rule, and whether the answer had come.
    pub(crate) lost: BTreeMap<(&'static str, bool), u64>,
}

/// Every use of a refresh token.
#[derive(Default)]
pub(crate) struct Ledger {
    family_of: HashMap<String, usize>,
    sends: HashMap<String, Sends>,
    open: HashMap<String, Open>,
    pub(crate) lost: Vec<Lost>,
    /// Connections with a request that got no answer in this step.
    pub(crate) cut: HashSet<usize>,
    pub(crate) counts: Counted,
}

type Snapshot = (Instant, Rc<BTreeMap<String, Claim>>);

/// The claims on a connection's grants. Old states stay for as long as a read may answer them.
#[derive(Default)]
pub(crate) struct ClaimStore(Vec<Snapshot>);

impl ClaimStore {
    pub(crate) fn now(&self) -> Rc<BTreeMap<String, Claim>> {
        self.0.last().map(|(_, claims)| claims.clone()).unwrap_or_default()
    }

    pub(crate) fn read(&self, lag: Duration) -> Vec<Claim> {
        let now = Instant::now();
        let seen = self.0.iter().rev().find(|(at, _)| *at + lag <= now);
        seen.map(|(_, claims)| claims.values().cloned().collect()).unwrap_or_default()
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, Claim>)) {
        let now = Instant::now();
        let mut claims = BTreeMap::clone(&self.now());
        change(&mut claims);
        let oldest = self.0.iter().rposition(|(at, _)| *at + LAG < now).unwrap_or_default();
        self.0.drain(..oldest);
        self.0.push((now, Rc::new(claims)));
    }

    pub(crate) fn remove(&mut self, names: &[String]) {
        self.change(|claims| claims.retain(|name, _| !names.contains(name)));
    }
}

impl Server {
    pub(crate) fn secret(&self) -> Value {
        let mut secret = (self.kind.client)();
        let client = self.client;
        secret["client_id"] = json!(format!("id-{client}"));
        secret["client_secret"] = json!("hush");
        secret["token_endpoint"] = json!(format!("https://login-{client}.example/token"));
        secret
    }

    fn agreed(&self) -> Agreed {
        let client_id = format!("id-{}", self.client);
        Agreed { client_id, user: "ann".to_owned(), scopes: vec!["read".to_owned()], offline: true }
    }

    pub(crate) fn lives(&self, now: Timestamp, access_token: &str) -> bool {
        self.rules.access_token_lives(now, access_token)
    }

    /// The owner removes the app.
    pub(crate) fn kill(&mut self, now: Timestamp, refresh_token: &str) {
        self.rules.kill(now, refresh_token);
    }

    /// The margin of a token of an hour, or of a late one.
    pub(crate) fn margin(&self) -> Duration {
        if self.kind.late { MARGIN / 2 } else { MARGIN }
    }
}

impl World {
    /// A server of this kind, with a client of its own.
    pub(crate) fn server(&self, kind: &'static Kind) -> usize {
        let mut state = self.state.borrow_mut();
        let (client, number) = (state.clients, state.servers.len());
        state.clients += 1;
        let mut rules = Rules::new(kind.name);
        (kind.settings)(&mut rules.settings);
        state.servers.push(Server { kind, client, rules });
        number
    }

    /// The rules of a connection's provider; `None` for Zoho.
    pub(crate) fn kind(&self, index: usize) -> Option<&'static Kind> {
        let state = self.state.borrow();
        state.connections[index].server.map(|server| state.servers[server].kind)
    }

    /// Where a server is, in [`Fault::DataCenter`](crate::world::Fault::DataCenter).
    pub(crate) fn place(server: usize) -> usize {
        DATA_CENTERS.len() + server
    }

    /// A connection at this server, with a grant but without a lease.
    pub(crate) fn connect_to(&self, server: usize) -> usize {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let client = state.servers[server].client;
        let (family, minted) = state.agree(server, now);
        let token = minted.refresh_token.expect("a refresh token");
        let text = json!({"client": format!("client-{client}"), "scopes": ["read"], "refresh_token": token});
        state.add(client, Self::place(server), Some(server), family, &text)
    }
}

impl State {
    /// A new grant at a server: its number, and its first tokens.
    pub(crate) fn agree(&mut self, server: usize, now: Timestamp) -> (usize, Minted) {
        let family = self.issue();
        let server = &mut self.servers[server];
        let agreed = server.agreed();
        let minted = server.rules.consent(now, agreed);
        self.ledger.family_of.insert(minted.refresh_token.clone().expect("a refresh token"), family);
        (family, minted)
    }

    /// The number of the grant that this refresh token belongs to.
    pub(crate) fn family(&self, refresh_token: &str) -> usize {
        self.ledger.family_of[refresh_token]
    }

    /// Checks that this refresh token may be sent now.
    pub(crate) fn send(&mut self, index: usize, refresh_token: &str, now: Timestamp) {
        let connection = &self.connections[index];
        let name = &connection.name;
        let server = &self.servers[connection.server.expect("a server")];
        let end = connection.newest().and_then(|lease| lease.token.as_ref()).map(|token| token.expires_at);
        let left = end.map(|end| end.duration_since(now));
        let sends = self.ledger.sends.entry(refresh_token.to_owned()).or_default();
        assert!(sends.under_way.is_none(), "{name}: two send the same refresh token");
        assert!(!sends.replaced, "{name}: a refresh token is sent again although its successor is stored");
        if sends.unanswered {
            self.ledger.counts.asked_again += 1;
            let near = SignedDuration::try_from(MARGIN / 2).expect("minutes");
            assert!(
                !server.kind.kills || server.kind.late || left.is_none_or(|left| left <= near),
                "{name}: a refresh token is sent again while the access token lives for {left:?}"
            );
        }
        sends.under_way = Some(false);
    }

    /// The server's answer to a refresh token when the request arrives.
    pub(crate) fn redeem(
        &mut self,
        index: usize,
        refresh_token: &str,
        now: Timestamp,
        invocation: u64,
    ) -> Result<Minted, Refusal> {
        let family = self.family(refresh_token);
        let server = self.connections[index].server.expect("a server");
        let Self { connections, servers, ledger, refresh_tokens, asks, .. } = self;
        let (connection, server) = (&connections[index], &mut servers[server]);
        ledger.sends.get_mut(refresh_token).expect("it was sent").under_way = Some(true);
        let dead = refresh_tokens[family].dead.is_some();
        asks.push(Ask { invocation, connection: index, refresh_token: family, dead });
        let client_id = format!("id-{}", server.client);
        match server.rules.refresh(now, &client_id, refresh_token, None) {
            Ok(minted) => {
                ledger.counts.mints += 1;
                let successor = minted.refresh_token.clone().expect("each answer has one");
                if successor != refresh_token {
                    ledger.family_of.insert(successor.clone(), family);
                    let before = refresh_token.to_owned();
                    let open = Open {
                        connection: index,
                        family,
                        before,
                        invocation,
                        since: Instant::now(),
                        delivered: false,
                        kept: false,
                        counted: false,
                    };
                    ledger.open.insert(successor, open);
                }
                Ok(minted)
            }
            Err(Refused::Dead) => {
                let stored = connection.refresh_token() == refresh_token;
                if !dead && (stored || !server.rules.family_lives(now, refresh_token)) {
                    let name = &connection.name;
                    let cuts = ledger.open.values().filter(|open| open.family == family && !open.kept);
                    let cut = cuts.min_by_key(|open| open.since);
                    let cut = cut.unwrap_or_else(|| panic!("{name} is lost, and no answer was"));
                    let kind = server.kind;
                    let over = kind.grace.is_some_and(|grace| cut.since + grace < Instant::now());
                    assert!(kind.kills || over, "{name} is lost at a provider that does not kill: {}", kind.name);
                    *ledger.counts.lost.entry((kind.name, cut.delivered)).or_default() += 1;
                    ledger.lost.push(Lost { connection: index, since: cut.since });
                    refresh_tokens[family].die(Death::Lost);
                }
                Err(Refusal::ConsentRequired { error: "invalid_grant".to_owned() })
            }
            Err(refused) => unreachable!("{refused:?}"),
        }
    }

    /// Whether the request that is under way has arrived.
    pub(crate) fn arrived(&self, refresh_token: &str) -> bool {
        self.ledger.sends[refresh_token].under_way == Some(true)
    }

    /// The request is over, and perhaps answered.
    pub(crate) fn sent(&mut self, index: usize, refresh_token: &str, answer: Option<&Result<Minted, Refusal>>) {
        let Ledger { sends, open, counts, cut, .. } = &mut self.ledger;
        let sends = sends.get_mut(refresh_token).expect("it was sent");
        let arrived = sends.under_way.take() == Some(true);
        match answer {
            Some(Ok(minted)) => {
                let successor = minted.refresh_token.as_ref().and_then(|successor| open.get_mut(successor));
                match successor {
                    // Only a store makes it known to others.
                    Some(successor) => (successor.delivered, sends.unanswered) = (true, true),
                    None => sends.unanswered = false,
                }
            }
            Some(Err(refusal)) if !refusal.perhaps_redeemed() => {}
            Some(Err(_)) | None => {
                sends.unanswered = true;
                cut.insert(index);
                counts.lost_answers += u64::from(arrived && answer.is_some());
            }
        }
    }

    /// Whether there is a new refresh token that no secret has.
    pub(crate) fn is_redeemed(&self) -> bool {
        !self.ledger.open.is_empty()
    }

    /// A store has a refresh token: the secret, or a claim.
    pub(crate) fn store_of(&mut self, refresh_token: &str, in_claim: bool, invocation: u64) {
        let Ledger { sends, open, counts, .. } = &mut self.ledger;
        let Some(stored) = open.get_mut(refresh_token) else { return };
        sends.get_mut(&stored.before).expect("it was sent").replaced = true;
        if in_claim {
            stored.kept = true;
            return;
        }
        counts.from_claim += u64::from(stored.kept);
        counts.from_aside += u64::from(!stored.kept && stored.invocation != invocation);
        let connection = stored.connection;
        open.retain(|_, open| open.connection != connection);
    }

    /// A consent has made all earlier grants unimportant.
    pub(crate) fn forget_open(&mut self, index: usize) {
        self.ledger.open.retain(|_, open| open.connection != index);
    }

    pub(crate) fn put_claim(
        &mut self,
        index: usize,
        claim: &Claim,
        overwrite: bool,
        invocation: u64,
    ) -> Result<(), &'static str> {
        let store = &mut self.connections[index].claims;
        let name = claim.name();
        if !overwrite && store.now().contains_key(&name) {
            return Err(EXISTS);
        }
        store.change(|claims| drop(claims.insert(name, claim.clone())));
        self.ledger.counts.claims += u64::from(!overwrite);
        if let Some(kept) = &claim.kept {
            self.store_of(kept.refresh_token.expose(), true, invocation);
        }
        Ok(())
    }

    /// At the end of a step: counts the processes that were cut off between an answer and a store.
    pub(crate) fn count_cuts(&mut self) {
        let Ledger { open, counts, .. } = &mut self.ledger;
        for open in open.values_mut().filter(|open| open.delivered && !open.kept && !open.counted) {
            open.counted = true;
            counts.cut_off += 1;
        }
    }
}

pub(crate) const EXISTS: &str = "ParameterAlreadyExists";
