//! The rules for grants, codes and tokens, without a wire and without a clock: the caller passes
//! the time. The server and the simulation in virtual time share them.
//!
//! A consent begins a grant. All refresh tokens that come from it by rotation are its family.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};

use super::settings::{Ends, EndsAccessToken, Rotation, Settings, Stale};
use crate::digest::sha256;

/// A server's memory.
#[derive(Debug)]
pub struct Rules {
    /// How it behaves.
    pub settings: Settings,
    /// A part of each token, so that two servers have different ones.
    name: &'static str,
    pub(super) grants: Vec<Grant>,
    pub(super) codes: BTreeMap<String, Code>,
    pub(super) refresh_tokens: BTreeMap<String, RefreshToken>,
    pub(super) access_tokens: BTreeMap<String, AccessToken>,
    /// Codes and tokens made so far.
    made: u64,
}

/// What a user agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The client that asked.
    pub client_id: String,
    /// Who agreed.
    pub user: String,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// Whether there will be a refresh token.
    pub offline: bool,
}

#[derive(Debug)]
pub(super) struct Grant {
    agreed: Agreed,
    pub(super) since: Timestamp,
    /// The last mint.
    minted: Timestamp,
    pub(super) ended: bool,
    /// Its refresh tokens so far, oldest first.
    pub(super) family: Vec<String>,
}

#[derive(Debug)]
pub(super) struct RefreshToken {
    pub(super) grant: usize,
    pub(super) issued: Timestamp,
    pub(super) used: Timestamp,
    /// The token whose replacement it is.
    before: Option<String>,
    /// When it was replaced first.
    pub(super) replaced: Option<Timestamp>,
    /// Whether one of its replacements was used.
    pub(super) replacement_used: bool,
    pub(super) revoked: bool,
    pub(super) redeemed: usize,
}

/// An authorization code.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) agreed: Agreed,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) expires: Timestamp,
    pub(super) spent: bool,
    /// The grant that it led to.
    pub(super) grant: Option<usize>,
}

#[derive(Debug)]
pub(super) struct AccessToken {
    grant: usize,
    pub(super) expires: Timestamp,
}

/// What a token request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The access token.
    pub access_token: String,
    /// Its life.
    pub life: SignedDuration,
    /// The answer's refresh token, new or the same again. `None` if the answer has none.
    pub refresh_token: Option<String>,
    /// When the refresh token ends if nobody uses it, if ever.
    pub refresh_token_ends: Option<Timestamp>,
    /// The access token's scopes.
    pub scopes: Vec<String>,
}

/// Why a token request brings nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The refresh token is unknown, ended, revoked, replaced, or another client's.
    Dead,
    /// The code is unknown, expired, spent or another client's, or what comes with it does not fit.
    Code,
    /// A refresh may not ask for more scopes than were granted.
    Scope,
    /// The last refresh was not long enough ago.
    TooEarly,
}

impl Rules {
    /// A server that knows nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            settings: Settings::default(),
            name,
            grants: Vec::new(),
            codes: BTreeMap::new(),
            refresh_tokens: BTreeMap::new(),
            access_tokens: BTreeMap::new(),
            made: 0,
        }
    }

    /// The first tokens of a new grant, as if its code had just been exchanged.
    pub fn consent(&mut self, now: Timestamp, agreed: Agreed) -> Minted {
        let (scopes, offline) = (agreed.scopes.clone(), agreed.offline);
        self.grants.push(Grant { agreed, since: now, minted: now, ended: false, family: Vec::new() });
        let grant = self.grants.len() - 1;
        let refresh_token = offline.then(|| self.refresh_token(now, grant, None));
        self.mint(now, grant, refresh_token.as_deref(), refresh_token.clone(), scopes)
    }

    /// Redeems a refresh token. `scopes` asks for fewer than were granted.
    pub fn refresh(
        &mut self,
        now: Timestamp,
        client_id: &str,
        text: &str,
        scopes: Option<Vec<String>>,
    ) -> Result<Minted, Refused> {
        let token = self.refresh_tokens.get(text).ok_or(Refused::Dead)?;
        let (grant, before) = (token.grant, token.before.clone());
        if self.grants[grant].agreed.client_id != client_id || !self.holds(now, token) {
            return Err(Refused::Dead);
        }
        if !self.has_grace(now, token) {
            if self.settings.stale == Stale::Kills {
                self.end(now, grant);
            }
            return Err(Refused::Dead);
        }
        let granted = &self.grants[grant].agreed.scopes;
        let scopes = scopes.unwrap_or_else(|| granted.clone());
        if scopes.iter().any(|scope| !granted.contains(scope)) {
            return Err(Refused::Scope);
        }
        let since_last = now.duration_since(self.grants[grant].minted);
        if self.settings.earliest_refresh.is_some_and(|earliest| since_last < earliest) {
            return Err(Refused::TooEarly);
        }
        let age = now.duration_since(token.issued);
        if let Some(before) = before {
            self.known(&before).replacement_used = true;
        }
        let rotates = match self.settings.rotation {
            Rotation::Never | Rotation::Same => false,
            Rotation::After(least) => age >= least,
            Rotation::Always => true,
        };
        let token = self.known(text);
        token.redeemed += 1;
        token.used = now;
        if rotates {
            token.replaced.get_or_insert(now);
        }
        self.end_access_tokens_before(now, grant);
        let valid = if rotates { self.refresh_token(now, grant, Some(text)) } else { text.to_owned() };
        let answered = (self.settings.rotation != Rotation::Never).then(|| valid.clone());
        Ok(self.mint(now, grant, Some(&valid), answered, scopes))
    }

    /// Revokes a token of the client (RFC 7009). An unknown one is fine.
    pub fn revoke(&mut self, now: Timestamp, client_id: &str, text: &str, ends: Ends) -> Result<(), Refused> {
        let access = self.access_tokens.get(text).map(|token| token.grant);
        let Some(grant) = access.or_else(|| self.refresh_tokens.get(text).map(|token| token.grant)) else {
            return Ok(());
        };
        let agreed = self.grants[grant].agreed.clone();
        if agreed.client_id != client_id {
            return Err(Refused::Dead);
        }
        let same = |other: &Grant| other.agreed.client_id == agreed.client_id && other.agreed.user == agreed.user;
        match ends {
            Ends::User => {
                let grants: Vec<_> = (0..self.grants.len()).filter(|number| same(&self.grants[*number])).collect();
                for number in grants {
                    self.end(now, number);
                }
            }
            Ends::Token | Ends::Grant if access.is_some() => self.end_access_token(now, text),
            Ends::Grant => self.end(now, grant),
            Ends::Token => self.known(text).revoked = true,
        }
        Ok(())
    }

    /// Ends the grant of a refresh token with all its tokens, as if the user removed the app.
    ///
    /// # Panics
    /// If the refresh token was never issued.
    pub fn kill(&mut self, now: Timestamp, refresh_token: &str) {
        let grant = self.refresh_tokens.get(refresh_token).expect("a refresh token of this server").grant;
        self.end(now, grant);
    }

    /// Ends an access token before its time.
    pub fn end_access_token(&mut self, now: Timestamp, access_token: &str) {
        if let Some(token) = self.access_tokens.get_mut(access_token) {
            token.expires = token.expires.min(now);
        }
    }

    pub(super) fn end(&mut self, now: Timestamp, grant: usize) {
        self.grants[grant].ended = true;
        let tokens = self.access_tokens.values_mut().filter(|token| token.grant == grant);
        tokens.for_each(|token| token.expires = token.expires.min(now));
    }

    fn end_access_tokens_before(&mut self, now: Timestamp, grant: usize) {
        let end = match self.settings.ends_access_token {
            EndsAccessToken::No => return,
            EndsAccessToken::AtOnce => now,
            EndsAccessToken::After(time) => now + time,
        };
        let tokens = self.access_tokens.values_mut().filter(|token| token.grant == grant);
        tokens.for_each(|token| token.expires = token.expires.min(end));
    }

    /// A token that was issued. All stay known.
    fn known(&mut self, refresh_token: &str) -> &mut RefreshToken {
        self.refresh_tokens.get_mut(refresh_token).expect("an issued token")
    }

    fn refresh_token(&mut self, now: Timestamp, grant: usize, before: Option<&str>) -> String {
        let text = self.make("refresh");
        let token = RefreshToken {
            grant,
            issued: now,
            used: now,
            before: before.map(str::to_owned),
            replaced: None,
            replacement_used: false,
            revoked: false,
            redeemed: 0,
        };
        self.refresh_tokens.insert(text.clone(), token);
        self.grants[grant].family.push(text.clone());
        text
    }

    /// `valid` is the refresh token that is good from now on, `answered` the one in the answer.
    fn mint(
        &mut self,
        now: Timestamp,
        grant: usize,
        valid: Option<&str>,
        answered: Option<String>,
        scopes: Vec<String>,
    ) -> Minted {
        let access_token = self.make("access");
        let life = self.settings.access_token_life;
        self.access_tokens.retain(|_, token| now < token.expires);
        self.access_tokens.insert(access_token.clone(), AccessToken { grant, expires: now + life });
        self.grants[grant].minted = now;
        let refresh_token_ends = valid.and_then(|valid| self.ends(&self.refresh_tokens[valid]));
        Minted { access_token, life, refresh_token: answered, refresh_token_ends, scopes }
    }

    /// The text of a new code or token: unique, and the same in every run. Some of its characters
    /// have to be escaped in a form.
    pub(super) fn make(&mut self, kind: &str) -> String {
        self.made += 1;
        let digest = sha256(format!("{} {kind} {}", self.name, self.made).as_bytes());
        format!("{kind}.{}", BASE64_STANDARD.encode(digest))
    }
}
