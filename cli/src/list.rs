//! `token-keeper list`: shows every connection and what to do about it. Reads the stores only.

use comfy_table::{Cell, Color, ColumnConstraint};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use token_keeper::connection::{Account, CLIENT_CREDENTIALS, Credential, Grant, Provider};
use token_keeper::run::decision::State;
use token_keeper::run::report::Outcome;
use token_keeper::run::{Request, RunError, Seen};

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::text::{attention, table};

/// How long before its end a refresh token is a trouble: somebody has to consent in time.
const END_IS_NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How much to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper list --long")]
pub struct Arguments {
    /// Show also whose account each is, and when somebody consented
    #[arg(short, long)]
    pub long: bool,
}

impl Operator {
    pub(super) async fn list(self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let refresher = self.refresher();
        let seen = refresher.look(&Request::All, false, None).await?;
        let now = refresher.source.now();
        console.answer(json!({"connections": seen.iter().map(as_json).collect::<Vec<_>>()}));
        if seen.is_empty() {
            let path = refresher.settings.prefix.grants();
            console.show(&format!("There are no connections: no secret's name starts with {path}"));
            console.show("Next: token-keeper connect --help");
            return Ok(());
        }
        let mut more = if arguments.long { vec!["account", "consented"] } else { Vec::new() };
        // Zoho's never end.
        let ends = arguments.long && seen.iter().any(|seen| end(seen).is_some());
        more.extend(ends.then_some("refresh token ends"));
        let headings = [&["connection", "server", "status", "token", "minted"], &more[..], &["scopes"]].concat();
        let mut table = table(console.terminal.look(), &headings);
        for seen in &seen {
            table.add_row(row(seen, now, arguments.long, ends));
        }
        // In a narrow terminal, only the scopes may break into several lines.
        table.column_iter_mut().take(headings.len() - 1).for_each(|column| {
            column.set_constraint(ColumnConstraint::ContentWidth);
        });
        console.show(&table.trim_fmt());
        let troubles = seen.iter().filter_map(|seen| {
            let outcome = seen.outcome()?;
            let error = outcome.error().unwrap_or_else(|| "nobody has consented yet".to_owned());
            Some(format!("\n{}: {error}\n  -> {}", seen.name, outcome.remedy(&seen.name)?))
        });
        troubles.for_each(|trouble| console.show(&trouble));
        for seen in &seen {
            if let Some((what, remedy)) = ending(seen, now) {
                console.show(&format!("\n{}: {what}\n  -> {remedy}", seen.name));
            }
        }
        let needy =
            |seen: &&Seen| seen.rejected_at().is_some() || needs_somebody(seen.state()) || ending(seen, now).is_some();
        attention(seen.iter().filter(needy).count())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Grants(error) | RunError::Leases(error) => error.into(),
            RunError::Queue { .. } | RunError::OutOfTime => Self::new(error, "try again"),
        }
    }
}

/// Whether somebody has to do something. A pause that Zoho asked for ends by itself.
fn needs_somebody(state: Option<&State>) -> bool {
    match state {
        None | Some(State::Fresh { .. } | State::Throttled { .. }) => false,
        Some(
            State::AwaitingConsent
            | State::ConsentRequired(_)
            | State::Misconfigured(_)
            | State::MayNotRotate
            | State::BrokenGrant(_)
            | State::BrokenLease(_),
        ) => true,
    }
}

/// The word for programs, the words for people, and their colour.
fn status(seen: &Seen, now: Option<Timestamp>) -> (&'static str, String, Color) {
    let token = seen.token();
    match seen.state() {
        Some(State::Fresh { .. }) if seen.rejected_at().is_some() => ("fresh", "rejected".to_owned(), Color::Red),
        None => {
            let words = match token {
                None => "no token yet",
                Some(token) if now.is_some_and(|now| token.expires_at <= now) => "expired",
                Some(_) => "due",
            };
            ("due", words.to_owned(), Color::Yellow)
        }
        Some(State::Fresh { .. }) => ("fresh", "fresh".to_owned(), Color::Green),
        Some(State::AwaitingConsent) => ("awaiting_consent", "awaits consent".to_owned(), Color::Yellow),
        Some(State::ConsentRequired(_)) => ("consent_required", "consent required".to_owned(), Color::Red),
        Some(State::Misconfigured(_) | State::MayNotRotate) => {
            ("misconfigured", "misconfigured".to_owned(), Color::Red)
        }
        Some(State::Throttled { .. }) => ("throttled", "throttled".to_owned(), Color::Yellow),
        Some(State::BrokenGrant(_) | State::BrokenLease(_)) => ("broken", "broken".to_owned(), Color::Red),
    }
}

fn scopes(seen: &Seen) -> String {
    let lease = seen.lease().map(|lease| lease.scope.clone()).filter(|scope| !scope.is_empty());
    lease.or_else(|| Some(seen.grant()?.scopes.join(" "))).unwrap_or_default()
}

/// Zoho's data centre.
fn data_center(seen: &Seen) -> Option<&str> {
    match seen.grant() {
        Some(grant) => grant.provider.data_center().map(|home| home.name.as_str()),
        None => seen.lease()?.data_center.as_deref(),
    }
}

/// The provider's name, as documents have it.
fn provider(seen: &Seen) -> Option<&str> {
    seen.grant().map(|grant| grant.provider.name()).or_else(|| Some(seen.lease()?.provider.as_str()))
}

/// Where its tokens come from: a data centre of Zoho's, or another provider.
fn server(seen: &Seen) -> &str {
    data_center(seen).or_else(|| provider(seen)).unwrap_or("?")
}

/// When its refresh token ends, if that is known.
fn end(seen: &Seen) -> Option<Timestamp> {
    let grant = seen.grant()?;
    grant.refresh_token().and(grant.refresh_token_expires_at)
}

/// What to say and what to do if the refresh token ends soon. A dead grant has its own trouble.
fn ending(seen: &Seen, now: Timestamp) -> Option<(String, String)> {
    let end = end(seen).filter(|end| end.duration_since(now) < END_IS_NEAR)?;
    if matches!(seen.state(), Some(State::ConsentRequired(_))) {
        return None;
    }
    let ends = if end > now { "ends" } else { "has ended" };
    let linked = matches!(&seen.grant()?.provider, Provider::Other(server) if server.authorization_endpoint.is_some());
    let name = &seen.name;
    let remedy = if linked {
        format!("make a link with `token-keeper connect {name}` and send it to an administrator of the account")
    } else {
        format!("import a new refresh token: token-keeper import --connection {name} --replace")
    };
    Some((format!("its refresh token {ends} at {end}"), remedy))
}

/// Whose account it is, and when somebody consented.
fn consented(seen: &Seen) -> [String; 2] {
    let unknown = || "not known".to_owned();
    match seen.grant() {
        None | Some(Grant { credential: None, .. }) => [String::new(), String::new()],
        Some(Grant { credential: Some(Credential::ClientCredentials { soid }), .. }) => {
            [soid.clone().unwrap_or_else(|| "the client's own".to_owned()), "not needed".to_owned()]
        }
        Some(Grant { account, granted_at, kept, provider, .. }) => {
            let account = account.as_ref().map(|account| account.email().unwrap_or(account.id()).to_owned());
            let identity =
                provider.profile().into_iter().flat_map(|profile| profile.kept).filter(|value| value.identity);
            let identity: Vec<_> = identity.filter_map(|value| kept.get(value.name).cloned()).collect();
            let account = account.or_else(|| (!identity.is_empty()).then(|| identity.join(" ")));
            let day = granted_at.map(|granted_at| granted_at.strftime("%Y-%m-%d").to_string());
            [account.unwrap_or_else(unknown), day.unwrap_or_else(unknown)]
        }
    }
}

fn row(seen: &Seen, now: Timestamp, long: bool, ends: bool) -> Vec<Cell> {
    let (_, words, color) = status(seen, Some(now));
    let token = seen.token();
    let minutes = token.map_or(0, |token| token.expires_at.duration_since(now).as_mins().max(0));
    let full = usize::try_from((minutes + 9) / 10).unwrap_or_default();
    let life = if minutes == 0 { "none".to_owned() } else { format!("[{:-<6}] {minutes:>2} min", "=".repeat(full)) };
    let minted = token.map_or("never".to_owned(), |token| ago(now.duration_since(token.issued_at).as_mins()));
    let mut row = vec![
        Cell::new(&seen.name),
        Cell::new(server(seen)),
        Cell::new(words).fg(color),
        Cell::new(life),
        Cell::new(minted),
    ];
    if long {
        row.extend(consented(seen).map(Cell::new));
    }
    if ends {
        row.push(Cell::new(end(seen).map_or_else(String::new, |end| end.strftime("%Y-%m-%d").to_string())));
    }
    row.push(Cell::new(scopes(seen)));
    row
}

fn ago(minutes: i64) -> String {
    match minutes {
        ..1 => "just now".to_owned(),
        1..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

fn as_json(seen: &Seen) -> serde_json::Value {
    let (token, grant) = (seen.token(), seen.grant());
    let outcome = seen.outcome();
    let grant_type = grant.and_then(|grant| grant.credential.as_ref()).map(|credential| match credential {
        Credential::RefreshToken(_) => "refresh_token",
        Credential::ClientCredentials { .. } => CLIENT_CREDENTIALS,
    });
    json!({
        "connection": seen.name,
        "provider": provider(seen),
        "data_center": data_center(seen),
        "status": status(seen, None).0,
        "grant_type": grant_type,
        "account": grant.and_then(|grant| grant.account.as_ref()).map(Account::as_json),
        "kept": grant.map(|grant| &grant.kept),
        "granted_at": grant.and_then(|grant| grant.granted_at),
        "refresh_token_expires_at": end(seen),
        "issued_at": token.map(|token| token.issued_at),
        "expires_at": token.map(|token| token.expires_at),
        "rejected_at": seen.rejected_at(),
        "scopes": scopes(seen).split(' ').filter(|scope| !scope.is_empty()).collect::<Vec<_>>(),
        "error": outcome.as_ref().and_then(Outcome::error),
        "remedy": outcome.as_ref().and_then(|outcome| outcome.remedy(&seen.name)),
    })
}
