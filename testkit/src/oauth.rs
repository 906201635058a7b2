//! An OAuth authorization server of our own: consent with PKCE, token endpoint, revocation and
//! discovery, as RFC 6749, 7636, 7009, 8414 and 9207 say. One server plays one provider.
//!
//! It is strict by default: each refresh rotates, and a second use of a refresh token ends the
//! grant. [`OAuth::settings`] changes that while it runs, and [`rows`] has the settings of the
//! providers in the table. Arrange with [`OAuth::register`] and [`OAuth::consent`], run the program
//! against [`OAuth::url`], then ask what lives and how often it was redeemed. A client without a
//! browser posts `decision=accept` or `refuse` to `/decide` with the query of `/authorize`.
//!
//! An answer gets lost with [`Fault::Drop`](crate::wire::Fault::Drop) and the like. [`rules`] has
//! the rules without a wire, for the simulation in virtual time.

mod codes;
mod consent;
mod discovery;
mod live;
pub mod refusal;
mod request;
pub mod rows;
pub mod rules;
mod server;
mod settings;
mod state;
mod token;

use std::sync::{Arc, Mutex, MutexGuard};

use crate::clock::Clock;
use crate::wire::{Faults, Server};
pub use request::Seen;
use rules::{Agreed, Minted, Rules};
use server::Endpoints;
pub use settings::{
    Authentication, Ends, EndsAccessToken, ExpiresIn, Grace, Iss, Offline, Pkce, Rotation, Scope, Settings, Stale,
};
use state::{Client, State};

/// A running server. It stops when this value is dropped.
pub struct OAuth {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl OAuth {
    /// Serves on a free loopback port. Its calls are recorded, and its faults chosen, by the name
    /// of the service: `oauth`, or another for a second server.
    pub fn start(service: &'static str, clock: Clock, faults: Faults) -> Self {
        let state = Arc::new(Mutex::new(State::new(service, clock)));
        let server = Server::start(Arc::new(Endpoints::new(service, state.clone())), faults);
        let oauth = Self { state, server };
        oauth.state().url = oauth.server.url();
        oauth
    }

    /// The base URL, without a trailing slash. The endpoints are `/authorize`, `/token` and
    /// `/revoke`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What the server calls itself.
    pub fn issuer(&self) -> String {
        self.state().issuer()
    }

    /// Registers a client, or changes it: a replaced secret is refused at once.
    pub fn register(&self, client_id: &str, secret: &str, redirect_uris: &[&str]) {
        let redirect_uris = redirect_uris.iter().map(ToString::to_string).collect();
        self.state().clients.insert(client_id.to_owned(), Client { secret: secret.to_owned(), redirect_uris });
    }

    /// Changes the settings, from the next request on.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().rules.settings);
    }

    /// The first tokens of a new grant, as if the user had just consented and the code had been
    /// exchanged.
    pub fn consent(&self, client_id: &str, scopes: &[&str]) -> Minted {
        self.at_once(|rules, now| {
            let user = rules.settings.user.clone();
            let scopes = scopes.iter().map(ToString::to_string).collect();
            rules.consent(now, Agreed { client_id: client_id.to_owned(), user, scopes, offline: true })
        })
    }

    /// Ends the grant of a refresh token with all its tokens, as if the user removed the app.
    ///
    /// # Panics
    /// If the refresh token was never issued.
    pub fn kill(&self, refresh_token: &str) {
        self.at_once(|rules, now| rules.kill(now, refresh_token));
    }

    /// Ends an access token before its time.
    pub fn end_access_token(&self, access_token: &str) {
        self.at_once(|rules, now| rules.end_access_token(now, access_token));
    }

    /// Whether an API accepts the access token now.
    pub fn access_token_lives(&self, access_token: &str) -> bool {
        self.at_once(|rules, now| rules.access_token_lives(now, access_token))
    }

    /// Whether the refresh token can be redeemed now, perhaps only in its grace.
    pub fn refresh_token_lives(&self, refresh_token: &str) -> bool {
        self.at_once(|rules, now| rules.refresh_token_lives(now, refresh_token))
    }

    /// Whether any refresh token of the same grant can be redeemed now.
    pub fn family_lives(&self, refresh_token: &str) -> bool {
        self.at_once(|rules, now| rules.family_lives(now, refresh_token))
    }

    /// The newest refresh token of the same grant, if it can be redeemed now.
    pub fn newest(&self, refresh_token: &str) -> Option<String> {
        self.at_once(|rules, now| rules.newest(now, refresh_token))
    }

    /// The refresh tokens that can be redeemed now, oldest grant first.
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.at_once(|rules, now| rules.refresh_tokens(now))
    }

    /// How often this refresh token was redeemed, also if it is dead now. A refused attempt does
    /// not count.
    pub fn redeemed(&self, refresh_token: &str) -> usize {
        self.state().rules.redeemed(refresh_token)
    }

    /// The requests that the server has seen, in their order. One that a fault answered is not
    /// among them.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    fn at_once<T>(&self, act: impl FnOnce(&mut Rules, jiff::Timestamp) -> T) -> T {
        let mut state = self.state();
        let now = state.now();
        act(&mut state.rules, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }
}
