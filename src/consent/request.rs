//! The authorization request: where the browser is sent (RFC 6749 §4.1.1).
//!
//! Pure. Its address comes from the table of data centres, from the table of providers or from the
//! client's secret.

use url::Url;

use crate::connection::{Grant, Provider};
use crate::provider::Pkce;
use crate::provider::server::Server;

/// The address of the request. `None` if the provider's consents are not made here.
pub(super) fn authorization_request(grant: &Grant, redirect_uri: &str, state: &str, challenge: &str) -> Option<String> {
    let (mut url, scope) = match &grant.provider {
        Provider::Zoho(data_center) => {
            // Zoho wants commas here, and answers with blanks.
            (Url::parse(&format!("{}/oauth/v2/auth", data_center.accounts_server)).ok()?, grant.scopes.join(","))
        }
        Provider::Other(server) => {
            (Url::parse(server.authorization_endpoint.as_ref()?).ok()?, scopes(server, &grant.scopes))
        }
    };
    let mut query = url.query_pairs_mut();
    query.append_pair("response_type", "code").append_pair("client_id", &grant.client.id);
    if !scope.is_empty() {
        query.append_pair("scope", &scope);
    }
    query.append_pair("redirect_uri", redirect_uri);
    let pkce = match &grant.provider {
        Provider::Zoho(_) => {
            // Zoho gives a refresh token only with both. The second one is for users who have
            // agreed before.
            query.append_pair("access_type", "offline").append_pair("prompt", "consent");
            true
        }
        Provider::Other(server) => {
            query.extend_pairs(&server.authorization_parameters);
            server.pkce != Pkce::Off
        }
    };
    if pkce {
        query.append_pair("code_challenge", challenge).append_pair("code_challenge_method", "S256");
    }
    query.append_pair("state", state);
    drop(query);
    Some(url.into())
}

/// The operator's scopes, and those without which no refresh token comes.
fn scopes(server: &Server, asked: &[String]) -> String {
    let asked = asked.iter().map(String::as_str);
    let needed = server.profile.scopes.iter().copied();
    let missing: Vec<_> = needed.filter(|scope| !asked.clone().any(|asked| asked == *scope)).collect();
    asked.chain(missing).collect::<Vec<_>>().join(&server.scope_separator)
}
