//! The key that links are signed with.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::flaw::Flaw;
use crate::name::Prefix;
use crate::ports::Grants;
use crate::secret::SigningKey;

/// How long a signing key is kept before it is read again, so that a rotated one is taken up.
const KEY_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// The signing key, read when the first link comes and again after a while.
#[derive(Default)]
pub struct KeyRing(Mutex<Option<(SigningKey, Option<Timestamp>)>>);

impl KeyRing {
    /// A key of this process alone.
    pub fn of(key: SigningKey) -> Self {
        Self(Mutex::new(Some((key, None))))
    }

    /// The key, fresh enough.
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
/// What is wrong with it and how to mend it, in a sentence.
pub async fn read_signing_key(secrets: &impl Grants, prefix: &Prefix) -> Result<SigningKey, String> {
    let name = prefix.signing_key();
    let read = secrets.read_one(&name).await.map_err(|error| format!("{error}; {}", error.remedy()))?;
    let key = read
        .content
        .map(|version| SigningKey::new(version.text.expose()))
        .and_then(|key| if key.is_strong() { Ok(key) } else { Err(Flaw::WeakKey) });
    key.map_err(|flaw| format!("secret {name}: {flaw}; {}", flaw.remedy()))
}
