//! `token-keeper connect` and `reconnect`: make consent links.
//!
//! With `--local`, `connect` also answers the redirect on this machine and finishes the consent.
//! With `--device`, it needs neither link nor redirect.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::json;
use token_keeper::address::BaseUrl;
use token_keeper::connection::{Grant, Provider};
use token_keeper::consent::link::{MAX_TICKET_LIFE, Ticket, encode};
use token_keeper::consent::{KeyRing, NoKey, read_signing_key};
use token_keeper::lease::whole_second;
use token_keeper::name::ConnectionName;
use token_keeper::run::Request;
use token_keeper::run::decision::{Decision, Settled, State};
use token_keeper::secret::SigningKey;

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::prepare::{Ready, Wanted, Way};
use crate::text::attention;

/// Where `--local` listens by default.
const LOCAL_URL: &str = "http://localhost:8765";

/// Which connection, and what to ask for. An option that is left out keeps its stored value.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL\n  \
                  token-keeper connect crm-prod --local\n  token-keeper connect crm-prod --device\n  token-keeper connect crm-prod --void   (a link went to the wrong person)\n  token-keeper connect books --client books-app \
                  --scope accounting.transactions   (a client of another provider)\n\n\
                  Zoho grants only what the administrator's own account may do. The page after the consent names what is missing."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Arguments {
    /// What to connect.
    #[command(flatten)]
    pub wanted: Wanted,
    /// How long the link works, and where it leads.
    #[command(flatten)]
    pub link: LinkOptions,
    /// Allow an account in another data centre of Zoho's than before
    #[arg(long)]
    pub allow_move: bool,
    /// Wait for the consent and answer the redirect on this machine, without a callback function.
    /// It answers at `http://localhost:8765`, or at --callback-url if that is `http://localhost`
    /// and a port
    #[arg(long)]
    pub local: bool,
    /// Show a code to type at Zoho on any device, and wait for the consent: no browser and no
    /// redirect to this machine. The client has to be of the type "Non-browser Application"
    #[arg(long, conflicts_with_all = ["local", "callback_url", "valid_for"])]
    pub device: bool,
    /// Cancel all links of this connection. Its grant stays as it is; the next run mints a token
    /// for the new version of the secret
    #[arg(
        long,
        conflicts_with_all = [
            "client", "data_center", "scope", "identify", "allow_other_account", "callback_url", "valid_for", "allow_move", "local", "device"
        ]
    )]
    pub void: bool,
}

/// How long links work, and where they lead.
#[derive(Debug, clap::Args)]
pub struct LinkOptions {
    /// The callback function's public base URL. Without it, as `TOKEN_KEEPER_CALLBACK_URL` or the
    /// stack's settings say
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// How long the link works: 30m, 1h, 2d, at most 7d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = link_life)]
    pub valid_for: SignedDuration,
}

/// The links of `reconnect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper reconnect --valid-for 2d")]
pub struct AgainArguments {
    /// How long the links work, and where they lead.
    #[command(flatten)]
    pub link: LinkOptions,
}

impl Operator {
    pub(super) async fn connect(self, arguments: Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let Arguments { wanted, link: LinkOptions { callback_url, valid_for: life }, allow_move, local, device, void } =
            arguments;
        if void {
            return self.void(&wanted.connection, console).await;
        }
        if device {
            return Box::pin(self.connect_device(&wanted, allow_move, console)).await;
        }
        let base =
            if local { self.local_url(callback_url.as_ref(), console)? } else { self.base_url(callback_url.as_ref())? };
        let listeners = if local { crate::local::listen(&base).await? } else { Vec::new() };
        let key = if local { SigningKey::new(encode(&self.source.random())) } else { self.signing_key().await? };
        let Ready { grant: Grant { link_version: version, account, provider, kept, .. }, data_center, done } =
            self.prepare(&wanted, Way::Link { allow_move }, console).await?;
        let connection = wanted.connection;
        let name = self.settings.prefix.grant(connection.as_str());
        let allow_other_account = wanted.allow_other_account;
        let issued_at = whole_second(self.source.now());
        let expires_at = issued_at + life;
        let ticket = Ticket {
            connection: connection.clone(),
            version,
            data_center,
            provider: other(&provider),
            allow_move,
            allow_other_account,
            issued_at,
            expires_at,
        };
        let url = link(&base, &key, &ticket);
        let parameter = self.settings.prefix.lease(connection.as_str());
        // With --local the link is not yet the answer.
        let tell = |text: &str| if local { console.say(text) } else { console.show(text) };
        tell(&format!("The connection {connection} awaits consent (secret {name} {done}).\n"));
        let account = account.map(|account| account.to_string()).or_else(|| whose(&provider, &kept));
        if let Some(account) = account.filter(|_| !allow_other_account) {
            tell(&format!("It belongs to {account}. A consent by another account is refused.\n"));
        }
        let title = provider.title();
        let zoho = provider.data_center().is_some();
        let console_of = if zoho { "In Zoho's API console".to_owned() } else { format!("At {title}") };
        tell(&format!("1. {console_of}, register this redirect URI with the client:"));
        tell(&format!("     {}", base.redirect_uri()));
        let whose = if zoho { "the Zoho account".to_owned() } else { format!("the account at {title}") };
        let send = format!("Send this link to an administrator of {whose}");
        let who = if local { "Open this link" } else { &send };
        tell(&format!("2. {who}. It works once, until {expires_at}:"));
        tell(&format!("     {url}"));
        if local && console.is_lost() {
            return Err(Failure::new("nobody could read the link", "run the command again and read what it prints"));
        }
        tell("3. After the consent, the secret holds the refresh token and this parameter the first access token:");
        tell(&format!("     {parameter}"));
        if !local {
            console.answer(json!({
                "connection": connection.as_str(),
                "url": url,
                "expires_at": expires_at,
                "redirect_uri": base.redirect_uri(),
                "parameter": parameter.as_str(),
            }));
            return Ok(());
        }
        console.say("\nWaiting for the consent. Stop with Ctrl-C; nothing changes before the consent.");
        let consent = self.consent(KeyRing::of(key));
        crate::local::until_connected(listeners, &consent, &base, life, console).await?;
        console.show(&format!("Connected. The access token is in the parameter {parameter}."));
        console.answer(json!({"connection": connection.as_str(), "parameter": parameter.as_str()}));
        Ok(())
    }

    /// Stores the same grant as a new version. A link is for one version.
    async fn void(&self, connection: &ConnectionName, console: &Console<'_>) -> Result<(), Failure> {
        let name = self.settings.prefix.grant(connection.as_str());
        let before = RefCell::new(None);
        let renew = async || {
            let Some((mut document, read)) = self.document(&name).await? else {
                return Err(Failure::new(format!("there is no connection {connection}"), "see token-keeper list"));
            };
            let granted_at = document.granted_at();
            if *before.borrow_mut().get_or_insert(granted_at) != granted_at {
                let what = format!("somebody has connected an account to {connection} at the same moment");
                return Err(Failure::new(what, format!("if that was not wanted: token-keeper revoke {connection}")));
            }
            // Without this, a version that a person puts back could bring its links back.
            document.set("voided_at", json!(whole_second(self.source.now())));
            self.write(&name, Some(&read), &document).await.map_err(Failure::from)
        };
        self.until_written(&name, renew).await?;
        console.answer(json!({"connection": connection.as_str(), "voided": true}));
        console.show(&format!("All links made for {connection} until now are cancelled. Its grant stays as it is."));
        console.show(&format!("Next, if somebody is to connect an account: token-keeper connect {connection}"));
        Ok(())
    }

    /// Makes a link for each connection whose grant is dead or that nobody has consented to.
    pub(super) async fn reconnect(self, arguments: &AgainArguments, console: &Console<'_>) -> Result<(), Failure> {
        let base = self.base_url(arguments.link.callback_url.as_ref())?;
        let key = self.signing_key().await?;
        let issued_at = whole_second(self.source.now());
        let expires_at = issued_at + arguments.link.valid_for;
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
        // The callback refuses other links.
        let (ready, unready): (Vec<_>, Vec<_>) = waiting.partition(|(grant, _)| match &grant.provider {
            Provider::Zoho(_) => !grant.scopes.is_empty(),
            Provider::Other(server) => server.authorization_endpoint.is_some(),
        });
        let needy = ready.len() + unready.len();
        let links: Vec<_> = ready
            .into_iter()
            .map(|(grant, why)| {
                let Grant { connection, link_version: version, provider, .. } = grant;
                let data_center = provider.data_center().map(|home| home.name.clone()).unwrap_or_default();
                let ticket = Ticket {
                    connection,
                    version,
                    data_center,
                    provider: other(&provider),
                    allow_move: false,
                    allow_other_account: false,
                    issued_at,
                    expires_at,
                };
                let url = link(&base, &key, &ticket);
                (ticket.connection, why, url)
            })
            .collect();
        let remedy = |grant: &Grant| match grant.provider {
            Provider::Zoho(_) => format!("make its link with `token-keeper connect {} --scope …`", grant.connection),
            Provider::Other(_) => {
                format!("import a new refresh token: token-keeper import --connection {} --replace", grant.connection)
            }
        };
        let missing = |grant: &Grant| match grant.provider {
            Provider::Zoho(_) => "its secret has no scopes".to_owned(),
            Provider::Other(_) => format!("consents of {} are not made with a link", grant.provider.title()),
        };
        let answers = links.iter().map(
            |(connection, _, url)| json!({"connection": connection.as_str(), "url": url, "expires_at": expires_at}),
        );
        let without_scopes =
            unready.iter().map(|(grant, _)| json!({"connection": grant.connection.as_str(), "remedy": remedy(grant)}));
        console.answer(json!({
            "links": answers.collect::<Vec<_>>(),
            "without_scopes": without_scopes.collect::<Vec<_>>(),
        }));
        if needy == 0 {
            console.show("No connection is known to need a new consent. Nothing to do.");
        }
        if !links.is_empty() {
            console.show(&format!(
                "Send each link to an administrator of its account. Each works once, until {expires_at}:"
            ));
        }
        for (connection, why, url) in links {
            console.show(&format!("\n{connection} ({why})\n  {url}"));
        }
        for (grant, why) in &unready {
            let (connection, remedy) = (&grant.connection, remedy(grant));
            console.show(&format!("\n{connection} ({why}): {}\n  -> {remedy}", missing(grant)));
        }
        attention(needy)
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

    /// Where the callback function answers.
    fn base_url(&self, given: Option<&String>) -> Result<BaseUrl, Failure> {
        match (given, &self.callback_url) {
            (Some(url), _) => parse_url(url),
            (None, Some(url)) => Ok(url.clone()),
            (None, None) => Err(Failure::new(
                "the callback function's address is not known",
                "give --callback-url, set TOKEN_KEEPER_CALLBACK_URL, or use connect --local or --device",
            )),
        }
    }

    /// Where `--local` answers. The settings have the address of the callback function, which is
    /// another one.
    fn local_url(&self, given: Option<&String>, console: &Console<'_>) -> Result<BaseUrl, Failure> {
        if let (None, Some(url)) = (given, &self.callback_url)
            && url.to_string() != LOCAL_URL
        {
            console.say(&format!(
                "--local does not use the callback URL of the settings, {url}; it answers at {LOCAL_URL}."
            ));
        }
        parse_url(given.map_or(LOCAL_URL, String::as_str))
    }
}

/// Which account a connection belongs to at another provider than Zoho, if that is known.
fn whose(provider: &Provider, kept: &BTreeMap<String, String>) -> Option<String> {
    let values = provider.profile()?.kept.iter().filter(|value| value.identity);
    let known: Vec<_> = values.filter_map(|value| Some(format!("{} {}", value.name, kept.get(value.name)?))).collect();
    (!known.is_empty()).then(|| format!("the account with {}", known.join(", ")))
}

/// A provider's name in a ticket; nothing for Zoho's.
fn other(provider: &Provider) -> String {
    provider.profile().map(|profile| profile.name.to_owned()).unwrap_or_default()
}

fn parse_url(url: &str) -> Result<BaseUrl, Failure> {
    let wrong = format!("{url} cannot be the address of the callback");
    url.parse().map_err(|_| Failure::new(wrong, "give an https URL, or http://localhost and a port"))
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
