//! The operator's command line: wiring only.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use clap::Parser as _;
use jiff::Timestamp;
use token_keeper::cli::{Cli, Operator};
use token_keeper::config::Config;
use token_keeper::http::{self, Roots};
use token_keeper::{aws, zoho};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let Config { settings, publishing, callback_url } = match Config::read(std::env::vars()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    let loader = aws::loader(std::env::var_os("AWS_ACCESS_KEY_ID").is_some());
    let http = http::client(Roots::Platform);
    let (secrets, leases) = aws::connect(loader, &http, &settings.prefix, publishing, Timestamp::now).await;
    let zoho = zoho::Zoho::new(http, zoho::TIMEOUT, Timestamp::now);
    let random = || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("random bytes of the operating system");
        bytes
    };
    let operator = Operator { settings, callback_url, secrets, zoho, leases, random, now: Timestamp::now };
    match operator.run(cli, &ask, &|line| println!("{line}")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// From the terminal without showing it, or else from standard input.
fn ask(prompt: &str) -> std::io::Result<String> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
