//! What a run writes: leases with new tokens, changes of status, and corrections after two writers
//! have met.

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tracing::warn;

use crate::connection::Grant;
use crate::failure::{Refusal, StoreError};
use crate::lease::{Lease, Status, Trouble, whole_second};
use crate::notice::{self, Replaced};
use crate::pace::Turn;
use crate::ports::{Claims, Grants, Issuer, Leases, Minted, SecretReplacer};
use crate::run::brake::Start;
use crate::run::decision::what_is_right;
use crate::run::report::Outcome;
use crate::run::{Refresher, token_end};

/// How long a throttled connection is left alone: the ten minutes that Zoho documents, and one
/// more, because a request that comes too early starts the ten minutes again.
const THROTTLED_PAUSE: SignedDuration = SignedDuration::from_secs(660);
/// How long a refused client is left alone while its grant stays the same.
const MISCONFIGURED_PAUSE: SignedDuration = SignedDuration::from_secs(3600);
/// How often a run corrects a document after two writers have met, if they meet each time.
const PUT_RIGHT: usize = 3;

impl<G: Grants + SecretReplacer, I: Issuer, L: Leases + Claims> Refresher<G, I, L> {
    pub(super) async fn publish(
        &self,
        start: &Start<'_>,
        turn: Turn<'_>,
        grant: &Grant,
        last: Option<&Lease>,
        minted: Minted,
    ) -> (Outcome, Option<Timestamp>) {
        let Minted { token, api_domain, scope, kept, .. } = minted;
        let expires_at = token.expires_at;
        let mut lease = Lease::active(grant, token, last);
        lease.account.extend(kept);
        let told = grant.provider.profile().and_then(|_| grant.provider.api_domain(&lease.account));
        lease.api_domain = api_domain.or(told).or(lease.api_domain);
        lease.scope = scope.unwrap_or(lease.scope);
        let description = if notice::unannounced(grant, last) {
            let replaced = match last.map(|last| &last.status) {
                None => Replaced::Nothing,
                Some(Status::ConsentRequired(_)) => Replaced::Dead,
                Some(_) => Replaced::Living,
            };
            notice::consented(&grant.connection, &lease, replaced, grant.account.as_ref())
        } else {
            notice::renewed(grant, &lease, last)
        };
        let written = self.leases.publish(turn, &grant.connection, &lease, &description).await;
        start.put(&written);
        match written {
            Ok(version) => {
                self.put_right(grant, last, lease, version).await;
                let needed =
                    |last: &Lease| matches!(last.status, Status::ConsentRequired(_) | Status::Misconfigured(_));
                (Outcome::Refreshed { recovered: last.is_some_and(needed) }, Some(expires_at))
            }
            Err(error) => {
                let parameter = self.settings.prefix.lease(grant.connection.as_str());
                let remedy = error.remedy();
                let error = format!("the new token could not be published in parameter {parameter}: {error}");
                (Outcome::Failed { error, remedy }, token_end(last))
            }
        }
    }

    /// Turns a refusal into an outcome. Changes the document's status if the next run has to know
    /// about the refusal.
    pub(super) async fn note_refusal(
        &self,
        start: &Start<'_>,
        turn: Turn<'_>,
        grant: &Grant,
        last: Option<&Lease>,
        refusal: Refusal,
    ) -> Outcome {
        let now = whole_second(self.source.now());
        let trouble = |error: &str, pause: Option<SignedDuration>| Trouble {
            error: error.to_owned(),
            since: now,
            retry_after: pause.map(|pause| now + pause),
        };
        let (mut status, outcome) = match refusal {
            Refusal::ConsentRequired { error } => {
                (Status::ConsentRequired(trouble(&error, None)), Outcome::ConsentRequired { error })
            }
            Refusal::Misconfigured { error } => {
                (Status::Misconfigured(trouble(&error, Some(MISCONFIGURED_PAUSE))), Outcome::refused_client(error))
            }
            Refusal::Throttled => {
                let trouble = trouble("too_many_requests", Some(THROTTLED_PAUSE));
                (Status::Throttled(trouble), Outcome::Throttled { until: now + THROTTLED_PAUSE })
            }
            Refusal::OutOfOrder(_) | Refusal::Unclear { .. } => {
                let title = grant.provider.title();
                let remedy = refusal.untrusted().map_or_else(
                    || {
                        format!(
                            "the next run tries again; if this continues, check {title}'s status page and the network"
                        )
                    },
                    |untrusted| untrusted.remedy().to_owned(),
                );
                return Outcome::Failed { error: refusal.to_string(), remedy };
            }
        };
        let same_before =
            last.filter(|last| last.grant_version == grant.version && last.status.word() == status.word());
        if let (Some(before), Some(trouble)) =
            (same_before.and_then(|last| last.status.trouble()), status.trouble_mut())
        {
            trouble.since = before.since;
        }
        if same_before.is_some_and(|last| last.status == status) {
            return outcome;
        }
        let lease = Lease::of(grant, status, last);
        let description = notice::description(&grant.connection, &lease, last);
        let written = self.leases.mark(turn, &grant.connection, &lease, &description).await;
        start.put(&written);
        match written {
            Ok(version) => {
                self.put_right(grant, last, lease, version).await;
                outcome
            }
            Err(why) => {
                let parameter = self.settings.prefix.lease(grant.connection.as_str());
                Outcome::Failed {
                    error: format!("{}, but parameter {parameter} could not be updated: {why}", lease.status.word()),
                    remedy: why.remedy(),
                }
            }
        }
    }

    /// Corrects the document if two writers have met: `version` shows whether somebody else wrote
    /// after this run had `seen` the lease. If the correction fails, the next run does it.
    pub(super) async fn put_right(&self, grant: &Grant, seen: Option<&Lease>, mut ours: Lease, mut version: i64) {
        let mut expected = seen.map_or(0, |seen| seen.version) + 1;
        let connection = &grant.connection;
        for _ in 0..PUT_RIGHT {
            if version == expected {
                return;
            }
            sleep(self.settings.settling).await;
            let done: Result<_, StoreError> = async {
                let Some(replaced) = self.leases.read_version(connection, version - 1).await? else { return Ok(None) };
                let current = self.current(connection).await.ok();
                let current = current.as_ref().map(|current| &current.version);
                let Some(right) = what_is_right(&ours, &replaced, seen, current) else { return Ok(None) };
                let turn = self.leases.pace().another().await;
                let description = notice::description(connection, &right, Some(&ours));
                let newer = self.leases.publish(turn, connection, &right, &description).await?;
                Ok(Some((right, newer)))
            }
            .await;
            match done {
                Ok(None) => return,
                Ok(Some((right, newer))) => {
                    (expected, version, ours) = (version + 1, newer, right);
                }
                Err(error) => {
                    warn!(connection = connection.as_str(), %error, "the document could not be corrected");
                    return;
                }
            }
        }
    }
}
