//! The authorization servers of the other providers over HTTPS (RFC 6749): one adapter for all rows
//! of their table.
//!
//! No redirect is followed and every body is bounded.

mod answer;
mod discovery;

use std::time::Duration;

pub use answer::{classify, revoked};
pub use discovery::{Metadata, Undiscovered};

use reqwest::RequestBuilder;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::connection::Client;
use crate::failure::Refusal;
use crate::http;
use crate::lease::whole_second;
use crate::ports::{Minted, Proof, Revoked};
use crate::provider::server::Server;
use crate::provider::{ClientAuthentication, Pkce};
use crate::secret::RefreshToken;
use crate::source::Source;

/// A client of the authorization servers.
pub struct OAuth {
    http: reqwest::Client,
    timeout: Duration,
    source: Source,
}

impl OAuth {
    /// A client whose requests each end after `timeout`.
    pub fn new(http: reqwest::Client, timeout: Duration, source: Source) -> Self {
        Self { http, timeout, source }
    }

    /// The longest time that one request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks for an access token with a refresh token (RFC 6749 §6). It is sent once: perhaps it is
    /// good for one use.
    pub async fn refresh(
        &self,
        client: &Client,
        server: &Server,
        refresh_token: &RefreshToken,
    ) -> Result<Minted, Refusal> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
        self.token(client, server, &form).await
    }

    /// Spends an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5). It is sent once, because a
    /// code is good for one exchange.
    pub async fn exchange(&self, client: &Client, server: &Server, proof: &Proof) -> Result<Minted, Refusal> {
        let mut form = vec![("grant_type", "authorization_code"), ("code", proof.code.expose())];
        if let Some((redirect_uri, verifier)) = &proof.redirect {
            form.push(("redirect_uri", redirect_uri));
            if server.pkce != Pkce::Off {
                form.push(("code_verifier", verifier.expose()));
            }
        }
        self.token(client, server, &form).await
    }

    /// Revokes a refresh token (RFC 7009). Sends nothing if the server has no endpoint for it.
    pub async fn revoke(
        &self,
        client: &Client,
        server: &Server,
        refresh_token: &RefreshToken,
    ) -> Result<Revoked, Refusal> {
        let Some(endpoint) = &server.revocation_endpoint else {
            let error = "there is no revocation that ends this token alone".to_owned();
            return Err(Refusal::Unclear { error, at_once: false });
        };
        let form = [("token", refresh_token.expose()), ("token_type_hint", "refresh_token")];
        let (status, body) = self.post(client, server, endpoint, &form).await?;
        revoked(server, status, &body)
    }

    /// Asks an issuer for its description, by RFC 8414 or else by `OpenID` Connect Discovery.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub async fn discover(&self, issuer: &str) -> Result<Metadata, Undiscovered> {
        let places = discovery::places(issuer).ok_or(Undiscovered::NotAnIssuer)?;
        let mut unfit = None;
        for place in &places {
            let request = self.http.get(place).timeout(self.timeout).header("accept", "application/json");
            let (status, body) = http::whole(request).await.map_err(Undiscovered::Silent)?;
            let document: Option<Value> = body.and_then(|body| serde_json::from_slice(&body).ok());
            if let Some(document) = document.filter(|document| status == 200 && document.is_object()) {
                match discovery::read(issuer, &document) {
                    Ok(metadata) => return Ok(metadata),
                    Err(why) => unfit = unfit.or(Some(why)),
                }
            }
        }
        Err(unfit.unwrap_or(Undiscovered::NoDocument(places)))
    }

    /// Asks the token endpoint. The clock is read before the request is sent, so that no expiry is
    /// too late.
    async fn token(&self, client: &Client, server: &Server, form: &[(&str, &str)]) -> Result<Minted, Refusal> {
        let issued_at = whole_second(self.source.now());
        let form = [form, server.profile.token_parameters].concat();
        let (status, body) = self.post(client, server, &server.token_endpoint, &form).await?;
        classify(server, status, &body, issued_at)
    }

    /// Posts a form. The parameters go into the body, where no log keeps them.
    async fn post(
        &self,
        client: &Client,
        server: &Server,
        endpoint: &str,
        form: &[(&str, &str)],
    ) -> Result<(u16, Vec<u8>), Refusal> {
        let mut request = self.http.post(endpoint).timeout(self.timeout).header("accept", "application/json");
        if server.rotates() {
            // A connection that is used again may be one that the server has forgotten. Nobody
            // knows then whether the refresh token was spent.
            request = request.header("connection", "close");
        }
        let request = authenticated(request, client, server.client_authentication, form);
        let (status, body) = http::whole(request).await.map_err(Refusal::OutOfOrder)?;
        // What was asked for may be in it.
        let at_once = (200..300).contains(&status);
        let long = || Refusal::Unclear { error: "the answer is too long".to_owned(), at_once };
        Ok((status, body.ok_or_else(long)?))
    }
}

/// A request with this form, from this client (RFC 6749 §2.3.1).
fn authenticated(
    request: RequestBuilder,
    client: &Client,
    way: ClientAuthentication,
    form: &[(&str, &str)],
) -> RequestBuilder {
    let (id, secret) = (client.id.as_str(), client.secret.expose());
    match way {
        ClientAuthentication::Basic => {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            request.basic_auth(encoded(id), Some(encoded(secret))).form(form)
        }
        ClientAuthentication::Form => request.form(&[form, &[("client_id", id), ("client_secret", secret)]].concat()),
    }
}
