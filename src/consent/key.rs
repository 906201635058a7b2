//! The key that signs links.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::flaw::Flaw;
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
    ) -> Result<SigningKey, String> {
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

/// Reads the installation's signing key.
///
/// # Errors
/// What is wrong with it and how to fix it, in a sentence.
pub async fn read_signing_key(secrets: &impl Grants, prefix: &Prefix) -> Result<SigningKey, String> {
    let name = prefix.signing_key();
    let read = secrets.read_one(&name).await.map_err(|error| format!("{error}; {}", error.remedy()))?;
    let key = read
        .content
        .map(|version| SigningKey::new(version.text.expose()))
        .and_then(|key| if key.is_strong() { Ok(key) } else { Err(Flaw::WeakKey) });
    key.map_err(|flaw| format!("secret {name}: {flaw}; {}", flaw.remedy()))
}
