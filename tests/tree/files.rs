//! Rules about the tree: documentation, code and files must agree.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use token_keeper::config::VARIABLES;
use token_keeper::run::report::{Entry, Outcome, Report};
use token_keeper::telemetry::write_metrics;

const REFERENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md"));
const TEMPLATE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/template.yaml"));
const OPERATION: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/operation.yaml"));
const DEPLOY: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/deploy.sh"));

#[test]
fn the_reference_lists_exactly_the_settings_and_their_defaults() {
    let rows = REFERENCE.lines().filter_map(|line| line.strip_prefix("| `TOKEN_KEEPER_")?.split_once("` | "));
    let listed: Vec<_> = rows
        .map(|(name, rest)| {
            let default = rest.split(" | ").next().unwrap_or_default().trim_matches('`');
            (format!("TOKEN_KEEPER_{name}"), default.to_owned())
        })
        .collect();
    let read: Vec<_> = VARIABLES
        .into_iter()
        .map(|(name, default)| (name.to_owned(), if default.is_empty() { "unset" } else { default }.to_owned()))
        .collect();
    assert_eq!(listed, read);
}

#[test]
fn the_reference_shows_every_event_file() {
    for name in files("events") {
        assert!(REFERENCE.contains(&format!("events/{name}")), "events/{name} is not in docs/reference.md");
    }
}

#[test]
fn the_template_sets_exactly_the_settings() {
    let set: BTreeSet<_> = TEMPLATE
        .lines()
        .filter_map(|line| line.trim_start().split_once(": "))
        .filter(|(name, _)| name.starts_with("TOKEN_KEEPER_"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(set, VARIABLES.into_iter().map(|(name, _)| name).collect());
}

/// Where a variable is unset, the functions have their own default, and the settings parameter has
/// the script's.
#[test]
fn the_script_has_the_defaults_of_the_functions() {
    let passed =
        DEPLOY.lines().filter_map(|line| line.trim().split_once("=${")?.1.strip_suffix("}\"")?.split_once(":-"));
    let passed: Vec<_> = passed.collect();
    assert_eq!(passed.len(), 8);
    for setting in passed {
        assert!(VARIABLES.contains(&setting), "{setting:?}");
    }
}

#[test]
fn every_function_is_deployed_in_both_ways() {
    let programs = files("src/bin").into_iter().map(|file| file.trim_end_matches(".rs").to_owned());
    let functions: BTreeSet<_> = programs.collect();
    let after = |text: &str, start: &str| -> BTreeSet<String> {
        let words = text.lines().filter_map(|line| line.trim().strip_prefix(start));
        words.map(|rest| rest.split([' ', '}']).next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(after(TEMPLATE, "BuildProperties: {Binary: "), functions);
    assert_eq!(after(DEPLOY, "function_of "), functions);
}

#[test]
fn alarms_and_dashboard_use_metrics_that_the_code_emits() {
    let prefix = "token-keeper".parse().expect("a prefix");
    let (now, no_time) = (Timestamp::UNIX_EPOCH, SignedDuration::ZERO);
    let entry = Entry {
        connection: "crm".to_owned(),
        outcome: Outcome::Fresh,
        expires_at: None,
        refresh_token_expires_at: Some(now),
    };
    let mut emitted = BTreeSet::new();
    let rejected = Entry { outcome: Outcome::Rejected, ..entry.clone() };
    let run = Report::of(&[entry], now, no_time);
    for report in [run, Report::dispatched(&[], 1, now, no_time), Report::answered(&[rejected], 1, now, no_time)] {
        let mut line = Vec::new();
        write_metrics(&report, &prefix, now, &mut line).expect("a line");
        let line: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(line["Prefix"], "token-keeper");
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "TokenKeeper");
        let metrics = directive["Metrics"].as_array().expect("metrics");
        emitted.extend(metrics.iter().map(|metric| metric["Name"].as_str().expect("a name").to_owned()));
    }
    let named = |start: &str, end: char| -> Vec<&str> {
        OPERATION.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
    };
    // The metric of an alarm or of its expression, whatever comes between the namespace and the
    // next property.
    let watched = named("Namespace: TokenKeeper", ']');
    let dimension = "Dimensions: [{Name: Prefix, Value: !Ref Prefix}";
    assert!(watched.iter().all(|metric| metric.ends_with(dimension)), "each alarm has the metrics' dimension");
    let alarms: Vec<_> = watched.iter().filter_map(|metric| metric.split_whitespace().nth(1)).collect();
    let wanted = [
        "DurationMs",
        "MinRemainingSeconds",
        "MinRefreshTokenRemaining",
        "Failed",
        "Deferred",
        "Misconfigured",
        "Rejected",
    ];
    assert_eq!(alarms, wanted);
    let widgets = named("[\"TokenKeeper\", \"", '"');
    for metric in alarms.iter().chain(&widgets) {
        assert!(emitted.contains(*metric), "{metric} is in infra/operation.yaml and is emitted by nothing");
    }
    assert!(widgets.len() > alarms.len(), "the dashboard's metrics were found");
}

fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect()
}

#[test]
fn the_picture_of_a_list_is_of_todays_command() {
    let picture = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures/list.svg"));
    assert!(picture.contains("Region"), "make pictures makes it anew");
}
