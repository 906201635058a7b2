//! The authorization server of one client: a row of the table with what the client's secret says
//! beside it, or a server that the secret describes alone.

use serde_json::{Map, Value};

use crate::flaw::Flaw;
use crate::provider::table::CUSTOM;
use crate::provider::{ClientAuthentication, Pkce, Profile, Reuse, Rotation};

/// An authorization server, with everything that a request needs. Its endpoints come from the table
/// or from the client's secret, and from nowhere else.
#[derive(Clone, Debug)]
pub struct Server {
    /// What all clients of the provider have in common.
    pub profile: &'static Profile,
    /// What it calls itself in `iss` (RFC 9207), if known.
    pub issuer: Option<String>,
    /// Where a browser is sent (RFC 6749 §3.1).
    pub authorization_endpoint: Option<String>,
    /// Where tokens are asked for (RFC 6749 §3.2).
    pub token_endpoint: String,
    /// Where a refresh token is revoked (RFC 7009), only if that ends this token alone.
    pub revocation_endpoint: Option<String>,
    /// How the client shows who it is.
    pub client_authentication: ClientAuthentication,
    /// Whether the authorization request has a PKCE challenge.
    pub pkce: Pkce,
    /// What is between two scopes in a request.
    pub scope_separator: String,
    /// Parameters of every authorization request.
    pub authorization_parameters: Vec<(String, String)>,
    /// Whether a refresh gives a new refresh token.
    pub rotation: Rotation,
    /// What becomes of a refresh token that is sent a second time.
    pub reuse: Reuse,
}

/// Two servers are the same if they are asked at the same place.
impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.profile.name == other.profile.name && self.token_endpoint == other.token_endpoint
    }
}

impl Server {
    /// The server of a client with these fields.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn of(profile: &'static Profile, fields: &Map<String, Value>) -> Result<Self, Flaw> {
        let text = |field: &str| fields.get(field).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            profile,
            issuer: text("issuer"),
            authorization_endpoint: text("authorization_endpoint")
                .or(profile.authorization_endpoint.map(str::to_owned)),
            token_endpoint: text("token_endpoint").unwrap_or_else(|| profile.token_endpoint.to_owned()),
            revocation_endpoint: text("revocation_endpoint"),
            client_authentication: profile.client_authentication,
            pkce: profile.pkce,
            scope_separator: profile.scope_separator.to_owned(),
            authorization_parameters: Vec::new(),
            rotation: profile.rotation,
            reuse: profile.reuse,
        })
    }

    /// Whether the endpoints of its profile were replaced. Then what the table says of other
    /// addresses may be wrong too.
    pub fn is_custom(&self) -> bool {
        self.profile.name == CUSTOM.name
    }

    /// Whether each refresh token may be sent only once.
    pub fn rotates(&self) -> bool {
        self.rotation != Rotation::Never
    }
}
