//! Names that operators give to connections and clients, and the names of their secrets and
//! parameters.
//!
//! Pure. It knows the rules for names, not the stores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::secret::SecretText;

/// The longest name, in characters.
const MAX_LENGTH: usize = 64;

/// Each way in which a name can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name cannot be empty")]
    Empty,
    /// More than 64 characters.
    #[error("a name has at most {MAX_LENGTH} characters, this one has {0}")]
    TooLong(usize),
    /// The first character is not a letter or digit.
    #[error("a name starts with a letter a-z or a digit, not with {0:?}")]
    Start(char),
    /// A character outside the allowed set.
    #[error("a name is made of a-z, 0-9, '-', '_' and '.', not of {0:?}")]
    Character(char),
}

fn check(name: &str) -> Result<(), NameError> {
    let first = name.chars().next().ok_or(NameError::Empty)?;
    let length = name.chars().count();
    if length > MAX_LENGTH {
        return Err(NameError::TooLong(length));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(wrong) = name.chars().find(|&c| !plain(c) && !"-_.".contains(c)) {
        return Err(NameError::Character(wrong));
    }
    if plain(first) { Ok(()) } else { Err(NameError::Start(first)) }
}

macro_rules! names {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check(name).map(|()| Self(name.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// Names a connection: one authorised Zoho account or organisation.
    ConnectionName;
    /// Names a client: an application registered in Zoho's API console.
    ClientName;
}

/// The full name of a secret: `{prefix}/connections/{connection}`, for example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// A name that came from the store.
    pub fn found(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `VersionId` of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(String);

impl VersionId {
    /// Wraps an id from Secrets Manager, or one that this program chose: 32 to 64 characters.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id of the version with this text in place of `replaced`. Whoever makes the same change
    /// again makes the same version, so AWS takes it for the same request.
    pub fn after(replaced: &Self, text: &SecretText) -> Self {
        let mut hash = Sha256::new_with_prefix("token-keeper secret version 1");
        let replaced = replaced.as_str();
        // The length makes sure that no two pairs give the same bytes.
        hash.update((replaced.len() as u64).to_be_bytes());
        hash.update(replaced);
        hash.update(text.expose());
        Self(format!("{:032x}", hash.finalize().first_chunk().copied().map_or(0, u128::from_be_bytes)))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first part of every secret and parameter name. It separates several installations in one
/// account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("token-keeper".to_owned())
    }
}

impl Prefix {
    /// The prefix itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The start of every grant's secret name.
    pub fn grants(&self) -> String {
        format!("{}/connections/", self.0)
    }

    /// The start of every client's secret name.
    pub fn clients(&self) -> String {
        format!("{}/clients/", self.0)
    }

    /// The start of every lease's parameter name.
    pub fn leases(&self) -> String {
        format!("/{}/tokens/", self.0)
    }

    /// The secret of a connection's grant. `connection` may break the rules for names: the store
    /// may hold such a secret.
    pub fn grant(&self, connection: &str) -> SecretName {
        SecretName(self.grants() + connection)
    }

    /// The secret of a client.
    pub fn client(&self, client: &str) -> SecretName {
        SecretName(self.clients() + client)
    }

    /// The secret with the key that signs links.
    pub fn signing_key(&self) -> SecretName {
        SecretName(format!("{}/signing-key", self.0))
    }

    /// The parameter in which the stack says how its functions are set.
    pub fn settings(&self) -> String {
        format!("/{}/settings", self.0)
    }

    /// The parameter of a connection's lease.
    pub fn lease(&self, connection: &str) -> String {
        self.leases() + connection
    }

    /// The start of the names of the claims on a connection's grants.
    pub fn claims(&self, connection: &str) -> String {
        format!("/{}/claims/{connection}/", self.0)
    }

    /// The parameter of a connection's bare access token.
    pub fn plain_token(&self, connection: &str) -> String {
        format!("/{}/access-tokens/{connection}", self.0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// Accepts what both stores allow. Parameter Store reserves names that start with `aws` or
    /// `ssm`.
    ///
    /// # Errors
    /// What a prefix may be, in a sentence.
    fn from_str(prefix: &str) -> Result<Self, String> {
        let parts_are_plain = prefix
            .split('/')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let reserved = ["aws", "ssm"].iter().any(|word| prefix.to_ascii_lowercase().starts_with(word));
        if parts_are_plain && !reserved && prefix.len() <= MAX_LENGTH {
            Ok(Self(prefix.to_owned()))
        } else {
            Err(format!(
                "{prefix:?} is not a prefix: use at most {MAX_LENGTH} letters, digits, '-', '_', '.', in parts separated by single \
                 '/', not starting with aws or ssm"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_suits_both_stores_or_is_refused() {
        for right in ["token-keeper", "team/token-keeper", "T.1_x"] {
            assert!(right.parse::<Prefix>().is_ok(), "{right}");
        }
        for wrong in ["", "/a", "a/", "a//b", "a b", "aws-tokens", "SSM/x", "a*", &"x".repeat(65)] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_taken_or_refused_with_the_reason() {
        let check = |name: &str, expected: Result<(), NameError>| {
            assert_eq!(name.parse::<ConnectionName>().map(|_| ()), expected, "{name:?}");
        };
        check("crm-prod", Ok(()));
        check("0", Ok(()));
        check("a.b_c-9", Ok(()));
        check(&"a".repeat(64), Ok(()));
        check("", Err(NameError::Empty));
        check(&"a".repeat(65), Err(NameError::TooLong(65)));
        check("CRM", Err(NameError::Character('C')));
        check("a/b", Err(NameError::Character('/')));
        check("a b", Err(NameError::Character(' ')));
        check("caf\u{e9}", Err(NameError::Character('\u{e9}')));
        check("a\n", Err(NameError::Character('\n')));
        check("-a", Err(NameError::Start('-')));
        check(".", Err(NameError::Start('.')));
    }
}
