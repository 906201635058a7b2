//! `token-keeper refresh`: does a run of the refresher on this machine, and shows its report.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use token_keeper::name::ConnectionName;
use token_keeper::ports::{Grants, Issuer, Leases};
use token_keeper::run::decision::State;
use token_keeper::run::report::Report;
use token_keeper::run::{Refresher, Request};

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::text::{attention, counted, table};

/// The shortest time between two runs.
const SHORTEST_WATCH: SignedDuration = SignedDuration::from_mins(1);

/// Which connections, and how to run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper refresh\n  token-keeper refresh crm-prod --force\n  token-keeper refresh --watch 15m   (a machine \
                  without Lambda)"
)]
pub struct Arguments {
    /// The connections to refresh; without a name, all that are due
    pub connections: Vec<ConnectionName>,
    /// Mint for the named connections even if they are fresh, misconfigured or dead. A throttled
    /// connection still waits
    #[arg(long, requires = "connections")]
    pub force: bool,
    /// Show what a run would do and why, without asking a provider and without writing
    #[arg(long, conflicts_with = "watch")]
    pub dry_run: bool,
    /// Repeat the run, and wait this long between two runs: 15m, 30m
    #[arg(long, value_name = "EVERY", value_parser = every)]
    pub watch: Option<SignedDuration>,
}

pub(super) fn every(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(every) if every >= SHORTEST_WATCH => Ok(every),
        _ => Err("use a time such as 15m, at least 1m".to_owned()),
    }
}

impl Operator {
    pub(super) async fn refresh(self, arguments: Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let Arguments { mut connections, force, dry_run, watch } = arguments;
        let refresher = self.refresher();
        connections.sort();
        connections.dedup();
        let named = |connections| Request::Named { connections, force, skip_missing: false };
        let request = if connections.is_empty() { Request::All } else { named(connections) };
        if dry_run {
            return would(&refresher, &request, force, console).await;
        }
        loop {
            let report = refresher.run(&request, None, |done, all| console.terminal.progress(done, all)).await;
            let report = report.map_err(Failure::from).inspect_err(|failure| console.answer_failure(failure));
            let done = report.and_then(|report| tell(&report, console));
            // A loop whose answers nobody can read ends.
            let Some(every) = watch.filter(|_| !console.is_lost()) else { return done };
            if let Err(failure) = done {
                console.say(&failure.to_string());
            }
            console.say(&format!("The next run comes in {every:#}. Stop with Ctrl-C.\n"));
            tokio::time::sleep(Duration::from_secs(every.as_secs().unsigned_abs())).await;
        }
    }
}

/// Shows what a run would do.
async fn would<G: Grants, I: Issuer, L: Leases>(
    refresher: &Refresher<G, I, L>,
    request: &Request,
    force: bool,
    console: &Console<'_>,
) -> Result<(), Failure> {
    let seen = refresher.look(request, force, None).await?;
    let plan = |state: Option<&State>| match state {
        None => ("mint", "its token is missing, ends soon, or comes from another grant".to_owned()),
        Some(State::Fresh { until }) => ("leave", format!("its token lives until {until}")),
        Some(State::AwaitingConsent) => ("leave", "nobody has consented yet".to_owned()),
        Some(State::ConsentRequired(trouble)) => ("leave", format!("its grant is dead ({})", trouble.error)),
        Some(State::Misconfigured(trouble)) => {
            ("leave", format!("its provider refuses its client ({})", trouble.error))
        }
        Some(State::Throttled { until }) => ("leave", format!("its provider wants a pause until {until}")),
        Some(State::MayNotRotate) => {
            ("leave", "the refresher may not store its refresh tokens (RotatingProviders=true)".to_owned())
        }
        Some(State::BrokenGrant(broken) | State::BrokenLease(broken)) => ("leave", broken.to_string()),
    };
    let plans = seen.iter().map(|seen| (&seen.name, plan(seen.state())));
    let mut table = table(console.terminal.look(), &["connection", "would", "because"]);
    let mut answers = Vec::new();
    for (name, (what, why)) in plans {
        let why = if force && what == "mint" { "--force is given".to_owned() } else { why };
        table.add_row([name.as_str(), what, &why]);
        answers.push(json!({"connection": name, "would": what, "because": why}));
    }
    console.answer(json!({"plan": answers}));
    console.show(&table.trim_fmt());
    console.show("\nNothing was done.");
    Ok(())
}

/// Shows a report. If a connection needs attention, the command fails.
fn tell(report: &Report, console: &Console<'_>) -> Result<(), Failure> {
    let needy: usize =
        [&report.consent_required, &report.misconfigured, &report.throttled, &report.failed, &report.deferred]
            .map(Vec::len)
            .iter()
            .sum();
    console.answer(json!(report));
    for line in &report.outcomes {
        let until = line.expires_at.map(|end| format!(", token until {end}")).unwrap_or_default();
        console.show(&format!("{}: {}{until}", line.connection, line.outcome.replace('_', " ")));
        if let Some(error) = &line.error {
            console.show(&format!("  {error}"));
        }
        if let Some(remedy) = &line.remedy {
            console.show(&format!("  -> {remedy}"));
        }
    }
    let (all, refreshed, fresh) = (counted(report.connections, "connection"), report.refreshed, report.fresh);
    let seconds = report.duration_ms / 1000;
    console.show(&format!("{all}: {refreshed} refreshed, {fresh} fresh, {needy} need attention ({seconds} s)."));
    attention(needy)
}
