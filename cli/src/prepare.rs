//! A connection's secret before a consent: what `connect` and `grant` store.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use token_keeper::connection::{CLIENT_CREDENTIALS, Grant, GrantSecret, SecretDocument, read_clients};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{ClientName, ConnectionName, VersionId};
use token_keeper::ports::Grants as _;

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
    /// The data centre in which the client is registered. The consent starts there; the account may
    /// live in another one
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
    /// What the access token may do: Zoho's scopes, separated by commas. You can repeat the option.
    /// `token-keeper scopes` lists them
    #[arg(long, value_delimiter = ',', value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// Also ask whose account it is, with the scope AaaServer.profile.READ. From then on a consent
    /// by another account is refused
    #[arg(long)]
    pub identify: bool,
    /// Allow another account than before
    #[arg(long)]
    pub allow_other_account: bool,
}

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
    /// With what a consent gives.
    Consent {
        /// Whether the account may live in another data centre than before.
        allow_move: bool,
    },
    /// With the client's own credentials. Without a `soid`, the stored one stays.
    ClientCredentials { soid: Option<&'a str> },
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
    pub(crate) async fn prepare(
        &self,
        wanted: &Wanted,
        allow_move: bool,
        console: &Console<'_>,
    ) -> Result<Ready, Failure> {
        scopes::check(&wanted.scope, console)?;
        let name = self.settings.prefix.grant(wanted.connection.as_str());
        let prepare = async || {
            let plan = self.plan(wanted, Way::Consent { allow_move }).await?;
            let Some((version, done)) = self.save(&plan).await? else { return Ok(None) };
            let data_center = plan.grant.provider.data_center().map(|home| home.name.clone()).unwrap_or_default();
            Ok(Some(Ready { grant: Grant { version, ..plan.grant }, data_center, done }))
        };
        Box::pin(self.until_written(&name, prepare)).await
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

    /// What the secret is to become. It is checked as the refresher will read it, before anything is
    /// written.
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
        let needed = |what: &str| {
            let problem = match before {
                None => format!("--{what} is required: {connection} is a new connection"),
                Some(_) => format!("--{what} is required: none is stored for {connection}"),
            };
            Failure::new(problem, format!("give --{what}; --help explains it"))
        };
        if before.is_none() && client.is_none() {
            return Err(needed("client"));
        }
        let stored = document.string("data_center").map(str::to_owned);
        let start = data_center.clone().or_else(|| stored.clone()).ok_or_else(|| needed("data-center"))?;
        let may_move = matches!(way, Way::Consent { allow_move: true });
        if connected && stored.as_ref() != Some(&start) && !may_move {
            let what = format!("{connection} belongs to the data centre {}, not {start}", stored.unwrap_or_default());
            return Err(Failure::new(what, "if the account has moved, add --allow-move; nothing was changed"));
        }
        if !connected {
            document.set("data_center", json!(start));
        }
        let scopes: BTreeSet<_> = scope.iter().map(|scope| scope.trim()).filter(|scope| !scope.is_empty()).collect();
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
        let prefix = &self.settings.prefix;
        let clients: Vec<_> = secret.client().iter().map(|name| prefix.client(name.as_str())).collect();
        let clients = read_clients(&self.secrets.read(&clients).await?, prefix);
        let grant = secret.at(home.clone()).resolve(&clients, prefix);
        let grant = grant.map_err(|error| match (&error.flaw, document.string("client")) {
            (Flaw::NotFound, Some(client)) => {
                Failure::new(&error, format!("store the client first: token-keeper client add {client} --client-id …"))
            }
            (Flaw::NoSecretFor(data_center), Some(client)) => Failure::new(
                &error,
                format!("store it: token-keeper client add {client} --client-id … --data-center {data_center}"),
            ),
            _ => error.into(),
        })?;
        Ok(Plan { grant, document, before })
    }
}

/// A connection keeps the way in which it asks for tokens: the other way belongs to another account.
fn check_way(connection: &ConnectionName, document: &SecretDocument, way: Way<'_>) -> Result<(), Failure> {
    let own = document.string("grant_type") == Some(CLIENT_CREDENTIALS);
    let what = match way {
        Way::Consent { .. } if own => {
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
