//! Rotating refresh tokens: each is good for one use, so one run may send it, and its successor is
//! stored before anything is published.
//!
//! Claim, ask, store; then `renew` publishes, and what is over is cleared. A run may be cut off
//! anywhere in between: the claim tells the next one what it may do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use crate::claim::{Claim, Standing, Successor, TokenHash, may_ask_again, standing};
use crate::connection::{Credential, Grant, SecretDocument, SecretVersion};
use crate::failure::{Cause, Refusal, StoreError};
use crate::lease::{Lease, Token};
use crate::name::VersionId;
use crate::ports::{Claims, Grants, Issuer, Leases, Minted, SecretReplacer};
use crate::run::Refresher;
use crate::run::renew::Answer;
use crate::run::report::{Deferral, Outcome};
use crate::secret::RefreshToken;

/// How long one attempt may take to store a successor, or to keep it in the claim.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a claim may take to be removed. It waits for its turn among all other writes, and a
/// claim that stays looks like a lost answer.
const CLEARING: Duration = Duration::from_secs(30);
/// How often both are tried, one after the other.
const ROUNDS: usize = 2;
/// The time that a refresh token needs after its answer: in each round a store, a look and a claim,
/// the wait between the rounds, and some seconds to publish.
const STORE_RESERVE: Duration = Duration::from_secs(55);
/// The time from the look at the claims to an answer, at the most.
const TO_ANSWER: SignedDuration = SignedDuration::from_secs(75);
/// The longest time between claiming and asking. A run that has slept for longer, because its
/// machine did, asks nothing.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(60);

const PUT_SECRET: &str = "secretsmanager:PutSecretValue";

/// What became of a successor.
enum Stored {
    /// It is in this version of the grant.
    Grant(VersionId),
    /// It is in the claim, because the store failed. The grant will have this version when the next
    /// run has stored it.
    Claim(VersionId, StoreError),
    /// There is a newer consent, so nobody needs it.
    Overtaken,
    /// It could be kept nowhere.
    Nowhere(StoreError),
}

impl<G: Grants + SecretReplacer, I: Issuer, L: Leases + Claims> Refresher<G, I, L> {
    /// Mints with a refresh token that is good for one use.
    pub(super) async fn redeem(&self, grant: Grant, last: Option<&Lease>, end: Option<Instant>) -> Answer {
        let mut grant = grant;
        // The second time comes after a first one that has completed what an earlier run had begun,
        // if the published token is near its end.
        for _ in 0..2 {
            match self.claim(&grant, last).await {
                Ok(Claimed::Ours { claim, over, lost }) => return self.ask(grant, claim, over, lost, end).await,
                Ok(Claimed::Kept(claim)) => match self.complete(grant, claim, last).await {
                    Ok(completed) => grant = completed,
                    Err(outcome) => return Answer::Left(outcome),
                },
                Err(outcome) => return Answer::Left(outcome),
            }
        }
        Answer::Left(Outcome::Deferred(Deferral::Changed))
    }

    /// Claims the grant's refresh token.
    ///
    /// # Errors
    /// Why it may not be sent now.
    async fn claim(&self, grant: &Grant, last: Option<&Lease>) -> Result<Claimed, Outcome> {
        let (connection, now) = (&grant.connection, self.source.now());
        let Some(refresh_token) = grant.refresh_token() else { return Err(Outcome::AwaitingConsent) };
        let mut ours = self.new_claim(grant, TokenHash::of(refresh_token));
        // The second attempt comes after a first one whose answer was lost.
        for _ in 0..2 {
            let created = self.leases.claim(connection, &ours).await;
            let claims = match self.leases.claims(connection).await {
                Ok(claims) => claims,
                Err(error) => {
                    self.release(grant, created.is_ok().then_some(&ours)).await;
                    return Err(unclaimed(&error));
                }
            };
            let is_ours = |claim: &&Claim| claim.name() == ours.name() && claim.claimer == ours.claimer;
            // The answer to the creation may have been lost, and the claim is there.
            let created = match created {
                Ok(()) => true,
                Err(_) if claims.iter().any(|claim| is_ours(&claim)) => true,
                Err(error) if error.overtaken() => false,
                Err(error) => return Err(unclaimed(&error)),
            };
            let others = claims.iter().filter(|claim| !is_ours(claim));
            // They are removed only after a success: until then they say what was lost.
            let over = || others.clone().filter(|claim| claim.is_over(now)).cloned().collect();
            let outcome = match standing(others.clone(), &grant.version, &ours.token, now) {
                Standing::Kept(claim) => {
                    self.release(grant, created.then_some(&ours)).await;
                    return Ok(Claimed::Kept(claim));
                }
                Standing::Free if created => return Ok(Claimed::Ours { over: over(), claim: ours, lost: false }),
                // `Free`: there is a claim of this name that is not to be seen yet.
                Standing::Free | Standing::Held => Outcome::Deferred(Deferral::Claimed),
                Standing::Lost(first) => {
                    // Where a refresh ends the access token, the lost one may have, and waiting
                    // helps nobody.
                    let near = grant.provider.ends_access_token() || self.near_the_end(last, now);
                    if self.complete_put_aside(grant).await {
                        Outcome::Deferred(Deferral::Changed)
                    } else if !may_ask_again(grant.provider.reuse(), first, now + TO_ANSWER, near) {
                        lost_answer(grant, last)
                    } else if created {
                        // In a long outage each run makes a claim. The first one keeps the name,
                        // the newest one knows since when.
                        let passed = |claim: &&Claim| {
                            let between = 1 < claim.attempt && claim.attempt < ours.attempt;
                            between && claim.grant_version == grant.version && !claim.is_held(now)
                        };
                        let passed: Vec<_> = others.clone().filter(passed).cloned().collect();
                        self.clear(grant, &passed).await;
                        return Ok(Claimed::Ours { over: over(), claim: ours, lost: true });
                    } else {
                        let same = others.clone().filter(|claim| claim.grant_version == grant.version);
                        ours.attempt = same.map(|claim| claim.attempt).max().unwrap_or_default() + 1;
                        ours.first_claimed_at = first;
                        continue;
                    }
                }
            };
            self.release(grant, created.then_some(&ours)).await;
            return Err(outcome);
        }
        Err(Outcome::Deferred(Deferral::Claimed))
    }

    /// A run may have been cut off after it had put the successor aside, and before that was the
    /// current version. Then this makes it so.
    async fn complete_put_aside(&self, grant: &Grant) -> bool {
        let name = self.settings.prefix.grant(grant.connection.as_str());
        let completed = timeout(PATIENCE, self.grants.complete_refresh(&name, &grant.version)).await;
        completed.is_ok_and(|completed| completed.is_ok_and(|completed| completed))
    }

    /// Whether the published token ends soon: before the run after the next.
    fn near_the_end(&self, last: Option<&Lease>, now: Timestamp) -> bool {
        let token = last.and_then(|last| last.token.as_ref());
        token.is_none_or(|token| token.expires_at.duration_since(now) <= self.settings.margin / 2)
    }

    /// Takes back a claim with which nothing was sent, or nothing was redeemed.
    async fn release(&self, grant: &Grant, claim: Option<&Claim>) {
        if let Some(claim) = claim {
            self.clear(grant, std::slice::from_ref(claim)).await;
        }
    }

    /// Removes claims. What stays is removed later.
    pub(super) async fn clear(&self, grant: &Grant, claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        let removed = timeout(CLEARING, self.leases.unclaim(&grant.connection, claims)).await;
        if let Ok(Err(error)) = removed {
            warn!(connection = grant.connection.as_str(), %error, "a claim was not removed");
        }
    }

    /// Sends the refresh token that was claimed, and stores its successor.
    async fn ask(&self, grant: Grant, claim: Claim, over: Vec<Claim>, lost: bool, end: Option<Instant>) -> Answer {
        let document = match self.secret(&grant).await {
            Ok(Some((read, document))) if read == grant.version => document,
            _ => {
                self.release(&grant, Some(&claim)).await;
                return Answer::Left(Outcome::Deferred(Deferral::Changed));
            }
        };
        let reserve = |end: Instant| end.checked_sub(STORE_RESERVE).unwrap_or(end);
        let end = end.map(reserve);
        let slept = self.source.now().duration_since(claim.claimed_at) > AT_ONCE;
        if slept || !self.time_to_mint(end) {
            self.release(&grant, Some(&claim)).await;
            return Answer::Left(Outcome::Deferred(Deferral::NoTime));
        }
        let mut answer = self.issuer.mint(&grant).await;
        let (mut spent, wait) = (false, self.retry_after(&grant));
        if let Err(refusal) = &answer
            && self.may_retry(refusal, &grant, &claim, wait)
            && self.time_to_mint(end.map(|end| end - wait))
        {
            spent = refusal.perhaps_redeemed();
            sleep(wait).await;
            answer = self.issuer.mint(&grant).await;
        }
        let minted = match answer {
            Ok(minted) => minted,
            Err(refusal) => {
                let refusal = match refusal {
                    // Its successor was in the answer that was lost. The second pattern is the same
                    // in words that the table of providers does not know.
                    Refusal::ConsentRequired { .. } if lost || spent => rotation_lost(),
                    Refusal::Unclear { error, .. } if (lost || spent) && error.starts_with("invalid_grant") => {
                        rotation_lost()
                    }
                    refusal => refusal,
                };
                let dead = matches!(refusal, Refusal::ConsentRequired { .. });
                if dead || !(spent || refusal.perhaps_redeemed()) {
                    self.release(&grant, Some(&claim)).await;
                }
                return Answer::Refused(grant, refusal);
            }
        };
        let before = grant.refresh_token().map(RefreshToken::expose);
        let Some(refresh_token) = minted.refresh_token.clone().filter(|token| Some(token.expose()) != before) else {
            // The same refresh token works on, so its version can be claimed again.
            let over = over.into_iter().chain([claim]).collect();
            return Answer::Tokens { grant, minted, over, trouble: None };
        };
        let expires_at = grant.end_of_refresh_token(minted.refresh_token_expires_at, minted.token.issued_at);
        let successor = Successor { refresh_token, expires_at };
        let stored = self.store(&grant, document, &claim, &successor).await;
        published(grant, minted, &successor, stored, over)
    }

    /// Whether one more try after this wait makes sense and does no harm.
    fn may_retry(&self, refusal: &Refusal, grant: &Grant, claim: &Claim, wait: Duration) -> bool {
        if refusal.perhaps_redeemed() {
            let answered_at = self.source.now() + wait + self.issuer.timeout();
            may_ask_again(grant.provider.reuse(), claim.first_claimed_at, answered_at, false)
        } else {
            refusal.passes_at_once()
        }
    }

    /// A provider that does not rotate has given another refresh token.
    pub(super) async fn unexpected(&self, grant: Grant, minted: Minted, refresh_token: RefreshToken) -> Answer {
        let title = grant.provider.title();
        let error = format!("{title} gave another refresh token, although it is not known to rotate");
        warn!(connection = grant.connection.as_str(), error);
        let before = grant.refresh_token().filter(|_| self.settings.rotating).map(TokenHash::of);
        let Some(before) = before else {
            let remedy = "if the next refresh fails, connect it again; deploy the stack with RotatingProviders=true, so that \
                          it can be stored";
            let trouble = Some(Outcome::Failed { error, remedy: remedy.to_owned() });
            return Answer::Tokens { grant, minted, over: Vec::new(), trouble };
        };
        let expires_at = grant.end_of_refresh_token(minted.refresh_token_expires_at, minted.token.issued_at);
        let successor = Successor { refresh_token, expires_at };
        let claim = self.new_claim(&grant, before.clone());
        let stored = match self.secret(&grant).await {
            Ok(Some((read, document))) if hash(&document) == Some(before) => {
                let grant = Grant { version: read, ..grant.clone() };
                self.store(&grant, document, &claim, &successor).await
            }
            Ok(_) => Stored::Overtaken,
            Err(why) => match self.keep(&grant, &claim, &successor).await {
                // The grant will have another version. All that counts is that it is not this one.
                Ok(()) => Stored::Claim(VersionId::after(&grant.version, &claim.document()), why),
                Err(why) => Stored::Nowhere(why),
            },
        };
        published(grant, minted, &successor, stored, Vec::new())
    }

    fn new_claim(&self, grant: &Grant, token: TokenHash) -> Claim {
        let now = self.source.now();
        Claim {
            grant_version: grant.version.clone(),
            attempt: 1,
            claimer: self.source.random().first_chunk().map_or(0, |random| u64::from_be_bytes(*random)).to_string(),
            claimed_at: now,
            first_claimed_at: now,
            token,
            kept: None,
        }
    }

    /// Stores a successor by a replacement of the version that was read. If the store does not
    /// answer, the successor goes into the claim.
    async fn store(&self, grant: &Grant, mut document: SecretDocument, claim: &Claim, successor: &Successor) -> Stored {
        let name = self.settings.prefix.grant(grant.connection.as_str());
        let mut read = grant.version.clone();
        let mut failure = no_answer(PUT_SECRET);
        for round in 0..ROUNDS {
            if round > 0 {
                sleep(self.settings.settling).await;
            }
            document.rotate(&successor.refresh_token, successor.expires_at, &read);
            let text = document.text();
            failure = match timeout(PATIENCE, self.grants.replace(&name, &text, &read)).await {
                Ok(Ok(version)) => return Stored::Grant(version),
                Ok(Err(why)) => why,
                Err(_) => no_answer(PUT_SECRET),
            };
            match self.secret(grant).await {
                Ok(Some((version, current))) if hash(&current) == Some(TokenHash::of(&successor.refresh_token)) => {
                    return Stored::Grant(version);
                }
                // Somebody has changed another field.
                Ok(Some((version, current))) if hash(&current).as_ref() == Some(&claim.token) => {
                    (read, document) = (version, current);
                }
                _ if failure.overtaken() => return Stored::Overtaken,
                _ => {}
            }
            if failure.overtaken() && round + 1 < ROUNDS {
                continue;
            }
            match self.keep(grant, claim, successor).await {
                Ok(()) => {
                    document.rotate(&successor.refresh_token, successor.expires_at, &read);
                    return Stored::Claim(VersionId::after(&read, &document.text()), failure);
                }
                Err(why) => failure = why,
            }
        }
        Stored::Nowhere(failure)
    }

    /// Keeps a successor in its claim.
    async fn keep(&self, grant: &Grant, claim: &Claim, successor: &Successor) -> Result<(), StoreError> {
        let kept = Claim { kept: Some(successor.clone()), ..claim.clone() };
        let kept = timeout(PATIENCE, self.leases.rewrite(&grant.connection, &kept)).await;
        kept.unwrap_or_else(|_| Err(no_answer("ssm:PutParameter")))
    }

    /// The connection's secret as it is now, and its version; `None` if it is gone or damaged.
    async fn secret(&self, grant: &Grant) -> Result<Option<(VersionId, SecretDocument)>, StoreError> {
        let name = self.settings.prefix.grant(grant.connection.as_str());
        let read = timeout(PATIENCE, self.grants.read_one(&name)).await;
        let read = read.unwrap_or_else(|_| Err(no_answer("secretsmanager:BatchGetSecretValue")))?;
        let version = read.content.ok();
        Ok(version.and_then(|SecretVersion { id, text }| Some((id, SecretDocument::parse(&text).ok()?))))
    }

    /// Stores a successor that an earlier run has kept in its claim.
    ///
    /// # Errors
    /// What becomes of the connection. Otherwise it is due, and this is its grant now.
    async fn complete(&self, grant: Grant, claim: Claim, last: Option<&Lease>) -> Result<Grant, Outcome> {
        let changed = Err(Outcome::Deferred(Deferral::Changed));
        let Some(successor) = claim.kept.clone() else { return changed };
        let Ok(Some((read, document))) = self.secret(&grant).await else { return changed };
        // From now on the claim keeps away runs that have read the grant before this.
        let bare = Claim { kept: None, claimed_at: self.source.now(), ..claim.clone() };
        let current = hash(&document);
        let stored = if current.as_ref() == Some(&TokenHash::of(&successor.refresh_token)) {
            Stored::Grant(read)
        } else if current.as_ref() == Some(&claim.token) {
            let grant = Grant { version: read, ..grant.clone() };
            self.store(&grant, document, &claim, &successor).await
        } else {
            // A newer consent: what is kept belongs to the grant before it.
            Stored::Overtaken
        };
        match stored {
            Stored::Grant(version) => {
                if let Err(error) = self.leases.rewrite(&grant.connection, &bare).await {
                    warn!(connection = grant.connection.as_str(), %error, "its claim still has a copy of the new refresh token");
                }
                let grant = successor.in_place_of(&grant, version);
                match last.filter(|last| last.grant_version == grant.version).and_then(|last| last.token.as_ref()) {
                    Some(token) if !self.is_due(&grant, token) => Err(Outcome::Refreshed { recovered: false }),
                    _ => Ok(grant),
                }
            }
            Stored::Overtaken => {
                self.release(&grant, Some(&claim)).await;
                changed
            }
            Stored::Claim(_, why) | Stored::Nowhere(why) => Err(kept_in_claim(&why)),
        }
    }

    /// Whether a token of this grant is to be replaced now.
    fn is_due(&self, grant: &Grant, token: &Token) -> bool {
        let (margin, life) = (self.settings.margin, token.expires_at.duration_since(token.issued_at));
        token.expires_at.duration_since(self.source.now()) <= grant.provider.margin(margin, life)
    }
}

/// The error of a grant that died because the answer with its successor was lost.
const ROTATION_LOST: &str = "rotation_lost";

/// What a claim has shown.
enum Claimed {
    /// The refresh token may be sent. `over` can be removed after a success; with `lost` it was
    /// sent before.
    Ours { claim: Claim, over: Vec<Claim>, lost: bool },
    /// It was redeemed by an earlier run, and its successor is here.
    Kept(Claim),
}

/// What is to be published after a successor was stored, or was not.
fn published(grant: Grant, minted: Minted, successor: &Successor, stored: Stored, over: Vec<Claim>) -> Answer {
    let connection = grant.connection.as_str();
    let next = |version| successor.in_place_of(&grant, version);
    match stored {
        Stored::Grant(version) => Answer::Tokens { grant: next(version), minted, over, trouble: None },
        // With this version the next run finds the lease of another grant, and completes the
        // store.
        Stored::Claim(version, why) => {
            let trouble = Some(kept_in_claim(&why));
            Answer::Tokens { grant: next(version), minted, over: Vec::new(), trouble }
        }
        Stored::Overtaken => Answer::Left(Outcome::Deferred(Deferral::Changed)),
        Stored::Nowhere(why) => {
            let error = format!("the new refresh token could be kept nowhere: {why}");
            error!(connection, error);
            let remedy =
                format!("make a link with `token-keeper connect {connection}` before the published token ends");
            let trouble = Some(Outcome::Failed { error, remedy });
            Answer::Tokens { grant, minted, over: Vec::new(), trouble }
        }
    }
}

impl Successor {
    /// The grant with this refresh token, as it is in this version.
    fn in_place_of(&self, grant: &Grant, version: VersionId) -> Grant {
        Grant {
            version,
            credential: Some(Credential::RefreshToken(self.refresh_token.clone())),
            refresh_token_expires_at: self.expires_at,
            ..grant.clone()
        }
    }
}

/// The store did not take a new refresh token.
fn kept_in_claim(why: &StoreError) -> Outcome {
    Outcome::Failed {
        error: format!("the new refresh token could not be stored yet and is kept in its claim: {why}"),
        remedy: why.remedy(),
    }
}

fn no_answer(action: &'static str) -> StoreError {
    StoreError { action, cause: Cause::NoAnswer }
}

fn hash(document: &SecretDocument) -> Option<TokenHash> {
    document.refresh_token().map(|token| TokenHash::of(&token))
}

fn rotation_lost() -> Refusal {
    Refusal::ConsentRequired { error: ROTATION_LOST.to_owned() }
}

/// The claim could not be made or read, so nothing was sent.
fn unclaimed(error: &StoreError) -> Outcome {
    Outcome::Failed { error: format!("its refresh token could not be claimed: {error}"), remedy: error.remedy() }
}

/// An answer was lost where asking again may kill the grant, and the published token still lives.
fn lost_answer(grant: &Grant, last: Option<&Lease>) -> Outcome {
    let until = last.map_or(Timestamp::UNIX_EPOCH, Lease::expires_at);
    Outcome::Failed {
        error: format!(
            "the answer to the last refresh was lost, and with it perhaps the new refresh token; the published token lives until {until}"
        ),
        remedy: format!(
            "make a link with `token-keeper connect {}` before that; near the end the refresher asks once more, which may also work",
            grant.connection
        ),
    }
}
