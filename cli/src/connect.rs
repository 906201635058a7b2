//! `token-keeper connect` and `reconnect`: make consent links.
//!
//! With `--local`, `connect` also answers the redirect on this machine and finishes the consent.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::{Value, json};
use token_keeper::address::BaseUrl;
use token_keeper::connection::{Grant, GrantSecret, read_clients};
use token_keeper::consent::link::{MAX_TICKET_LIFE, Ticket, encode};
use token_keeper::consent::{KeyRing, NoKey, read_signing_key};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::lease::whole_second;
use token_keeper::name::{ClientName, ConnectionName};
use token_keeper::ports::Grants as _;
use token_keeper::run::Request;
use token_keeper::run::decision::{Decision, Settled, State};
use token_keeper::secret::SigningKey;

use super::{Console, Failure, Operator};

/// Where `--local` listens by default.
const LOCAL_URL: &str = "http://localhost:8765";

/// Which connection, and what to ask for. An option that is left out keeps its stored value.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL \
                  --callback-url https://abc.execute-api.eu-central-1.amazonaws.com\n  token-keeper connect crm-prod --local\n\n\
                  Zoho grants only what the administrator's own account may do. The page after the consent names what is missing."
)]
pub struct Arguments {
    /// Your name for the account: letters a-z, digits and . - _
    pub connection: ConnectionName,
    /// The client, by the name you gave it with `client add`
    #[arg(long, value_name = "NAME")]
    pub client: Option<ClientName>,
    /// The data centre in which the client is registered. The consent starts there; the account may
    /// live in another one
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
    /// What the access token may do: Zoho's scopes, separated by commas. You can repeat the option
    #[arg(long, value_delimiter = ',', value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// The callback function's public base URL
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// How long the link works: 30m, 1h, 2d, at most 7d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = link_life)]
    pub valid_for: SignedDuration,
    /// Allow an account in another data centre than before
    #[arg(long)]
    pub allow_move: bool,
    /// Wait for the consent and answer the redirect on this machine, without a callback function
    #[arg(long)]
    pub local: bool,
}

/// How long the links work, and where they lead.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper reconnect --valid-for 2d")]
pub struct AgainArguments {
    /// The callback function's public base URL
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// How long the links work: 30m, 1h, 2d, at most 7d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = link_life)]
    pub valid_for: SignedDuration,
}

/// What the operator wants of a connection. `None` or empty keeps the stored value.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) connection: &'a ConnectionName,
    pub(super) client: Option<&'a ClientName>,
    pub(super) data_center: Option<&'a str>,
    pub(super) scope: &'a [String],
    pub(super) allow_move: bool,
}

/// A connection that is stored and ready for a consent.
pub(super) struct Ready {
    pub(super) grant: Grant,
    /// Where the consent starts.
    data_center: String,
    /// What happened to the secret: created, updated or unchanged.
    done: &'static str,
}

impl Operator {
    pub(super) async fn connect(self, arguments: Arguments, json: bool, console: &dyn Console) -> Result<(), Failure> {
        let Arguments { connection, client, data_center, scope, callback_url, valid_for: life, allow_move, local } =
            arguments;
        if json && local {
            return Err(Failure::new(
                "--json and --local cannot be used together",
                "leave one of them out; nothing was changed",
            ));
        }
        let base = self.base_url(callback_url.as_ref(), local)?;
        let listener = if local { Some(super::local::listen(&base).await?) } else { None };
        let key = if local { SigningKey::new(encode(&self.source.random())) } else { self.signing_key().await? };
        let data_center = data_center.as_deref();
        let wanted =
            Wanted { connection: &connection, client: client.as_ref(), data_center, scope: &scope, allow_move };
        let Ready { grant: Grant { version, .. }, data_center, done } = self.prepare(&wanted).await?;
        let name = self.settings.prefix.grant(connection.as_str());
        let expires_at = whole_second(self.source.now()) + life;
        let ticket = Ticket { connection: connection.clone(), version, data_center, allow_move, expires_at };
        let url = link(&base, &key, &ticket);
        let parameter = self.settings.prefix.lease(connection.as_str());
        if json {
            console.show(&json!({"url": url, "expires_at": expires_at}).to_string());
        } else {
            console.show(&format!("The connection {connection} awaits consent (secret {name} {done}).\n"));
            console.show("1. In Zoho's API console, register this redirect URI with the client:");
            console.show(&format!("     {}", base.redirect_uri()));
            let who = if local { "Open this link" } else { "Send this link to an administrator of the Zoho account" };
            console.show(&format!("2. {who}. It works once, until {expires_at}:"));
            console.show(&format!("     {url}"));
            console.show(
                "3. After the consent, the secret holds the refresh token and this parameter the first access token:",
            );
            console.show(&format!("     {parameter}"));
        }
        let Some(listener) = listener else { return Ok(()) };
        console.show("\nWaiting for the consent. Stop with Ctrl-C; nothing changes before the consent.");
        let consent = self.consent(KeyRing::of(key));
        super::local::until_connected(listener, &consent, &base, life, console).await?;
        console.show(&format!("Connected. The access token is in the parameter {parameter}."));
        Ok(())
    }

    /// Makes a link for each connection whose grant is dead or that nobody has consented to.
    pub(super) async fn reconnect(
        self,
        arguments: &AgainArguments,
        json: bool,
        console: &dyn Console,
    ) -> Result<(), Failure> {
        let base = self.base_url(arguments.callback_url.as_ref(), false)?;
        let key = self.signing_key().await?;
        let expires_at = whole_second(self.source.now()) + arguments.valid_for;
        let refresher = self.refresher();
        let seen = refresher.look(&Request::All, false, None).await?;
        let waiting = seen.into_iter().filter_map(|seen| {
            let Decision::Settled(Settled { state, grant, .. }) = seen.decision else { return None };
            match state {
                State::ConsentRequired(_) => Some((grant?, "its grant is dead")),
                State::AwaitingConsent => Some((grant?, "nobody has consented yet")),
                _ => None,
            }
        });
        let links: Vec<_> = waiting
            .map(|(grant, why)| {
                let Grant { connection, version, data_center, .. } = grant;
                let ticket =
                    Ticket { connection, version, data_center: data_center.name, allow_move: false, expires_at };
                let url = link(&base, &key, &ticket);
                (ticket.connection, why, url)
            })
            .collect();
        if json {
            let links = links.iter().map(
                |(connection, _, url)| json!({"connection": connection.as_str(), "url": url, "expires_at": expires_at}),
            );
            console.show(&json!(links.collect::<Vec<_>>()).to_string());
            return Ok(());
        }
        if links.is_empty() {
            console.show("No connection is known to need a new consent. Nothing to do.");
            return Ok(());
        }
        console
            .show(&format!("Send each link to an administrator of its account. Each works once, until {expires_at}:"));
        for (connection, why, url) in links {
            console.show(&format!("\n{connection} ({why})\n  {url}"));
        }
        Ok(())
    }

    async fn signing_key(&self) -> Result<SigningKey, Failure> {
        read_signing_key(&self.secrets, &self.settings.prefix).await.map_err(|why| {
            let NoKey::Broken(why) = why else { return Failure::new(&why, why.remedy()) };
            let name = self.settings.prefix.signing_key();
            let remedy = format!(
                "the stack makes this key; without a stack, make it once: openssl rand -base64 48 | aws secretsmanager create-secret \
                 --name {name} --secret-string file:///dev/stdin (or use connect --local, which needs no key)"
            );
            Failure::new(why, remedy)
        })
    }

    fn base_url(&self, given: Option<&String>, local: bool) -> Result<BaseUrl, Failure> {
        let wrong = |url: &str| {
            Failure::new(
                format!("{url} cannot be the address of the callback"),
                "give an https URL, or http://localhost and a port",
            )
        };
        match (given, &self.callback_url) {
            (Some(url), _) => url.parse().map_err(|_| wrong(url)),
            (None, Some(url)) => Ok(url.clone()),
            (None, None) if local => LOCAL_URL.parse().map_err(|_| wrong(LOCAL_URL)),
            (None, None) => Err(Failure::new(
                "the callback function's address is not known",
                "give --callback-url, set TOKEN_KEEPER_CALLBACK_URL, or use connect --local",
            )),
        }
    }

    /// Checks that a consent can succeed, then stores what is new. Leaves the refresh token alone.
    pub(super) async fn prepare(&self, wanted: &Wanted<'_>) -> Result<Ready, Failure> {
        let Wanted { connection, client, data_center, scope, allow_move } = *wanted;
        self.check_data_center(data_center)?;
        let table = &self.settings.data_centers;
        let name = self.settings.prefix.grant(connection.as_str());
        let broken = |flaw: Flaw| Failure::from(Broken::secret(&name, flaw));
        let before = self.document(&name).await?;
        let mut document = before.as_ref().map(|(document, _)| document.clone()).unwrap_or_default();
        let connected = document.string("refresh_token").is_some();
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
            Failure::new(problem, format!("give --{what}; see token-keeper connect --help"))
        };
        if before.is_none() && client.is_none() {
            return Err(needed("client"));
        }
        let stored = document.string("data_center").map(str::to_owned);
        let start = data_center.map(str::to_owned).or_else(|| stored.clone()).ok_or_else(|| needed("data-center"))?;
        if connected && stored.as_ref() != Some(&start) && !allow_move {
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
        // The new document is checked as the refresher will read it, before anything is written.
        let version = before.as_ref().map(|(_, version)| version.clone()).unwrap_or_default();
        let secret = GrantSecret::of(connection.clone(), version.clone(), &document, table).map_err(broken)?;
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
        let unchanged = before.as_ref().is_some_and(|(before, _)| before.same_as(&document));
        let (version, done) = if unchanged {
            (version, "unchanged")
        } else {
            (
                self.write(&name, before.is_some(), &document).await?,
                if before.is_some() { "updated" } else { "created" },
            )
        };
        Ok(Ready { grant: Grant { version, ..grant }, data_center: start, done })
    }
}

fn link(base: &BaseUrl, key: &SigningKey, ticket: &Ticket) -> String {
    format!("{base}/connect?ticket={}", key.seal_ticket(ticket))
}

/// Parses the life of a link: at most a week, because whoever has the link can use it.
fn link_life(text: &str) -> Result<SignedDuration, String> {
    let life = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match life {
        Ok(life) if life.is_positive() && life <= MAX_TICKET_LIFE => Ok(life),
        _ => Err("use a time such as 30m, 1h or 2d, at most 7d".to_owned()),
    }
}
