//! Lets the SDK use the process's one HTTP client. With the SDK's own client, every process would
//! read all root certificates twice: that is most of a cold start.

use std::fmt;
use std::time::Duration;

use aws_sdk_ssm::config::SharedHttpClient;
use aws_sdk_ssm::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use reqwest::{Client, Method};

use crate::http::untrusted;

/// The client in the SDK's type.
pub(super) fn for_sdk(client: &Client) -> SharedHttpClient {
    let client = client.clone();
    http_client_fn(move |settings, _| {
        SharedHttpConnector::new(Connector { client: client.clone(), timeout: settings.read_timeout() })
    })
}

#[derive(Clone)]
struct Connector {
    client: Client,
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
        HttpConnectorFuture::new(async move { connector.send(&request).await })
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

/// The SDK repeats a call that timed out or broke. It does not repeat one after a refused
/// certificate, which does not change within a second.
fn broken(error: reqwest::Error) -> ConnectorError {
    let (timeout, certain) = (error.is_timeout(), untrusted(&error).is_some());
    let error = Box::new(error.without_url());
    match () {
        () if certain => ConnectorError::other(error, None),
        () if timeout => ConnectorError::timeout(error),
        () => ConnectorError::io(error),
    }
}
