//! The table of providers. Each row has its facts, and in `notes` what they rest on.
//!
//! A row leaves out what is as in `CAUTIOUS`. What is unknown or contradictory is read cautiously:
//! each refresh may rotate, and a second use kills.

use crate::provider::KeptFrom::{Answer, Callback};
use crate::provider::refusal::{Class, Rule};
use crate::provider::{
    ApiDomain, ClientAuthentication, EndsAccessToken, Header, Kept, KeptFrom, Pattern, Pkce, Profile, Reuse, Rotation,
    Tenant,
};

/// Every row, in the order in which people read them.
pub static TABLE: [&Profile; 16] = [
    &GOOGLE,
    &HUBSPOT,
    &ENTRA,
    &DROPBOX,
    &XERO,
    &QUICKBOOKS,
    &SALESFORCE,
    &BOX,
    &ATLASSIAN,
    &GITHUB,
    &DOCUSIGN,
    &FRESHBOOKS,
    &SLACK,
    &AMAZON,
    &SHOPIFY,
    &CUSTOM,
];

/// The row of this name.
pub fn find(name: &str) -> Option<&'static Profile> {
    TABLE.into_iter().find(|profile| profile.name == name)
}

/// Every name, comma-separated, for a message.
pub fn names() -> String {
    [super::ZOHO].into_iter().chain(TABLE.map(|profile| profile.name)).collect::<Vec<_>>().join(", ")
}

/// The name for people of the provider that a document or a client names.
pub fn title(name: &str) -> &'static str {
    if name == super::ZOHO { "Zoho" } else { find(name).map_or(CUSTOM.title, |profile| profile.title) }
}

/// Where a row begins.
const CAUTIOUS: Profile = Profile {
    name: "",
    title: "",
    authorization_endpoint: None,
    token_endpoint: "",
    revocation_endpoint: None,
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
    refusals: &[DEAD],
    notes: "",
};

/// A dead grant as RFC 6749 §5.2 has it.
const DEAD: Rule = Rule::of(400, "invalid_grant", Class::Dead);

const fn kept(name: &'static str, from: KeptFrom, pattern: Pattern) -> Kept {
    Kept { name, from, pattern, needed: false, identity: false }
}

/// A kept value that says which account the grant is for.
const fn identity(name: &'static str, from: KeptFrom, pattern: Pattern) -> Kept {
    Kept { identity: true, ..kept(name, from, pattern) }
}

/// What a row says, and what all rows rest on.
macro_rules! notes {
    ($($text:literal),+) => {
        concat!($($text, " ",)+ "From its documents and SDKs, 2026-11; not tried against the live provider.")
    };
}

static GOOGLE: Profile = Profile {
    name: "google",
    title: "Google",
    authorization_endpoint: Some("https://accounts.google.com/o/oauth2/v2/auth"),
    token_endpoint: "https://oauth2.googleapis.com/token",
    client_authentication: ClientAuthentication::Form,
    authorization_parameters: &[("access_type", "offline"), ("prompt", "consent")],
    access_token_life_s: 3600,
    rotation: Rotation::Never,
    reuse: Reuse::Tolerated,
    idle_days: Some(180),
    expiry_field: Some("refresh_token_expires_in"),
    notes: notes!(
        "A revocation would end every token of the user in the project, so nothing is revoked.",
        "While the app is in testing, refresh tokens live 7 days; the 101st consent of a user for a client ends the \
         oldest. That a refresh leaves the old access token alive is from memory."
    ),
    ..CAUTIOUS
};

static HUBSPOT: Profile = Profile {
    name: "hubspot",
    title: "HubSpot",
    authorization_endpoint: Some("https://{tenant}.hubspot.com/oauth/authorize"),
    token_endpoint: "https://api.hubapi.com/oauth/2026-03/token",
    revocation_endpoint: Some("https://api.hubapi.com/oauth/2026-03/token/revoke"),
    tenant: Some(Tenant {
        what: "app, or app-eu1 for apps of the EU",
        default: Some("app"),
        pattern: Pattern::Host(&["app", "app-eu1"]),
    }),
    client_authentication: ClientAuthentication::Form,
    kept: &[identity("hub_id", Answer, Pattern::Digits(1, 19))],
    api_domain: ApiDomain::Fixed("https://api.hubapi.com"),
    access_token_life_s: 1800,
    rotation: Rotation::Sometimes,
    refusals: &[
        Rule::code("BAD_CLIENT_ID", Class::Client),
        Rule::code("BAD_CLIENT_SECRET", Class::Client),
        Rule::text(400, "invalid_grant", "BAD_CLIENT_ID", Class::Client),
        Rule::text(400, "invalid_grant", "BAD_CLIENT_SECRET", Class::Client),
        Rule::of(400, "BAD_REFRESH_TOKEN", Class::Dead),
        DEAD,
    ],
    notes: notes!(
        "Refreshes were seen to answer the same refresh token, and one source says that they rotate: so it is assumed \
         that they may. The scope separator is from memory."
    ),
    ..CAUTIOUS
};

static ENTRA: Profile = Profile {
    name: "entra",
    title: "Microsoft Entra",
    authorization_endpoint: Some("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize"),
    token_endpoint: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    tenant: Some(Tenant {
        what: "the directory's id or domain",
        default: Some("organizations"),
        pattern: Pattern::Host(&[]),
    }),
    client_authentication: ClientAuthentication::Form,
    scopes: &["offline_access"],
    authorization_parameters: &[("response_mode", "query")],
    access_token_life_s: 3600,
    reuse: Reuse::Tolerated,
    token_days: Some(90),
    refusals: &[
        Rule::text(400, "invalid_grant", "AADSTS70008:", Class::Dead),
        Rule::text(400, "invalid_grant", "AADSTS700082:", Class::Dead),
        Rule::text(400, "invalid_grant", "AADSTS700084:", Class::Dead),
        Rule::text(400, "invalid_grant", "AADSTS50173:", Class::Dead),
        // Somebody has to consent again, or to log in in a stronger way.
        Rule::text(400, "invalid_grant", "AADSTS50076:", Class::Dead),
        Rule::text(400, "invalid_grant", "AADSTS50079:", Class::Dead),
        Rule::text(400, "invalid_grant", "AADSTS65001:", Class::Dead),
        Rule::of(400, "interaction_required", Class::Dead),
    ],
    notes: notes!(
        "An access token may live 60 to 90 minutes; it is taken to live an hour. The base URL is that of the scope's \
         resource, such as https://graph.microsoft.com.",
        "That each refresh token lives 90 days from its own issue is from memory; apps of the type SPA have 24 hours. \
         AADSTS7000222 says that the client's secret has expired."
    ),
    ..CAUTIOUS
};

static DROPBOX: Profile = Profile {
    name: "dropbox",
    title: "Dropbox",
    authorization_endpoint: Some("https://www.dropbox.com/oauth2/authorize"),
    token_endpoint: "https://api.dropboxapi.com/oauth2/token",
    client_authentication: ClientAuthentication::Form,
    authorization_parameters: &[("token_access_type", "offline")],
    // An app of a team has the second and not the first.
    kept: &[identity("account_id", Answer, Pattern::Word(80)), identity("team_id", Answer, Pattern::Word(80))],
    api_domain: ApiDomain::Fixed("https://api.dropboxapi.com"),
    access_token_life_s: 14_400,
    rotation: Rotation::Never,
    reuse: Reuse::Tolerated,
    notes: notes!(
        "The code of a dead grant is from memory. A revocation needs a living access token, so nothing is revoked."
    ),
    ..CAUTIOUS
};

static XERO: Profile = Profile {
    name: "xero",
    title: "Xero",
    authorization_endpoint: Some("https://login.xero.com/identity/connect/authorize"),
    token_endpoint: "https://identity.xero.com/connect/token",
    scopes: &["offline_access"],
    api_domain: ApiDomain::Fixed("https://api.xero.com"),
    access_token_life_s: 1800,
    reuse: Reuse::For(1800),
    idle_days: Some(60),
    notes: notes!(
        "Readers need the header xero-tenant-id beside the token: GET /connections tells the tenants.",
        "A revocation would end all of the user's tenants, so nothing is revoked. One page says that a refresh ends the \
         old access token; nothing else does, so it is not assumed."
    ),
    ..CAUTIOUS
};

/// `QuickBooks` Online, which rotates now and then and keeps a value of the callback.
pub static QUICKBOOKS: Profile = Profile {
    name: "quickbooks",
    title: "QuickBooks",
    authorization_endpoint: Some("https://appcenter.intuit.com/connect/oauth2"),
    token_endpoint: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    pkce: Pkce::Off,
    kept: &[Kept { needed: true, ..identity("realmId", Callback, Pattern::Digits(10, 19)) }],
    access_token_life_s: 3600,
    rotation: Rotation::Sometimes,
    token_days: Some(100),
    grant_days: Some(5 * 365),
    expiry_field: Some("x_refresh_token_expires_in"),
    refusals: &[
        Rule::text(400, "invalid_grant", "Incorrect Token type or clientID", Class::Client),
        Rule::text(400, "invalid_grant", "Incorrect or invalid refresh token", Class::Dead),
    ],
    notes: notes!(
        "A new refresh token comes about once a day. Sources disagree whether the one before it lives on, so it counts as \
         ended. What a revocation ends is unknown, so nothing is revoked.",
        "The base URL is https://quickbooks.api.intuit.com, or https://sandbox-quickbooks.api.intuit.com for a client of \
         the sandbox."
    ),
    ..CAUTIOUS
};

static SALESFORCE: Profile = Profile {
    name: "salesforce",
    title: "Salesforce",
    authorization_endpoint: Some("https://{tenant}/services/oauth2/authorize"),
    token_endpoint: "https://{tenant}/services/oauth2/token",
    revocation_endpoint: Some("https://{tenant}/services/oauth2/revoke"),
    tenant: Some(Tenant {
        what: "login.salesforce.com, test.salesforce.com or the My Domain host",
        default: Some("login.salesforce.com"),
        pattern: Pattern::Host(&[".salesforce.com"]),
    }),
    client_authentication: ClientAuthentication::Form,
    scopes: &["refresh_token", "offline_access"],
    authorization_parameters: &[("prompt", "consent")],
    kept: &[
        Kept {
            needed: true,
            ..kept(
                "instance_url",
                Answer,
                Pattern::Origin(&[
                    ".salesforce.com",
                    ".force.com",
                    ".cloudforce.com",
                    ".salesforce.mil",
                    ".cloudforce.mil",
                    ".sfcrmproducts.cn",
                ]),
            )
        },
        identity("id", Answer, Pattern::Word(200)),
    ],
    api_domain: ApiDomain::Kept("instance_url"),
    access_token_life_s: 3600,
    rotation: Rotation::Sometimes,
    idle_days: Some(30),
    refusals: &[
        Rule::text(400, "invalid_grant", "expired access/refresh token", Class::Dead),
        Rule::of(400, "inactive_user", Class::Dead),
        Rule::text(400, "invalid_grant", "ip restricted", Class::Client),
    ],
    notes: notes!(
        "An answer does not say how long an access token lives, so an hour is taken: the org's session timeout must be \
         longer.",
        "Whether refresh tokens rotate is a setting of the app. Where they do, a second use may end the grant and its \
         access tokens; the documents and reports disagree. At most 5 grants of a user and app live (from memory). The \
         text for a refused network address is from memory."
    ),
    ..CAUTIOUS
};

static BOX: Profile = Profile {
    name: "box",
    title: "Box",
    authorization_endpoint: Some("https://account.box.com/api/oauth2/authorize"),
    token_endpoint: "https://api.box.com/oauth2/token",
    client_authentication: ClientAuthentication::Form,
    pkce: Pkce::Off,
    api_domain: ApiDomain::Fixed("https://api.box.com"),
    access_token_life_s: 3600,
    token_days: Some(60),
    notes: notes!(
        "Scopes are set on the app. No grace for a second use is documented, so it counts as the end. That a revocation \
         ends the pair alone is from memory, so nothing is revoked.",
        "\"Refresh token has expired\" also comes for a wrong clock."
    ),
    ..CAUTIOUS
};

static ATLASSIAN: Profile = Profile {
    name: "atlassian",
    title: "Atlassian",
    authorization_endpoint: Some("https://auth.atlassian.com/authorize"),
    token_endpoint: "https://auth.atlassian.com/oauth/token",
    client_authentication: ClientAuthentication::Form,
    scopes: &["offline_access"],
    authorization_parameters: &[("audience", "api.atlassian.com"), ("prompt", "consent")],
    api_domain: ApiDomain::Fixed("https://api.atlassian.com"),
    access_token_life_s: 3600,
    reuse: Reuse::For(600),
    ends_access_token: EndsAccessToken::After(600),
    idle_days: Some(90),
    grant_days: Some(365),
    refusals: &[Rule::of(403, "invalid_grant", Class::Dead), Rule::code("access_denied", Class::Client)],
    notes: notes!(
        "Readers need the cloud id: GET /oauth/token/accessible-resources tells it, and the calls go to \
         /ex/jira/{cloud id}.",
        "PKCE is undocumented, and SDKs use it. That the 365 days count from the consent is assumed."
    ),
    ..CAUTIOUS
};

static GITHUB: Profile = Profile {
    name: "github",
    title: "GitHub",
    authorization_endpoint: Some("https://github.com/login/oauth/authorize"),
    token_endpoint: "https://github.com/login/oauth/access_token",
    client_authentication: ClientAuthentication::Form,
    api_domain: ApiDomain::Fixed("https://api.github.com"),
    access_token_life_s: 28_800,
    ends_access_token: EndsAccessToken::AtOnce,
    token_days: Some(184),
    expiry_field: Some("refresh_token_expires_in"),
    refusals: &[
        Rule::of(200, "bad_refresh_token", Class::Dead),
        Rule::of(200, "incorrect_client_credentials", Class::Client),
    ],
    notes: notes!(
        "For user tokens of a GitHub App whose tokens expire. It has permissions and no scopes. A refresh ends the token \
         that readers hold, so it comes late. What a revocation ends is from memory, so nothing is revoked."
    ),
    ..CAUTIOUS
};

static DOCUSIGN: Profile = Profile {
    name: "docusign",
    title: "DocuSign",
    authorization_endpoint: Some("https://{tenant}.docusign.com/oauth/auth"),
    token_endpoint: "https://{tenant}.docusign.com/oauth/token",
    tenant: Some(Tenant {
        what: "account, or account-d for the developers' environment",
        default: Some("account"),
        pattern: Pattern::Host(&["account", "account-d"]),
    }),
    pkce: Pkce::Off,
    scopes: &["extended"],
    access_token_life_s: 28_800,
    token_days: Some(30),
    notes: notes!(
        "Readers need the base URL and the account id: GET https://account.docusign.com/oauth/userinfo tells both; keep \
         them, because it has hourly limits.",
        "What becomes of a replaced refresh token is unknown, so it counts as ended. The code of a dead grant is \
         second-hand."
    ),
    ..CAUTIOUS
};

static FRESHBOOKS: Profile = Profile {
    name: "freshbooks",
    title: "FreshBooks",
    authorization_endpoint: Some("https://auth.freshbooks.com/oauth/authorize/"),
    token_endpoint: "https://api.freshbooks.com/auth/oauth/token",
    client_authentication: ClientAuthentication::Form,
    api_domain: ApiDomain::Fixed("https://api.freshbooks.com"),
    access_token_life_s: 43_200,
    refusals: &[Rule::code("invalid_grant", Class::Dead)],
    notes: notes!(
        "Readers need the account id: GET /auth/api/v1/users/me tells it.",
        "The status of a refusal, what a revocation ends and what a second use does are unknown: any status counts, \
         nothing is revoked, and a second use counts as the end."
    ),
    ..CAUTIOUS
};

static SLACK: Profile = Profile {
    name: "slack",
    title: "Slack",
    authorization_endpoint: Some("https://slack.com/oauth/v2/authorize"),
    token_endpoint: "https://slack.com/api/oauth.v2.access",
    client_authentication: ClientAuthentication::Form,
    pkce: Pkce::Off,
    scope_separator: ",",
    kept: &[
        identity("team.id", Answer, Pattern::Word(40)),
        identity("enterprise.id", Answer, Pattern::Word(40)),
        kept("bot_user_id", Answer, Pattern::Word(40)),
    ],
    api_domain: ApiDomain::Fixed("https://slack.com"),
    access_token_life_s: 43_200,
    refusals: &[
        Rule::of(200, "invalid_refresh_token", Class::Dead),
        DEAD,
        Rule::code("bad_client_secret", Class::Client),
        Rule::code("invalid_client_id", Class::Client),
        // A part of the request may have succeeded.
        Rule::code("internal_error", Class::Lost),
        Rule::code("fatal_error", Class::Lost),
    ],
    notes: notes!(
        "For bot tokens of an app with token rotation; a user's tokens (authed_user) are not kept. Methods are under \
         /api.",
        "No grace for a second use is documented, so it counts as the end. A revocation would take the bot out of its \
         channels, so nothing is revoked."
    ),
    ..CAUTIOUS
};

static AMAZON: Profile = Profile {
    name: "amazon",
    title: "Amazon SP-API",
    token_endpoint: "https://api.amazon.com/auth/o2/token",
    client_authentication: ClientAuthentication::Form,
    pkce: Pkce::Off,
    header: Header::Named("x-amz-access-token"),
    access_token_life_s: 3600,
    rotation: Rotation::Never,
    reuse: Reuse::Tolerated,
    grant_days: Some(365),
    notes: notes!(
        "Its redirect brings the code under another name, so refresh tokens are imported. The seller has to renew the \
         authorization each year.",
        "The base URL is that of the seller's region: https://sellingpartnerapi-na.amazon.com, -eu or -fe."
    ),
    ..CAUTIOUS
};

static SHOPIFY: Profile = Profile {
    name: "shopify",
    title: "Shopify",
    token_endpoint: "https://{tenant}/admin/oauth/access_token",
    tenant: Some(Tenant {
        what: "the shop's host below myshopify.com",
        default: None,
        pattern: Pattern::Host(&[".myshopify.com"]),
    }),
    client_authentication: ClientAuthentication::Form,
    pkce: Pkce::Off,
    scope_separator: ",",
    token_parameters: &[("expiring", "1")],
    header: Header::Named("X-Shopify-Access-Token"),
    access_token_life_s: 3600,
    reuse: Reuse::UntilUsed,
    token_days: Some(90),
    expiry_field: Some("refresh_token_expires_in"),
    refusals: &[Rule::text(401, "invalid_request", INACTIVE, Class::Dead), Rule::page(401, INACTIVE, Class::Dead)],
    notes: notes!(
        "Its redirect is signed in a way of its own, so refresh tokens are imported; each shop needs a client of its own. \
         The base URL is the shop.",
        "The text of a dead grant also comes if another app's client asks. A revocation is not documented."
    ),
    ..CAUTIOUS
};

/// What Shopify says of a dead grant.
const INACTIVE: &str = "This request requires an active refresh_token";

/// Any server that follows RFC 6749. Its endpoints stand in the client's secret, and so may the
/// other facts.
pub static CUSTOM: Profile = Profile {
    name: "custom",
    title: "the provider",
    expiry_field: Some("refresh_token_expires_in"),
    notes: "Any server that follows RFC 6749: Keycloak, Okta, Auth0, Cognito, a company's own. The client's secret has its \
            endpoints, and may have the other facts. Unless it says otherwise, each refresh rotates and a second use kills.",
    ..CAUTIOUS
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::endpoint;
    use crate::name::ClientName;

    #[test]
    fn every_row_is_whole_and_its_defaults_are_values_that_it_takes() {
        for (place, row) in TABLE.iter().enumerate() {
            assert!(row.name.parse::<ClientName>().is_ok() && !row.title.is_empty(), "{}", row.name);
            assert_eq!(TABLE.iter().position(|other| other.name == row.name), Some(place), "{} twice", row.name);
            let default = row.tenant.and_then(|tenant| tenant.default);
            assert!(default.is_none_or(|default| row.tenant.is_some_and(|tenant| tenant.pattern.matches(default))));
            let revocation = row.revocation_endpoint;
            let endpoints = [row.authorization_endpoint, Some(row.token_endpoint), revocation];
            for template in endpoints.into_iter().flatten().filter(|template| !template.is_empty()) {
                assert!(row.tenant.is_some() || !template.contains('{'), "{template}");
                let expanded = template.replace("{tenant}", default.unwrap_or("acme.myshopify.com"));
                assert_eq!(endpoint(&expanded), Some(expanded), "{}", row.name);
            }
            assert!(row.rotates() || row.reuse == Reuse::Tolerated, "{}", row.name);
            assert!(row.name == "custom" || row.notes.contains("not tried against the live provider"), "{}", row.name);
        }
    }

    /// Elsewhere a revocation would end or harm a newer grant, or nobody knows.
    #[test]
    fn only_where_it_ends_that_token_alone_is_a_refresh_token_revoked() {
        let revoking: Vec<_> =
            TABLE.iter().filter(|row| row.revocation_endpoint.is_some()).map(|row| row.name).collect();
        assert_eq!(revoking, ["hubspot", "salesforce"]);
    }
}
