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

/// The signing key. It is read when the first link comes, and again after `KEY_LIFE`.
#[derive(Default)]
pub struct KeyRing(Mutex<Option<(SigningKey, Option<Timestamp>)>>);

impl KeyRing {
    /// A key that only this process has. It is never read again.
    pub fn of(key: SigningKey) -> Self {
        Self(Mutex::new(Some((key, None))))
    }

    /// The key, not older than `KEY_LIFE`.
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
        match kept {
            Some((key, None)) => return Ok(key),
            Some((key, Some(read))) if now.duration_since(read) < KEY_LIFE => return Ok(key),
            _ => {}
        }
        let key = read_signing_key(secrets, prefix).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), Some(now)));
        Ok(key)
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
