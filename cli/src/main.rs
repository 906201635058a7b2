//! The operator's command line: wiring only.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use token_keeper::config::{Config, as_text};
use token_keeper::http::{self, Roots};
use token_keeper::issuer::Providers;
use token_keeper::source::Source;
use token_keeper::{aws, telemetry, zoho};
use token_keeper_cli::console::SCHEMA;
use token_keeper_cli::stack::configure;
use token_keeper_cli::{Cli, Look, Operator, Terminal, login};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// The code of a program that Ctrl-C has ended: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    // AWS's SDK would look elsewhere, and perhaps find another account.
    let lost = |(name, value): &(OsString, OsString)| {
        name.as_encoded_bytes().starts_with(b"AWS_") && name != "AWS_CA_BUNDLE" && value.to_str().is_none()
    };
    if let Some((name, _)) = std::env::vars_os().find(lost) {
        return refuse(cli.json, &format!("{}: its value is not text in UTF-8, nothing was started", name.display()));
    }
    if cli.verbose {
        // The SDK's warnings quote what a `credential_process` prints.
        let quiet = Targets::new().with_default(LevelFilter::TRACE).with_target("aws_config", LevelFilter::OFF);
        telemetry::subscriber(Some("DEBUG"), true, io::stderr).with(quiet).init();
    } else {
        // Libraries are silent here: the command's own failure says what they would warn of. The
        // pace logs too, so that you see why a command waits.
        let ours = Targets::new()
            .with_target("token_keeper", LevelFilter::WARN)
            .with_target("token_keeper::pace", LevelFilter::INFO);
        let layer = fmt::layer().compact().with_target(false).without_time().log_internal_errors(false);
        let layer = layer.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
        tracing_subscriber::registry().with(layer.with_filter(ours)).init();
    }
    let json = cli.json;
    let operator = match operator(&cli).await {
        Ok(operator) => operator,
        Err(problem) => return refuse(json, &problem),
    };
    // Where standard error is no terminal, it draws nothing.
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}").unwrap_or(ProgressStyle::default_bar());
    let terminal = Standard { bar: ProgressBar::new(0).with_style(style), interrupts: Arc::default() };
    let done = operator.run(cli, &terminal).await;
    terminal.bar.finish_and_clear();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Connects the real services, as the options, the environment and the stack say. The error says
/// what is wrong with them.
async fn operator(cli: &Cli) -> Result<Operator, String> {
    let prefix = cli.prefix.clone().map(|prefix| ("TOKEN_KEEPER_PREFIX".to_owned(), prefix));
    let environment: Vec<_> = as_text(std::env::vars_os()).chain(prefix).collect();
    let words = |problem: &dyn Display| problem.to_string();
    let config = Config::read(environment.clone()).map_err(|problems| words(&problems))?;
    let parameter = config.settings.prefix.settings();
    let source = Source::system();
    // As version 2 of the AWS CLI: the option wins over keys in the environment, and these over
    // both variables for a profile, which then still says the Region.
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let keys = variable("AWS_ACCESS_KEY_ID").is_some() && cli.profile.is_none();
    let named = cli.profile.clone().or_else(|| variable("AWS_PROFILE")).or_else(|| variable("AWS_DEFAULT_PROFILE"));
    let profile = named.clone().filter(|_| !keys);
    // A variable that is set and blank names no profile.
    let mut loader = aws::loader(keys).profile_name(named.as_deref().unwrap_or("default"));
    if let Some(region) = &cli.region {
        loader = aws::in_region(loader, region);
    }
    if let Some(url) = &cli.endpoint_url {
        loader = loader.endpoint_url(url.as_str().trim_end_matches('/'));
    }
    let http =
        http::client(Roots::Platform, std::env::var_os("AWS_CA_BUNDLE").as_deref()).map_err(|why| words(&why))?;
    let mut shared = aws::shared(loader, &http).await;
    if !keys {
        shared = login::with_profile(&shared, profile.clone());
    }
    let region = shared.region().map(ToString::to_string).filter(|region| !region.is_empty());
    let stored = if cli.command.uses_settings() { aws::read_text(&shared, &parameter).await } else { Ok(None) };
    let (Config { settings, publishing, callback_url, .. }, stack) =
        configure(&environment, &parameter, stored).map_err(|problems| words(&problems))?;
    let (secrets, leases) = aws::stores(&shared, &settings, publishing.clone(), &source);
    let issuer = Providers::new(http, zoho::TIMEOUT, source.clone());
    Ok(Operator { settings, publishing, callback_url, stack, secrets, issuer, leases, source, region, profile })
}

/// Says why the command cannot begin.
fn refuse(json: bool, problem: &str) -> ExitCode {
    if json {
        let answer =
            json!({"schema": SCHEMA, "error": problem, "remedy": "correct it, then try again; nothing was started"});
        let _lost = writeln!(io::stdout(), "{answer}");
    }
    complain(&problem);
    ExitCode::from(2)
}

/// Prints the help, or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(lost) if !error.use_stderr() && lost.kind() != io::ErrorKind::BrokenPipe => {
            complain(&lost);
            ExitCode::FAILURE
        }
        _ if error.use_stderr() => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

/// Writes to standard error. `eprintln` would panic where that is closed.
fn complain(what: &dyn Display) {
    let _nobody = writeln!(io::stderr(), "{what}");
}

/// Standard input, output and error.
struct Standard {
    bar: ProgressBar,
    interrupts: Arc<Interrupts>,
}

/// Whether Ctrl-C has to wait, and whether it waits.
#[derive(Default)]
struct Interrupts {
    hold: AtomicBool,
    waiting: AtomicBool,
}

/// Ends the program at Ctrl-C, and when it is told to end or its terminal goes away, but not before
/// it has finished what it must. It starts when something must be finished for the first time:
/// until then the system itself ends the program, also at a prompt.
async fn watch_for_interrupts(mut signals: Signals, interrupts: Arc<Interrupts>) {
    loop {
        signals.next().await;
        if !interrupts.hold.load(Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        interrupts.waiting.store(true, Ordering::Relaxed);
        complain(&"One moment: Zoho's code is being exchanged. The command ends when the result is stored.");
    }
}

/// Ctrl-C, and the signals that end a program. From `listen` on, none of them ends it by itself.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let [interrupt, hangup, terminate] = [SignalKind::interrupt(), SignalKind::hangup(), SignalKind::terminate()];
        Ok(Self([signal(interrupt)?, signal(hangup)?, signal(terminate)?]))
    }

    async fn next(&mut self) {
        let [interrupt, hangup, terminate] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Terminal for Standard {
    fn print(&self, text: &str) -> io::Result<()> {
        self.bar.finish_and_clear();
        writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush())
    }

    fn note(&self, text: &str) {
        self.bar.finish_and_clear();
        complain(&text);
    }

    fn finish_first(&self, on: bool) {
        static WATCHING: Once = Once::new();
        self.interrupts.hold.store(on, Ordering::Relaxed);
        if !on && self.interrupts.waiting.load(Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        // They are listened to before this returns, so before anything is sent. Where that is not
        // possible, Ctrl-C ends the program at once, as everywhere.
        WATCHING.call_once(|| {
            if let Ok(signals) = Signals::listen() {
                tokio::spawn(watch_for_interrupts(signals, self.interrupts.clone()));
            }
        });
    }

    fn ask_secret(&self, prompt: &str) -> io::Result<String> {
        if io::stdin().is_terminal() {
            return rpassword::prompt_password(prompt);
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        Ok(text)
    }

    fn confirm(&self, question: &str) -> io::Result<bool> {
        if !io::stdin().is_terminal() {
            return Ok(false);
        }
        write!(io::stderr(), "{question}")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    fn read_file(&self, path: Option<&Path>) -> io::Result<Vec<u8>> {
        let Some(path) = path else {
            // What is typed would be seen on the screen.
            if io::stdin().is_terminal() {
                return Err(io::Error::other("no file is named, and nothing is piped in"));
            }
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            return Ok(bytes);
        };
        std::fs::read(path)
    }

    fn progress(&self, done: usize, all: usize) {
        self.bar.set_length(all as u64);
        // What was printed before has cleared the bar.
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_position(done as u64);
    }

    fn look(&self) -> Look {
        let terminal = io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // The table asks the terminal itself.
        Look { width: None, color }
    }
}
