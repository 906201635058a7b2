//! Unusual answers of Zoho and of the gateway in front of it.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

/// A gateway's error page, with status 200.
pub fn html() -> Response<Bytes> {
    page(200, "502 Bad Gateway", "<p>The upstream server did not answer.</p>")
}

/// A server failure (500) whose body still has `{"error": code}`.
pub fn server_error(code: &str) -> Response<Bytes> {
    status(500, &json!({ "error": code }))
}

/// Any JSON with any status.
pub fn status(status: u16, body: &Value) -> Response<Bytes> {
    respond(status, ("content-type", "application/json;charset=UTF-8"), body.to_string())
}

/// Status 200 and no body.
pub fn empty() -> Response<Bytes> {
    respond(200, ("content-type", "application/json;charset=UTF-8"), String::new())
}

/// A refusal as Zoho sends it: status 200 with `{"error": code}`.
pub fn refusal(code: &str) -> Response<Bytes> {
    status(200, &json!({ "error": code }))
}

/// The throttle's answer in English, with status 400.
pub fn throttled() -> Response<Bytes> {
    throttle(400, false)
}

/// The throttle's answer in another language, with status 400. Only `"status": "failure"` is the
/// same.
pub fn throttled_translated() -> Response<Bytes> {
    throttle(400, true)
}

/// A success without the access token.
pub fn without_access_token() -> Response<Bytes> {
    status(200, &json!({"scope": "ZohoCRM.modules.ALL", "token_type": "Bearer", "expires_in": 3600}))
}

/// A redirect (302) to `to`.
pub fn redirect(to: &str) -> Response<Bytes> {
    respond(302, ("location", to), String::new())
}

pub(super) fn throttle(code: u16, translated: bool) -> Response<Bytes> {
    let (description, error) = if translated {
        ("Du har skickat för många förfrågningar i rad. Vänta en stund och försök igen.", "Åtkomst nekad")
    } else {
        ("Too many requests came in a row. Please wait a while before the next one.", "Access Denied")
    };
    status(code, &json!({"error_description": description, "error": error, "status": "failure"}))
}

/// An HTML page.
pub fn page(status: u16, title: &str, body: &str) -> Response<Bytes> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} - Zoho's stand-in</title></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    respond(status, ("content-type", "text/html;charset=UTF-8"), page)
}

fn respond(status: u16, header: (&str, &str), body: String) -> Response<Bytes> {
    let response = Response::builder().status(status).header(header.0, header.1).body(body.into());
    response.expect("a valid status and header")
}
