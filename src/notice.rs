//! Notices to the operator: one when a connection needs a new consent, one when it has recovered,
//! and one for each consent.
//!
//! Pure. A notice is the description of the lease's parameter. The put that changes the document
//! writes it, Parameter Store's event of that put carries it, and a rule forwards each description
//! that starts with [`MARKER`]. A refused client sends no notice; one alarm covers its connections.
//!
//! The document holds only the last status. So a connection that goes from `consent_required` to
//! `throttled` and then to `active` sends no notice that it has recovered.

use jiff::SignedDuration;

use crate::connection::{Account, Grant, Provider};
use crate::lease::{Lease, Status};
use crate::name::ConnectionName;

/// How many days before its end an operator hears of a refresh token.
const ENDS_IN_DAYS: [i64; 2] = [14, 3];
/// Every notice starts with this, and no other description does.
pub const MARKER: &str = "Token Keeper: ";
/// The description when there is no notice.
pub const QUIET: &str = "OAuth access token, kept fresh by Token Keeper";

/// The description of the document that replaces `last`: a notice, or [`QUIET`]. Parameter Store
/// takes 1,024 characters. Names have at most 64 and codes at most 40, so every notice fits.
pub fn description(connection: &ConnectionName, lease: &Lease, last: Option<&Lease>) -> String {
    notice(connection, lease, last).map_or_else(|| QUIET.to_owned(), |notice| format!("{MARKER}{notice}"))
}

/// What a new consent replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Nobody had consented before.
    Nothing,
    /// A grant that Zoho had called dead.
    Dead,
    /// A grant that may have worked.
    Living,
}

/// The description of the first document after a consent: always a notice. Whoever has a link can
/// connect another account, so the operator hears of each consent.
pub fn consented(connection: &ConnectionName, lease: &Lease, replaced: Replaced, account: Option<&Account>) -> String {
    let replaced = match replaced {
        Replaced::Nothing => String::new(),
        Replaced::Dead => " It replaces a grant that no longer worked.".to_owned(),
        Replaced::Living => format!(
            " It replaces a grant that may still have worked. If nobody should have done this, type: token-keeper revoke {connection}"
        ),
    };
    let home = match &lease.data_center {
        Some(home) => format!("in the data centre {home}"),
        None => format!("at {}", lease.title()),
    };
    let kept: Vec<_> = lease.account.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let whose = match account {
        Some(account) => format!("with the account {account} {home}."),
        None if kept.is_empty() => format!("with an account {home}; whose it is could not be told."),
        None => format!("with an account {home} ({}).", kept.join(", ")),
    };
    format!("{MARKER}{connection} has a new consent, {whose}{replaced}")
}

/// The description of a document with a new token: a notice if the refresh token ends soon. It
/// comes with the first token that is minted fourteen days before that end, and once more three
/// days before.
pub fn renewed(grant: &Grant, lease: &Lease, last: Option<&Lease>) -> String {
    let connection = &grant.connection;
    let issued_at = |lease: &Lease| lease.token.as_ref().map(|token| token.issued_at);
    let ends = grant.refresh_token_expires_at.filter(|ends| {
        let passed = |days: &i64| {
            let day = *ends - SignedDuration::from_hours(24 * days);
            issued_at(lease) >= Some(day) && last.and_then(issued_at).is_some_and(|before| before < day)
        };
        ENDS_IN_DAYS.iter().any(passed)
    });
    match (notice(connection, lease, last), ends) {
        (None, Some(ends)) => {
            let new = match &grant.provider {
                // Its consents are made at the provider.
                Provider::Other(server) if server.authorization_endpoint.is_none() => {
                    format!("Import a new one before: token-keeper import FILE --replace --connection {connection}")
                }
                _ => format!("Type before: token-keeper connect {connection}"),
            };
            format!("{MARKER}the refresh token of {connection} ends at {ends}, and its access tokens with it. {new}")
        }
        (notice, _) => notice.map_or_else(|| QUIET.to_owned(), |notice| format!("{MARKER}{notice}")),
    }
}

/// Whether a consent has not been announced: its own document was not published, because the newest
/// one is older.
pub fn unannounced(grant: &Grant, last: Option<&Lease>) -> bool {
    let newest = last.and_then(|last| {
        let since = last.status.trouble().map(|trouble| trouble.since);
        last.token.as_ref().map(|token| token.issued_at).max(since)
    });
    let foreign = last.is_none_or(|last| last.grant_version != grant.version);
    foreign && grant.granted_at.is_some_and(|granted_at| newest.is_none_or(|newest| newest < granted_at))
}

fn notice(connection: &ConnectionName, lease: &Lease, last: Option<&Lease>) -> Option<String> {
    let dead = last.filter(|last| matches!(last.status, Status::ConsentRequired(_)));
    match &lease.status {
        Status::Active => {
            dead.map(|_| format!("{connection} has recovered, its token lives until {}.", lease.expires_at()))
        }
        // A notice about another grant does not count for this one.
        Status::ConsentRequired(trouble) if dead.is_none_or(|dead| dead.grant_version != lease.grant_version) => {
            Some(format!(
                "{connection} needs a new consent, {} no longer takes its refresh token ({}). Type: token-keeper connect {connection}",
                lease.title(),
                trouble.error
            ))
        }
        Status::ConsentRequired(_) | Status::Misconfigured(_) | Status::Throttled(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::lease::{Token, Trouble};
    use crate::name::VersionId;
    use crate::provider::ZOHO;
    use crate::secret::AccessToken;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn trouble(error: &str) -> Trouble {
        Trouble { error: error.to_owned(), since: time("2026-11-21T00:00:00Z"), retry_after: None }
    }

    fn lease(status: Status, grant_version: &str) -> Lease {
        Lease {
            status,
            token: Some(Token::new(
                AccessToken::new("hush"),
                time("2026-11-21T00:00:00Z"),
                time("2026-11-21T01:00:00Z"),
            )),
            api_domain: None,
            provider: ZOHO.to_owned(),
            data_center: Some("eu".to_owned()),
            accounts_server: Some("https://accounts.zoho.eu".to_owned()),
            account: BTreeMap::new(),
            scope: String::new(),
            grant_version: VersionId::new(grant_version),
            version: 0,
        }
    }

    #[test]
    fn the_table_of_notices() {
        let dead = |version| lease(Status::ConsentRequired(trouble("invalid_code")), version);
        let refused = || lease(Status::Misconfigured(trouble("invalid_client")), "v1");
        let throttled = || lease(Status::Throttled(trouble("too_many_requests")), "v1");
        let active = || lease(Status::Active, "v1");
        let check = |last: Option<Lease>, lease: Lease, expected: Option<&str>| {
            let said = description(&"desk".parse().expect("a name"), &lease, last.as_ref());
            let expected = expected.map_or(QUIET.to_owned(), |notice| format!("Token Keeper: desk {notice}"));
            assert_eq!(said, expected, "{:?} after {:?}", lease.status, last.map(|last| last.status));
        };
        let consent = "needs a new consent, Zoho no longer takes its refresh token (invalid_code). Type: token-keeper connect desk";
        let recovered = "has recovered, its token lives until 2026-11-21T01:00:00Z.";

        for last in [None, Some(active()), Some(throttled()), Some(refused()), Some(dead("v0"))] {
            check(last, dead("v1"), Some(consent));
        }
        check(Some(dead("v1")), dead("v1"), None);
        for version in ["v0", "v1"] {
            check(Some(dead(version)), active(), Some(recovered));
        }
        for last in [None, Some(active()), Some(throttled()), Some(refused())] {
            check(last, active(), None);
        }
        for last in [None, Some(active()), Some(throttled()), Some(dead("v1")), Some(refused())] {
            check(last.clone(), throttled(), None);
            check(last, refused(), None);
        }
    }

    #[test]
    fn every_description_is_one_that_parameter_store_takes_and_only_a_notice_is_marked() {
        assert!(!QUIET.starts_with(MARKER));
        let (name, code) = ("n".repeat(64).parse().expect("a name"), "c".repeat(40));
        let said = description(&name, &lease(Status::ConsentRequired(trouble(&code)), "v1"), None);
        assert!(said.len() <= 1024 && said.starts_with(MARKER), "{said}");
        assert!(said.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{said}");
        assert!(!said.contains("hush"), "{said}");
        for replaced in [Replaced::Nothing, Replaced::Dead, Replaced::Living] {
            let email = format!("{}@{}.example", "e".repeat(64), "x".repeat(180));
            let account = Account::new(&"9".repeat(32), Some(&email)).expect("an account");
            assert_eq!(account.email(), Some(email.as_str()));
            let said = consented(&name, &lease(Status::Active, "v1"), replaced, Some(&account));
            assert!(said.len() <= 1024 && said.starts_with(MARKER) && !said.contains("hush"), "{said}");
            assert!(said.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{said}");
        }
    }
}
