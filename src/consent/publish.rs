//! The first lease of a consent, and its notice.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{Consent, holds};
use crate::connection::Grant;
use crate::failure::StoreError;
use crate::lease::{Lease, Status, Token};
use crate::name::{ConnectionName, VersionId};
use crate::notice::{self, Replaced};
use crate::ports::{Authorizer, Grants, Leases, SecretWriter};

/// How long a consent waits until its first lease is published. Meanwhile somebody looks at an
/// empty page, and the callback function has 30 seconds in all.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(8);

impl<S: Grants + SecretWriter, Z: Authorizer, L: Leases> Consent<S, Z, L> {
    /// Publishes the first lease, in place of one of the grant `read` or an older one. If that
    /// fails, the refresher's next run sees the new version of the grant and mints.
    pub(super) async fn publish(&self, grant: &Grant, token: Token, before: &Before) -> bool {
        let late = |_| Err("Parameter Store took too long".to_owned());
        let published = timeout(PUBLISH_PATIENCE, self.try_to_publish(grant.clone(), token, before)).await;
        let published = published.unwrap_or_else(late);
        if let Err(error) = &published {
            let connection = grant.connection.as_str();
            warn!(connection, error, "connected, but the first token was not published");
        }
        published.is_ok()
    }

    async fn try_to_publish(&self, mut grant: Grant, token: Token, before: &Before) -> Result<(), String> {
        let connection = grant.connection.clone();
        let words = |error: StoreError| error.to_string();
        let last = self.lease(&connection).await?;
        match self.newer_than(&grant, before).await {
            None => {}
            // Somebody has changed the secret and kept this grant.
            Some(Newer { version, same_grant: true }) => grant.version = version,
            // A newer consent. Its own lease is right, and may have come just now.
            Some(Newer { version, .. }) => {
                let newest = self.lease(&connection).await?;
                let published = newest.is_some_and(|newest| newest.grant_version == version);
                let missing = "there is a newer consent, and its token is not published yet";
                return if published { Ok(()) } else { Err(missing.to_owned()) };
            }
        }
        let lease = Lease::active(&grant, token, None);
        let description =
            notice::consented(&connection, &lease, before.replaced(last.as_ref()), grant.account.as_ref());
        let turn = self.leases.pace().turn().await;
        let written = self.leases.publish(turn, &connection, &lease, &description).await.map_err(words)?;
        if written == last.map_or(0, |last| last.version) + 1 {
            return Ok(());
        }
        // Somebody else has written meanwhile. If that was a newer consent, its lease is right.
        sleep(self.settings.settling).await;
        let overwritten = self.leases.read_version(&connection, written - 1).await.map_err(words)?;
        let newer = self.newer_than(&grant, before).await.map(|newer| newer.version);
        if let Some(right) = overwritten.filter(|lease| Some(&lease.grant_version) == newer.as_ref()) {
            let turn = self.leases.pace().another().await;
            self.leases.publish(turn, &connection, &right, notice::QUIET).await.map_err(words)?;
        }
        Ok(())
    }

    /// What is published. A parameter that holds no lease, or the lease of a newer program, is an
    /// error: it is left alone.
    async fn lease(&self, connection: &ConnectionName) -> Result<Option<Lease>, String> {
        let leases = self.leases.read(std::slice::from_ref(connection)).await;
        let lease = leases.map_err(|error| error.to_string())?.remove(connection.as_str());
        lease.transpose().map_err(|broken| broken.to_string())
    }

    /// The version that has replaced this grant already.
    async fn newer_than(&self, grant: &Grant, before: &Before) -> Option<Newer> {
        let name = self.settings.prefix.grant(grant.connection.as_str());
        let current = self.secrets.read_one(&name).await.ok()?.content.ok()?;
        if current.id == grant.version || current.id == before.version {
            return None;
        }
        let same_grant = grant.refresh_token().is_some_and(|token| holds(&current, token));
        Some(Newer { version: current.id, same_grant })
    }
}

/// A version that came after a consent.
struct Newer {
    version: VersionId,
    /// Whether it has the refresh token of that consent.
    same_grant: bool,
}

/// What a consent replaces.
pub(super) struct Before {
    pub(super) version: VersionId,
    /// Whether there was a refresh token.
    pub(super) connected: bool,
    pub(super) granted_at: Option<Timestamp>,
}

impl Before {
    /// Whether it was dead, as far as the newest lease says. A lease of another version counts if
    /// it called the grant dead after somebody had consented to it.
    fn replaced(&self, last: Option<&Lease>) -> Replaced {
        let death = last.and_then(|last| match &last.status {
            Status::ConsentRequired(trouble) => Some((last, trouble.since)),
            _ => None,
        });
        let dead = death.is_some_and(|(last, since)| {
            last.grant_version == self.version || self.granted_at.is_some_and(|granted_at| granted_at <= since)
        });
        match (self.connected, dead) {
            (false, _) => Replaced::Nothing,
            (true, true) => Replaced::Dead,
            (true, false) => Replaced::Living,
        }
    }
}
