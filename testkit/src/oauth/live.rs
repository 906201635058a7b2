//! What lives, and until when.

use jiff::Timestamp;

use super::rules::{RefreshToken, Rules};
use super::settings::{Grace, Settings};

impl Rules {
    /// Whether an API accepts the access token.
    pub fn access_token_lives(&self, now: Timestamp, access_token: &str) -> bool {
        self.access_tokens.get(access_token).is_some_and(|token| now < token.expires)
    }

    /// Whether the refresh token can be redeemed.
    pub fn refresh_token_lives(&self, now: Timestamp, refresh_token: &str) -> bool {
        let token = self.refresh_tokens.get(refresh_token);
        token.is_some_and(|token| self.holds(now, token) && self.has_grace(now, token))
    }

    /// The refresh tokens that can be redeemed, oldest grant first.
    pub fn refresh_tokens(&self, now: Timestamp) -> Vec<String> {
        let known = self.grants.iter().flat_map(|grant| &grant.family);
        known.filter(|token| self.refresh_token_lives(now, token)).cloned().collect()
    }

    /// The newest refresh token of the same grant, if it can be redeemed.
    pub fn newest(&self, now: Timestamp, refresh_token: &str) -> Option<String> {
        self.family(refresh_token).last().filter(|newest| self.refresh_token_lives(now, newest)).cloned()
    }

    /// Whether any refresh token of the same grant can be redeemed.
    pub fn family_lives(&self, now: Timestamp, refresh_token: &str) -> bool {
        self.family(refresh_token).iter().rev().any(|token| self.refresh_token_lives(now, token))
    }

    fn family(&self, refresh_token: &str) -> &[String] {
        self.refresh_tokens.get(refresh_token).map_or(&[], |token| &self.grants[token.grant].family)
    }

    /// How often this refresh token was redeemed. A refused attempt does not count.
    pub fn redeemed(&self, refresh_token: &str) -> usize {
        self.refresh_tokens.get(refresh_token).map_or(0, |token| token.redeemed)
    }

    /// Whether neither a revocation nor time has ended it.
    pub(super) fn holds(&self, now: Timestamp, token: &RefreshToken) -> bool {
        let ends = self.ends(token);
        !self.grants[token.grant].ended && !token.revoked && ends.is_none_or(|ends| now < ends)
    }

    /// Whether it is the newest, or still good beside its replacement.
    pub(super) fn has_grace(&self, now: Timestamp, token: &RefreshToken) -> bool {
        token.replaced.is_none_or(|replaced| match self.settings.grace {
            Grace::None => false,
            Grace::For(time) => now < replaced + time,
            Grace::UntilUsed => !token.replacement_used,
            Grace::Always => true,
        })
    }

    /// When time ends it, if nobody uses it before.
    pub(super) fn ends(&self, token: &RefreshToken) -> Option<Timestamp> {
        let Settings { idle_life, refresh_token_life, grant_life, .. } = self.settings;
        let ends = [
            idle_life.map(|life| token.used + life),
            refresh_token_life.map(|life| token.issued + life),
            grant_life.map(|life| self.grants[token.grant].since + life),
        ];
        ends.into_iter().flatten().min()
    }
}
