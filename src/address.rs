//! Addresses on the web, each in one spelling: lower case, without a trailing slash.
//!
//! `http` is taken for loopback addresses only. User info is refused, and in a base URL a query or
//! a fragment as well.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use url::{Host, Url};

/// The base URL of a function or a server: `https://host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// What comes after the host: empty, or `/` and more.
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The addresses of this machine that browsers may find behind it, if it is `http`, a loopback
    /// host and a port.
    pub fn loopback(&self) -> Option<Vec<SocketAddr>> {
        let port = self.0.port().filter(|port| *port != 0 && !self.is_secure() && self.path().is_empty())?;
        let addresses = match self.0.host()? {
            Host::Domain(_) => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
        };
        Some(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// The redirect URI that Zoho sends browsers back to (RFC 6749 §3.1.2).
    pub fn redirect_uri(&self) -> String {
        format!("{self}/callback")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// It is not a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an https URL (http only for a loopback address)")]
pub struct NotBaseUrl;

impl FromStr for BaseUrl {
    type Err = NotBaseUrl;

    fn from_str(text: &str) -> Result<Self, NotBaseUrl> {
        let url = Url::parse(text).map_err(|_| NotBaseUrl)?;
        // The parser also accepts `https:host` and `https:\\host`, and strips white space. So the
        // text is checked as well.
        let plain = text.trim_end_matches('/').len() + 1 >= text.len()
            && text
                .get(..url.scheme().len() + 3)
                .is_some_and(|start| start.eq_ignore_ascii_case(&format!("{}://", url.scheme())))
            && text.chars().all(|c| c.is_ascii_graphic() && !"\\@?#".contains(c));
        if is_private(&url) && plain { Ok(Self(url)) } else { Err(NotBaseUrl) }
    }
}

/// Whether nobody on the way can read what is sent there: `https`, or `http` on loopback.
fn is_private(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// The longest address of a page, in bytes: more than a person would copy.
const MAX_PAGE: usize = 500;

/// Whether a person can be sent to this page: a terminal shows the text as it is, and a browser
/// goes where it seems to lead. It may have a query.
pub fn is_page(text: &str) -> bool {
    let printable = text.len() <= MAX_PAGE && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let url = Url::parse(text).ok().filter(|_| printable && text.contains("://"));
    url.is_some_and(|url| is_private(&url) && url.username().is_empty() && url.password().is_none())
}

/// The endpoint of a server, in its one spelling: `https`, or `http` on loopback, without user info
/// or fragment (RFC 6749 §3.1). It may have a query.
pub fn endpoint(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| is_page(text) && url.fragment().is_none())?;
    Some(url.to_string())
}

/// A server's base URL without a path, in its one spelling; `None` for anything else.
pub fn origin(text: &str) -> Option<String> {
    text.parse::<BaseUrl>().ok().filter(|url| url.path().is_empty()).map(|url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sent_only_to_a_page_that_the_text_names() {
        for page in [
            "https://accounts.zoho.eu/oauth/v3/device",
            "https://accounts.zoho.eu/oauth/v3/device?user_code=AB-CD&x=y@z#f",
            "http://127.0.0.1:8000/device",
            "http://localhost/",
        ] {
            assert!(is_page(page), "{page}");
        }
        for text in [
            "http://accounts.zoho.eu/device",
            "javascript://accounts.zoho.eu/%0aalert(1)",
            "file:///etc/passwd",
            "https:accounts.zoho.eu",
            "https://accounts.zoho.eu@evil.example/",
            "https:\\\\evil.example",
            "https://accounts.zoho.eu/\u{1b}[2J",
            "https://accounts.zoho.eu/a b",
            "https://аccounts.example/",
            "",
        ] {
            assert!(!is_page(text), "{text:?}");
        }
        assert!(!is_page(&format!("https://accounts.zoho.eu/{}", "a".repeat(MAX_PAGE))));
    }

    #[test]
    fn an_endpoint_is_private_and_has_one_spelling() {
        for (text, spelling) in [
            ("https://Login.Example.com/OAuth/Token", "https://login.example.com/OAuth/Token"),
            ("https://login.example.com:443/a/../token/", "https://login.example.com/token/"),
            ("https://login.example.com/token?policy=sign-in", "https://login.example.com/token?policy=sign-in"),
            ("https://login.example.com", "https://login.example.com/"),
            ("http://127.0.0.1:8000/token", "http://127.0.0.1:8000/token"),
        ] {
            assert_eq!(endpoint(text).as_deref(), Some(spelling));
        }
        for text in [
            "http://login.example.com/token",
            "https://u:p@login.example.com/token",
            "https://login.example.com/token#part",
            "https://login.example.com/to ken",
            "login.example.com/token",
            "",
        ] {
            assert_eq!(endpoint(text), None, "{text}");
        }
    }
}
