//! Lambda's Runtime API for one function: four routes that hand out events and take answers.
//!
//! A function sends one request at a time. So the route for the next event may block the server's
//! thread until there is an event.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::{Request, Response};
use serde_json::Value;
use testkit::wire::{Call, Faults, Server, StandIn};

/// The longest time for one event: Lambda's limit.
const FUNCTION_TIMEOUT: Duration = Duration::from_mins(15);
/// How long the function may stay silent before the benchmark gives up.
const PATIENCE: Duration = Duration::from_mins(5);
const ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:benchmark";

/// What a working function sends.
pub(crate) enum Message {
    /// It asks for an event.
    Ready,
    /// Its answer to the last one.
    Answer(Value),
}

/// A message or the text of a failure, and when it came.
type Received = (Instant, Result<Message, String>);

/// A running Runtime API.
pub(crate) struct RuntimeApi {
    // Dropped before the server, because the server waits for the route that waits for events.
    events: Sender<Value>,
    messages: Receiver<Received>,
    server: Server,
}

impl RuntimeApi {
    pub(crate) fn start() -> Self {
        let (events, coming) = channel();
        let (sender, messages) = channel();
        let server = Server::start(Arc::new(Routes { events: Mutex::new(coming), messages: sender }), Faults::new());
        Self { events, messages, server }
    }

    /// The value for `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> String {
        self.server.url().replace("http://", "")
    }

    pub(crate) fn send(&self, event: Value) {
        self.events.send(event).expect("a running server");
    }

    /// The function's next message, and when it came.
    pub(crate) fn receive(&self) -> (Instant, Message) {
        let (at, message) = self.messages.recv_timeout(PATIENCE).expect("the function talks to its Runtime API");
        (at, message.expect("the function does not fail"))
    }
}

struct Routes {
    events: Mutex<Receiver<Value>>,
    messages: Sender<Received>,
}

impl Routes {
    fn next_event(&self) -> Response<Bytes> {
        let event = self.events.lock().expect("no route panics").recv();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970") + FUNCTION_TIMEOUT;
        // No further event: the benchmark is over, and so is its function.
        let body = event.map_or_else(|_| Bytes::new(), |event| event.to_string().into());
        Response::builder()
            .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header("lambda-runtime-invoked-function-arn", ARN)
            .body(body)
            .expect("headers in ASCII")
    }
}

impl StandIn for Routes {
    fn identify(&self, request: &Request<Bytes>) -> Call {
        Call { service: "lambda", operation: request.uri().path().to_owned(), subject: String::new() }
    }

    fn handle(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let now = Instant::now();
        let path = request.uri().path();
        let asks = path.ends_with("/invocation/next");
        let message = match serde_json::from_slice(request.body()) {
            _ if asks => Ok(Message::Ready),
            Ok(answer) if path.ends_with("/response") => Ok(Message::Answer(answer)),
            _ => Err(format!("{path}: {}", String::from_utf8_lossy(request.body()))),
        };
        // After the benchmark nobody listens any more.
        let _ = self.messages.send((now, message));
        if asks { self.next_event() } else { Response::builder().status(202).body(Bytes::new()).expect("a status") }
    }
}
