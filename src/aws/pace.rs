//! A ceiling on calls per second, laid under the SDK so that its retries count as well.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ssm::config::http::HttpRequest;
use aws_sdk_ssm::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use tokio::time::{Instant, sleep_until};

/// Spaces calls evenly: each takes the next free slot.
struct Pace {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
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

/// An HTTP client that makes at most so many calls per second.
pub(super) fn paced(http: SharedHttpClient, per_second: u32) -> SharedHttpClient {
    let interval = Duration::from_secs(1) / per_second;
    SharedHttpClient::new(Paced { inner: http, pace: Arc::new(Pace { interval, next: Mutex::new(None) }) })
}

struct Paced<Inner> {
    inner: Inner,
    pace: Arc<Pace>,
}

impl<Inner> fmt::Debug for Paced<Inner> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paced({:?})", self.pace.interval)
    }
}

impl HttpClient for Paced<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Paced { inner, pace: Arc::clone(&self.pace) })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Paced<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, pace) = (self.inner.clone(), Arc::clone(&self.pace));
        HttpConnectorFuture::new(async move {
            pace.turn().await;
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_spaced_evenly_and_an_idle_time_is_not_saved_up() {
        let pace = Pace { interval: Duration::from_millis(100), next: Mutex::new(None) };
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
