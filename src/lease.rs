//! The lease: an access token with its expiry, as the document that consumers read.
//!
//! Pure. The document is the project's contract with its readers and its only memory between runs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::connection::{DataCenter, Grant};
use crate::flaw::Flaw;
use crate::name::VersionId;
use crate::provider::{Header, ZOHO, table};
use crate::secret::{AccessToken, SecretText};

/// The version of the document's format.
pub const SCHEMA: u64 = 1;
/// What goes before a token of Zoho's in the `Authorization` header (Zoho's API pages; not the
/// "Bearer" of its token answers).
pub const TOKEN_TYPE: &str = "Zoho-oauthtoken";
/// The same for other providers (RFC 6750 §2.1).
const BEARER: &str = "Bearer";
/// No access token of Zoho's is taken to live longer than this. Zoho documents one hour.
pub const MAX_LIFE: SignedDuration = SignedDuration::from_secs(3600);

/// Cuts a time to whole seconds: the document has no fractions of a second.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What the program knows about a connection's access token.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Whether it can be renewed.
    pub status: Status,
    /// The last token minted; absent if there never was one.
    pub token: Option<Token>,
    /// Base URL of the account's APIs.
    pub api_domain: Option<String>,
    /// The provider's name: `zoho`.
    pub provider: String,
    /// Zoho's data centre.
    pub data_center: Option<String>,
    /// Base URL of the data centre's accounts server.
    pub accounts_server: Option<String>,
    /// Values that callers of another provider's API need, by name.
    pub account: BTreeMap<String, String>,
    /// Scopes, separated by blanks (RFC 6749 §3.3).
    pub scope: String,
    /// The `VersionId` of the grant that the token came from.
    pub grant_version: VersionId,
    /// The version of the parameter that this was read from; 0 if it was not read. It is not part
    /// of the document.
    pub version: i64,
}

/// An access token and the times that belong to it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: AccessToken,
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When a reader complained about the token before, if this one was minted because of that.
    pub complaint_at: Option<Timestamp>,
    /// When a reader first complained about this token while it was young.
    pub rejected_at: Option<Timestamp>,
}

impl Token {
    /// A token about which nobody has complained.
    pub fn new(access_token: AccessToken, issued_at: Timestamp, expires_at: Timestamp) -> Self {
        Self { access_token, issued_at, expires_at, complaint_at: None, rejected_at: None }
    }
}

/// Whether a lease can be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The last renewal worked.
    Active,
    /// The grant is dead: somebody has to consent again.
    ConsentRequired(Trouble),
    /// Zoho refuses the client, its secret or the data centre.
    Misconfigured(Trouble),
    /// Zoho wants no more requests for a while.
    Throttled(Trouble),
}

/// A refusal of Zoho, as the document keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Zoho's error code.
    pub error: String,
    /// When this status began.
    pub since: Timestamp,
    /// Zoho is asked again after this time; absent if only a new grant helps.
    pub retry_after: Option<Timestamp>,
}

impl Status {
    /// The word in the document.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::ConsentRequired(_) => "consent_required",
            Self::Misconfigured(_) => "misconfigured",
            Self::Throttled(_) => "throttled",
        }
    }

    /// The trouble; `None` if the lease is active.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Active => None,
            Self::ConsentRequired(trouble) | Self::Misconfigured(trouble) | Self::Throttled(trouble) => Some(trouble),
        }
    }

    /// The trouble, to change it; `None` if the lease is active.
    pub fn trouble_mut(&mut self) -> Option<&mut Trouble> {
        match self {
            Self::Active => None,
            Self::ConsentRequired(trouble) | Self::Misconfigured(trouble) | Self::Throttled(trouble) => Some(trouble),
        }
    }
}

/// The document in the parameter. Its fields are in the order in which people read them.
#[derive(Serialize, Deserialize)]
struct Document {
    schema: u64,
    status: String,
    /// Documents of earlier versions have none, and are Zoho's.
    #[serde(default = "zoho")]
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    token_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_center: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts_server: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    account: BTreeMap<String, String>,
    scope: String,
    grant_version: VersionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complaint_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_at: Option<Timestamp>,
}

fn zoho() -> String {
    ZOHO.to_owned()
}

impl Lease {
    /// An active lease with a new token.
    pub fn active(grant: &Grant, token: Token, last: Option<&Self>) -> Self {
        Self { token: Some(token), ..Self::of(grant, Status::Active, last) }
    }

    /// A lease of `grant`. It takes over what is still true in `last`.
    pub fn of(grant: &Grant, status: Status, last: Option<&Self>) -> Self {
        let provider = &grant.provider;
        let data_center = provider.data_center();
        let name = data_center.map(|data_center| &data_center.name);
        let same = |last: &&Self| last.provider == provider.name() && last.data_center.as_ref() == name;
        let same = last.filter(same).filter(|last| data_center.is_some() || last.account == grant.kept);
        let last_domain = same.and_then(|last| last.api_domain.clone());
        Self {
            status,
            token: last.and_then(|last| last.token.clone()),
            api_domain: last_domain.or_else(|| grant.api_domain.clone()).or_else(|| provider.api_domain(&grant.kept)),
            provider: provider.name().to_owned(),
            data_center: name.cloned(),
            accounts_server: data_center.map(|DataCenter { accounts_server, .. }| accounts_server.clone()),
            account: grant.kept.clone(),
            scope: match last {
                Some(last) if grant.scopes.is_empty() => last.scope.clone(),
                _ => grant.scopes.join(" "),
            },
            grant_version: grant.version.clone(),
            version: 0,
        }
    }

    /// When the token ends; the start of 1970 if there is no token.
    pub fn expires_at(&self) -> Timestamp {
        self.token.as_ref().map_or(Timestamp::UNIX_EPOCH, |token| token.expires_at)
    }

    /// The provider's name for people.
    pub fn title(&self) -> &'static str {
        table::title(&self.provider)
    }

    /// What goes before the token in the `Authorization` header.
    pub fn token_type(&self) -> &'static str {
        if self.provider == ZOHO { TOKEN_TYPE } else { BEARER }
    }

    /// The name of the header that takes the bare token, where it is not `Authorization`.
    pub fn header(&self) -> Option<&'static str> {
        match table::find(&self.provider)?.header {
            Header::Bearer => None,
            Header::Named(name) => Some(name),
        }
    }

    /// The document. It contains the access token.
    ///
    /// # Panics
    /// Never: strings, numbers and times always become JSON.
    pub fn document(&self) -> SecretText {
        let (trouble, token) = (self.status.trouble(), self.token.as_ref());
        let document = Document {
            schema: SCHEMA,
            status: self.status.word().to_owned(),
            access_token: token.map(|token| token.access_token.expose().to_owned()),
            provider: self.provider.clone(),
            token_type: self.token_type().to_owned(),
            header: self.header().map(str::to_owned),
            expires_at: token.map(|token| token.expires_at),
            issued_at: token.map(|token| token.issued_at),
            api_domain: self.api_domain.clone(),
            data_center: self.data_center.clone(),
            accounts_server: self.accounts_server.clone(),
            account: self.account.clone(),
            scope: self.scope.clone(),
            grant_version: self.grant_version.clone(),
            error: trouble.map(|trouble| trouble.error.clone()),
            since: trouble.map(|trouble| trouble.since),
            retry_after: trouble.and_then(|trouble| trouble.retry_after),
            complaint_at: token.and_then(|token| token.complaint_at),
            rejected_at: token.and_then(|token| token.rejected_at),
        };
        SecretText::new(serde_json::to_string(&document).expect("a document of strings and times"))
    }

    /// Reads a document.
    ///
    /// # Errors
    /// If it is not a lease, or has a newer schema. The error quotes no part of the text.
    pub fn parse(text: &SecretText) -> Result<Self, Flaw> {
        let json: serde_json::Value =
            serde_json::from_str(text.expose()).map_err(|_| Flaw::NotALease("it is not JSON"))?;
        match json.get("schema").and_then(serde_json::Value::as_u64) {
            Some(SCHEMA) => {}
            Some(newer) if newer > SCHEMA => return Err(Flaw::NewerSchema(newer)),
            _ => return Err(Flaw::NotALease("it has no `schema`")),
        }
        let document: Document =
            serde_json::from_value(json).map_err(|_| Flaw::NotALease("a field is missing or has the wrong type"))?;
        let trouble = || {
            let (Some(error), Some(since)) = (document.error.clone(), document.since) else {
                return Err(Flaw::NotALease("`error` or `since` is missing"));
            };
            Ok(Trouble { error, since, retry_after: document.retry_after })
        };
        let status = match document.status.as_str() {
            "active" => Status::Active,
            "consent_required" => Status::ConsentRequired(trouble()?),
            "misconfigured" => Status::Misconfigured(trouble()?),
            "throttled" => Status::Throttled(trouble()?),
            _ => return Err(Flaw::NotALease("its `status` is unknown")),
        };
        let token = match (document.access_token, document.issued_at, document.expires_at) {
            (Some(access_token), Some(issued_at), Some(expires_at)) => Some(Token {
                complaint_at: document.complaint_at,
                rejected_at: document.rejected_at,
                ..Token::new(AccessToken::new(access_token), issued_at, expires_at)
            }),
            (None, None, None) if status != Status::Active => None,
            _ => return Err(Flaw::NotALease("`access_token`, `issued_at` or `expires_at` is missing")),
        };
        Ok(Self {
            status,
            token,
            api_domain: document.api_domain,
            provider: document.provider,
            data_center: document.data_center,
            accounts_server: document.accounts_server,
            account: document.account,
            scope: document.scope,
            grant_version: document.grant_version,
            version: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn lease(status: Status, token: Option<&str>) -> Lease {
        Lease {
            status,
            token: token.map(|token| {
                Token::new(AccessToken::new(token), time("2026-11-21T00:00:00Z"), time("2026-11-21T01:00:00Z"))
            }),
            api_domain: Some("https://www.zohoapis.eu".to_owned()),
            provider: ZOHO.to_owned(),
            data_center: Some("eu".to_owned()),
            accounts_server: Some("https://accounts.zoho.eu".to_owned()),
            account: BTreeMap::new(),
            scope: "ZohoCRM.modules.ALL".to_owned(),
            grant_version: VersionId::new("v1"),
            version: 0,
        }
    }

    #[test]
    fn an_active_document_is_what_the_contract_shows() {
        let document = lease(Status::Active, Some("1000.token")).document();
        assert_eq!(
            document.expose(),
            r#"{"schema":1,"status":"active","provider":"zoho","access_token":"1000.token","token_type":"Zoho-oauthtoken","expires_at":"2026-11-21T01:00:00Z","issued_at":"2026-11-21T00:00:00Z","api_domain":"https://www.zohoapis.eu","data_center":"eu","accounts_server":"https://accounts.zoho.eu","scope":"ZohoCRM.modules.ALL","grant_version":"v1"}"#
        );
    }

    #[test]
    fn a_marked_document_keeps_the_last_token_and_says_since_when() {
        let trouble = Trouble {
            error: "too_many_requests".to_owned(),
            since: time("2026-11-21T00:30:00Z"),
            retry_after: Some(time("2026-11-21T00:41:00Z")),
        };
        let document = lease(Status::Throttled(trouble), None).document();
        assert_eq!(
            document.expose(),
            r#"{"schema":1,"status":"throttled","provider":"zoho","token_type":"Zoho-oauthtoken","api_domain":"https://www.zohoapis.eu","data_center":"eu","accounts_server":"https://accounts.zoho.eu","scope":"ZohoCRM.modules.ALL","grant_version":"v1","error":"too_many_requests","since":"2026-11-21T00:30:00Z","retry_after":"2026-11-21T00:41:00Z"}"#
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trouble =
            Trouble { error: "invalid_code".to_owned(), since: time("2026-11-21T00:30:00Z"), retry_after: None };
        for status in [
            Status::Active,
            Status::ConsentRequired(trouble.clone()),
            Status::Misconfigured(trouble.clone()),
            Status::Throttled(trouble),
        ] {
            for token in
                [Some("1000.token"), None].into_iter().filter(|token| token.is_some() || status != Status::Active)
            {
                let written = lease(status.clone(), token).document();
                let read = Lease::parse(&written).expect("our own document");
                assert_eq!(read.status, status);
                assert_eq!(read.document().expose(), written.expose());
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_told_apart_and_never_quoted() {
        let check = |text: &str, expected: &str| {
            let flaw = Lease::parse(&SecretText::new(text)).expect_err(text).to_string();
            assert!(flaw.contains(expected), "{text}: {flaw}");
            assert!(!flaw.contains("hush"), "{flaw}");
        };
        check("hush", "it is not JSON");
        check("[\"hush\"]", "it has no `schema`");
        check(r#"{"schema":"hush"}"#, "it has no `schema`");
        check(r#"{"schema":2,"access_token":"hush"}"#, "a lease of schema 2");
        check(r#"{"schema":1,"access_token":"hush"}"#, "a field is missing or has the wrong type");
        let whole = lease(Status::Active, Some("hush")).document();
        check(&whole.expose().replace("active", "dormant"), "its `status` is unknown");
        check(&whole.expose().replace("active", "throttled"), "`error` or `since` is missing");
        check(&whole.expose().replace("expires_at", "ended"), "`access_token`, `issued_at` or `expires_at` is missing");
        check(&whole.expose().replace("01:00:00Z", "hush"), "a field is missing or has the wrong type");
    }
}
