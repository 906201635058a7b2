//! Claims: who may send a refresh token that is good for one use.
//!
//! Pure. A claim is a parameter that only one run can create, so only one may ask. It is named by
//! the grant's version, and by the attempt if that is not the first. It stays for a while after its
//! work: a run that has read the old grant must not claim the same version again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::name::VersionId;
use crate::provider::Reuse;
use crate::secret::{RefreshToken, SecretText};

/// The version of the format.
const SCHEMA: u64 = 1;
/// So long somebody may be at work with a claim. A run asks at once after it has claimed, and
/// stores within a minute; the function ends after five.
pub const HELD: SignedDuration = SignedDuration::from_mins(10);
/// A claim is removed when it is older than this. No run works with a grant that it has read so
/// long ago.
const STAYS: SignedDuration = SignedDuration::from_hours(1);

/// A claim on one version of a grant.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The grant's version.
    pub grant_version: VersionId,
    /// 1 for the first attempt with this version.
    pub attempt: u32,
    /// A random text of whoever made it. If the answer to the creation was lost, it tells whose
    /// claim there is.
    pub claimer: String,
    /// When it was made.
    pub claimed_at: Timestamp,
    /// When the first attempt was made whose answer is still missing.
    pub first_claimed_at: Timestamp,
    /// Which refresh token it is about.
    pub token: TokenHash,
    /// The new refresh token, if the store did not take it.
    pub kept: Option<Successor>,
}

/// A refresh token in place of another one.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The new refresh token.
    pub refresh_token: RefreshToken,
    /// When it ends, if that is known.
    pub expires_at: Option<Timestamp>,
}

/// Tells refresh tokens apart without giving them away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of a refresh token.
    pub fn of(refresh_token: &RefreshToken) -> Self {
        let hash = Sha256::new_with_prefix("token-keeper claim 1").chain_update(refresh_token.expose()).finalize();
        Self(format!("{:032x}", hash.first_chunk().copied().map_or(0, u128::from_be_bytes)))
    }
}

/// The text of the parameter.
#[derive(Serialize, Deserialize)]
struct Document {
    schema: u64,
    grant_version: VersionId,
    attempt: u32,
    claimer: String,
    claimed_at: Timestamp,
    first_claimed_at: Timestamp,
    refresh_token_hash: TokenHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    refresh_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_expires_at: Option<Timestamp>,
}

impl Claim {
    /// The last part of its parameter's name.
    pub fn name(&self) -> String {
        match self.attempt {
            1 => self.grant_version.as_str().to_owned(),
            attempt => format!("{}.{attempt}", self.grant_version.as_str()),
        }
    }

    /// The text of its parameter. It may contain a refresh token.
    ///
    /// # Panics
    /// Never: strings, numbers and times always become JSON.
    pub fn document(&self) -> SecretText {
        let kept = self.kept.as_ref().map(|kept| Kept {
            refresh_token: kept.refresh_token.expose().to_owned(),
            refresh_token_expires_at: kept.expires_at,
        });
        let document = Document {
            schema: SCHEMA,
            grant_version: self.grant_version.clone(),
            attempt: self.attempt,
            claimer: self.claimer.clone(),
            claimed_at: self.claimed_at,
            first_claimed_at: self.first_claimed_at,
            refresh_token_hash: self.token.clone(),
            kept,
        };
        SecretText::new(serde_json::to_string(&document).expect("a document of strings and times"))
    }

    /// Reads the text of a parameter. `None` if it is no claim that this program understands.
    pub fn parse(text: &SecretText) -> Option<Self> {
        let document: Document = serde_json::from_str(text.expose()).ok()?;
        (document.schema == SCHEMA).then(|| Self {
            grant_version: document.grant_version,
            attempt: document.attempt,
            claimer: document.claimer,
            claimed_at: document.claimed_at,
            first_claimed_at: document.first_claimed_at,
            token: document.refresh_token_hash,
            kept: document.kept.map(|kept| Successor {
                refresh_token: RefreshToken::new(kept.refresh_token),
                expires_at: kept.refresh_token_expires_at,
            }),
        })
    }

    /// Whether somebody may be at work with it.
    pub fn is_held(&self, now: Timestamp) -> bool {
        now.duration_since(self.claimed_at) < HELD
    }

    /// A claim of this name whose text says nothing. Once nobody can be at work with it, it counts
    /// as one whose answer was lost.
    pub fn unreadable(name: &str, written_at: Timestamp) -> Self {
        let attempt = name.rsplit_once('.').and_then(|(version, attempt)| Some((version, attempt.parse().ok()?)));
        let (version, attempt) = attempt.unwrap_or((name, 1));
        Self {
            grant_version: VersionId::new(version),
            attempt,
            claimer: String::new(),
            claimed_at: written_at,
            first_claimed_at: written_at,
            token: TokenHash(String::new()),
            kept: None,
        }
    }

    /// Whether it has done its work, if the grant has another refresh token now. With a copy of a
    /// refresh token it stays no longer than it has to.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.claimed_at) > if self.kept.is_some() { HELD } else { STAYS }
    }
}

/// What the claims of others say about a refresh token.
#[derive(Debug)]
pub enum Standing {
    /// Nobody has sent it.
    Free,
    /// Somebody is at work with it.
    Held,
    /// It was redeemed, and this claim has its successor.
    Kept(Claim),
    /// It was sent, and nobody knows the answer. This is when it was sent first.
    Lost(Timestamp),
}

/// Judges a grant's refresh token by its connection's `claims`, without the caller's. A claim on
/// another version counts too if it is about the same refresh token: somebody may have changed
/// another field of the grant.
pub fn standing<'c>(
    claims: impl Iterator<Item = &'c Claim> + Clone,
    version: &VersionId,
    token: &TokenHash,
    now: Timestamp,
) -> Standing {
    let about = claims.filter(|claim| claim.grant_version == *version || claim.token == *token);
    if let Some(kept) = about.clone().find(|claim| claim.kept.is_some()) {
        return Standing::Kept(kept.clone());
    }
    if about.clone().any(|claim| claim.is_held(now)) {
        return Standing::Held;
    }
    about.map(|claim| claim.first_claimed_at).min().map_or(Standing::Free, Standing::Lost)
}

/// Whether a refresh token may be sent again whose answer was lost, if that is answered at
/// `answered_at` at the latest. Where that may kill the grant, it is sent only when the living
/// access token is near its end.
pub fn may_ask_again(reuse: Reuse, first_claimed_at: Timestamp, answered_at: Timestamp, near_the_end: bool) -> bool {
    near_the_end
        || match reuse {
            Reuse::Tolerated | Reuse::UntilUsed => true,
            Reuse::For(seconds) => answered_at.duration_since(first_claimed_at) < SignedDuration::from_secs(seconds),
            Reuse::Kills => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(NOW + 60 * minutes).expect("a time")
    }

    /// A claim on a version and a token, made so many minutes ago.
    fn claim(version: &str, token: &str, minutes_ago: i64) -> Claim {
        Claim {
            grant_version: VersionId::new(version),
            attempt: 1,
            claimer: "somebody".to_owned(),
            claimed_at: at(-minutes_ago),
            first_claimed_at: at(-minutes_ago),
            token: TokenHash::of(&RefreshToken::new(token)),
            kept: None,
        }
    }

    fn kept(claim: Claim) -> Claim {
        Claim { kept: Some(Successor { refresh_token: RefreshToken::new("next"), expires_at: None }), ..claim }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_name_tells_the_attempt() {
        let written = Claim { attempt: 3, ..kept(claim("v1", "hush", 5)) };
        let text = written.document();
        assert!(!text.expose().contains("hush"), "the hash tells tokens apart");
        let read = Claim::parse(&text).expect("a claim");
        assert_eq!((read.name().as_str(), read.claimed_at, read.token.clone()), ("v1.3", at(-5), written.token));
        assert_eq!(read.kept.expect("a successor").refresh_token.expose(), "next");
        assert_eq!(claim("v1", "hush", 0).name(), "v1");
        for damaged in ["", "{}", r#"{"schema":2}"#] {
            assert!(Claim::parse(&SecretText::new(damaged)).is_none());
        }
    }

    #[test]
    fn the_table_of_standings() {
        let check = |claims: &[Claim], expected: &str| {
            let (version, token) = (VersionId::new("v1"), TokenHash::of(&RefreshToken::new("r")));
            let found = match standing(claims.iter(), &version, &token, at(0)) {
                Standing::Free => "free".to_owned(),
                Standing::Held => "held".to_owned(),
                Standing::Kept(_) => "kept".to_owned(),
                Standing::Lost(first) => format!("lost {}", at(0).duration_since(first).as_mins()),
            };
            assert_eq!(found, expected, "{claims:?}");
        };
        check(&[], "free");
        check(&[claim("v0", "before", 1), kept(claim("v0", "before", 1))], "free");
        check(&[claim("v1", "r", 9)], "held");
        // A clock that goes ahead.
        check(&[claim("v1", "r", -9)], "held");
        check(&[claim("v1", "r", 10)], "lost 10");
        // Somebody has changed another field of the grant, or put a token into the same version.
        check(&[claim("v0", "r", 9)], "held");
        check(&[claim("v1", "other", 9)], "held");
        check(&[claim("v1", "r", 45), claim("v1", "r", 30)], "lost 45");
        check(&[claim("v1", "r", 45), claim("v1", "r", 1)], "held");
        check(&[claim("v1", "r", 45), kept(claim("v1", "r", 1))], "kept");
    }

    #[test]
    fn a_token_is_sent_again_only_where_that_harms_nothing_or_little_is_left() {
        for (reuse, minutes, expected) in [
            (Reuse::Tolerated, 10_000, true),
            (Reuse::UntilUsed, 10_000, true),
            (Reuse::For(1800), 29, true),
            (Reuse::For(1800), 30, false),
            (Reuse::Kills, 10, false),
        ] {
            assert_eq!(may_ask_again(reuse, at(-minutes), at(0), false), expected, "{reuse:?} after {minutes}");
            assert!(may_ask_again(reuse, at(-minutes), at(0), true));
        }
    }
}
