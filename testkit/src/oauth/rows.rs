//! The settings of each provider, by its documents. Where a fact is unknown or sources disagree,
//! the harsher reading is taken: unknown reuse kills, undocumented PKCE is refused. A test that
//! needs the other reading changes the setting.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::refusal::{Refusal, dead_grant};
use super::settings::{
    Authentication, Ends, EndsAccessToken, ExpiresIn, Grace, Iss, Offline, Pkce, Rotation, Scope, Settings, Stale,
};

/// The names of the rows.
pub const NAMES: [&str; 15] = [
    "google",
    "hubspot",
    "entra",
    "dropbox",
    "amazon",
    "xero",
    "quickbooks",
    "salesforce",
    "box",
    "atlassian",
    "github",
    "slack",
    "docusign",
    "freshbooks",
    "shopify",
];

const BASIC: [Authentication; 1] = [Authentication::Basic];
const FORM: [Authentication; 1] = [Authentication::Form];

/// The settings of the provider with this name.
///
/// # Panics
/// If the name is not in [`NAMES`].
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn settings(provider: &str) -> Settings {
    let row = Settings {
        pkce: Pkce::Allowed,
        iss: Iss::Absent,
        revocation: None,
        oauth_metadata: false,
        openid_configuration: false,
        dead_grant: dead_grant(provider),
        ..Settings::default()
    };
    match provider {
        "google" => Settings {
            authentication: FORM.into(),
            offline: Offline::Parameter("access_type", "offline"),
            rotation: Rotation::Never,
            idle_life: Some(days(182)),
            revocation: Some(Ends::User),
            ..row
        },
        "hubspot" => Settings {
            authentication: FORM.into(),
            access_token_life: minutes(30),
            rotation: Rotation::Same,
            scope: Scope::Array,
            answer: fields(&[("hub_id", json!(600_000_434))]),
            revocation: Some(Ends::Token),
            ..row
        },
        "entra" => Settings {
            access_token_life: minutes(60),
            offline: Offline::Scope("offline_access"),
            grace: Grace::Always,
            refresh_token_life: Some(days(90)),
            ..row
        },
        "dropbox" => Settings {
            access_token_life: minutes(4 * 60),
            offline: Offline::Parameter("token_access_type", "offline"),
            rotation: Rotation::Never,
            answer: fields(&[("account_id", json!("dbid:AAAACMEACCOUNT"))]),
            ..row
        },
        "amazon" => Settings {
            authentication: FORM.into(),
            pkce: Pkce::Off,
            rotation: Rotation::Same,
            scope: Scope::Absent,
            token_type: Some("bearer".to_owned()),
            callback: values(&[("selling_partner_id", "AACMESELLER000")]),
            grant_life: Some(days(365)),
            ..row
        },
        "xero" => Settings {
            authentication: BASIC.into(),
            access_token_life: minutes(30),
            offline: Offline::Scope("offline_access"),
            grace: Grace::For(minutes(30)),
            idle_life: Some(days(60)),
            revocation: Some(Ends::User),
            ..row
        },
        "quickbooks" => Settings {
            authentication: BASIC.into(),
            pkce: Pkce::Off,
            rotation: Rotation::After(days(1)),
            stale: Stale::Refused,
            idle_life: Some(days(100)),
            grant_life: Some(days(5 * 365)),
            expiry_field: Some("x_refresh_token_expires_in".to_owned()),
            scope: Scope::Absent,
            token_type: Some("bearer".to_owned()),
            callback: values(&[("realmId", "9341452000000001")]),
            revocation: Some(Ends::User),
            ..row
        },
        "salesforce" => Settings {
            authentication: FORM.into(),
            pkce: Pkce::Required,
            access_token_life: minutes(120),
            expires_in: ExpiresIn::Absent,
            offline: Offline::Scope("refresh_token"),
            idle_life: Some(days(30)),
            answer: fields(&[("instance_url", json!("https://acme.my.salesforce.com"))]),
            revocation: Some(Ends::Grant),
            ..row
        },
        "box" => Settings {
            authentication: FORM.into(),
            pkce: Pkce::Off,
            refresh_token_life: Some(days(60)),
            scope: Scope::Absent,
            token_type: Some("bearer".to_owned()),
            revocation: Some(Ends::Grant),
            ..row
        },
        "atlassian" => Settings {
            authentication: FORM.into(),
            offline: Offline::Scope("offline_access"),
            grace: Grace::For(minutes(10)),
            ends_access_token: EndsAccessToken::After(minutes(10)),
            idle_life: Some(days(90)),
            grant_life: Some(days(365)),
            wrong_client: Refusal::error(401, "access_denied", "Unauthorized"),
            ..row
        },
        "github" => Settings {
            authentication: FORM.into(),
            access_token_life: minutes(8 * 60),
            stale: Stale::Refused,
            ends_access_token: EndsAccessToken::AtOnce,
            refresh_token_life: Some(SignedDuration::from_secs(15_897_600)),
            expiry_field: Some("refresh_token_expires_in".to_owned()),
            token_type: Some("bearer".to_owned()),
            wrong_client: Refusal::error(
                200,
                "incorrect_client_credentials",
                "The client_id and/or client_secret passed are incorrect.",
            ),
            ..row
        },
        "slack" => Settings {
            pkce: Pkce::Off,
            scope_separator: ',',
            access_token_life: minutes(12 * 60),
            token_type: Some("bot".to_owned()),
            answer: fields(&[("ok", json!(true)), ("team", json!({"id": "TACME0001", "name": "Acme"}))]),
            wrong_client: Refusal::json(200, &json!({"ok": false, "error": "bad_client_secret"})),
            ..row
        },
        "docusign" => Settings {
            authentication: BASIC.into(),
            pkce: Pkce::Off,
            access_token_life: minutes(8 * 60),
            refresh_token_life: Some(days(30)),
            ..row
        },
        "freshbooks" => Settings { authentication: FORM.into(), access_token_life: minutes(12 * 60), ..row },
        "shopify" => Settings {
            authentication: FORM.into(),
            pkce: Pkce::Off,
            scope_separator: ',',
            grace: Grace::UntilUsed,
            refresh_token_life: Some(days(90)),
            expiry_field: Some("refresh_token_expires_in".to_owned()),
            token_type: None,
            callback: values(&[("shop", "acme.myshopify.com")]),
            ..row
        },
        other => panic!("no provider {other:?}"),
    }
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn fields(fields: &[(&str, Value)]) -> BTreeMap<String, Value> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn values(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
