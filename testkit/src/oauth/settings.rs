//! How an OAuth server behaves. The default is strict, as RFC 6749, 7636 and 7009 and RFC 9700 ask:
//! a refresh rotates, and a second use of a refresh token ends the grant.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Value;

use super::refusal::Refusal;

/// The settings of a server. A test may change them while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How a client may say who it is. Never both in one request.
    pub authentication: Vec<Authentication>,
    /// Whether an authorization request has a PKCE challenge.
    pub pkce: Pkce,
    /// What is between two scopes in a request.
    pub scope_separator: char,
    /// Scopes that the server does not grant even if a consent asks for them.
    pub withheld_scopes: Vec<String>,
    /// When a consent gives a refresh token.
    pub offline: Offline,
    /// How long a code is good.
    pub code_life: SignedDuration,
    /// Who sits at the browser, and so agrees from now on.
    pub user: String,
    /// Values that every redirect to the client has beside the standard's: `realmId`.
    pub callback: Vec<(String, String)>,
    /// What the redirect says in `iss` (RFC 9207).
    pub iss: Iss,
    /// What comes behind the host in the issuer: `/realms/acme`, or nothing.
    pub issuer_path: String,
    /// Whether there is a document of RFC 8414.
    pub oauth_metadata: bool,
    /// Whether there is a document of `OpenID` Connect Discovery.
    pub openid_configuration: bool,
    /// Fields of both documents, added or replaced.
    pub metadata: BTreeMap<String, Value>,
    /// How long an access token lives.
    pub access_token_life: SignedDuration,
    /// How an answer states that life.
    pub expires_in: ExpiresIn,
    /// The answer's `token_type`. `None` leaves it out.
    pub token_type: Option<String>,
    /// How an answer lists the scopes.
    pub scope: Scope,
    /// Fields of every answer beside the standard's: `instance_url`.
    pub answer: BTreeMap<String, Value>,
    /// Whether a refresh gives a new refresh token.
    pub rotation: Rotation,
    /// How long a refresh token that was replaced stays good.
    pub grace: Grace,
    /// What a replaced refresh token does after its grace.
    pub stale: Stale,
    /// Whether a refresh ends the access tokens before it.
    pub ends_access_token: EndsAccessToken,
    /// A refresh token that is not used for this long ends.
    pub idle_life: Option<SignedDuration>,
    /// A refresh token ends this long after it was issued.
    pub refresh_token_life: Option<SignedDuration>,
    /// The whole grant ends this long after the consent.
    pub grant_life: Option<SignedDuration>,
    /// The field of an answer with the seconds until the refresh token ends.
    pub expiry_field: Option<String>,
    /// A refresh sooner than this after the last one is refused.
    pub earliest_refresh: Option<SignedDuration>,
    /// Token requests of one client that pass in a minute. The next is throttled.
    pub requests_per_minute: usize,
    /// What a revocation ends. `None`: there is no such endpoint.
    pub revocation: Option<Ends>,
    /// The answer to a refresh token that is no good.
    pub dead_grant: Refusal,
    /// The answer to a wrong client.
    pub wrong_client: Refusal,
    /// The answer to one request too many.
    pub throttled: Refusal,
    /// The answer to a refresh that comes too early.
    pub too_early: Refusal,
}

/// How a client says who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// In the `Authorization` header, form-encoded.
    Basic,
    /// In the form.
    Form,
}

/// Whether an authorization request has a PKCE challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkce {
    /// A request without one is refused.
    Required,
    /// It may have one.
    Allowed,
    /// A request with one is refused.
    Off,
}

/// When a consent gives a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// Always.
    Always,
    /// If this scope is asked for.
    Scope(&'static str),
    /// If the authorization request has this parameter with this value.
    Parameter(&'static str, &'static str),
    /// Never.
    Never,
}

/// What the redirect says in `iss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Iss {
    /// Nothing. The metadata does not promise it.
    Absent,
    /// The server's issuer. The metadata promises it.
    Own,
    /// Another issuer, as in an attack. The metadata promises the server's own.
    Other(String),
}

/// How an answer states the access token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    /// In seconds.
    Number,
    /// In seconds, as a text.
    Text,
    /// In milliseconds.
    Milliseconds,
    /// As zero.
    Zero,
    /// Not at all.
    Absent,
}

/// How an answer lists the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `scope`, a text.
    Text,
    /// `scopes`, an array.
    Array,
    /// Not at all.
    Absent,
}

/// Whether a refresh gives a new refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It does not, and the answer has none.
    Never,
    /// It does not, and the answer has the same one again.
    Same,
    /// The answer has the same one again until it is this old, then a new one.
    After(SignedDuration),
    /// It does.
    Always,
}

/// How long a refresh token that was replaced stays good. Each use gives a replacement of its own,
/// and all of them are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Not at all.
    None,
    /// This long after its first use.
    For(SignedDuration),
    /// Until one of its replacements is used.
    UntilUsed,
    /// As long as if it had not been replaced.
    Always,
}

/// What a replaced refresh token does after its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It is refused, and its replacement lives.
    Refused,
    /// It is refused, and the whole grant ends: its replacement too, and all access tokens.
    Kills,
}

/// Whether a refresh ends the access tokens before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndsAccessToken {
    /// They live to their end.
    No,
    /// At once.
    AtOnce,
    /// After this time.
    After(SignedDuration),
}

/// What the revocation of a refresh token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// That token alone. Access tokens live on.
    Token,
    /// The grant that it belongs to, with its access tokens (RFC 7009 §2.1).
    Grant,
    /// All grants of that user to the client, newer ones too.
    User,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            authentication: vec![Authentication::Basic, Authentication::Form],
            pkce: Pkce::Required,
            scope_separator: ' ',
            withheld_scopes: Vec::new(),
            offline: Offline::Always,
            code_life: SignedDuration::from_secs(60),
            user: "ann".to_owned(),
            callback: Vec::new(),
            iss: Iss::Own,
            issuer_path: String::new(),
            oauth_metadata: true,
            openid_configuration: true,
            metadata: BTreeMap::new(),
            access_token_life: SignedDuration::from_hours(1),
            expires_in: ExpiresIn::Number,
            token_type: Some("Bearer".to_owned()),
            scope: Scope::Text,
            answer: BTreeMap::new(),
            rotation: Rotation::Always,
            grace: Grace::None,
            stale: Stale::Kills,
            ends_access_token: EndsAccessToken::No,
            idle_life: None,
            refresh_token_life: None,
            grant_life: None,
            expiry_field: None,
            earliest_refresh: None,
            requests_per_minute: usize::MAX,
            revocation: Some(Ends::Grant),
            dead_grant: Refusal::error(400, "invalid_grant", "the refresh token is no good"),
            wrong_client: Refusal::error(401, "invalid_client", "the client is unknown or its secret is wrong"),
            throttled: Refusal::error(429, "slow_down", "too many requests"),
            too_early: Refusal::error(400, "access_denied", "the access token has not expired"),
        }
    }
}

impl Settings {
    /// The scopes in a request's text.
    pub(super) fn scopes(&self, text: &str) -> Vec<String> {
        text.split(self.scope_separator).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
    }
}
