//! The refresher function: what it can be sent, and what it answers.

use std::fmt;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::name::ConnectionName;
use crate::ports::{Claims, GrantNames, Grants, Issuer, Leases, Queue, SecretReplacer};
use crate::run::dispatch::Dispatcher;
use crate::run::report::Report;
use crate::run::verdict::Complaint;
use crate::run::{Refresher, Request, RunError};

/// A queue whose ARN ends like this brings complaints, and nothing else. Lambda writes the ARN into
/// the event, so no sender of a message can say that it came from another queue.
const COMPLAINTS: &str = "-complaints.fifo";
/// The most bytes of a complaint. One with the longest name has fewer than 150.
const MAX_COMPLAINT: usize = 1024;
/// The fields of a complaint.
const COMPLAINT: [&str; 2] = ["connection", "issued_at"];

/// Messages by their id, each with what it says.
type Messages<T> = Vec<(String, Result<T, EventError>)>;

/// An event, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// One request, answered with its report.
    Single(Request),
    /// A batch from a queue: each message with what it asks for.
    Batch(Messages<Request>),
    /// A batch from the queue of complaints: each message with its complaint.
    Complaints(Messages<Complaint>),
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
///
/// A complaint comes again only if the run could do nothing. The reader complains again as long as
/// it gets no other token. One that is not understood is dropped, because it would only block the
/// others of its group.
pub async fn handle<G: Grants + SecretReplacer + GrantNames, I: Issuer, L: Leases + Claims, Q: Queue>(
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
        Event::Complaints(messages) => {
            let (mut ids, mut complaints) = (Vec::new(), Vec::new());
            for (id, complaint) in messages {
                match complaint {
                    Ok(complaint) => {
                        ids.push(json!({"itemIdentifier": id}));
                        if !complaints.contains(&complaint) {
                            complaints.push(complaint);
                        }
                    }
                    Err(error) => tracing::error!(message_id = id, %error, "complaint dropped"),
                }
            }
            if complaints.is_empty() {
                return Ok(json!({"batchItemFailures": []}));
            }
            let again = match Box::pin(refresher.answer(&complaints, end)).await {
                Ok(report) => {
                    tell(&report);
                    Vec::new()
                }
                Err(error) => {
                    tracing::error!(messages = ids.len(), %error, "complaints not answered");
                    ids
                }
            };
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
        let records = records.iter().enumerate();
        let complains = |record: &Value| record["eventSourceARN"].as_str().is_some_and(|arn| arn.ends_with(COMPLAINTS));
        if records.clone().any(|(_, record)| complains(record)) {
            return messages(records, complaint).map(Event::Complaints);
        }
        return messages(records, queued).map(Event::Batch);
    }
    if fields.get("detail-type").is_some_and(|kind| kind == "Scheduled Event") {
        return match fields.get("source").and_then(Value::as_str) {
            Some("aws.events" | "aws.scheduler") => Ok(Event::Single(Request::All)),
            _ => Err(wrong("source", "is neither aws.events nor aws.scheduler")),
        };
    }
    request(fields).map(Event::Single)
}

/// Each message with what `read` makes of its body. What a body says is the message's own trouble:
/// the others of the batch are worked on.
fn messages<'r, T>(
    records: impl Iterator<Item = (usize, &'r Value)>,
    read: fn(&str, &Value) -> Result<T, EventError>,
) -> Result<Messages<T>, EventError> {
    let read = |(id, body): (&str, &str), record: &Value| (id.to_owned(), read(body, &record["attributes"]));
    records.map(|(index, record)| message(index, record).map(|message| read(message, record))).collect()
}

/// The id and the body of a message.
fn message(index: usize, record: &Value) -> Result<(&str, &str), EventError> {
    let text = |field: &str| {
        let value = record.get(field).and_then(Value::as_str);
        value.ok_or_else(|| wrong(&format!("Records[{index}].{field}"), "is not a string"))
    };
    if text("eventSource")? != "aws:sqs" {
        return Err(wrong(&format!("Records[{index}].eventSource"), "is not aws:sqs"));
    }
    let body = text("body")?;
    Ok((text("messageId")?, body))
}

fn object(body: &str) -> Result<Map<String, Value>, EventError> {
    serde_json::from_str(body).map_err(|_| wrong("body", "is not a JSON object"))
}

/// The request in a message. A connection that is removed between the listing and the work is no
/// trouble.
fn queued(body: &str, _: &Value) -> Result<Request, EventError> {
    Ok(match request(&object(body)?)? {
        Request::Named { connections, force, .. } => Request::Named { connections, force, skip_missing: true },
        Request::All => Request::All,
    })
}

/// The complaint in a message. Its group has to be the connection: so complaints about one are
/// worked on one after the other. Whoever may complain can send anything, so the error repeats
/// nothing of it but the start of a field's name.
fn complaint(body: &str, attributes: &Value) -> Result<Complaint, EventError> {
    if body.len() > MAX_COMPLAINT {
        return Err(wrong("body", &format!("has more than {MAX_COMPLAINT} bytes")));
    }
    let fields = object(body)?;
    if let Some(unknown) = fields.keys().find(|field| !COMPLAINT.contains(&field.as_str())) {
        let plain: String = unknown.chars().filter(char::is_ascii_graphic).take(40).collect();
        return Err(wrong(&plain, "is not a field of a complaint (`connection`, `issued_at`)"));
    }
    let text = |field: &str| fields.get(field).and_then(Value::as_str).ok_or_else(|| wrong(field, "is not a string"));
    let [connection, issued_at] = COMPLAINT;
    if attributes["MessageGroupId"] != text(connection)? {
        return Err(wrong("attributes.MessageGroupId", "is not the connection of the complaint"));
    }
    Ok(Complaint {
        connection: text(connection)?.parse().map_err(|error| wrong(connection, &format!("{error}")))?,
        issued_at: text(issued_at)?
            .parse()
            .map_err(|_| wrong(issued_at, "is not a time such as 2026-11-21T00:00:00Z"))?,
    })
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
