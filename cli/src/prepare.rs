//! A connection's secret before a consent: what `connect` and `grant` store.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use token_keeper::connection::{
    CLIENT_CREDENTIALS, ClientSecrets, Clients, Grant, GrantSecret, Provider, SecretDocument, read_clients,
};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{ClientName, ConnectionName, VersionId};
use token_keeper::ports::Grants as _;
use token_keeper::provider::server::Server;
use token_keeper::settings::Settings;

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::scopes;

/// What the operator wants of a connection. An option that is left out keeps its stored value.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Your name for the account: letters a-z, digits and . - _
    pub connection: ConnectionName,
    /// The client, by the name you gave it with `client add`
    #[arg(long, value_name = "NAME")]
    pub client: Option<ClientName>,
    /// Zoho's data centre in which the client is registered. The consent starts there; the account
    /// may live in another one
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
    /// What the access token may do: scopes, separated by commas. You can repeat the option.
    /// `token-keeper scopes` lists Zoho's. Other providers may have none
    #[arg(long, value_delimiter = ',', value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// Also ask Zoho whose account it is, with the scope AaaServer.profile.READ. From then on a
    /// consent by another account is refused
    #[arg(long)]
    pub identify: bool,
    /// Allow another account than before
    #[arg(long)]
    pub allow_other_account: bool,
}

/// How an operator lets the refresher store refresh tokens.
pub(crate) const ALLOW_ROTATION: &str = "deploy the stack with RotatingProviders=true; without a stack, set \
                                         TOKEN_KEEPER_ROTATING_PROVIDERS=true and give its role infra/rotating-policy.json";

/// A connection that is stored and ready for a consent.
pub(crate) struct Ready {
    pub(crate) grant: Grant,
    /// Where the consent starts.
    pub(crate) data_center: String,
    /// What happened to the secret: created, updated or unchanged.
    pub(crate) done: &'static str,
}

/// How tokens will be asked for.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// With what a consent by a link gives.
    Link {
        /// Whether the account may live in another data centre than before.
        allow_move: bool,
    },
    /// With what a consent by a device code gives.
    Device {
        /// As with a link.
        allow_move: bool,
    },
    /// With what a self client's code gives.
    Code,
    /// With the client's own credentials. Without a `soid`, the stored one stays.
    ClientCredentials { soid: Option<&'a str> },
}

impl Way<'_> {
    fn allows_move(self) -> bool {
        matches!(self, Way::Link { allow_move: true } | Way::Device { allow_move: true })
    }
}

/// What a connection's secret is to become.
pub(crate) struct Plan {
    /// As the refresher will read it. Its version is the one that was read.
    pub(crate) grant: Grant,
    document: SecretDocument,
    before: Option<(SecretDocument, VersionId)>,
}

impl Operator {
    /// Checks that a consent can succeed, then stores what is new. Leaves the refresh token alone.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(crate) async fn prepare(&self, wanted: &Wanted, way: Way<'_>, console: &Console<'_>) -> Result<Ready, Failure> {
        let name = self.settings.prefix.grant(wanted.connection.as_str());
        let prepare = async || {
            let plan = self.plan(wanted, way).await?;
            let Some((version, done)) = self.save(&plan).await? else { return Ok(None) };
            let data_center = plan.grant.provider.data_center().map(|home| home.name.clone()).unwrap_or_default();
            // What was written has ended all links before.
            let link_version = if done == "unchanged" { plan.grant.link_version } else { version.clone() };
            Ok(Some(Ready { grant: Grant { version, link_version, ..plan.grant }, data_center, done }))
        };
        let ready: Ready = Box::pin(self.until_written(&name, prepare)).await?;
        match ready.grant.provider {
            Provider::Zoho(_) => scopes::doubts(&wanted.scope, console),
            Provider::Other(_) => {
                if ready.grant.scopes.is_empty() {
                    let title = ready.grant.provider.title();
                    console.terminal.note(&format!(
                        "No scope is stored. If {title} has scopes, its tokens can do little without\n  -> give --scope"
                    ));
                }
                self.warn_of_rotation([&ready.grant], console);
            }
        }
        Ok(ready)
    }

    /// Warns if the refresher may not store what a refresh of these grants gives.
    pub(crate) fn warn_of_rotation<'g>(&self, grants: impl IntoIterator<Item = &'g Grant>, console: &Console<'_>) {
        let rotating = grants.into_iter().filter(|grant| grant.provider.rotates());
        let titles: BTreeSet<_> = rotating.map(|grant| grant.provider.title()).collect();
        for title in titles {
            self.warn_of_rotation_at(title, console);
        }
    }

    /// The same for a provider whose refreshes give a new refresh token.
    pub(crate) fn warn_of_rotation_at(&self, title: &str, console: &Console<'_>) {
        if !self.settings.rotating {
            console.terminal.note(&format!(
                "A refresh at {title} gives a new refresh token, and the refresher of this installation may not store it: it will \
                 mint no token\n  -> {ALLOW_ROTATION}"
            ));
        }
    }

    /// Stores what was planned. `None` if somebody else was first.
    pub(crate) async fn save(&self, plan: &Plan) -> Result<Option<(VersionId, &'static str)>, Failure> {
        let Plan { grant, document, before } = plan;
        match before {
            Some((before, version)) if before.same_as(document) => Ok(Some((version.clone(), "unchanged"))),
            before => {
                let name = self.settings.prefix.grant(grant.connection.as_str());
                let read = before.as_ref().map(|(_, version)| version);
                let written = self.write(&name, read, document).await?;
                Ok(written.map(|version| (version, if read.is_some() { "updated" } else { "created" })))
            }
        }
    }

    /// What the secret is to become. It is checked as the refresher will read it, before anything
    /// is written.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(crate) async fn plan(&self, wanted: &Wanted, way: Way<'_>) -> Result<Plan, Failure> {
        let Wanted { connection, client, data_center, scope, identify, .. } = wanted;
        let table = &self.settings.data_centers;
        self.check_data_center(data_center.as_deref())?;
        let name = self.settings.prefix.grant(connection.as_str());
        let broken = |flaw: Flaw| Failure::from(Broken::secret(&name, flaw));
        let before = self.document(&name).await?;
        let mut document = before.as_ref().map(|(document, _)| document.clone()).unwrap_or_default();
        let connected = document.string("refresh_token").is_some();
        check_way(connection, &document, way)?;
        if let Some(client) = client {
            let inline = document.field("client_id").is_some();
            let other = document.field("client").is_some_and(|before| *before != client.as_str());
            if inline || (other && connected) {
                let what =
                    format!("{connection} has another client, and its refresh token works only with that client");
                return Err(Failure::new(what, "use another name for the new connection; nothing was changed"));
            }
            document.set("client", json!(client.as_str()));
        }
        let clients = self.clients_of(&document).await?;
        if let Some(client) = document.string("client")
            && let Some(Err(error)) = client.parse().ok().and_then(|client: ClientName| clients.get(&client))
            && error.flaw == Flaw::NotFound
        {
            // What else is wrong depends on the client's provider.
            let remedy = format!("store the client first: token-keeper client add {client} --client-id …");
            return Err(Failure::new(error, remedy));
        }
        if let Some(server) = server_of(&document, &clients) {
            check_other(connection, wanted, way, &server)?;
            return self.plan_other(wanted, document, before, &clients);
        }
        let needed = |what: &str| {
            let problem = match before {
                None => format!("--{what} is required: {connection} is a new connection"),
                Some(_) => format!("--{what} is required: none is stored for {connection}"),
            };
            Failure::new(problem, format!("give --{what}; --help explains it"))
        };
        // What a scope looks like depends on the client's provider.
        if before.is_none() && client.is_none() {
            return Err(needed("client"));
        }
        scopes::check(scope)?;
        let stored = document.string("data_center").map(str::to_owned);
        let start = data_center.clone().or_else(|| stored.clone()).ok_or_else(|| needed("data-center"))?;
        if connected && stored.as_ref() != Some(&start) && !way.allows_move() {
            let what = format!("{connection} belongs to the data centre {}, not {start}", stored.unwrap_or_default());
            return Err(Failure::new(what, "if the account has moved, add --allow-move; nothing was changed"));
        }
        if !connected {
            document.set("data_center", json!(start));
        }
        let scopes = scopes::set(scope);
        if !scopes.is_empty() {
            document.set("scopes", json!(scopes));
        } else if document.field("scopes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return Err(needed("scope"));
        }
        // Once an account is known, each consent has to show whose it is.
        if *identify || document.account().is_some() {
            document.ask_for_account();
        }
        if let Way::ClientCredentials { soid } = way {
            document.set("grant_type", json!(CLIENT_CREDENTIALS));
            if let Some(soid) = soid {
                document.set("soid", json!(soid));
            }
        }
        let version = before.as_ref().map(|(_, version)| version.clone()).unwrap_or_default();
        let secret = GrantSecret::of(connection.clone(), version, &document, table).map_err(broken)?;
        let home = table.get(&start).ok_or_else(|| broken(Flaw::UnknownDataCenter(table.names())))?;
        let grant = secret.at(home.clone()).resolve(&clients, &self.settings.prefix);
        let grant = grant.map_err(|error| match (&error.flaw, document.string("client")) {
            (Flaw::NoSecretFor(data_center), Some(client)) => Failure::new(
                &error,
                format!("store it: token-keeper client add {client} --client-id … --data-center {data_center}"),
            ),
            _ => error.into(),
        })?;
        Ok(Plan { grant, document, before })
    }

    /// The same for a client of another provider than Zoho.
    fn plan_other(
        &self,
        wanted: &Wanted,
        mut document: SecretDocument,
        before: Option<(SecretDocument, VersionId)>,
        clients: &Clients,
    ) -> Result<Plan, Failure> {
        // From a client of Zoho's that was named before.
        document.remove("data_center");
        let scopes = scopes::set(&wanted.scope);
        if !scopes.is_empty() {
            document.set("scopes", json!(scopes));
        }
        let Settings { prefix, data_centers, .. } = &self.settings;
        let version = before.as_ref().map(|(_, version)| version.clone()).unwrap_or_default();
        let broken = |flaw| Broken::secret(&prefix.grant(wanted.connection.as_str()), flaw);
        let secret = GrantSecret::of(wanted.connection.clone(), version, &document, data_centers).map_err(broken)?;
        let grant = secret.resolve(clients, prefix)?;
        Ok(Plan { grant, document, before })
    }

    /// The client that a document names, if it names a stored one.
    async fn clients_of(&self, document: &SecretDocument) -> Result<Clients, Failure> {
        let prefix = &self.settings.prefix;
        // The name of a client that breaks the rules is reported when the document is read.
        let name = document.string("client").and_then(|name| name.parse::<ClientName>().ok());
        let names: Vec<_> = name.iter().map(|name| prefix.client(name.as_str())).collect();
        Ok(read_clients(&self.secrets.read(&names).await?, prefix))
    }
}

/// The server of a document's client, if it is another provider's.
fn server_of(document: &SecretDocument, clients: &Clients) -> Option<Arc<Server>> {
    match document.string("client") {
        Some(name) => clients.get(&name.parse().ok()?)?.as_ref().ok()?.server.clone(),
        None => ClientSecrets::of(document).ok()?.server,
    }
}

/// Refuses what only Zoho has, and a consent that no link can make.
fn check_other(connection: &ConnectionName, wanted: &Wanted, way: Way<'_>, server: &Server) -> Result<(), Failure> {
    let title = server.profile.title;
    let only_zoho = |what: &str| {
        let remedy = "leave it out, or use a client of Zoho's; nothing was changed";
        Err(Failure::new(format!("{what} is for Zoho, and {connection} has a client of {title}"), remedy))
    };
    match way {
        Way::Device { .. } => return only_zoho("--device"),
        Way::Code | Way::ClientCredentials { .. } => {
            let what =
                format!("token-keeper grant is for Zoho's self clients, and {connection} has a client of {title}");
            return Err(Failure::new(what, format!("use token-keeper connect {connection}; nothing was changed")));
        }
        Way::Link { allow_move: true } => return only_zoho("--allow-move"),
        Way::Link { .. } => {}
    }
    if wanted.data_center.is_some() {
        return only_zoho("--data-center");
    }
    if wanted.identify {
        return only_zoho("--identify");
    }
    if server.authorization_endpoint.is_none() {
        let what = format!("consents of {title} are not made with a link");
        return Err(Failure::new(
            what,
            format!(
                "get a refresh token at {title}, and take it over: token-keeper import FILE --connection {connection} --client CLIENT; nothing was changed"
            ),
        ));
    }
    scopes::check_token(&wanted.scope)
}

/// A connection keeps the way in which it asks for tokens: the other way belongs to another
/// account.
fn check_way(connection: &ConnectionName, document: &SecretDocument, way: Way<'_>) -> Result<(), Failure> {
    let own = document.string("grant_type") == Some(CLIENT_CREDENTIALS);
    let what = match way {
        Way::Link { .. } | Way::Device { .. } | Way::Code if own => {
            format!("{connection} asks for tokens with its client's own credentials, so it needs no consent")
        }
        Way::ClientCredentials { .. } if document.string("refresh_token").is_some() => {
            format!("{connection} has a refresh token already")
        }
        _ => return Ok(()),
    };
    let remedy = format!("use another name, or end it first: token-keeper revoke {connection}; nothing was changed");
    Err(Failure::new(what, remedy))
}
