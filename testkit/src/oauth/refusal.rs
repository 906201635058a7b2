//! Answers that are no success, and how the providers say that a grant is dead.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

/// A refusal: status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body's type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

const JSON: &str = "application/json;charset=UTF-8";
const HTML: &str = "text/html;charset=UTF-8";

impl Refusal {
    /// The standard's body (RFC 6749 §5.2), with any status.
    pub fn error(status: u16, code: &str, description: &str) -> Self {
        Self::json(status, &json!({"error": code, "error_description": description}))
    }

    /// Any JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: JSON, body: body.to_string() }
    }

    /// A page with this sentence.
    pub fn html(status: u16, sentence: &str) -> Self {
        let body = format!("<!doctype html>\n<html lang=\"en\"><title>Error</title><p>{sentence}</p></html>\n");
        Self { status, content_type: HTML, body }
    }

    /// No body at all.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: JSON, body: String::new() }
    }

    /// The refusal as an answer. It must not be cached.
    ///
    /// # Panics
    /// If the status is no HTTP status.
    pub fn response(&self) -> Response<Bytes> {
        let response = Response::builder().status(self.status).header("content-type", self.content_type);
        let response = response.header("cache-control", "no-store");
        let response = match self.status {
            401 => response.header("www-authenticate", "Basic realm=\"token\""),
            429 => response.header("retry-after", "60"),
            _ => response,
        };
        response.body(self.body.clone().into()).expect("a valid status")
    }
}

/// How a provider says that a grant is dead, by its name in the table of providers.
///
/// # Panics
/// If the name is in no row.
pub fn dead_grant(provider: &str) -> Refusal {
    let invalid_grant = |description: &str| Refusal::error(400, "invalid_grant", description);
    match provider {
        "google" => invalid_grant("Token has been expired or revoked."),
        "hubspot" => Refusal::json(
            400,
            &json!({"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"}),
        ),
        "entra" => invalid_grant("AADSTS70008: The provided authorization code or refresh token has expired."),
        "dropbox" => invalid_grant("refresh token is malformed"),
        "amazon" => invalid_grant(
            "The request has an invalid grant parameter : refresh_token. User may have revoked or didn't grant the \
             permission.",
        ),
        // Nothing beside the code is known of these.
        "xero" | "docusign" | "freshbooks" => Refusal::json(400, &json!({"error": "invalid_grant"})),
        "quickbooks" => invalid_grant("Incorrect or invalid refresh token"),
        "salesforce" => invalid_grant("expired access/refresh token"),
        "box" => invalid_grant("Refresh token has expired"),
        "atlassian" => Refusal::error(403, "invalid_grant", "Unknown or invalid refresh token."),
        "github" => Refusal::error(200, "bad_refresh_token", "The refresh token passed is incorrect or expired."),
        "slack" => Refusal::json(200, &json!({"ok": false, "error": "invalid_refresh_token"})),
        "shopify" => Refusal::error(401, "invalid_request", "This request requires an active refresh_token"),
        other => panic!("no provider {other:?}"),
    }
}

/// A dead grant as Shopify's gateway shows it: a page.
pub fn dead_grant_page() -> Refusal {
    Refusal::html(401, "This request requires an active refresh_token")
}
