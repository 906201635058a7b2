//! Secrets as types: `Debug` hides the value, its memory is zeroed on drop, and only `expose` reads
//! it.
//!
//! They have no `Display`, `Serialize` or `PartialEq`, so no code prints, stores or compares a
//! secret by accident.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

macro_rules! secrets {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Wraps a secret.
            pub fn new(value: impl Into<String>) -> Self {
                Self(SecretString::from(value.into()))
            }

            /// Returns the secret. Each call is a place where it could leak.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )+};
}

secrets! {
    /// A client secret from Zoho's API console (RFC 6749 §2.3.1).
    ///
    /// ```compile_fail
    /// let secret = token_keeper::secret::ClientSecret::new("s");
    /// println!("{secret}");
    /// ```
    ClientSecret;
    /// A refresh token (RFC 6749 §1.5). Zoho issues it once and never rotates it.
    ///
    /// ```compile_fail
    /// let token = token_keeper::secret::RefreshToken::new("r");
    /// assert!(token == token.clone());
    /// ```
    RefreshToken;
    /// An access token (RFC 6749 §1.4): what consumers put after `Zoho-oauthtoken`.
    ///
    /// ```compile_fail
    /// let token = token_keeper::secret::AccessToken::new("a");
    /// serde_json::to_string(&token).unwrap();
    /// ```
    AccessToken;
    /// An authorization code (RFC 6749 §1.3.1): good for one exchange within minutes.
    AuthorizationCode;
    /// A device code (RFC 8628 §3.2): whoever has it and the client's secret gets the tokens.
    DeviceCode;
    /// A PKCE `code_verifier` (RFC 7636 §4.1).
    CodeVerifier;
    /// The key that signs links.
    SigningKey;
    /// The whole text of a secret or of a lease's parameter, with the secrets in it.
    SecretText;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_kind_of_secret_and_nothing_of_it() {
        let token = RefreshToken::new("1000.abc.def");
        assert_eq!(format!("{token:?} {:#?}", Some(&token)).matches("1000").count(), 0);
        assert_eq!(format!("{token:?}"), "RefreshToken(redacted)");
        assert_eq!(token.expose(), "1000.abc.def");
    }
}
