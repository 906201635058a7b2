//! A tour of one run and one consent, without any account: the real handlers and commands against
//! both stand-ins. `make demo` shows it.

use std::cell::RefCell;
use std::fmt::Write as _;

use clap::Parser as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::browser::{Browser, title};
use testkit::world::{Adapters, BASE, CLIENT_ID, EU_SECRET, REGION, SCOPE, World};
use token_keeper::config::Config;
use token_keeper::connection::read_grants;
use token_keeper::ports::{Grants as _, Issuer as _};
use token_keeper_cli::{Cli, Operator, Terminal};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    print!("{}", Box::pin(tour()).await);
}

/// The connections: name, what is wrong with it, and its refresh token.
type Cast = Vec<(&'static str, &'static str, Option<String>)>;

/// The whole tour as text.
pub(crate) async fn tour() -> String {
    let demo = Demo(World::new().await);
    let cast = demo.arrange().await;
    let mut text = String::new();
    heading(&mut text, "Token Keeper on this machine: no AWS account, no Zoho account, nothing leaves it");
    text.push_str(
        "Stand-ins for Zoho, Secrets Manager and Parameter Store run inside this process; the refresher is the one that\n\
         runs as a Lambda. Six connections, each in another state:\n\n",
    );
    demo.table(&mut text, &cast, None);

    heading(&mut text, "The schedule fires: events/schedule.json goes to the function's handler");
    demo.0.faults.forget_calls();
    let report = demo.send().await;
    demo.table(&mut text, &cast, Some(&report));
    writeln!(text, "\nCalls made: {}.", demo.calls()).expect("text");
    text.push_str("(The second BatchGetSecretValue reads desk again, before its grant is declared dead.)\n");

    heading(&mut text, "What a consumer reads: parameter /token-keeper/tokens/crm-prod (the token is masked here)");
    text.push_str(&demo.masked("crm-prod"));
    text.push_str("\nThe header to send is `Authorization: {token_type} {access_token}`, until `expires_at`.\n");

    heading(&mut text, "The schedule fires again");
    demo.0.faults.forget_calls();
    let again = demo.send().await;
    writeln!(text, "Calls made: {}.", demo.calls()).expect("text");
    writeln!(
        text,
        "Nothing was due, so Zoho was not asked and nothing was written. {} are fresh. The documents record the dead grant,\n\
         the throttled connection and the wrong secret, so these cost no request.",
        again["fresh"]
    )
    .expect("text");

    heading(&mut text, "What to do about the others");
    for line in report["outcomes"].as_array().into_iter().flatten() {
        if let (Some(connection), Some(remedy)) = (line["connection"].as_str(), line["remedy"].as_str()) {
            let error = line["error"].as_str().unwrap_or("nobody has consented yet");
            writeln!(text, "{connection}: {error}\n    -> {remedy}").expect("text");
        }
    }

    heading(&mut text, "The operator follows the remedy for desk: token-keeper connect desk");
    demo.reconnect(&mut text).await;

    heading(&mut text, "The same with real AWS and Zoho");
    text.push_str(
        "1. Deploy the stack: README.md, under \"Deploy\".\n\
         2. Make a link with `token-keeper connect`, or import a refresh token that you have.\n\
         3. Read the parameter /token-keeper/tokens/crm-prod from any language.\n\
         To click through a consent yourself, on this machine:\n\
         make demo-consent\n",
    );
    text
}

/// The installation that the tour walks through.
struct Demo(World);

impl Demo {
    /// The operator makes a link, the administrator agrees, and the connection lives again.
    async fn reconnect(&self, text: &mut String) {
        let Config { settings, publishing, callback_url, .. } = self.0.config();
        let (Adapters { secrets, leases, issuer, .. }, source) = self.0.process().await;
        let region = Some(REGION.to_owned());
        let operator = Operator {
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
        };
        let cli = Cli::try_parse_from(["token-keeper", "connect", "desk", "--callback-url", BASE]);
        let terminal = Screen::default();
        Box::pin(operator.run(cli.expect("a right command"), &terminal)).await.expect("a link");
        text.push_str(&terminal.shown.into_inner());

        let page = Browser::default().consent(&self.0, &terminal.link.into_inner()).await;
        writeln!(text, "\nThe administrator opens the link, agrees at Zoho, and sees: {}", title(&page)).expect("text");
        let document = self.0.document("desk");
        let status = document.as_ref().and_then(|document| document["status"].as_str()).unwrap_or("-");
        writeln!(text, "\n  {:<10} {status:<17} {}", "desk", self.life(document.as_ref())).expect("text");
        text.push_str("\nThe link no longer works. Without a link, nobody can use the callback.\n");
    }

    /// Makes the connections and lets 40 minutes pass.
    async fn arrange(&self) -> Cast {
        self.0.clock.advance(SignedDuration::from_hours(9));
        let mut cast = Cast::new();
        for (name, story) in [
            ("crm-prod", "healthy, and due: less than 35 minutes left"),
            ("desk", "its user has removed the app: a dead grant"),
            ("campaigns", "another program has used up its requests"),
        ] {
            cast.push((name, story, Some(self.connect(name, EU_SECRET))));
        }
        self.send().await;
        self.0.clock.advance(SignedDuration::from_mins(40));
        cast.insert(1, ("books", "healthy, and fresh", Some(self.connect("books", EU_SECRET))));
        self.handle(&json!({"connections": ["books"]})).await;
        cast.push(("inventory", "its secret holds a wrong client secret", Some(self.connect("inventory", "wrong"))));
        self.0.aws.put_secret("token-keeper/connections/people", r#"{"client":"acme","data_center":"eu"}"#);
        cast.push(("people", "nobody has consented yet", None));
        self.0.zoho.kill(cast[2].2.as_deref().expect("desk has a refresh token"));
        self.use_up("campaigns").await;
        cast
    }

    /// A user consents, and the operator stores the grant with an inline client and this client
    /// secret.
    fn connect(&self, name: &str, client_secret: &str) -> String {
        let refresh_token = self.0.zoho.consent("eu", CLIENT_ID, &[SCOPE]);
        let grant = json!({"client_id": CLIENT_ID, "client_secret": client_secret, "data_center": "eu",
            "scopes": [SCOPE], "refresh_token": refresh_token});
        self.0.aws.put_secret(&format!("token-keeper/connections/{name}"), &grant.to_string());
        refresh_token
    }

    /// Mints until Zoho refuses, as a program does that asks Zoho instead of reading the parameter.
    async fn use_up(&self, name: &str) {
        let settings = &self.0.refresher.settings;
        let secrets = self.0.refresher.grants.list().await.expect("the secrets");
        let grants = read_grants(&secrets, &settings.prefix, &settings.data_centers);
        let grant = grants[name].as_ref().expect("a grant");
        while self.0.refresher.issuer.mint(grant).await.is_ok() {}
    }

    async fn send(&self) -> Value {
        self.handle(
            &serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../events/schedule.json")))
                .expect("JSON"),
        )
        .await
    }

    async fn handle(&self, event: &Value) -> Value {
        self.0.send(event.clone()).await.expect("a run that could list")
    }

    /// The state of each connection. Without a report, also its story; with one, also its outcome.
    fn table(&self, text: &mut String, cast: &Cast, report: Option<&Value>) {
        let last = if report.is_some() { "what happened" } else { "" };
        writeln!(text, "  {:<10} {:<17} {:<22} {last}", "connection", "status", "token").expect("text");
        for (name, story, refresh_token) in cast {
            let document = self.0.document(name);
            let status = document.as_ref().and_then(|document| document["status"].as_str()).unwrap_or("-");
            let last = report.map_or((*story).to_owned(), |report| {
                let lines = report["outcomes"].as_array().expect("outcomes");
                let line = lines.iter().find(|line| line["connection"] == *name);
                let outcome = line.and_then(|line| line["outcome"].as_str()).unwrap_or("fresh");
                let asked =
                    self.0.faults.calls().iter().filter(|call| Some(&call.subject) == refresh_token.as_ref()).count();
                format!("{outcome:<17} {}", if asked == 0 { "Zoho not asked" } else { "one request to Zoho" })
            });
            let row = format!("  {name:<10} {status:<17} {:<22} {last}", self.life(document.as_ref()));
            writeln!(text, "{}", row.trim_end()).expect("text");
        }
    }

    /// The rest of the token's life, as a bar and in minutes. A full bar is an hour.
    fn life(&self, document: Option<&Value>) -> String {
        let end =
            document.and_then(|document| document["expires_at"].as_str()).and_then(|end| end.parse::<Timestamp>().ok());
        let minutes = end.map_or(0, |end| end.duration_since(self.0.clock.now()).as_mins().max(0));
        let full = usize::try_from(minutes / 6).unwrap_or_default();
        if minutes == 0 { "none".to_owned() } else { format!("[{:<10}] {minutes} min", "=".repeat(full)) }
    }

    /// The document with its token masked, and with Zoho's address instead of the stand-in's.
    fn masked(&self, connection: &str) -> String {
        let parameter = self.0.aws.parameter(&format!("/token-keeper/tokens/{connection}")).expect("a parameter");
        let document = self.0.document(connection).expect("a document");
        let token = document["access_token"].as_str().expect("a token");
        let masked = parameter.value.replace(token, &format!("{}...", &token[..5]));
        let plain = masked.replace(&self.0.zoho.accounts("eu"), "https://accounts.zoho.eu");
        plain.replace('{', "{\n  ").replace(",\"", ",\n  \"").replace("\":", "\": ").replace('}', "\n}\n")
    }

    fn calls(&self) -> String {
        let operations = [
            ("secretsmanager", "BatchGetSecretValue"),
            ("ssm", "GetParametersByPath"),
            ("zoho", "refresh_token"),
            ("ssm", "PutParameter"),
        ];
        let counted = operations.map(|(service, operation)| {
            let name = if service == "zoho" { "token requests to Zoho" } else { operation };
            format!("{} {name}", self.0.faults.count(service, operation))
        });
        counted.join(", ")
    }
}

/// Collects what the operator's command shows. Cuts tickets, because others read this text.
#[derive(Default)]
struct Screen {
    shown: RefCell<String>,
    link: RefCell<String>,
}

impl Terminal for Screen {
    fn print(&self, text: &str) -> std::io::Result<()> {
        let mut shown = self.shown.borrow_mut();
        match text.split_once("ticket=") {
            Some((start, ticket)) => {
                self.link.replace(text.trim().to_owned());
                writeln!(shown, "{start}ticket={}...", &ticket[..12])
            }
            None => writeln!(shown, "{text}"),
        }
        .expect("text");
        Ok(())
    }
}

fn heading(text: &mut String, heading: &str) {
    writeln!(text, "\n== {heading}\n").expect("text");
}
