//! What the services answer: JSON, or a refusal with a code.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The outcome of an operation.
pub(super) type Answer = Result<Value, Refusal>;

/// An error of the service, in the form that its SDK understands.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn unknown_operation(operation: &str) -> Self {
        Self { code: "UnknownOperationException", message: format!("no operation {operation:?} here") }
    }
}

pub(super) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// The refusal of a request that breaks a rule of the service's interface.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    refuse("ValidationException", message)
}

/// Reads an operation's input.
pub(super) fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).or_else(|error| refuse("SerializationException", error.to_string()))
}

pub(super) fn response(answer: Answer) -> Response<Bytes> {
    match answer {
        Ok(value) => json_response(StatusCode::OK, &value),
        Err(refusal) => error(refusal.code, &refusal.message),
    }
}

/// Like [`response`], in SQS's dialect: a header carries the codes of its older interface, and SDKs
/// read them there.
pub(super) fn sqs_response(answer: Answer) -> Response<Bytes> {
    let query_error = answer.as_ref().err().map(|refusal| match refusal.code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue;Sender".to_owned(),
        code @ ("InvalidParameterValue" | "SerializationException" | "UnknownOperationException") => {
            format!("{code};Sender")
        }
        code => format!("AWS.SimpleQueueService.{code};Sender"),
    });
    let mut response = response(answer);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    if let Some(error) = query_error {
        headers.insert("x-amzn-query-error", error.parse().expect("a code that can stand in a header"));
    }
    response
}

/// An error answer (status 400) for [`Fault::Respond`](crate::wire::Fault::Respond).
///
/// # Panics
/// If `code` is not valid in a header.
pub fn error(code: &str, message: &str) -> Response<Bytes> {
    failure(StatusCode::BAD_REQUEST, code, message)
}

/// The service's own failure (status 500), with the code that Secrets Manager uses. The SDK looks
/// at the status.
pub fn server_error() -> Response<Bytes> {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError", "an error on the server side")
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let mut response = json_response(status, &json!({"__type": code, "message": message}));
    response.headers_mut().insert("x-amzn-errortype", code.parse().expect("a code that can stand in a header"));
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Bytes::from(serde_json::to_vec(body).expect("JSON of JSON")))
        .expect("a response of constant parts")
}
