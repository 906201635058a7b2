//! A consent to click through by hand, without any account: `token-keeper connect --local` against
//! both stand-ins on loopback ports. `make demo-consent` runs it.

use clap::Parser as _;
use testkit::clock::Clock;
use testkit::outside::{Adapters, Outside, REGION};
use testkit::wire::Faults;
use token_keeper::config::Config;
use token_keeper::http::{self, Roots};
use token_keeper::issuer::Providers;
use token_keeper::source::Source;
use token_keeper::zoho::TIMEOUT;
use token_keeper_cli::{Cli, Failure, Operator, Terminal};

const CLIENT_ID: &str = "1000.DEMO";
const PORT: u16 = 8765;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let outside = Outside::start(&["eu"], Clock::system(), Faults::new());
    outside.zoho.register(CLIENT_ID, &[&format!("http://localhost:{PORT}/callback")], &[("eu", "demo")]);
    println!("Stand-ins for Zoho and AWS run in this process; nothing leaves this machine.");
    let base = format!("http://localhost:{PORT}");
    for command in [
        "client add acme-app --client-id 1000.DEMO".to_owned(),
        format!(
            "connect crm-prod --client acme-app --data-center eu --scope ZohoCRM.modules.ALL --callback-url {base} --local"
        ),
    ] {
        println!("\n$ token-keeper {command}");
        let cli = Cli::try_parse_from(["token-keeper"].into_iter().chain(command.split(' '))).expect("a right command");
        operator(&outside).await.run(cli, &Screen).await?;
    }
    let document = outside.document("crm-prod").expect("the first lease");
    let [status, end] = ["status", "expires_at"].map(|field| document[field].as_str().unwrap_or("?"));
    println!("\nPrograms now read a document that says: {status} until {end}.");
    Ok(())
}

/// The screen. It answers every question by itself.
struct Screen;

impl Terminal for Screen {
    fn print(&self, text: &str) -> std::io::Result<()> {
        println!("{text}");
        Ok(())
    }

    fn ask_secret(&self, _: &str) -> std::io::Result<String> {
        Ok("demo".to_owned())
    }
}

async fn operator(outside: &Outside) -> Operator {
    let Config { settings, publishing, callback_url, .. } = outside.config();
    let source = Source::system();
    let Adapters { secrets, leases, .. } = Adapters::connect(outside, &source).await;
    let issuer = Providers::new(http::client(Roots::BuiltIn, None).expect("a client"), TIMEOUT, source.clone());
    let region = Some(REGION.to_owned());
    Operator {
        settings,
        publishing,
        callback_url,
        stack: Ok(None),
        secrets,
        issuer,
        leases,
        source,
        region,
        profile: None,
    }
}
