//! The one issuer of a process: Zoho's servers for Zoho's grants, the generic adapter for all
//! others.

use std::time::Duration;

use crate::connection::{Account, Client, Credential, DataCenter, Grant, Provider};
use crate::failure::Refusal;
use crate::http;
use crate::oauth::OAuth;
use crate::ports::{Authorizer, DeviceAuthorization, DeviceAuthorizer, Issuer, Minted, Polled, Proof, Revoked};
use crate::secret::{AccessToken, DeviceCode, RefreshToken};
use crate::source::Source;
use crate::zoho::Zoho;

/// Every provider over one HTTP client.
pub struct Providers {
    zoho: Zoho,
    oauth: OAuth,
}

impl Providers {
    /// Requests that each end after `timeout`.
    pub fn new(http: http::Client, timeout: Duration, source: Source) -> Self {
        let zoho = Zoho::new(http.clone(), timeout, source.clone());
        Self { zoho, oauth: OAuth::new(http, timeout, source) }
    }

    /// The adapter of the other providers.
    pub fn oauth(&self) -> &OAuth {
        &self.oauth
    }

    /// Zoho's servers alone.
    pub fn zoho(&self) -> &Zoho {
        &self.zoho
    }
}

impl Issuer for Providers {
    async fn mint(&self, grant: &Grant) -> Result<Minted, Refusal> {
        match (&grant.provider, &grant.credential) {
            (_, None) => Err(Refusal::Unclear { error: "there is no refresh token yet".to_owned(), at_once: false }),
            (Provider::Zoho(at), Some(credential)) => self.zoho.mint(grant, credential, at).await,
            (Provider::Other(server), Some(Credential::RefreshToken(refresh_token))) => {
                self.oauth.refresh(&grant.client, server, refresh_token).await
            }
            (Provider::Other(_), Some(Credential::ClientCredentials { .. })) => {
                Err(Refusal::Misconfigured { error: "unsupported_grant_type".to_owned() })
            }
        }
    }

    fn timeout(&self) -> Duration {
        self.oauth.timeout()
    }
}

impl Authorizer for Providers {
    async fn exchange(&self, client: &Client, at: &Provider, proof: &Proof) -> Result<Minted, Refusal> {
        match at {
            Provider::Zoho(at) => self.zoho.exchange(client, at, proof).await,
            Provider::Other(server) => self.oauth.exchange(client, server, proof).await,
        }
    }

    async fn revoke(
        &self,
        refresh_token: &RefreshToken,
        client: &Client,
        at: &Provider,
    ) -> Option<Result<Revoked, Refusal>> {
        match at {
            Provider::Zoho(at) => Some(self.zoho.revoke(refresh_token, at).await),
            Provider::Other(server) if server.revocation_endpoint.is_some() => {
                Some(self.oauth.revoke(client, server, refresh_token).await)
            }
            Provider::Other(_) => None,
        }
    }

    async fn account(&self, token: &AccessToken, at: &DataCenter) -> Result<Account, Refusal> {
        self.zoho.account(token, at).await
    }
}

impl DeviceAuthorizer for Providers {
    async fn ask(&self, grant: &Grant, at: &DataCenter) -> Result<DeviceAuthorization, Refusal> {
        self.zoho.ask(grant, at).await
    }

    async fn poll(&self, client: &Client, at: &DataCenter, code: &DeviceCode) -> Result<Polled, Refusal> {
        self.zoho.poll(client, at, code).await
    }
}
