//! A consent to click through by hand, without any account: `token-keeper connect --local` against
//! both stand-ins on loopback ports. `make demo-consent` runs it.

use clap::Parser as _;
use testkit::clock::Clock;
use testkit::wire::Faults;
use testkit::world::{Adapters, Outside, REGION};
use token_keeper::config::Config;
use token_keeper::source::Source;
use token_keeper_cli::{Cli, Console, Failure, Operator};

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
        operator(&outside).await.run(cli, &Terminal).await?;
    }
    println!(
        "\nPrograms now read a document that says: {} until {}.",
        outside.field("crm-prod", "status").as_str().unwrap_or("?"),
        outside.field("crm-prod", "expires_at").as_str().unwrap_or("?")
    );
    Ok(())
}

/// This terminal. It answers every question by itself.
struct Terminal;

impl Console for Terminal {
    fn show(&self, text: &str) {
        println!("{text}");
    }

    fn ask_secret(&self, _: &str) -> std::io::Result<String> {
        Ok("demo".to_owned())
    }
}

async fn operator(outside: &Outside) -> Operator {
    let Config { settings, publishing, callback_url, .. } = outside.config();
    let source = Source::system();
    let Adapters { secrets, leases, zoho, .. } = Adapters::connect(outside, &source).await;
    let region = Some(REGION.to_owned());
    Operator {
        settings,
        publishing,
        callback_url,
        stack: Ok(None),
        secrets,
        zoho,
        leases,
        source,
        region,
        profile: None,
    }
}
