//! The refresher against both stand-ins, over the wire. Each test arranges a world, sends events
//! through the function's handler, and checks what programs can read afterwards.

mod bad_input;
mod client_credentials;
mod complaints;
mod cut_off;
mod events;
mod secrets;
mod life;
mod notices;
mod oauth_answers;
mod oauth_requests;
mod queue;
mod rotation;
mod store;
mod time;
mod tls;
mod zoho_answers;

use serde_json::Value;

/// The line about one connection in a report.
fn line<'r>(report: &'r Value, connection: &str) -> &'r Value {
    let lines = report["outcomes"].as_array().expect("outcomes");
    lines.iter().find(|line| line["connection"] == connection).unwrap_or(&Value::Null)
}
