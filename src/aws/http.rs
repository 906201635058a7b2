//! The SDK's HTTP, through the process's one client. With the SDK's own, every process would read all root certificates twice, which is
//! most of a cold start. A ceiling on calls per second lies under the SDK too, so that its retries count as well.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ssm::config::SharedHttpClient;
use aws_sdk_ssm::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use reqwest::{Client, Method};
use tokio::time::{Instant, sleep_until};

use crate::http::untrusted;

/// The client as the SDK takes one, with at most so many calls per second.
pub(super) fn for_sdk(client: &Client, per_second: Option<u32>) -> SharedHttpClient {
    let client = client.clone();
    let pace = per_second.map(|per_second| Arc::new(Pace::of(Duration::from_secs(1) / per_second)));
    http_client_fn(move |settings, _| {
        let (client, pace) = (client.clone(), pace.clone());
        SharedHttpConnector::new(Connector { client, pace, timeout: settings.read_timeout() })
    })
}

#[derive(Clone)]
struct Connector {
    client: Client,
    pace: Option<Arc<Pace>>,
    timeout: Option<Duration>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            if let Some(pace) = &connector.pace {
                pace.turn().await;
            }
            connector.send(&request).await
        })
    }
}

impl Connector {
    async fn send(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().ok_or_else(|| ConnectorError::user("a streamed body".into()))?;
        let method =
            Method::from_bytes(request.method().as_bytes()).map_err(|error| ConnectorError::user(error.into()))?;
        let mut outgoing = self.client.request(method, request.uri()).body(body.to_vec());
        for (name, value) in request.headers() {
            outgoing = outgoing.header(name, value);
        }
        if let Some(timeout) = self.timeout {
            outgoing = outgoing.timeout(timeout);
        }
        let incoming = outgoing.send().await.map_err(broken)?;
        let status =
            incoming.status().as_u16().try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
        let headers = incoming.headers().clone();
        let body = incoming.bytes().await.map_err(broken)?;
        let mut response = HttpResponse::new(status, body.into());
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }
}

/// The SDK tries again what timed out or broke. A refused certificate is the same a second later.
fn broken(error: reqwest::Error) -> ConnectorError {
    let (timeout, certain) = (error.is_timeout(), untrusted(&error).is_some());
    let error = Box::new(error.without_url());
    match () {
        () if certain => ConnectorError::other(error, None),
        () if timeout => ConnectorError::timeout(error),
        () => ConnectorError::io(error),
    }
}

/// Spaces calls evenly: each takes the next free slot.
struct Pace {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    fn of(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(None) }
    }

    async fn turn(&self) {
        let now = Instant::now();
        let slot = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = next.unwrap_or(now).max(now);
            *next = Some(slot + self.interval);
            slot
        };
        sleep_until(slot).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_spaced_evenly_and_an_idle_time_is_not_saved_up() {
        let pace = Pace::of(Duration::from_millis(100));
        let start = Instant::now();
        let mut turns = Vec::new();
        for idle in [0, 0, 0, 1000, 0] {
            tokio::time::sleep(Duration::from_millis(idle)).await;
            pace.turn().await;
            turns.push(start.elapsed().as_millis());
        }
        assert_eq!(turns, [0, 100, 200, 1200, 1300]);
    }
}
