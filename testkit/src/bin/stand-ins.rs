//! Serves the stand-ins on loopback ports, for programs in other languages than Rust.
//!
//! `stand-ins [--connections N] [--redirect-uri URL] [--zoho-latency-ms MS] [--quotas
//! default|higher|lifted]` prints one JSON line when it is ready: the addresses of the stand-ins,
//! and what is seeded in them. It answers each line on standard input with one line. An empty line
//! asks how often each operation was called. Any other line is a token, and the answer says whether
//! it lives. The program ends when standard input ends.
//!
//! `--aws-tls KIND` and `--zoho-tls KIND` make a stand-in speak TLS. KIND is the certificate:
//! `good`, `expired`, `not-valid-yet`, for an `other-host`, or an `authority`'s own. `--ca-bundle
//! FILE` writes the authority's certificate to a file for `AWS_CA_BUNDLE`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::quota::Quotas;
use testkit::seed::{self, Seeded};
use testkit::tls::{Authority, Kind};
use testkit::wire::Faults;
use testkit::zoho::Zoho;

const USAGE: &str = "usage: stand-ins [--connections N] [--redirect-uri URL] [--zoho-latency-ms MS] \
                     [--quotas default|higher|lifted] [--aws-tls KIND] [--zoho-tls KIND] [--ca-bundle FILE]";

#[derive(Debug, Default)]
struct Options {
    connections: usize,
    redirect_uri: Option<String>,
    zoho_latency: Duration,
    quotas: Quotas,
    aws_tls: Option<Kind>,
    zoho_tls: Option<Kind>,
    ca_bundle: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stand-ins: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None` if an argument is unknown, or its value is missing or wrong.
fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--connections" => options.connections = value.parse().ok()?,
            "--redirect-uri" => options.redirect_uri = Some(value),
            "--zoho-latency-ms" => options.zoho_latency = Duration::from_millis(value.parse().ok()?),
            "--quotas" => options.quotas = quotas(&value)?,
            "--aws-tls" => options.aws_tls = Some(value.parse().ok()?),
            "--zoho-tls" => options.zoho_tls = Some(value.parse().ok()?),
            "--ca-bundle" => options.ca_bundle = Some(value),
            _ => return None,
        }
    }
    Some(options)
}

fn quotas(name: &str) -> Option<Quotas> {
    match name {
        "default" => Some(Quotas::default()),
        "higher" => Some(Quotas::higher_throughput()),
        "lifted" => Some(Quotas::lifted()),
        _ => None,
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let faults = Faults::new();
    faults.latency("zoho", options.zoho_latency);
    let authority = Authority::new();
    if let Some(file) = &options.ca_bundle {
        std::fs::write(file, authority.pem())?;
    }
    let reached = |tls: Option<Kind>| tls.map_or(faults.clone(), |kind| faults.over_tls(&authority.certify(kind)));
    let aws = Aws::start(Clock::system(), reached(options.aws_tls));
    aws.quotas(options.quotas);
    let zoho = Zoho::start(&["us", "eu"], Clock::system(), reached(options.zoho_tls));
    let seeded = seed::connections(&aws, &zoho, options.connections);
    if let Some(redirect_uri) = &options.redirect_uri {
        zoho.register(seed::CLIENT_ID, &[redirect_uri], &["us", "eu"].map(|name| (name, seed::CLIENT_SECRET)));
    }
    zoho.register(seed::DEVICE_CLIENT_ID, &[], &["us", "eu"].map(|name| (name, seed::CLIENT_SECRET)));
    zoho.allow_device(seed::DEVICE_CLIENT_ID);
    say(&json!({
        "aws": aws.url(),
        "data_centers": zoho.data_centers(),
        "client_id": seed::CLIENT_ID,
        "client_secret": seed::CLIENT_SECRET,
        "self_client_id": seed::SELF_CLIENT_ID,
        "device_client_id": seed::DEVICE_CLIENT_ID,
        "connections": seeded.iter().map(connection).collect::<Vec<_>>(),
    }))?;
    for line in io::stdin().lines() {
        let token = line?;
        say(&if token.is_empty() {
            counts(&faults)
        } else {
            json!(zoho.refresh_token_lives(&token) || zoho.access_token_lives(&token))
        })?;
    }
    Ok(())
}

fn connection(seeded: &Seeded) -> Value {
    let Seeded { name, refresh_token, data_center } = seeded;
    json!({"name": name, "refresh_token": refresh_token, "data_center": data_center})
}

/// `{"zoho refresh_token": 3, …}`
fn counts(faults: &Faults) -> Value {
    let mut counts = BTreeMap::<String, usize>::new();
    for call in faults.calls() {
        *counts.entry(format!("{} {}", call.service, call.operation)).or_default() += 1;
    }
    json!(counts)
}

fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
