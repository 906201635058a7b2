//! The callback function: three routes, and pages for people.
//!
//! It is public, so anybody may send anything. Payloads of format 2.0 (function URL, HTTP API) are
//! read here and not with `lambda_http`, which panics on a query with a character that a URI may
//! not have.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::pages::{self, Page};
use crate::address::BaseUrl;
use crate::consent::link::STATE_LIFE;
use crate::consent::{Begun, Callback, Consent, Cookie, Stop, Stopped};
use crate::name::ConnectionName;
use crate::ports::{Authorizer, Grants, Leases, SecretWriter};
use crate::provider::From as Place;
use crate::provider::table::TABLE;
use crate::secret::AuthorizationCode;

/// The longest query that is looked at, in bytes.
const MAX_QUERY: usize = 8 * 1024;
/// The longest authorization code, in bytes. Zoho's have some 70, Microsoft's more than a thousand.
const MAX_CODE: usize = 4096;
/// Ties a cookie to the host that set it, and to HTTPS (RFC 6265bis §4.1.3.2). Browsers refuse it
/// without HTTPS.
const HOST_PREFIX: &str = "__Host-";

/// A request as far as this function looks at it.
#[derive(Debug)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// The path, not decoded: `/callback`.
    pub path: String,
    /// What comes after the question mark, not decoded.
    pub query: String,
    /// Each as `name=value`.
    pub cookies: Vec<String>,
    /// The host that AWS received it for.
    pub domain: Option<String>,
}

/// An answer, always complete and never cached.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// Values of `set-cookie`.
    pub cookies: Vec<String>,
    /// HTML, or nothing.
    pub body: String,
}

/// An event that is no HTTP request.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP event of payload format 2.0: put this function behind a function URL or an HTTP API")]
pub struct NotHttp;

/// The runtime logs an error in this form.
impl fmt::Debug for NotHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<NotHttp> for lambda_runtime::Diagnostic {
    fn from(error: NotHttp) -> Self {
        Self { error_type: "InvalidEvent".to_owned(), error_message: error.to_string() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: String,
    /// Null in cargo-lambda's events.
    raw_query_string: Option<String>,
    cookies: Option<Vec<String>>,
    headers: Option<Headers>,
    request_context: Context,
}

/// Where emulators leave the cookies that AWS puts into a list of their own.
#[derive(Deserialize)]
struct Headers {
    cookie: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    domain_name: Option<String>,
    http: Http,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

impl Request {
    /// Reads an event.
    ///
    /// # Errors
    /// If it is no HTTP request of payload format 2.0.
    pub fn of_event(event: &Value) -> Result<Self, NotHttp> {
        let event = Event::deserialize(event).map_err(|_| NotHttp)?;
        let Context { domain_name: domain, http } = event.request_context;
        let query = event.raw_query_string.unwrap_or_default();
        let header = event.headers.and_then(|headers| headers.cookie);
        let cookies = event.cookies.unwrap_or_else(|| header.into_iter().collect());
        Ok(Self { method: http.method, path: event.raw_path, query, cookies, domain })
    }

    fn cookies(&self, prefix: &str) -> Vec<Cookie> {
        let pairs = self.cookies.iter().flat_map(|cookies| cookies.split(';'));
        pairs
            .filter_map(|pair| {
                let (name, value) = pair.trim().strip_prefix(prefix)?.split_once('=')?;
                Some(Cookie { name: name.to_owned(), value: value.to_owned() })
            })
            .collect()
    }

    /// The parameters of these names; each may be there once.
    fn parameters<const N: usize>(&self, names: [&str; N]) -> Result<[Option<String>; N], Stop> {
        let mut found = BTreeMap::new();
        if self.query.len() > MAX_QUERY {
            return Err(Stop::NotOurs);
        }
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            // What was not UTF-8 has become U+FFFD.
            let sound = !value.contains(char::REPLACEMENT_CHARACTER);
            if names.contains(&name.as_ref()) && (!sound || found.insert(name, value.into_owned()).is_some()) {
                return Err(Stop::NotOurs);
            }
        }
        Ok(names.map(|name| found.remove(name)))
    }

    fn ticket(&self) -> Result<String, Stop> {
        let [ticket] = self.parameters(["ticket"])?;
        ticket.ok_or(Stop::NotOurs)
    }

    fn callback(&self) -> Result<Callback, Stop> {
        let names = ["state", "code", "error", "accounts-server", "iss"];
        let [state, code, error, accounts_server, issuer] = self.parameters(names)?;
        let rows = TABLE.iter().flat_map(|profile| profile.kept).filter(|kept| kept.from == Place::Callback);
        let mut kept = BTreeMap::new();
        for name in rows.map(|kept| kept.name) {
            let [value] = self.parameters([name])?;
            kept.extend(value.map(|value| (name.to_owned(), value)));
        }
        let is_code =
            |code: &str| (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic());
        let answer = match (code, error) {
            (_, Some(error)) => Err(error),
            (Some(code), None) if is_code(&code) => Ok(AuthorizationCode::new(code)),
            _ => return Err(Stop::NotOurs),
        };
        Ok(Callback { state: state.ok_or(Stop::NotOurs)?, answer, accounts_server, issuer, kept })
    }
}

impl Response {
    /// The answer that a Lambda gives.
    pub fn into_event(self) -> Value {
        let headers: BTreeMap<_, _> = self.headers.into_iter().collect();
        json!({"statusCode": self.status, "headers": headers, "cookies": self.cookies, "body": self.body,
            "isBase64Encoded": false})
    }

    fn empty(status: u16) -> Self {
        Self { status, headers: pages::headers(), cookies: Vec::new(), body: String::new() }
    }

    fn page(page: Page) -> Self {
        let mut response = Self { body: page.html.into_string(), ..Self::empty(page.status) };
        response.headers.push(("content-type", "text/html; charset=utf-8".to_owned()));
        response
    }
}

/// What the callback function answers.
#[derive(Clone, Copy)]
enum Route {
    Health,
    Connect,
    Callback,
}

impl Route {
    /// The base URL may have a path of its own: an API's stage, for example.
    fn of(path: &str, base: &BaseUrl) -> Option<Self> {
        match path.strip_prefix(base.path()).unwrap_or(path) {
            "/healthz" => Some(Self::Health),
            "/connect" => Some(Self::Connect),
            "/callback" => Some(Self::Callback),
            _ => None,
        }
    }
}

/// Answers a request. `callback_url` is the function's public base URL; without it, the request's
/// own host is taken.
pub async fn respond<S: Grants + SecretWriter, Z: Authorizer, L: Leases>(
    request: &Request,
    consent: &Consent<S, Z, L>,
    callback_url: Option<&BaseUrl>,
) -> Response {
    let own = request.domain.as_ref().and_then(|domain| format!("https://{domain}").parse().ok());
    let Some(base) = callback_url.cloned().or(own) else {
        tracing::error!("the request does not say for which host it came: set TOKEN_KEEPER_CALLBACK_URL");
        return Response::page(pages::not_found());
    };
    let Some(route) = Route::of(&request.path, &base) else {
        return Response::page(pages::not_found());
    };
    if request.method != "GET" {
        let mut response = Response::page(pages::wrong_method());
        response.headers.push(("allow", "GET".to_owned()));
        return response;
    }
    let answer = match route {
        Route::Health => Ok(Response::empty(204)),
        Route::Connect => connect(request, consent, &base).await,
        Route::Callback => callback(request, consent, &base).await,
    };
    answer.unwrap_or_else(|stopped| {
        let (reason, connection) = (stopped.why.reason(), stopped.why.connection().map(ConnectionName::as_str));
        tracing::info!(reason, connection, "consent stopped");
        Response::page(pages::stopped(&stopped))
    })
}

async fn connect<S: Grants + SecretWriter, Z: Authorizer, L: Leases>(
    request: &Request,
    consent: &Consent<S, Z, L>,
    base: &BaseUrl,
) -> Result<Response, Stopped> {
    let Begun { location, cookie } = consent.begin(&request.ticket()?, &base.redirect_uri()).await?;
    let (Cookie { name, value }, seconds) = (cookie, STATE_LIFE.as_secs());
    let secure = if base.is_secure() { "; Secure" } else { "" };
    let prefix = cookie_prefix(base);
    let mut response = Response::empty(303);
    response.headers.push(("location", location));
    response.cookies.push(format!("{prefix}{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"));
    Ok(response)
}

async fn callback<S: Grants + SecretWriter, Z: Authorizer, L: Leases>(
    request: &Request,
    consent: &Consent<S, Z, L>,
    base: &BaseUrl,
) -> Result<Response, Stopped> {
    let cookies = request.cookies(cookie_prefix(base));
    let connected = consent.complete(request.callback()?, &cookies, &base.redirect_uri()).await?;
    Ok(Response::page(pages::connected(&connected)))
}

fn cookie_prefix(base: &BaseUrl) -> &'static str {
    if base.is_secure() { HOST_PREFIX } else { "" }
}
