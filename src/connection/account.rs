//! The Zoho account behind a grant.

use std::fmt;

use serde_json::{Value, json};

/// The scope that lets a program ask whose account it is.
pub const PROFILE_SCOPE: &str = "AaaServer.profile.READ";
/// The longest id that is accepted. Zoho's have some 10 digits.
const MAX_ID: usize = 32;
/// The longest e-mail address (RFC 5321 §4.5.3.1.3).
const MAX_EMAIL: usize = 254;

/// Whether an access token with these scopes can tell whose account it is.
pub fn tells_account<S: AsRef<str>>(scopes: &[S]) -> bool {
    scopes.iter().any(|scope| scope.as_ref().eq_ignore_ascii_case(PROFILE_SCOPE))
}

/// A Zoho user: who gave a consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    id: String,
    email: Option<String>,
}

impl Account {
    /// `None` if this is no id. An e-mail address with an unusual character is left out: the user
    /// chooses it, and it gets into notices, tables and logs.
    pub fn new(id: &str, email: Option<&str>) -> Option<Self> {
        let sound = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let email = email.filter(|email| is_plain(email)).map(str::to_owned);
        sound.then(|| Self { id: id.to_owned(), email })
    }

    /// Reads the field `account` of a secret. `None` if it is no account.
    pub fn of(value: &Value) -> Option<Self> {
        Self::new(value.get("id")?.as_str()?, value.get("email").and_then(Value::as_str))
    }

    /// Zoho's id of the user (`ZUID`). Unlike the address, it never changes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user's e-mail address.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// As a field of a secret or of an answer.
    pub fn as_json(&self) -> Value {
        match &self.email {
            Some(email) => json!({"id": self.id, "email": email}),
            None => json!({"id": self.id}),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.email {
            Some(email) => write!(f, "{email} (Zoho user {})", self.id),
            None => write!(f, "Zoho user {}", self.id),
        }
    }
}

/// An address without quotes, blanks or markup.
fn is_plain(email: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_@".contains(&byte);
    let at = email.bytes().filter(|byte| *byte == b'@').count();
    email.len() <= MAX_EMAIL && at == 1 && email.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_an_id_and_perhaps_a_plain_address() {
        let words = |id: &str, email: Option<&str>| Account::new(id, email).map(|account| account.to_string());
        let ann = Some("ann@example.com (Zoho user 60012345)".to_owned());
        assert_eq!(words("60012345", Some("ann@example.com")), ann);
        let hostile =
            ["a\"b@example.com", "a b@example.com", "<b>@example.com", "a@b@c", "nobody", "", "ü@example.com"];
        for email in hostile {
            assert_eq!(words("60012345", Some(email)), Some("Zoho user 60012345".to_owned()), "{email}");
        }
        for id in ["", "6001 2345", "6001\n2345", &"6".repeat(33)] {
            assert_eq!(words(id, Some("ann@example.com")), None, "{id}");
        }
    }

    #[test]
    fn the_scope_counts_in_any_spelling_of_its_letters() {
        assert!(tells_account(&["ZohoCRM.modules.ALL", "Aaaserver.profile.read"]));
        assert!(!tells_account(&["AaaServer.profile.READX", "ZohoCRM.profile.READ"]));
    }
}
