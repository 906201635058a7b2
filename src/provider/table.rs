//! The table of providers. Each row has its facts, and in `notes` what they rest on.

use crate::provider::refusal::{Class, Rule};
use crate::provider::{
    ApiDomain, ClientAuthentication, EndsAccessToken, From, Header, Kept, Pattern, Pkce, Profile, Reuse, Rotation,
};

/// Any server that follows RFC 6749. Its endpoints stand in the client's secret, and so may the
/// other facts. Where nothing is said, each refresh rotates and a second use kills.
pub static CUSTOM: Profile = Profile {
    name: "custom",
    title: "the provider",
    expiry_field: Some("refresh_token_expires_in"),
    refusals: &[Rule::of(400, "invalid_grant", Class::Dead)],
    notes: "Any server that follows RFC 6749: Keycloak, Okta, Auth0, Cognito, a company's own.",
    ..CAUTIOUS
};

/// `QuickBooks` Online.
pub static QUICKBOOKS: Profile = Profile {
    name: "quickbooks",
    title: "QuickBooks",
    authorization_endpoint: Some("https://appcenter.intuit.com/connect/oauth2"),
    token_endpoint: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    pkce: Pkce::Off,
    kept: &[Kept {
        name: "realmId",
        from: From::Callback,
        pattern: Pattern::Digits(10, 19),
        needed: true,
        identity: true,
    }],
    access_token_life_s: 3600,
    rotation: Rotation::Sometimes,
    token_days: Some(100),
    expiry_field: Some("x_refresh_token_expires_in"),
    refusals: &[
        Rule::text(400, "invalid_grant", "Incorrect Token type or clientID", Class::Client),
        Rule::text(400, "invalid_grant", "Incorrect or invalid refresh token", Class::Dead),
    ],
    notes: "",
    ..CAUTIOUS
};

/// Where a row begins: what is not known is read cautiously.
const CAUTIOUS: Profile = Profile {
    name: "",
    title: "",
    issuer: None,
    authorization_endpoint: None,
    token_endpoint: "",
    revocation: None,
    tenant: None,
    client_authentication: ClientAuthentication::Basic,
    pkce: Pkce::Allowed,
    scope_separator: " ",
    scopes: &[],
    authorization_parameters: &[],
    token_parameters: &[],
    kept: &[],
    api_domain: ApiDomain::Unknown,
    header: Header::Bearer,
    access_token_life_s: 86_400,
    rotation: Rotation::Always,
    reuse: Reuse::Kills,
    ends_access_token: EndsAccessToken::No,
    idle_days: None,
    token_days: None,
    grant_days: None,
    expiry_field: None,
    refusals: &[],
    notes: "",
};

/// Every row, in the order in which people read them.
pub static TABLE: [&Profile; 2] = [&QUICKBOOKS, &CUSTOM];

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Profile> {
    TABLE.into_iter().find(|profile| profile.name == name)
}

/// The name for people of the provider that a document or a client names.
pub fn title(name: &str) -> &'static str {
    if name == super::ZOHO { "Zoho" } else { find(name).map_or(CUSTOM.title, |profile| profile.title) }
}

/// Every name, comma-separated, for a message.
pub fn names() -> String {
    [super::ZOHO].into_iter().chain(TABLE.map(|profile| profile.name)).collect::<Vec<_>>().join(", ")
}
