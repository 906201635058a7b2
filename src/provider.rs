//! OAuth providers other than Zoho, as data: a curated [table] with a row for each, and servers
//! that a client's secret describes.
//!
//! Pure. A row says what the provider documents, or, where that is unknown, the cautious reading. A
//! provider that would need code of its own has no row.

pub mod refusal;
pub mod server;
pub mod table;

use std::fmt;

use jiff::SignedDuration;

use crate::address::origin;
use crate::provider::refusal::Rule;

/// The name of Zoho in documents and in a client's `provider`. A client without that field is
/// Zoho's.
pub const ZOHO: &str = "zoho";

/// What is known of a provider. Every client of the provider has this in common.
#[derive(Debug)]
pub struct Profile {
    /// What a client's `provider` says: `xero`.
    pub name: &'static str,
    /// Its name for people: `Xero`. It fits in "{title} refuses the client".
    pub title: &'static str,
    /// Where a browser is sent (RFC 6749 §3.1). `None`: a consent is made at the provider, and its
    /// refresh token is imported. May contain `{tenant}`, as all endpoints may.
    pub authorization_endpoint: Option<&'static str>,
    /// Where tokens are asked for (RFC 6749 §3.2).
    pub token_endpoint: &'static str,
    /// Where a refresh token is revoked (RFC 7009), only if that ends this token alone. It gets a
    /// form with `token`, and the client as the token endpoint does. At other providers it would
    /// end or harm a newer grant, or nobody knows.
    pub revocation_endpoint: Option<&'static str>,
    /// What `{tenant}` in an endpoint stands for.
    pub tenant: Option<Tenant>,
    /// How the client shows who it is (RFC 6749 §2.3.1).
    pub client_authentication: ClientAuthentication,
    /// Whether the authorization request has a PKCE challenge (RFC 7636).
    pub pkce: Pkce,
    /// What is between two scopes in a request.
    pub scope_separator: &'static str,
    /// Scopes that a consent needs to get a refresh token. They are added to the operator's.
    pub scopes: &'static [&'static str],
    /// Parameters of every authorization request.
    pub authorization_parameters: &'static [(&'static str, &'static str)],
    /// Parameters of every token request.
    pub token_parameters: &'static [(&'static str, &'static str)],
    /// Values that callers of its API need, and where they come from.
    pub kept: &'static [Kept],
    /// Where the base URL of its API comes from.
    pub api_domain: ApiDomain,
    /// How an access token is sent to its API.
    pub header: Header,
    /// How long an access token lives at most, in seconds. If the answer does not say, it is taken
    /// to live as long, but for an hour at most.
    pub access_token_life_s: i64,
    /// Whether a refresh gives a new refresh token.
    pub rotation: Rotation,
    /// What becomes of a refresh token that is sent a second time.
    pub reuse: Reuse,
    /// Whether a refresh ends the access token before it.
    pub ends_access_token: EndsAccessToken,
    /// A refresh token that is not used for this long ends, in days.
    pub idle_days: Option<i64>,
    /// A refresh token ends this long after it was issued, in days, used or not. A new one of a
    /// rotation starts afresh.
    pub token_days: Option<i64>,
    /// The whole grant ends this long after the consent, in days.
    pub grant_days: Option<i64>,
    /// The field of an answer with the seconds until the refresh token ends.
    pub expiry_field: Option<&'static str>,
    /// What its refusals mean, first match first. What is not listed passes.
    pub refusals: &'static [Rule],
    /// What a reader of the table has to know: what is assumed, and what it was checked against.
    pub notes: &'static str,
}

/// The part of an endpoint that differs between organisations.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// What the operator gives as `tenant` in the client's secret: `the directory's id or domain`.
    pub what: &'static str,
    /// What is taken if the operator gives nothing; `None` if there is no sensible value.
    pub default: Option<&'static str>,
    /// The values that are taken.
    pub pattern: Pattern,
}

/// How a client shows who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In the `Authorization` header, form-encoded and then as for HTTP Basic.
    Basic,
    /// As `client_id` and `client_secret` in the form.
    Form,
}

/// Whether an authorization request has a PKCE challenge. The first two send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkce {
    /// The provider refuses requests without one.
    Required,
    /// The provider takes one.
    Allowed,
    /// It is left out: undocumented, or trouble was reported.
    Off,
}

/// A value that callers of a provider's API need. It is stored in the grant's `kept` and published
/// in the document's `account`.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its name in the grant, and the name of the parameter or field that it comes from. A dot
    /// leads into an object of the answer.
    pub name: &'static str,
    /// Where it comes from.
    pub from: KeptFrom,
    /// The values that are taken.
    pub pattern: Pattern,
    /// Whether a grant without it is of no use. If so, a consent stops.
    pub needed: bool,
    /// Whether it says which account the grant is for. If so, a later consent must bring the same.
    pub identity: bool,
}

/// Where a kept value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptFrom {
    /// The redirect to the callback.
    Callback,
    /// The answer of the token endpoint.
    Answer,
}

/// A set of texts. Each text is matched as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Digits only: at least the first number of them, at most the second.
    Digits(usize, usize),
    /// Letters, digits, `-`, `_`, `.`, `:` and `/`, at most this many.
    Word(usize),
    /// A host name of small letters, digits, `-` and `.`, that is one of these or ends with one
    /// that starts with a dot; any host name if there are none.
    Host(&'static [&'static str]),
    /// `https://` and such a host.
    Origin(&'static [&'static str]),
}

/// Where the base URL of a provider's API comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiDomain {
    /// There are several, and the caller knows which.
    Unknown,
    /// It is always this one.
    Fixed(&'static str),
    /// It is the kept value of this name.
    Kept(&'static str),
}

/// How an access token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `Authorization: Bearer {token}` (RFC 6750 §2.1).
    Bearer,
    /// A header of this name, with the bare token.
    Named(&'static str),
}

/// Whether a refresh gives a new refresh token. Whatever a row says, another one in an answer
/// replaces the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It does not.
    Never,
    /// It may.
    Sometimes,
    /// It does.
    Always,
}

/// What becomes of a refresh token that is sent a second time, perhaps because an answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It works again.
    Tolerated,
    /// It works again within this many seconds after its first use.
    For(i64),
    /// It works again until its replacement is used.
    UntilUsed,
    /// It ends the grant, or nobody knows.
    Kills,
}

/// Whether a refresh ends the access token that readers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndsAccessToken {
    /// It lives to its end.
    No,
    /// At once.
    AtOnce,
    /// After this many seconds.
    After(i64),
}

impl Profile {
    /// Whether a refresh may give a new refresh token.
    pub fn rotates(&self) -> bool {
        self.rotation != Rotation::Never
    }

    /// The longest life of an access token.
    pub fn access_token_life(&self) -> SignedDuration {
        SignedDuration::from_secs(self.access_token_life_s)
    }
}

impl Pattern {
    /// Whether the whole text is one of this set.
    pub fn matches(self, text: &str) -> bool {
        let all = |more: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte));
        match self {
            Self::Digits(least, most) => {
                (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Word(most) => (1..=most).contains(&text.len()) && all(b"-_.:/"),
            Self::Host(hosts) => is_host(text, hosts),
            Self::Origin(hosts) => {
                origin(text).as_deref() == Some(text)
                    && text.strip_prefix("https://").is_some_and(|host| is_host(host, hosts))
            }
        }
    }
}

/// Whether this is one of the hosts, or below one that starts with a dot. Without hosts, any
/// counts.
fn is_host(text: &str, hosts: &[&str]) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253
        && text.split('.').all(label)
        && (hosts.is_empty()
            || hosts.iter().any(|host| text == *host || (host.starts_with('.') && text.ends_with(host))))
}

/// What a text of the set looks like: "10 to 19 digits".
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits(least, most) => write!(f, "{least} to {most} digits"),
            Self::Word(most) => write!(f, "at most {most} of A-Z a-z 0-9 - _ . : /"),
            Self::Host([]) => f.write_str("a host name"),
            Self::Host(hosts) => write!(f, "a host name: {}", hosts.join(", ")),
            Self::Origin([]) => f.write_str("https:// and a host name"),
            Self::Origin(hosts) => write!(f, "https:// and a host name: {}", hosts.join(", ")),
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Sometimes => "sometimes",
            Self::Always => "always",
        })
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tolerated => f.write_str("tolerated"),
            Self::For(seconds) => write!(f, "for {} minutes", seconds / 60),
            Self::UntilUsed => f.write_str("until the new one is used"),
            Self::Kills => f.write_str("kills"),
        }
    }
}
