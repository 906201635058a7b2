//! The callback function: wiring only.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use token_keeper::config::{Config, as_text};
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::http::{self, Roots};
use token_keeper::issuer::Providers;
use token_keeper::lambda::callback::{NotHttp, Request, respond};
use token_keeper::source::Source;
use token_keeper::{aws, telemetry, zoho};

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
    let Config { settings, publishing, callback_url, .. } = Config::read(as_text(std::env::vars_os()))?;
    let http = http::client(Roots::BuiltIn, std::env::var_os("AWS_CA_BUNDLE").as_deref())?;
    let source = Source::system();
    let loader = aws::loader(std::env::var_os("AWS_ACCESS_KEY_ID").is_some());
    let (secrets, leases) = aws::connect(loader, &http, &settings, publishing, &source).await;
    let consent = Consent {
        settings,
        secrets,
        issuer: Providers::new(http, zoho::TIMEOUT, source.clone()),
        leases,
        source,
        key: KeyRing::default(),
    };
    let function = service_fn(async |event: LambdaEvent<Value>| {
        let request = Request::of_event(&event.payload)?;
        // Boxed, because the compiler's default limit is too low for futures nested this deep.
        Ok::<_, NotHttp>(Box::pin(respond(&request, &consent, callback_url.as_ref())).await.into_event())
    });
    lambda_runtime::run(function).await
}
