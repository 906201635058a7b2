//! A request as a strict server reads it: no parameter twice, and the client says once who it is.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use url::form_urlencoded;

use super::settings::Authentication;

/// A request that came, with its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `authorize`, `decide`, `refresh_token`, `authorization_code`, `revoke`, …
    pub operation: String,
    /// How the client said who it is, if at all.
    pub authentication: Option<Authentication>,
    /// The parameters of the query or the form.
    pub parameters: BTreeMap<String, String>,
    /// The header `Accept`.
    pub accept: Option<String>,
}

/// Form fields or query parameters. An absent one reads as an empty text; no valid value is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    values: BTreeMap<String, String>,
    repeated: bool,
}

impl Parameters {
    pub(super) fn parse(encoded: &[u8]) -> Self {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(encoded).into_owned() {
            parameters.repeated |= parameters.values.insert(name, value).is_some();
        }
        parameters
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// A parameter without a value counts as left out (RFC 6749 §3.1).
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a parameter comes more than once, which no request may have (RFC 6749 §3.1, §3.2).
    pub(super) fn repeated(&self) -> bool {
        self.repeated
    }

    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }
}

/// Whom a request says it is from.
pub(super) struct Claimed {
    pub(super) client_id: String,
    pub(super) secret: String,
    pub(super) way: Authentication,
}

/// The client of a request to the token or revocation endpoint. `None` if it says nothing, or says
/// it twice (RFC 6749 §2.3).
pub(super) fn client(request: &Request<Bytes>, form: &Parameters) -> Option<Claimed> {
    let header = request.headers().get(AUTHORIZATION);
    let Some(header) = header else {
        let (client_id, secret) = (form.find("client_id")?.to_owned(), form.find("client_secret")?.to_owned());
        return Some(Claimed { client_id, secret, way: Authentication::Form });
    };
    let credentials = BASE64_STANDARD.decode(header.to_str().ok()?.strip_prefix("Basic ")?).ok()?;
    let credentials = String::from_utf8(credentials).ok()?;
    let (client_id, secret) = credentials.split_once(':')?;
    let (client_id, secret) = (decoded(client_id), decoded(secret));
    let twice = form.find("client_secret").is_some() || form.find("client_id").is_some_and(|also| also != client_id);
    (!twice).then_some(Claimed { client_id, secret, way: Authentication::Basic })
}

/// Whether the request carries a form in its body and nothing in its address.
pub(super) fn is_form(request: &Request<Bytes>) -> bool {
    let content_type = header(request, CONTENT_TYPE.as_str()).unwrap_or_default();
    request.uri().query().is_none() && content_type.split(';').next() == Some("application/x-www-form-urlencoded")
}

pub(super) fn seen(request: &Request<Bytes>, operation: &str) -> Seen {
    let form = Parameters::parse(request.body());
    let authentication = client(request, &form).map(|client| client.way);
    let parameters = if request.body().is_empty() { Parameters::parse(query(request).as_bytes()) } else { form };
    Seen {
        operation: operation.to_owned(),
        authentication,
        parameters: parameters.into_values(),
        accept: header(request, ACCEPT.as_str()).map(str::to_owned),
    }
}

pub(super) fn query(request: &Request<Bytes>) -> &str {
    request.uri().query().unwrap_or_default()
}

fn header<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

/// The half of a `Basic` pair, which is form-encoded (RFC 6749 §2.3.1).
fn decoded(half: &str) -> String {
    let mut pairs = form_urlencoded::parse(half.as_bytes());
    pairs.next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}
