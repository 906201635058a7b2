//! Calls a Zoho API with a token from Token Keeper: `consumer crm-prod /crm/v8/org [/PATH...]`
//!
//! In your own project it needs `cargo add aws-config aws-sdk-sqs aws-sdk-ssm reqwest serde_json`
//! and `cargo add tokio --features macros,rt,sync`. In this repository, type
//! `cargo run --example consumer crm-prod /crm/v8/org`.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_sdk_ssm::error::ProvideErrorMetadata as _;
use aws_sdk_ssm::primitives::{DateTime, DateTimeFormat};
use serde_json::{Value, json};
use tokio::sync::Mutex;

type Failure = Box<dyn Error + Send + Sync>;

/// One connection. Make one for the whole program; all tasks can share it.
struct Zoho {
    ssm: aws_sdk_ssm::Client,
    sqs: aws_sdk_sqs::Client,
    http: reqwest::Client,
    connection: String,
    parameter: String,
    /// The URL of Token Keeper's queue of complaints.
    complaints: Option<String>,
    kept: Mutex<Kept>,
}

struct Kept {
    document: Value,
    until: SystemTime,
}

impl Zoho {
    async fn new(connection: &str, prefix: &str, complaints: Option<String>) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30));
        let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
        Ok(Self {
            ssm: aws_sdk_ssm::Client::new(&aws),
            sqs: aws_sdk_sqs::Client::new(&aws),
            http: http.redirect(reqwest::redirect::Policy::none()).build()?,
            connection: connection.to_owned(),
            parameter: format!("/{prefix}/tokens/{connection}"),
            complaints,
            kept: Mutex::new(Kept { document: Value::Null, until: SystemTime::UNIX_EPOCH }),
        })
    }

    /// The text of the answer. Without its slash, a path could lead to another host.
    async fn get(&self, path: &str) -> Result<String, Failure> {
        if !path.starts_with('/') {
            return Err(format!("a path starts with a slash: {path}").into());
        }
        let mut document = self.live_document(None).await?;
        let mut answer = self.call(&document, path).await?;
        if answer.status() == 401 {
            // Perhaps there is a newer token by now. Read it and try once more.
            document = self.live_document(document["access_token"].as_str()).await?;
            answer = self.call(&document, path).await?;
        }
        let (status, text) = (answer.status(), answer.text().await?);
        if status.is_success() {
            return Ok(text);
        }
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = body["code"].as_str().map_or_else(|| body["code"].to_string(), str::to_owned);
        let failure = format!("HTTP {} ({code}) for {path}", status.as_u16());
        if status != 401 {
            return Err(failure.into());
        }
        let connection = &self.connection;
        let mut remedy = format!("See `token-keeper list`, then type: token-keeper refresh {connection} --force");
        if code.contains("SCOPE") {
            remedy = format!("The consent lacks a scope: token-keeper connect {connection} --scope ...");
        } else if let Some(queue) = &self.complaints {
            // Token Keeper replaces a token that died early.
            match self.complain(queue, &document["issued_at"]).await {
                Ok(told) => told.clone_into(&mut remedy),
                Err(cause) => eprintln!("consumer: Token Keeper could not be told ({cause})"),
            }
        }
        Err(format!("{failure}, also after reading the parameter again. {remedy}").into())
    }

    async fn complain(&self, queue: &str, issued_at: &Value) -> Result<&'static str, String> {
        let complaint = json!({"connection": self.connection, "issued_at": issued_at}).to_string();
        let message = self.sqs.send_message().queue_url(queue).message_group_id(&self.connection);
        match message.message_body(complaint).send().await {
            Ok(_) => Ok(
                "Token Keeper has been told, so try again in a minute. If that does not help, see `token-keeper list`",
            ),
            Err(error) => Err(error.code().unwrap_or("no answer").to_owned()),
        }
    }

    async fn call(&self, document: &Value, path: &str) -> reqwest::Result<reqwest::Response> {
        let field = |name: &str| document[name].as_str().unwrap_or_default();
        // Some providers have a header of their own, which takes the bare token.
        let (header, value) = match document["header"].as_str() {
            Some(header) => (header, field("access_token").to_owned()),
            None => ("Authorization", format!("{} {}", field("token_type"), field("access_token"))),
        };
        self.http.get(field("api_domain").to_owned() + path).header(header, value).send().await
    }

    async fn live_document(&self, refused: Option<&str>) -> Result<Value, Failure> {
        let mut kept = self.kept.lock().await;
        let now = SystemTime::now();
        if now >= kept.until || kept.document["access_token"].as_str() == refused {
            let (document, end) = self.read().await?;
            let until = (now + Duration::from_mins(5)).min(end - Duration::from_mins(1));
            *kept = Kept { document, until };
        }
        Ok(kept.document.clone())
    }

    async fn read(&self) -> Result<(Value, SystemTime), Failure> {
        let parameter = &self.parameter;
        let answer = self.ssm.get_parameter().name(parameter).with_decryption(true).send().await.map_err(|error| {
            let cause = error.code().map_or_else(|| error.to_string(), str::to_owned);
            let check =
                format!("does `token-keeper list` show {}, and may this program ssm:GetParameter it?", self.connection);
            format!("cannot read {parameter} ({cause}): {check}")
        })?;
        let text = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        let document: Value =
            serde_json::from_str(&text).map_err(|_| format!("{parameter} does not contain a document"))?;
        // `expires_at` decides, not `status`: a connection in trouble may still have a live token.
        let end = document["expires_at"].as_str();
        let end = end.and_then(|end| DateTime::from_str(end, DateTimeFormat::DateTime).ok()?.try_into().ok());
        if let Some(end) = end.filter(|end| *end > SystemTime::now()) {
            return Ok((document, end));
        }
        let state = ["expires_at", "status", "error"]
            .map(|field| format!("{field} {}", document[field].as_str().unwrap_or("none")))
            .join(", ");
        Err(format!("{parameter} has no live token ({state}): `token-keeper list` says what to do").into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match answers(std::env::args().skip(1).collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("consumer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn answers(arguments: Vec<String>) -> Result<(), Failure> {
    let [connection, paths @ ..] = &arguments[..] else {
        return Err("usage: consumer CONNECTION /PATH...".into());
    };
    let prefix = std::env::var("TOKEN_KEEPER_PREFIX").unwrap_or_else(|_| "token-keeper".to_owned());
    let zoho = Zoho::new(connection, &prefix, std::env::var("COMPLAINTS_QUEUE_URL").ok()).await?;
    for path in paths {
        println!("{}", zoho.get(path).await?);
    }
    Ok(())
}
