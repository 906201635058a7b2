//! The refresher function: wiring only.

use std::process::ExitCode;
use std::time::SystemTime;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use token_keeper::config::{Config, as_text};
use token_keeper::http::{self, Roots};
use token_keeper::issuer::Providers;
use token_keeper::lambda::refresher::handle;
use token_keeper::run::Refresher;
use token_keeper::run::brake::Brakes;
use token_keeper::run::dispatch::Dispatcher;
use token_keeper::run::report::Report;
use token_keeper::source::Source;
use token_keeper::{aws, telemetry, zoho};
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::start(std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().as_deref());
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), lambda_runtime::Error> {
    let Config { settings, publishing, queue_url, queue_above, .. } = Config::read(as_text(std::env::vars_os()))?;
    let http = http::client(Roots::BuiltIn, std::env::var_os("AWS_CA_BUNDLE").as_deref())?;
    let source = Source::system();
    let loader = aws::loader(std::env::var_os("AWS_ACCESS_KEY_ID").is_some());
    let shared = aws::shared(loader, &http).await;
    let (grants, leases) = aws::stores(&shared, &settings, publishing, &source);
    let dispatcher = queue_url.map(|url| Dispatcher { queue: aws::Sqs::new(&shared, url), above: queue_above });
    let issuer = Providers::new(http, zoho::TIMEOUT, source.clone());
    let refresher = Refresher { settings, grants, issuer, leases, source, brakes: Brakes::default() };
    let function = service_fn(async |event: LambdaEvent<Value>| {
        // A deadline in the past is ignored: cargo-lambda's local runtime sends the time-out's
        // length instead of its end.
        let left = event.context.deadline().duration_since(SystemTime::now()).ok();
        let tell = |report: &Report| telemetry::tell(report, &refresher.settings.prefix, refresher.source.now());
        handle(&event.payload, &refresher, dispatcher.as_ref(), left.map(|left| Instant::now() + left), tell).await
    });
    lambda_runtime::run(function).await
}
