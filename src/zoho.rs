//! Zoho's accounts servers over HTTPS. Only this module knows Zoho's requests and JSON.
//!
//! No redirect is followed and every body is bounded.

mod answer;
mod device;

use std::time::Duration;

pub use answer::{Answer, classify, revoked};

use self::answer::account;
use crate::connection::{Account, CLIENT_CREDENTIALS, Client, Credential, DataCenter, Grant};
use crate::failure::Refusal;
use crate::http;
use crate::lease::{TOKEN_TYPE, whole_second};
use crate::ports::{Minted, Proof, Revoked};
use crate::secret::{AccessToken, RefreshToken};
use crate::source::Source;

/// How long one request may take from first to last byte. Zoho answers in well under a second when
/// it is healthy.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the question may take whose account it is. Somebody looks at an empty page meanwhile.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of the accounts servers.
pub struct Zoho {
    http: reqwest::Client,
    timeout: Duration,
    source: Source,
}

impl Zoho {
    /// A client whose requests each end after `timeout`.
    pub fn new(http: reqwest::Client, timeout: Duration, source: Source) -> Self {
        Self { http, timeout, source }
    }

    /// Asks a token endpoint. The clock is read before the request is sent, so that the expiry is
    /// never too late.
    async fn token(&self, at: &DataCenter, form: &[(&str, &str)]) -> Result<Minted, Refusal> {
        let issued_at = whole_second(self.source.now());
        let (status, body) = self.post(format!("{}/oauth/v2/token", at.accounts_server), form).await?;
        Ok(classify(status, &body)?.issued(issued_at))
    }

    /// Posts a form. The parameters go into the body, where no log keeps them.
    async fn post(&self, url: String, form: &[(&str, &str)]) -> Result<(u16, Vec<u8>), Refusal> {
        whole(self.http.post(url).timeout(self.timeout).form(form)).await
    }
}

/// Sends a request, and reads the whole answer.
async fn whole(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Refusal> {
    let (status, body) = http::whole(request).await.map_err(Refusal::OutOfOrder)?;
    let long = || Refusal::Unclear { error: "the answer is too long".to_owned(), at_once: false };
    Ok((status, body.ok_or_else(long)?))
}

impl Zoho {
    /// Asks for an access token with this credential of the grant.
    pub async fn mint(&self, grant: &Grant, credential: &Credential, at: &DataCenter) -> Result<Minted, Refusal> {
        let scopes = grant.scopes.join(",");
        let (grant_type, with) = match credential {
            Credential::RefreshToken(token) => ("refresh_token", vec![("refresh_token", token.expose())]),
            Credential::ClientCredentials { soid } => {
                let soid = soid.iter().map(|soid| ("soid", soid.as_str()));
                (CLIENT_CREDENTIALS, [("scope", scopes.as_str())].into_iter().chain(soid).collect())
            }
        };
        let Client { id, secret } = &grant.client;
        let mut form = vec![("grant_type", grant_type), ("client_id", id), ("client_secret", secret.expose())];
        form.extend(with);
        match (self.token(at, &form).await, credential) {
            // No consent can help where nobody has consented.
            (Err(Refusal::ConsentRequired { error }), Credential::ClientCredentials { .. }) => {
                Err(Refusal::Misconfigured { error })
            }
            // Zoho does not rotate refresh tokens, so a refresh token in this answer is ignored.
            (answer, _) => answer.map(|minted| Minted { refresh_token: None, ..minted }),
        }
    }

    /// Spends an authorization code.
    pub async fn exchange(&self, client: &Client, at: &DataCenter, proof: &Proof) -> Result<Minted, Refusal> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &client.id),
            ("client_secret", client.secret.expose()),
            ("code", proof.code.expose()),
        ];
        if let Some((redirect_uri, verifier)) = &proof.redirect {
            form.extend([("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose())]);
        }
        self.token(at, &form).await
    }

    /// Revokes a refresh token, and with it its access tokens.
    pub async fn revoke(&self, refresh_token: &RefreshToken, at: &DataCenter) -> Result<Revoked, Refusal> {
        let url = format!("{}/oauth/v2/token/revoke", at.accounts_server);
        let (status, body) = self.post(url, &[("token", refresh_token.expose())]).await?;
        revoked(status, &body)
    }

    /// Whose account an access token is for.
    pub async fn account(&self, token: &AccessToken, at: &DataCenter) -> Result<Account, Refusal> {
        let request = self.http.get(format!("{}/oauth/user/info", at.accounts_server));
        let request = request.timeout(self.timeout.min(ACCOUNT_TIMEOUT));
        let (status, body) = whole(request.header("authorization", format!("{TOKEN_TYPE} {}", token.expose()))).await?;
        account(status, &body)
    }
}
