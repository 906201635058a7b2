//! A consent to click through by hand, without any account: `token-keeper connect --local` against
//! both stand-ins on loopback ports. `make demo-consent` runs it.

use clap::Parser as _;
use testkit::aws::Aws;
use testkit::clock::Clock;
use testkit::wire::Faults;
use testkit::zoho::Zoho;
use token_keeper::config::Config;
use token_keeper::http::{self, Roots};
use token_keeper::source::Source;
use token_keeper::{aws, zoho};
use token_keeper_cli::{Cli, Console, Failure, Operator};

const CLIENT_ID: &str = "1000.DEMO";
const PORT: u16 = 8765;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let stand_in = Zoho::start(&["eu"], Clock::system(), Faults::new());
    stand_in.register(CLIENT_ID, &[&format!("http://localhost:{PORT}/callback")], &[("eu", "demo")]);
    let store = Aws::start(Clock::system(), Faults::new());
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
        operator(&stand_in, &store).await.run(cli, &Terminal).await?;
    }
    let document = store.parameter("/token-keeper/tokens/crm-prod").expect("the first lease").value;
    let field = |name: &str| document.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
    println!(
        "\nPrograms now read a document that says: {} until {}.",
        field("status").unwrap_or("?"),
        field("expires_at").unwrap_or("?")
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

async fn operator(stand_in: &Zoho, store: &Aws) -> Operator {
    let environment = [("TOKEN_KEEPER_DATA_CENTERS".to_owned(), stand_in.data_centers())];
    let Config { settings, publishing, callback_url, .. } = Config::read(environment).expect("a right environment");
    let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .empty_test_environment()
        .test_credentials()
        .region("eu-central-1")
        .endpoint_url(store.url());
    let (source, http) = (Source::system(), http::client(Roots::BuiltIn, None).expect("a client"));
    let (secrets, leases) = aws::connect(loader, &http, &settings.prefix, publishing.clone(), &source).await;
    let zoho = zoho::Zoho::new(http, zoho::TIMEOUT, source.clone());
    let region = Some("eu-central-1".to_owned());
    Operator { settings, publishing, callback_url, secrets, zoho, leases, source, region, profile: None }
}
