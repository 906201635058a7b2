//! The key that signs links.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::failure::StoreError;
use crate::flaw::{Broken, Flaw};
use crate::name::Prefix;
use crate::ports::Grants;
use crate::secret::SigningKey;

/// How long the signing key is kept before it is read again. A rotated key is used after this time.
const KEY_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// How long the lack of a usable key is remembered. Strangers could otherwise cause a read with
/// each request.
const NO_KEY_LIFE: SignedDuration = SignedDuration::from_secs(30);

/// The same if AWS does not answer: short, because that passes.
const NO_ANSWER_LIFE: SignedDuration = SignedDuration::from_secs(5);

/// The signing key. It is read when the first link comes, and again after `KEY_LIFE`.
#[derive(Default)]
pub struct KeyRing(Mutex<Option<Kept>>);

/// What was read, and until when it counts; without a time, for ever.
#[derive(Clone)]
struct Kept {
    key: Result<SigningKey, NoKey>,
    until: Option<Timestamp>,
}

impl KeyRing {
    /// A key that only this process has. It is never read again.
    pub fn of(key: SigningKey) -> Self {
        Self(Mutex::new(Some(Kept { key: Ok(key), until: None })))
    }

    /// The key, not older than `KEY_LIFE`; or that there is none, not older than `NO_KEY_LIFE`.
    ///
    /// # Errors
    /// As [`read_signing_key`].
    pub(super) async fn get(
        &self,
        secrets: &impl Grants,
        prefix: &Prefix,
        now: Timestamp,
    ) -> Result<SigningKey, NoKey> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Kept { key, until }) = kept
            && until.is_none_or(|until| now < until)
        {
            return key;
        }
        let key = read_signing_key(secrets, prefix).await;
        let life = match &key {
            Ok(_) => KEY_LIFE,
            Err(NoKey::Broken(_)) => NO_KEY_LIFE,
            Err(NoKey::Store(_)) => NO_ANSWER_LIFE,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Kept { key: key.clone(), until: Some(now + life) });
        key
    }
}

/// Why there is no signing key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// AWS did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret is missing, or of no use.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl NoKey {
    /// What to do about it, as an instruction.
    pub fn remedy(&self) -> String {
        match self {
            Self::Store(error) => error.remedy(),
            Self::Broken(broken) => broken.flaw.remedy(),
        }
    }
}

/// Reads the installation's signing key.
///
/// # Errors
/// If it cannot be read, or is too short.
pub async fn read_signing_key(secrets: &impl Grants, prefix: &Prefix) -> Result<SigningKey, NoKey> {
    let name = prefix.signing_key();
    let content = secrets.read_one(&name).await?.content;
    let key = content.map(|version| SigningKey::new(version.text.expose()));
    let strong = key.and_then(|key| if key.is_strong() { Ok(key) } else { Err(Flaw::WeakKey) });
    Ok(strong.map_err(|flaw| Broken::secret(&name, flaw))?)
}
