//! The refresher function: what it can be sent, and what it answers.

use std::fmt;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::name::ConnectionName;
use crate::ports::{GrantNames, Grants, Issuer, Leases, Queue};
use crate::run::dispatch::Dispatcher;
use crate::run::report::Report;
use crate::run::{Refresher, Request, RunError};

/// An event, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// One request, answered with its report.
    Single(Request),
    /// A batch from a queue: each message with what it asks for.
    Batch(Vec<(String, Result<Request, EventError>)>),
}

/// Why an event is not understood: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct EventError {
    field: String,
    problem: String,
}

/// Why the function failed.
#[derive(thiserror::Error)]
pub enum HandlerError {
    /// This function does not take such an event. Nothing was done.
    #[error("nothing was done, the event is not understood: {0}")]
    Event(#[from] EventError),
    /// The run could do nothing.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The runtime logs an error in this form.
impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<HandlerError> for lambda_runtime::Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match &error {
            HandlerError::Event(_) => "InvalidEvent",
            HandlerError::Run(error) => error.error_type(),
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// Handles one event; `end` is when the function's time is up. Each report is handed to `tell`
/// (logs and metrics) as well. With a `dispatcher`, a run over more connections than it allows only
/// sends them to its queue; a message of a batch is never sent on.
///
/// # Errors
/// If the event is not understood, or a single request's run could do nothing. A batch answers with
/// the messages that SQS sends again (`batchItemFailures`): those not understood, those whose run
/// could do nothing, and those of which most is undone. So one sick connection does not bring back
/// the other ninety-nine, and does not send them to the queue of failed chunks.
pub async fn handle<G: Grants + GrantNames, I: Issuer, L: Leases, Q: Queue>(
    event: &Value,
    refresher: &Refresher<G, I, L>,
    dispatcher: Option<&Dispatcher<Q>>,
    end: Option<Instant>,
    tell: impl Fn(&Report),
) -> Result<Value, HandlerError> {
    let run = async |request: &Request| {
        // Boxed, because the compiler's default limit is too low for futures nested this deep.
        let report = Box::pin(refresher.run(request, end, |_, _| {})).await?;
        tell(&report);
        Ok::<_, RunError>(report)
    };
    match parse(event)? {
        Event::Single(request) => {
            if request == Request::All
                && let Some(dispatcher) = dispatcher
                && let Some(report) = Box::pin(dispatcher.dispatch(refresher, end)).await?
            {
                tell(&report);
                return Ok(json!(report));
            }
            Ok(json!(run(&request).await?))
        }
        Event::Batch(messages) => {
            let mut again = Vec::new();
            for (id, request) in messages {
                let done = match request {
                    Ok(request) => run(&request).await.map_err(HandlerError::from),
                    Err(error) => Err(HandlerError::from(error)),
                };
                match done {
                    // What is left of it, the next scheduled run does.
                    Ok(report) if 2 * report.undone <= report.connections => continue,
                    Ok(report) => tracing::warn!(message_id = id, undone = report.undone, "message comes again"),
                    Err(error) => tracing::error!(message_id = id, %error, "message not done"),
                }
                again.push(json!({"itemIdentifier": id}));
            }
            Ok(json!({"batchItemFailures": again}))
        }
    }
}

/// Understands an event.
///
/// # Errors
/// The first field that is wrong.
pub fn parse(event: &Value) -> Result<Event, EventError> {
    let Value::Object(fields) = event else {
        return Err(wrong("event", "is not a JSON object"));
    };
    if let Some(records) = fields.get("Records") {
        let Value::Array(records) = records else {
            return Err(wrong("Records", "is not an array"));
        };
        let messages = records.iter().enumerate().map(|(index, record)| message(index, record));
        return messages.collect::<Result<_, _>>().map(Event::Batch);
    }
    if fields.get("detail-type").is_some_and(|kind| kind == "Scheduled Event") {
        return match fields.get("source").and_then(Value::as_str) {
            Some("aws.events" | "aws.scheduler") => Ok(Event::Single(Request::All)),
            _ => Err(wrong("source", "is neither aws.events nor aws.scheduler")),
        };
    }
    request(fields).map(Event::Single)
}

fn message(index: usize, record: &Value) -> Result<(String, Result<Request, EventError>), EventError> {
    let text = |field: &str| {
        let value = record.get(field).and_then(Value::as_str);
        value.ok_or_else(|| wrong(&format!("Records[{index}].{field}"), "is not a string"))
    };
    if text("eventSource")? != "aws:sqs" {
        return Err(wrong(&format!("Records[{index}].eventSource"), "is not aws:sqs"));
    }
    // What a message says is the message's own trouble: the others of the batch are worked on.
    let request = match serde_json::from_str(text("body")?) {
        Ok(Value::Object(fields)) => request(&fields).map(queued),
        _ => Err(wrong("body", "is not a JSON object")),
    };
    Ok((text("messageId")?.to_owned(), request))
}

/// A connection that is removed between the listing and the work is no trouble.
fn queued(request: Request) -> Request {
    match request {
        Request::Named { connections, force, .. } => Request::Named { connections, force, skip_missing: true },
        Request::All => Request::All,
    }
}

fn request(fields: &Map<String, Value>) -> Result<Request, EventError> {
    if let Some(unknown) = fields.keys().find(|field| !["connections", "force"].contains(&field.as_str())) {
        let problem =
            "is not a field of a request (`connections`, `force`), and no scheduled event or queue batch has it";
        return Err(wrong(unknown, problem));
    }
    let force = match fields.get("force") {
        None => false,
        Some(Value::Bool(force)) => *force,
        Some(_) => return Err(wrong("force", "is neither true nor false")),
    };
    let names = match fields.get("connections") {
        None if force => return Err(wrong("force", "goes with `connections` only: name the connections to force")),
        None => return Ok(Request::All),
        Some(Value::Array(names)) if names.is_empty() => return Err(wrong("connections", "is empty")),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(wrong("connections", "is not an array of names")),
    };
    let mut connections: Vec<ConnectionName> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let field = format!("connections[{index}]");
        let name = name.as_str().ok_or_else(|| wrong(&field, "is not a string"))?;
        let name = name.parse().map_err(|error| wrong(&field, &format!("{error}")))?;
        if !connections.contains(&name) {
            connections.push(name);
        }
    }
    Ok(Request::Named { connections, force, skip_missing: false })
}

fn wrong(field: &str, problem: &str) -> EventError {
    EventError { field: field.to_owned(), problem: problem.to_owned() }
}
