//! Logs and metrics.
//!
//! Rules: a thing is logged once, where it is handled. Identifiers are fields, with the unit in the
//! field's name. No body, no secret and no event is logged. Libraries log from `WARN` on, because
//! they log bodies at lower levels.

use std::io::{IsTerminal as _, Write};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::name::Prefix;
use crate::run::report::Report;

/// The namespace of the metrics.
const NAMESPACE: &str = "TokenKeeper";

/// Starts the logs of this process: text for people on a terminal, JSON everywhere else. `level` is
/// the value of `AWS_LAMBDA_LOG_LEVEL`.
pub fn start(level: Option<&str>) {
    subscriber(level, std::io::stdout().is_terminal(), std::io::stdout).init();
}

/// What [`start`] starts, with another writer.
pub fn subscriber<W>(level: Option<&str>, terminal: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let level = level.and_then(|level| level.to_ascii_lowercase().parse().ok()).unwrap_or(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lambda_runtime", LevelFilter::INFO)
        .with_target(env!("CARGO_CRATE_NAME"), level);
    // A log that cannot be written is lost. Saying so on a closed standard error would be a panic.
    let layer = fmt::layer().with_target(false).with_writer(writer).log_internal_errors(false);
    let layer =
        if terminal { layer.compact().boxed() } else { layer.json().flatten_event(true).with_span_list(false).boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// Logs a report and, where no person reads along, writes its metrics.
pub fn tell(report: &Report, prefix: &Prefix, now: Timestamp) {
    log(report);
    let mut out = std::io::stdout().lock();
    if !out.is_terminal()
        && let Err(error) = write_metrics(report, prefix, now, &mut out)
    {
        warn!(%error, "metrics not written");
    }
}

/// Logs a report: a line for each connection that needs attention, then one for the run.
pub fn log(report: &Report) {
    for line in &report.outcomes {
        let (connection, outcome) = (&line.connection, line.outcome);
        match (&line.error, &line.remedy) {
            (None, None) => tracing::debug!(connection, outcome, "connection done"),
            (error, remedy) => warn!(connection, outcome, error, remedy, "connection needs attention"),
        }
    }
    info!(
        connections = report.connections,
        queued = report.queued,
        fresh = report.fresh,
        refreshed = report.refreshed,
        awaiting_consent = report.awaiting_consent,
        consent_required = report.consent_required.len(),
        misconfigured = report.misconfigured.len(),
        throttled = report.throttled.len(),
        failed = report.failed.len(),
        deferred = report.deferred.len(),
        complaints = report.complaints,
        rejected = report.rejected.len(),
        min_remaining_s = report.min_remaining_s,
        min_refresh_token_remaining_s = report.min_refresh_token_remaining_s,
        duration_ms = report.duration_ms,
        "run finished"
    );
}

/// Writes a report's metrics as one line of the embedded metric format. The prefix is their
/// dimension, so that one installation's alarms do not see another's runs. Connection names are not
/// dimensions: `CloudWatch` bills each value. Answers to complaints have metrics of their own: with
/// those of a run, readers that complain would keep the alarm no-run quiet while the schedule is
/// dead.
///
/// # Errors
/// If the line cannot be written.
pub fn write_metrics(report: &Report, prefix: &Prefix, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let count = |names: &Vec<String>| names.len();
    let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
    if let Some(complaints) = report.complaints {
        let mut metrics = vec![metric("Complaints", "Count"), metric("Replaced", "Count")];
        let mut line = json!({"Prefix": prefix.as_str(), "Complaints": complaints, "Replaced": report.refreshed});
        // Without zeros, its alarm does not waver while complaints of both kinds come.
        if !report.rejected.is_empty() {
            metrics.push(metric("Rejected", "Count"));
            line["Rejected"] = json!(count(&report.rejected));
        }
        return write_line(&mut line, &metrics, now, out);
    }
    let mut metrics = vec![
        metric("Connections", "Count"),
        metric("Refreshed", "Count"),
        metric("Failed", "Count"),
        metric("Throttled", "Count"),
        metric("ConsentRequired", "Count"),
        metric("Misconfigured", "Count"),
        metric("Deferred", "Count"),
        metric("DurationMs", "Milliseconds"),
    ];
    let mut line = json!({
        "Prefix": prefix.as_str(),
        "Connections": report.connections,
        "Refreshed": report.refreshed,
        "Failed": count(&report.failed),
        "Throttled": count(&report.throttled),
        "ConsentRequired": count(&report.consent_required),
        "Misconfigured": count(&report.misconfigured),
        "Deferred": count(&report.deferred),
        "DurationMs": report.duration_ms,
    });
    if let Some(queued) = report.queued {
        metrics.push(metric("Queued", "Count"));
        line["Queued"] = json!(queued);
    }
    if let Some(seconds) = report.min_remaining_s {
        metrics.push(metric("MinRemainingSeconds", "Seconds"));
        line["MinRemainingSeconds"] = json!(seconds);
    }
    if let Some(seconds) = report.min_refresh_token_remaining_s {
        metrics.push(metric("MinRefreshTokenRemaining", "Seconds"));
        line["MinRefreshTokenRemaining"] = json!(seconds);
    }
    write_line(&mut line, &metrics, now, out)
}

fn write_line(line: &mut Value, metrics: &[Value], now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [["Prefix"]], "Metrics": metrics});
    line["_aws"] = json!({"Timestamp": now.as_millisecond(), "CloudWatchMetrics": [directive]});
    writeln!(out, "{line}")
}
