//! Zoho's accounts servers: consent, device flow, token endpoint and revocation. One server per
//! data centre, all with one shared state.
//!
//! Arrange with [`Zoho::register`], [`Zoho::consent`] and [`Zoho::settings`], run the program
//! against [`Zoho::data_centers`], then ask what lives and what was minted. Each data centre has
//! one user, whose home it is. The user decides with a form: a client without a browser posts
//! `decision=accept` or `refuse` to `/oauth/v2/decide` with the page's query. For the device flow
//! it posts `user_code` and `decision` to `/oauth/v3/device`; a test may call [`Zoho::decide`].
//! [`answers`] has Zoho's unusual answers, for [`Fault::Respond`](crate::wire::Fault::Respond).

pub mod answers;
mod consent;
mod device;
mod parameters;
mod server;
mod settings;
mod state;
mod token;

use std::sync::{Arc, Mutex, MutexGuard};

use crate::clock::Clock;
use crate::wire::{Faults, Server};
use server::Accounts;
pub use settings::{CountedPer, Settings, User};
use state::{Client, Code, State};

/// Running accounts servers. They stop when this value is dropped.
pub struct Zoho {
    servers: Vec<(String, Server)>,
    state: Arc<Mutex<State>>,
}

impl Zoho {
    /// Starts one accounts server per data centre name (`us`, `eu`, …), each on a free loopback
    /// port.
    pub fn start(data_centers: &[&str], clock: Clock, faults: Faults) -> Self {
        let state = Arc::new(Mutex::new(State::new(clock)));
        let shared = state.clone();
        let serve = move |name: &&str| {
            let accounts = Accounts::new(name, shared.clone());
            ((*name).to_owned(), Server::start(Arc::new(accounts), faults.clone()))
        };
        let servers = data_centers.iter().map(serve).collect();
        let zoho = Self { servers, state };
        zoho.state().accounts = zoho.servers.iter().map(|(name, server)| (name.clone(), server.url())).collect();
        zoho
    }

    /// The base URL of a data centre's accounts server, without a trailing slash.
    ///
    /// # Panics
    /// If the data centre was not started.
    pub fn accounts(&self, data_center: &str) -> String {
        let (_, server) = self.servers.iter().find(|(name, _)| name == data_center).expect("a started data centre");
        server.url()
    }

    /// The table of accounts servers, in the given order:
    /// `us=http://127.0.0.1:1111,eu=http://127.0.0.1:2222`.
    pub fn data_centers(&self) -> String {
        let entries: Vec<_> = self.servers.iter().map(|(name, server)| format!("{name}={}", server.url())).collect();
        entries.join(",")
    }

    /// Registers a client, or without redirect URIs a self client. A data centre knows the client
    /// if it has a secret there.
    pub fn register(&self, client_id: &str, redirect_uris: &[&str], secrets: &[(&str, &str)]) {
        let client = Client {
            redirect_uris: redirect_uris.iter().map(ToString::to_string).collect(),
            device: false,
            secrets: secrets.iter().map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned())).collect(),
        };
        self.state().clients.insert(client_id.to_owned(), client);
    }

    /// Makes a registered client a non-browser application, which alone may use the device flow. At
    /// Zoho a client has one type; here it keeps its redirect URIs, so that all ways to a consent
    /// can meet at one connection.
    ///
    /// # Panics
    /// If the client was never registered.
    pub fn allow_device(&self, client_id: &str) {
        self.state().clients.get_mut(client_id).expect("a registered client").device = true;
    }

    /// The user types a user code and accepts or refuses.
    ///
    /// # Errors
    /// What the page says if nobody can decide about this code, or not any more.
    pub fn decide(&self, user_code: &str, accept: bool) -> Result<(), &'static str> {
        device::decide(&mut self.state(), user_code, accept)
    }

    /// Gives a registered client a new secret in one data centre. The old one is refused at once.
    ///
    /// # Panics
    /// If the client was never registered.
    pub fn change_secret(&self, client_id: &str, data_center: &str, secret: &str) {
        let mut state = self.state();
        let client = state.clients.get_mut(client_id).expect("a registered client");
        client.secrets.insert(data_center.to_owned(), secret.to_owned());
    }

    /// A refresh token, as if the data centre's user had just consented and the code had been
    /// exchanged.
    pub fn consent(&self, data_center: &str, client_id: &str, scopes: &[&str]) -> String {
        let mut state = self.state();
        state.consents(data_center, client_id);
        let (scopes, user) = (state.granted(scopes), state.settings.user.clone());
        state.grant(data_center, client_id, scopes, user)
    }

    /// A code, as in a redirect to `redirect_uri` after an offline consent. Without a URI, as a
    /// self client's console shows it.
    pub fn code(&self, data_center: &str, client_id: &str, scopes: &[&str], redirect_uri: Option<&str>) -> String {
        let mut state = self.state();
        state.consents(data_center, client_id);
        let code = Code {
            data_center: data_center.to_owned(),
            client_id: client_id.to_owned(),
            scopes: state.granted(scopes),
            user: state.settings.user.clone(),
            redirect_uri: redirect_uri.map(str::to_owned),
            challenge: None,
            offline: true,
        };
        state.issue_code(code)
    }

    /// Ends a refresh token and its access tokens, as if the user removed the app.
    pub fn kill(&self, refresh_token: &str) {
        self.state().kill(refresh_token);
    }

    /// Whether the refresh token lives: it was issued, and not evicted, revoked or killed.
    pub fn refresh_token_lives(&self, refresh_token: &str) -> bool {
        self.state().grants.iter().any(|grant| grant.refresh_token == refresh_token)
    }

    /// Whether an API accepts the access token now.
    pub fn access_token_lives(&self, access_token: &str) -> bool {
        self.state().access_token_lives(access_token)
    }

    /// Ends an access token before its time, as if the user or a limit ended it.
    pub fn end_access_token(&self, access_token: &str) {
        self.state().end_access_token(access_token);
    }

    /// How many refreshes with this refresh token succeeded, also if it is dead now, or requests
    /// with this client's own credentials. The exchange of a code does not count.
    pub fn mints(&self, credential: &str) -> usize {
        self.state().mints.get(credential).copied().unwrap_or_default()
    }

    /// The live refresh tokens of all data centres, oldest first.
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.state().grants.iter().map(|grant| grant.refresh_token.clone()).collect()
    }

    /// Changes the settings, from the next request on.
    ///
    /// # Panics
    /// If the user's home is set to a data centre that was not started.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.state();
        change(&mut state.settings);
        let home = state.settings.home.as_ref();
        assert!(home.is_none_or(|home| state.accounts.iter().any(|(name, _)| name == home)), "no such home: {home:?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }
}
