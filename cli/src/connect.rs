//! `token-keeper connect` and `reconnect`: make consent links.
//!
//! With `--local`, `connect` also answers the redirect on this machine and finishes the consent.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::json;
use token_keeper::address::BaseUrl;
use token_keeper::connection::Grant;
use token_keeper::consent::link::{MAX_TICKET_LIFE, Ticket, encode};
use token_keeper::consent::{KeyRing, NoKey, read_signing_key};
use token_keeper::lease::whole_second;
use token_keeper::run::Request;
use token_keeper::run::decision::{Decision, Settled, State};
use token_keeper::secret::SigningKey;

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::prepare::{Ready, Wanted};

/// Where `--local` listens by default.
const LOCAL_URL: &str = "http://localhost:8765";

/// Which connection, and what to ask for. An option that is left out keeps its stored value.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL\n  \
                  token-keeper connect crm-prod --local\n\n\
                  Zoho grants only what the administrator's own account may do. The page after the consent names what is missing."
)]
pub struct Arguments {
    /// What to connect.
    #[command(flatten)]
    pub wanted: Wanted,
    /// How long the link works, and where it leads.
    #[command(flatten)]
    pub link: LinkOptions,
    /// Allow an account in another data centre than before
    #[arg(long)]
    pub allow_move: bool,
    /// Wait for the consent and answer the redirect on this machine, without a callback function
    #[arg(long)]
    pub local: bool,
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
    pub(super) async fn connect(self, arguments: Arguments, json: bool, console: &dyn Console) -> Result<(), Failure> {
        let Arguments { wanted, link: LinkOptions { callback_url, valid_for: life }, allow_move, local } = arguments;
        if json && local {
            return Err(Failure::new(
                "--json and --local cannot be used together",
                "leave one of them out; nothing was changed",
            ));
        }
        let base = self.base_url(callback_url.as_ref(), local)?;
        let listener = if local { Some(crate::local::listen(&base).await?) } else { None };
        let key = if local { SigningKey::new(encode(&self.source.random())) } else { self.signing_key().await? };
        let Ready { grant: Grant { version, .. }, data_center, done } = self.prepare(&wanted, allow_move).await?;
        let connection = wanted.connection;
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
        crate::local::until_connected(listener, &consent, &base, life, console).await?;
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
        let base = self.base_url(arguments.link.callback_url.as_ref(), false)?;
        let key = self.signing_key().await?;
        let expires_at = whole_second(self.source.now()) + arguments.link.valid_for;
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
            // With --local, the callback function's address is of no use.
            (None, Some(url)) if !local || !url.is_secure() => Ok(url.clone()),
            (None, _) if local => LOCAL_URL.parse().map_err(|_| wrong(LOCAL_URL)),
            (None, _) => Err(Failure::new(
                "the callback function's address is not known",
                "give --callback-url, set TOKEN_KEEPER_CALLBACK_URL, or use connect --local",
            )),
        }
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
