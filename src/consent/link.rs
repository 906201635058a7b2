//! Tickets and states: texts that travel through browsers, signed with the installation's key.
//!
//! Pure. Each text is `payload.signature`, both in base64url. Anyone can read it, and only the key
//! can make it. It holds no secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::name::{ConnectionName, VersionId};
use crate::provider::{ZOHO, table};
use crate::secret::{CodeVerifier, SigningKey};

/// How long a state lives: the time to log in at the provider and agree.
pub const STATE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// How long a ticket lives unless the operator says otherwise.
pub const TICKET_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// The longest life of a ticket. It is limited because anyone who has the link can connect any
/// account.
pub const MAX_TICKET_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The longest signed text that is accepted, in bytes. Real ones have about 400.
const MAX_LENGTH: usize = 2048;
/// The shortest signing key, in bytes.
const MIN_KEY: usize = 32;

/// What an operator's link allows: one consent for one version of a connection's grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The connection.
    #[serde(rename = "c", with = "name")]
    pub connection: ConnectionName,
    /// The `VersionId` of its grant. A consent changes it, so this ticket works once.
    #[serde(rename = "v")]
    pub version: VersionId,
    /// Where the consent starts, and where the account is if Zoho does not say. Empty for another
    /// provider.
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    pub data_center: String,
    /// The provider's name, if it is not Zoho.
    #[serde(rename = "p", default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Whether the account may live in another data centre than before.
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_move: bool,
    /// Whether it may be another account than before.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_other_account: bool,
    /// When it was made.
    #[serde(rename = "i", with = "jiff::fmt::serde::timestamp::second::required")]
    pub issued_at: Timestamp,
    /// When it ends.
    #[serde(rename = "e", with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

impl Ticket {
    /// The provider's name for people.
    pub fn title(&self) -> &'static str {
        table::title(if self.provider.is_empty() { ZOHO } else { &self.provider })
    }
}

/// A ticket on its way through the provider and back, bound to one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What the ticket allowed, with the end of the state.
    #[serde(flatten)]
    pub ticket: Ticket,
    /// A random text, different in each round trip.
    #[serde(rename = "n")]
    pub nonce: String,
    /// The hash of the cookie that the browser got.
    #[serde(rename = "b")]
    pub browser: String,
}

/// Why a ticket or a state is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was not made with this key for this purpose, or was changed.
    #[error("not a link of this installation")]
    NotOurs,
    /// It was made with this key, but has ended.
    #[error("expired")]
    Expired(Box<Ticket>),
}

/// A label for each purpose, so that one kind of text is never taken for another.
const TICKET: &str = "token-keeper ticket 1";
const STATE: &str = "token-keeper state 1";
const VERIFIER: &str = "token-keeper code verifier 1";

impl SigningKey {
    /// Whether it is long enough to sign with.
    pub fn is_strong(&self) -> bool {
        self.expose().len() >= MIN_KEY
    }

    fn mac(&self, purpose: &str, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.expose().as_bytes()).expect("HMAC takes a key of any length");
        for part in [purpose].iter().chain(parts) {
            // The length before each part makes sure that two lists of parts never give the same
            // bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn derive(&self, purpose: &str, parts: &[&str]) -> [u8; 32] {
        self.mac(purpose, parts).finalize().into_bytes().into()
    }

    /// Signs a ticket.
    pub fn seal_ticket(&self, ticket: &Ticket) -> String {
        self.seal(TICKET, ticket)
    }

    /// Signs a state.
    pub fn seal_state(&self, state: &State) -> String {
        self.seal(STATE, state)
    }

    /// Checks a ticket's signature, then its end.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open_ticket(&self, text: &str, now: Timestamp) -> Result<Ticket, LinkError> {
        let ticket: Ticket = self.open(TICKET, text)?;
        if now < ticket.expires_at { Ok(ticket) } else { Err(LinkError::Expired(Box::new(ticket))) }
    }

    /// Checks a state's signature, then its end.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open_state(&self, text: &str, now: Timestamp) -> Result<State, LinkError> {
        let state: State = self.open(STATE, text)?;
        if now < state.ticket.expires_at { Ok(state) } else { Err(LinkError::Expired(Box::new(state.ticket))) }
    }

    /// The `code_verifier` of a round trip. It is derived, so that it needs no storage.
    pub fn code_verifier(&self, state: &State) -> CodeVerifier {
        CodeVerifier::new(encode(&self.derive(VERIFIER, &[&state.nonce])))
    }

    fn seal(&self, purpose: &str, value: &impl Serialize) -> String {
        let payload = encode(&serde_json::to_vec(value).expect("strings and numbers"));
        let signature = encode(&self.derive(purpose, &[&payload]));
        format!("{payload}.{signature}")
    }

    fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Result<T, LinkError> {
        let open = || {
            let (payload, signature) = well_formed(text)?;
            self.mac(purpose, &[payload]).verify_slice(&decode(signature)?).ok()?;
            serde_json::from_slice(&decode(payload)?).ok()
        };
        open().ok_or(LinkError::NotOurs)
    }
}

/// Payload and signature of a text that looks like a signed one. Other texts are refused before the
/// key is read.
pub(super) fn well_formed(text: &str) -> Option<(&str, &str)> {
    let (payload, signature) = text.split_once('.').filter(|_| text.len() <= MAX_LENGTH)?;
    (!payload.is_empty() && decode(signature)?.len() == 32).then_some((payload, signature))
}

/// The `code_challenge` of a verifier by method S256 (RFC 7636 §4.2).
pub fn code_challenge(verifier: &CodeVerifier) -> String {
    hash(verifier.expose())
}

/// SHA-256 in base64url.
pub(super) fn hash(text: &str) -> String {
    encode(&Sha256::digest(text))
}

/// Bytes as text for URLs, cookies and keys: base64url without padding (RFC 4648 §5).
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Strict: no padding, no white space and no unused bits, so that every value has one spelling.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A connection's name, checked on the way in.
mod name {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::name::ConnectionName;

    pub(super) fn serialize<S: Serializer>(name: &ConnectionName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConnectionName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
