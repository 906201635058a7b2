//! What an authorization server says of itself (RFC 8414, `OpenID` Connect Discovery). Pure: an
//! issuer and a document in, a description or why it is refused out.

use serde_json::Value;
use url::Url;

use crate::address::{endpoint, is_page};
use crate::failure::Silence;
use crate::provider::{ClientAuthentication, Pkce};

/// An authorization server, as its own document describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it calls itself.
    pub issuer: String,
    /// Where a browser is sent.
    pub authorization_endpoint: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where a token is revoked. The document does not say what else that ends.
    pub revocation_endpoint: Option<String>,
    /// How a client shows who it is.
    pub client_authentication: ClientAuthentication,
    /// Whether it takes a challenge by method S256.
    pub pkce: Pkce,
}

/// Why a server is not known after all. Nothing of its answer is quoted, but an issuer that can be
/// shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undiscovered {
    /// What was asked for is no issuer.
    #[error("an issuer is an https URL without query and fragment (http only for a loopback address)")]
    NotAnIssuer,
    /// No answer.
    #[error("{0}")]
    Silent(Silence),
    /// Neither address has a document.
    #[error("it has no document at {}", .0.join(" or "))]
    NoDocument([String; 2]),
    /// The document is another issuer's.
    #[error("its document says that it is another issuer{}", .0.as_ref().map(|issuer| format!(", {issuer}")).unwrap_or_default())]
    OtherIssuer(Option<String>),
    /// An endpoint is missing, or nobody may be sent there.
    #[error("its document has no usable `{0}`: an https URL (http only for a loopback address)")]
    Endpoint(&'static str),
    /// It wants proof of a kind that is not made here.
    #[error("it takes the client's secret neither by client_secret_basic nor by client_secret_post")]
    Authentication,
}

/// Where the document of an issuer can be: RFC 8414 §3.1 puts its place between host and path,
/// `OpenID` behind the path.
pub(super) fn places(issuer: &str) -> Option<[String; 2]> {
    let url = Url::parse(issuer).ok().filter(|url| endpoint(issuer).is_some() && url.query().is_none())?;
    let path = url.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url.to_string()
    };
    Some([
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ])
}

/// Reads the document of `issuer`, which has to be its own, letter by letter (RFC 8414 §3.3).
pub(super) fn read(issuer: &str, document: &Value) -> Result<Metadata, Undiscovered> {
    if document["issuer"] != issuer {
        let other = document["issuer"].as_str().filter(|other| is_page(other)).map(str::to_owned);
        return Err(Undiscovered::OtherIssuer(other));
    }
    // A server on the net has no endpoint on the reader's machine.
    let own = |url: &String| !issuer.starts_with("https:") || url.starts_with("https:");
    let at = |field: &'static str| match &document[field] {
        Value::Null => Ok(None),
        value => {
            let found = value.as_str().and_then(endpoint).filter(own);
            found.map(Some).ok_or(Undiscovered::Endpoint(field))
        }
    };
    let needed = |field| at(field)?.ok_or(Undiscovered::Endpoint(field));
    let offers = |field: &str, value: &str| match &document[field] {
        Value::Array(values) => values.iter().any(|offered| offered == value),
        _ => false,
    };
    let ways = "token_endpoint_auth_methods_supported";
    Ok(Metadata {
        issuer: issuer.to_owned(),
        authorization_endpoint: needed("authorization_endpoint")?,
        token_endpoint: needed("token_endpoint")?,
        revocation_endpoint: at("revocation_endpoint")?,
        client_authentication: match &document[ways] {
            Value::Array(_) if offers(ways, "client_secret_basic") => ClientAuthentication::Basic,
            Value::Array(_) if offers(ways, "client_secret_post") => ClientAuthentication::Form,
            Value::Array(_) => return Err(Undiscovered::Authentication),
            // The default of RFC 8414 §2.
            _ => ClientAuthentication::Basic,
        },
        pkce: if offers("code_challenge_methods_supported", "S256") { Pkce::Allowed } else { Pkce::Off },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.example.com";

    fn document(more: &Value) -> Value {
        let mut document = json!({"issuer": ISSUER, "authorization_endpoint": "https://login.example.com/authorize",
            "token_endpoint": "https://login.example.com/token"});
        for (field, value) in more.as_object().expect("fields") {
            document[field] = value.clone();
        }
        document
    }

    #[test]
    fn the_place_of_the_document_follows_from_the_issuer() {
        for (issuer, oauth, openid) in [
            ("https://a.example", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            ("https://a.example/", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            (
                "https://a.example/realms/x",
                "/.well-known/oauth-authorization-server/realms/x",
                "/realms/x/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/x/",
                "/.well-known/oauth-authorization-server/realms/x",
                "/realms/x/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(
                places(issuer),
                Some([oauth, openid].map(|path| format!("https://a.example{path}"))),
                "{issuer}"
            );
        }
        assert!(places("http://127.0.0.1:8000").is_some());
        for issuer in [
            "http://a.example",
            "https://a.example?x=y",
            "https://a.example#x",
            "https://u:p@a.example",
            "a.example",
            "",
        ] {
            assert_eq!(places(issuer), None, "{issuer}");
        }
    }

    #[test]
    fn a_document_says_what_is_stored_and_what_it_leaves_out_is_read_as_the_standards_do() {
        let plain = read(ISSUER, &document(&json!({}))).expect("a description");
        assert_eq!(plain.token_endpoint, "https://login.example.com/token");
        assert_eq!((plain.client_authentication, plain.pkce), (ClientAuthentication::Basic, Pkce::Off));
        assert_eq!(plain.revocation_endpoint, None);
        let check = |ways: &[&str], expected: Result<ClientAuthentication, Undiscovered>| {
            let read = read(ISSUER, &document(&json!({"token_endpoint_auth_methods_supported": ways})));
            assert_eq!(read.map(|read| read.client_authentication), expected, "{ways:?}");
        };
        check(&["client_secret_post", "client_secret_basic"], Ok(ClientAuthentication::Basic));
        check(&["private_key_jwt", "client_secret_post"], Ok(ClientAuthentication::Form));
        check(&["private_key_jwt"], Err(Undiscovered::Authentication));
        check(&[], Err(Undiscovered::Authentication));
        for (methods, pkce) in
            [(json!(["plain"]), Pkce::Off), (json!(["plain", "S256"]), Pkce::Allowed), (json!("S256"), Pkce::Off)]
        {
            let read = read(ISSUER, &document(&json!({"code_challenge_methods_supported": methods})));
            assert_eq!(read.expect("a description").pkce, pkce);
        }
        let revocation = json!({"revocation_endpoint": "https://login.example.com/revoke"});
        assert!(read(ISSUER, &document(&revocation)).expect("a description").revocation_endpoint.is_some());
    }

    #[test]
    fn another_issuers_document_is_refused_and_so_is_an_endpoint_that_others_could_read() {
        for (issuer, shown) in [
            (json!("https://login.example.com/"), Some("https://login.example.com/")),
            (json!("https://evil.example"), Some("https://evil.example")),
            (json!("evil\u{1b}[2J"), None),
            (json!(7), None),
            (Value::Null, None),
        ] {
            let refused = read(ISSUER, &document(&json!({"issuer": issuer})));
            assert_eq!(refused, Err(Undiscovered::OtherIssuer(shown.map(str::to_owned))), "{issuer}");
        }
        for field in ["authorization_endpoint", "token_endpoint", "revocation_endpoint"] {
            for value in [
                json!("http://login.example.com/x"),
                json!("http://127.0.0.1:8000/x"),
                json!("https://u:p@login.example.com/x"),
                json!("/x"),
                json!(["https://login.example.com/x"]),
                json!(""),
            ] {
                let refused = read(ISSUER, &document(&json!({field: value})));
                assert_eq!(refused, Err(Undiscovered::Endpoint(field)), "{field} {value}");
            }
        }
        for field in ["authorization_endpoint", "token_endpoint"] {
            assert_eq!(read(ISSUER, &document(&json!({field: null}))), Err(Undiscovered::Endpoint(field)));
        }
        assert_eq!(read(ISSUER, &json!([])), Err(Undiscovered::OtherIssuer(None)));
    }
}
