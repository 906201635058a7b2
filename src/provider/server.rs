//! The authorization server of one client: a row of the table with what the client's secret says
//! beside it, or a server that the secret describes alone.
//!
//! Flaws name fields, never their values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::address::endpoint;
use crate::flaw::Flaw;
use crate::provider::table::CUSTOM;
use crate::provider::{ApiDomain, ClientAuthentication, Pkce, Profile, Reuse, Rotation};

/// The fields of a client's secret that describe its server. No provider takes all of them.
pub const FIELDS: [&str; 11] = [
    "tenant",
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "client_authentication",
    "pkce",
    "scope_separator",
    "authorization_parameters",
    "rotation",
    "reuse",
];

/// The parameters of an authorization request that the program sets (RFC 6749 §4.1.1, RFC 7636
/// §4.3).
pub const RESERVED: [&str; 7] =
    ["response_type", "client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method"];

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
    /// The server of a client. `field` finds a field of the client's secret.
    ///
    /// # Errors
    /// The first flaw found: a field that this provider needs, does not take, or takes in another
    /// form.
    pub fn of<'v>(profile: &'static Profile, field: impl Fn(&str) -> Option<&'v Value>) -> Result<Self, Flaw> {
        let fields = Fields(&field);
        if let Some(field) = FIELDS.into_iter().find(|name| field(name).is_some() && !takes(profile, name)) {
            return Err(Flaw::NotTaken { field, provider: profile.name });
        }
        let tenant = fields.tenant(profile)?;
        let expand = |template: &str| {
            if !template.contains("{tenant}") {
                return Ok(template.to_owned());
            }
            let tenant = tenant.as_deref().ok_or_else(|| Flaw::Missing("tenant".to_owned()))?;
            Ok(template.replace("{tenant}", tenant))
        };
        let endpoint = |name: &str, template: &str| match fields.endpoint(name)? {
            Some(endpoint) => Ok(endpoint),
            None if template.is_empty() => Err(Flaw::Missing(name.to_owned())),
            None => expand(template),
        };
        // Of a server that the secret describes, a browser has to be sent somewhere.
        let authorization = if is_custom(profile) { Some("") } else { profile.authorization_endpoint };
        let rotation = fields.word("rotation", "never, sometimes or always", |word| match word {
            "never" => Some(Rotation::Never),
            "sometimes" => Some(Rotation::Sometimes),
            "always" => Some(Rotation::Always),
            _ => None,
        })?;
        Ok(Self {
            profile,
            issuer: fields.issuer()?,
            authorization_endpoint: authorization
                .map(|template| endpoint("authorization_endpoint", template))
                .transpose()?,
            token_endpoint: endpoint("token_endpoint", profile.token_endpoint)?,
            revocation_endpoint: match fields.endpoint("revocation_endpoint")? {
                Some(endpoint) => Some(endpoint),
                None => profile.revocation_endpoint.map(expand).transpose()?,
            },
            client_authentication: fields
                .word("client_authentication", "basic or form", |word| match word {
                    "basic" => Some(ClientAuthentication::Basic),
                    "form" => Some(ClientAuthentication::Form),
                    _ => None,
                })?
                .unwrap_or(profile.client_authentication),
            pkce: fields
                .word("pkce", "required, allowed or off", |word| match word {
                    "required" => Some(Pkce::Required),
                    "allowed" => Some(Pkce::Allowed),
                    "off" => Some(Pkce::Off),
                    _ => None,
                })?
                .unwrap_or(profile.pkce),
            scope_separator: fields
                .word("scope_separator", "one character", |word| {
                    let one = word.len() == 1 && word.bytes().all(|byte| byte == b' ' || byte.is_ascii_punctuation());
                    one.then(|| word.to_owned())
                })?
                .unwrap_or_else(|| profile.scope_separator.to_owned()),
            authorization_parameters: fields.parameters(profile)?,
            rotation: rotation.unwrap_or(profile.rotation),
            reuse: match (fields.reuse()?, rotation) {
                (Some(reuse), _) => reuse,
                (None, Some(Rotation::Never)) => Reuse::Tolerated,
                (None, _) => profile.reuse,
            },
        })
    }

    /// Whether the client's secret describes it alone.
    pub fn is_custom(&self) -> bool {
        is_custom(self.profile)
    }

    /// The base URL of the provider's API, as far as the row and the kept values tell.
    pub fn api_domain(&self, kept: &BTreeMap<String, String>) -> Option<String> {
        match self.profile.api_domain {
            // With endpoints of its own it may be a sandbox, which has another base URL.
            ApiDomain::Fixed(url) if self.token_endpoint == self.profile.token_endpoint => Some(url.to_owned()),
            ApiDomain::Fixed(_) | ApiDomain::Unknown => None,
            ApiDomain::Kept(name) => kept.get(name).cloned(),
        }
    }

    /// Whether a refresh may give a new refresh token.
    pub fn rotates(&self) -> bool {
        self.rotation != Rotation::Never
    }
}

fn is_custom(profile: &Profile) -> bool {
    profile.name == CUSTOM.name
}

/// Whether this field of a client's secret means something for the provider. An endpoint wins over
/// one of the row. It cannot add one: the row leaves out what would do harm, or needs code of its
/// own.
pub fn takes(profile: &Profile, field: &str) -> bool {
    match field {
        "tenant" => profile.tenant.is_some(),
        "token_endpoint" => true,
        "authorization_endpoint" => is_custom(profile) || profile.authorization_endpoint.is_some(),
        "revocation_endpoint" => is_custom(profile) || profile.revocation_endpoint.is_some(),
        _ => is_custom(profile),
    }
}

/// The fields of a client's secret.
struct Fields<F>(F);

impl<'v, F: Fn(&str) -> Option<&'v Value>> Fields<F> {
    /// A text that `read` understands. `wanted` says which texts these are.
    fn word<T>(&self, field: &str, wanted: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Flaw> {
        let Some(value) = (self.0)(field) else { return Ok(None) };
        let read = value.as_str().and_then(read);
        read.map(Some).ok_or_else(|| Flaw::WrongType { field: field.to_owned(), wanted })
    }

    fn endpoint(&self, field: &str) -> Result<Option<String>, Flaw> {
        self.word(field, "an https URL without user info and fragment (http only for a loopback address)", endpoint)
    }

    /// The issuer as it is spelled: it is compared letter by letter (RFC 9207 §2.4).
    fn issuer(&self) -> Result<Option<String>, Flaw> {
        self.word("issuer", "an https URL", |text| endpoint(text).map(|_| text.to_owned()))
    }

    fn tenant(&self, profile: &Profile) -> Result<Option<String>, Flaw> {
        let Some(tenant) = profile.tenant else { return Ok(None) };
        let given = self.word("tenant", tenant.what, |text| tenant.pattern.matches(text).then(|| text.to_owned()))?;
        Ok(given.or_else(|| tenant.default.map(str::to_owned)))
    }

    fn parameters(&self, profile: &Profile) -> Result<Vec<(String, String)>, Flaw> {
        let field = "authorization_parameters";
        let wrong = || Flaw::WrongType { field: field.to_owned(), wanted: "a JSON object of strings" };
        let own = |parameters: &[(&str, &str)]| {
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let Some(value) = (self.0)(field) else { return Ok(own(profile.authorization_parameters)) };
        let parameters = value.as_object().ok_or_else(wrong)?;
        if let Some(reserved) = RESERVED.into_iter().find(|reserved| parameters.contains_key(*reserved)) {
            return Err(Flaw::Reserved(reserved));
        }
        let text = |(name, value): (&String, &Value)| Ok((name.clone(), value.as_str().ok_or_else(wrong)?.to_owned()));
        parameters.iter().map(text).collect()
    }

    /// A number of seconds may be a text, as a shell writes it.
    fn reuse(&self) -> Result<Option<Reuse>, Flaw> {
        let Some(value) = (self.0)("reuse") else { return Ok(None) };
        let reuse = match value.as_str() {
            Some("tolerated") => Some(Reuse::Tolerated),
            Some("until_used") => Some(Reuse::UntilUsed),
            Some("kills") => Some(Reuse::Kills),
            text => {
                let seconds = text.map_or_else(|| value.as_i64(), |text| text.parse().ok());
                seconds.filter(|seconds| (1..=MAX_REUSE_S).contains(seconds)).map(Reuse::For)
            }
        };
        let wanted = "tolerated, until_used, kills or a number of seconds";
        reuse.map(Some).ok_or_else(|| Flaw::WrongType { field: "reuse".to_owned(), wanted })
    }
}

/// The longest time in which a refresh token may be sent again, in seconds: 90 days.
pub const MAX_REUSE_S: i64 = 90 * 86_400;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::table::find;

    fn read(provider: &str, secret: &Value) -> Result<Server, Flaw> {
        let profile = find(provider).unwrap_or_else(|| panic!("no row {provider}"));
        Server::of(profile, |field| secret.get(field))
    }

    fn server(provider: &str, secret: &Value) -> Server {
        read(provider, secret).unwrap_or_else(|flaw| panic!("{provider} {secret}: {flaw}"))
    }

    const CUSTOM_ENDPOINTS: [(&str, &str); 2] = [
        ("authorization_endpoint", "https://login.example.com/authorize"),
        ("token_endpoint", "https://login.example.com/token"),
    ];

    fn custom(more: &Value) -> Value {
        let mut secret = json!({"client_id": "c", "client_secret": "s", "team": "the operator's own"});
        for (field, endpoint) in CUSTOM_ENDPOINTS {
            secret[field] = json!(endpoint);
        }
        for (field, value) in more.as_object().expect("fields") {
            secret[field] = value.clone();
        }
        secret
    }

    #[test]
    fn a_row_needs_nothing_in_the_secret_and_an_endpoint_there_wins() {
        let xero = server("xero", &json!({"client_id": "c", "team": "the operator's own"}));
        assert_eq!(xero.token_endpoint, "https://identity.xero.com/connect/token");
        assert!(!xero.is_custom() && xero.rotates());
        let sandbox = json!({"token_endpoint": "https://Sandbox.example.com/token"});
        let replaced = server("xero", &sandbox);
        assert_eq!(replaced.token_endpoint, "https://sandbox.example.com/token");
        assert_eq!(replaced.authorization_endpoint, xero.authorization_endpoint);
        assert_ne!(replaced, xero);
    }

    #[test]
    fn a_tenant_takes_its_place_in_each_endpoint_and_has_a_default_where_one_makes_sense() {
        let check = |provider: &str, tenant: Option<&str>, authorization: &str, token: &str| {
            let server = server(provider, &tenant.map_or(json!({}), |tenant| json!({"tenant": tenant})));
            let endpoints = (server.authorization_endpoint.as_deref().unwrap_or_default(), &*server.token_endpoint);
            assert_eq!(endpoints, (authorization, token));
        };
        let entra = "https://login.microsoftonline.com";
        for (tenant, part) in [(None, "organizations"), (Some("contoso.example"), "contoso.example")] {
            let under = format!("{entra}/{part}/oauth2/v2.0");
            check("entra", tenant, &format!("{under}/authorize"), &format!("{under}/token"));
        }
        for (tenant, host) in
            [(None, "login.salesforce.com"), (Some("acme.my.salesforce.com"), "acme.my.salesforce.com")]
        {
            let under = format!("https://{host}/services/oauth2");
            check("salesforce", tenant, &format!("{under}/authorize"), &format!("{under}/token"));
        }
        for (tenant, part) in [(None, "account"), (Some("account-d"), "account-d")] {
            let under = format!("https://{part}.docusign.com/oauth");
            check("docusign", tenant, &format!("{under}/auth"), &format!("{under}/token"));
        }
        let token = "https://api.hubapi.com/oauth/2026-03/token";
        check("hubspot", None, "https://app.hubspot.com/oauth/authorize", token);
        check("hubspot", Some("app-eu1"), "https://app-eu1.hubspot.com/oauth/authorize", token);
        check("shopify", Some("acme.myshopify.com"), "", "https://acme.myshopify.com/admin/oauth/access_token");
        let revocation = server("salesforce", &json!({"tenant": "test.salesforce.com"})).revocation_endpoint;
        assert_eq!(revocation.as_deref(), Some("https://test.salesforce.com/services/oauth2/revoke"));
    }

    #[test]
    fn a_custom_server_says_everything_and_what_it_leaves_out_is_read_cautiously() {
        let plain = server("custom", &custom(&json!({})));
        assert!(plain.is_custom() && plain.rotates());
        assert_eq!((plain.reuse, plain.revocation_endpoint, plain.issuer), (Reuse::Kills, None, None));
        assert_eq!((plain.client_authentication, plain.pkce), (ClientAuthentication::Basic, Pkce::Allowed));
        let whole = server(
            "custom",
            &custom(&json!({
                "issuer": "https://login.example.com/", "revocation_endpoint": "https://login.example.com/revoke",
                "client_authentication": "form", "pkce": "off", "scope_separator": ",",
                "authorization_parameters": {"audience": "https://api.example.com"},
                "rotation": "sometimes", "reuse": "600",
            })),
        );
        assert_eq!(whole.issuer.as_deref(), Some("https://login.example.com/"), "as it is spelled");
        assert_eq!(whole.revocation_endpoint.as_deref(), Some("https://login.example.com/revoke"));
        assert_eq!((whole.client_authentication, whole.pkce), (ClientAuthentication::Form, Pkce::Off));
        assert_eq!((&*whole.scope_separator, whole.rotation, whole.reuse), (",", Rotation::Sometimes, Reuse::For(600)));
        let audience = ("audience".to_owned(), "https://api.example.com".to_owned());
        assert_eq!(whole.authorization_parameters, [audience]);
        for (text, reuse) in [
            (json!("tolerated"), Reuse::Tolerated),
            (json!("until_used"), Reuse::UntilUsed),
            (json!("kills"), Reuse::Kills),
            (json!(30), Reuse::For(30)),
        ] {
            assert_eq!(server("custom", &custom(&json!({"reuse": text}))).reuse, reuse);
        }
        let never = server("custom", &custom(&json!({"rotation": "never"})));
        assert_eq!((never.rotates(), never.reuse), (false, Reuse::Tolerated));
    }

    #[test]
    fn each_flaw_names_its_field_and_no_value() {
        let check = |provider: &str, secret: &Value, expected: &str| {
            let flaw = read(provider, secret).expect_err(expected);
            assert_eq!(flaw.to_string(), expected);
            assert!(!format!("{flaw} {}", flaw.remedy()).contains("hush"), "{flaw}");
        };
        check("custom", &json!({}), "the field `authorization_endpoint` is missing");
        let half = json!({"authorization_endpoint": "https://login.example.com/authorize"});
        check("custom", &half, "the field `token_endpoint` is missing");
        check("shopify", &json!({}), "the field `tenant` is missing");
        let https = "an https URL without user info and fragment (http only for a loopback address)";
        for endpoint in [json!("http://hush.example.com/token"), json!("https://a:hush@b/"), json!("hush"), json!(7)] {
            let secret = json!({"token_endpoint": endpoint});
            check("xero", &secret, &format!("the field `token_endpoint` is not {https}"));
        }
        for (field, value, wanted) in [
            ("issuer", json!("hush"), "an https URL"),
            ("client_authentication", json!("hush"), "basic or form"),
            ("pkce", json!(true), "required, allowed or off"),
            ("scope_separator", json!("hush"), "one character"),
            ("scope_separator", json!("\n"), "one character"),
            ("authorization_parameters", json!(["hush"]), "a JSON object of strings"),
            ("authorization_parameters", json!({"max_age": 7}), "a JSON object of strings"),
            ("rotation", json!("Always"), "never, sometimes or always"),
            ("reuse", json!("hush"), "tolerated, until_used, kills or a number of seconds"),
            ("reuse", json!(0), "tolerated, until_used, kills or a number of seconds"),
        ] {
            check("custom", &custom(&json!({field: value})), &format!("the field `{field}` is not {wanted}"));
        }
        for parameter in RESERVED {
            let secret = custom(&json!({"authorization_parameters": {parameter: "hush"}}));
            let expected = "the field `authorization_parameters` has";
            check("custom", &secret, &format!("{expected} `{parameter}`, which this program sets itself"));
        }
        for tenant in
            ["evil.example", "salesforce.com.evil.example", "a/../b.salesforce.com", "HUSH.salesforce.com", ""]
        {
            let expected = "the field `tenant` is not login.salesforce.com, test.salesforce.com or the My Domain host";
            check("salesforce", &json!({"tenant": tenant}), expected);
        }
        for tenant in ["a/b", "..", "a b", "hush?x"] {
            check("entra", &json!({"tenant": tenant}), "the field `tenant` is not the directory's id or domain");
        }
    }

    #[test]
    fn a_field_that_the_provider_does_not_take_is_a_flaw() {
        let check = |provider: &str, secret: &Value, field: &str| {
            let flaw = read(provider, secret).expect_err(field);
            assert_eq!(flaw.to_string(), format!("the field `{field}` is not for the provider {provider}"));
        };
        for field in ["issuer", "client_authentication", "pkce", "rotation", "reuse", "tenant", "scope_separator"] {
            check("xero", &json!({field: "hush"}), field);
        }
        check("custom", &custom(&json!({"tenant": "hush"})), "tenant");
        // There a revocation would end more than that token.
        check("google", &json!({"revocation_endpoint": "https://oauth2.googleapis.com/revoke"}), "revocation_endpoint");
        check("amazon", &json!({"authorization_endpoint": "https://a.example/"}), "authorization_endpoint");
    }
}
