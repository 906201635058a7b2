//! From Zoho's answer to a stored grant: whose account it is, the store, the first lease, and the end
//! of what was replaced.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::publish::Before;
use super::{Connected, Consent, CurrentGrant, Stop, holds, is_about_scopes, overtaken, scope_refused};
use crate::connection::{Account, Credential, DataCenter, Grant, SecretDocument, StoredSecret, tells_account};
use crate::failure::{Refusal, Untrusted};
use crate::flaw::Flaw;
use crate::lease::Token;
use crate::name::{ConnectionName, VersionId};
use crate::ports::{Authorizer, Exchanged, Grants, Leases, Proof, Revoked, SecretWriter};
use crate::secret::RefreshToken;

/// How long a consent waits until its grant is stored. The callback function has 30 seconds in all:
/// ten for the exchange, three to ask whose account it is, and eight for the first lease.
const STORE_PATIENCE: Duration = Duration::from_secs(8);

impl<S: Grants + SecretWriter, Z: Authorizer, L: Leases> Consent<S, Z, L> {
    /// Spends a code, and [accepts](Self::accept) what Zoho gives for it.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn redeem(
        &self,
        secret: CurrentGrant,
        home: DataCenter,
        proof: &Proof,
        allow_other_account: bool,
    ) -> Result<Connected, Stop> {
        let grant = self.grant_at(&secret, &home).await?;
        match self.zoho.exchange(&grant.client, &home, proof).await {
            Ok(exchanged) => self.accept(secret, grant, exchanged, allow_other_account).await,
            Err(refusal) => {
                // The same redirect may have come twice, and the other request was first.
                if let Refusal::ConsentRequired { .. } = refusal {
                    self.current_grant(&secret.connection, &secret.version, secret.since).await?;
                }
                Err(match &refusal {
                    Refusal::Misconfigured { error } if is_about_scopes(error) => {
                        scope_refused(&secret.connection, &grant.scopes)
                    }
                    _ => refused(&secret.connection, &home, &refusal),
                })
            }
        }
    }

    /// The grant as it would be for an account in this data centre: with the client's secret there.
    ///
    /// # Errors
    /// If the client has no secret there.
    pub async fn grant_at(&self, secret: &CurrentGrant, home: &DataCenter) -> Result<Grant, Stop> {
        self.resolve(&secret.connection, secret.parsed.clone().at(home.clone())).await
    }

    /// Takes what Zoho has given for a consent: checks whose account it is, stores the grant,
    /// publishes the first lease and revokes the refresh token that was replaced. `grant` says where
    /// the account lives.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn accept(
        &self,
        secret: CurrentGrant,
        grant: Grant,
        exchanged: Exchanged,
        allow_other_account: bool,
    ) -> Result<Connected, Stop> {
        let CurrentGrant { connection, version: read, since, mut document, parsed } = secret;
        let replaced = parsed.refresh_token().map(|replaced| (replaced.clone(), parsed.data_center().clone()));
        let (connected, granted_before) = (replaced.is_some(), document.granted_at());
        let Exchanged { minted, refresh_token } = exchanged;
        let refresh_token = refresh_token.ok_or_else(|| Stop::NoRefreshToken(connection.clone()))?;
        let asked = grant.scopes;
        let scopes = minted.scopes(&asked);
        let account = self.account(&connection, &scopes, &minted.token, &grant.data_center).await;
        // Zoho may give the refresh token that is stored already. Then it is the same account's, and
        // must not be revoked.
        let again = replaced.as_ref().is_some_and(|(replaced, _)| replaced.expose() == refresh_token.expose());
        let known = parsed.account();
        let account = if again { account.or(known.cloned()) } else { account };
        if let Some(known) = known.filter(|_| !again && !allow_other_account)
            && account.as_ref().map(Account::id) != Some(known.id())
        {
            let now = account.as_ref().map(Account::id);
            warn!(connection = connection.as_str(), known = known.id(), now, "it is not shown to be the known account");
            let revoked = self.hand_back(&connection, &refresh_token, &grant.data_center).await;
            return Err(match account {
                Some(_) => Stop::OtherAccount { connection, revoked },
                None => Stop::AccountUnknown { connection, revoked },
            });
        }
        let api_domain = minted.api_domain;
        // The same time as in the first lease: a lease from before shows that this one is missing.
        let granted_at = Some(minted.token.issued_at);
        let credential = Some(Credential::RefreshToken(refresh_token.clone()));
        let grant = Grant { scopes, credential, api_domain, granted_at, account, ..grant };
        document.grant(&grant);
        let stored = self.store(&grant, &refresh_token, &document, &read, since);
        let version = timeout(STORE_PATIENCE, stored).await.unwrap_or_else(|_| {
            error!(
                connection = connection.as_str(),
                "Secrets Manager took too long: not known whether the new grant is stored"
            );
            Err(Stop::NotStored { connection: connection.clone(), revoked: false })
        })?;
        // From here on the consent is valid, whatever happens.
        let grant = Grant { version, ..grant };
        let replaced = replaced.filter(|_| !again);
        let before = Before { version: read, connected, granted_at: granted_before };
        let published = self.publish(&grant, minted.token, &before).await;
        // If the new lease is not published, programs still read the old token, which would end
        // with the replaced refresh token.
        if replaced.is_some() && !published {
            warn!(
                connection = connection.as_str(),
                "the replaced refresh token was not revoked: programs still need its token"
            );
        } else if let Some((replaced, at)) = replaced
            && let Err(refusal) = self.zoho.revoke(&replaced, &at).await
        {
            warn!(
                connection = connection.as_str(),
                error = %refusal,
                "the replaced refresh token was not revoked"
            );
        }
        let withheld: Vec<_> = asked.into_iter().filter(|scope| !grant.scopes.contains(scope)).collect();
        let data_center = grant.data_center.name;
        info!(
            connection = connection.as_str(),
            data_center,
            published,
            account = grant.account.as_ref().map(Account::id),
            withheld = withheld.join(" "),
            "connected"
        );
        Ok(Connected { connection, data_center, account: grant.account, withheld, published })
    }

    /// Whose account it is, if the granted scopes allow that question and Zoho answers it.
    async fn account(
        &self,
        connection: &ConnectionName,
        scopes: &[String],
        token: &Token,
        at: &DataCenter,
    ) -> Option<Account> {
        if !tells_account(scopes) {
            return None;
        }
        let account = self.zoho.account(&token.access_token, at).await;
        account
            .inspect_err(|refusal| {
                warn!(connection = connection.as_str(), error = %refusal, "Zoho did not say whose account it is");
            })
            .ok()
    }

    /// Stores a new grant in place of the version `read`, and returns its version. After an error
    /// it reads the secret, to find out whether the grant was stored. A refresh token that is
    /// certainly not stored is revoked: nobody could use it, and Zoho allows a user only twenty.
    async fn store(
        &self,
        grant: &Grant,
        refresh_token: &RefreshToken,
        document: &SecretDocument,
        read: &VersionId,
        since: Timestamp,
    ) -> Result<VersionId, Stop> {
        let connection = &grant.connection;
        let name = self.settings.prefix.grant(connection.as_str());
        let why = match self.secrets.replace(&name, &document.text(), read).await {
            Ok(version) => return Ok(version),
            Err(why) => why,
        };
        let stop = match self.secrets.read_one(&name).await.map(|StoredSecret { content, .. }| content) {
            Ok(Ok(current)) if holds(&current, refresh_token) => return Ok(current.id),
            Ok(Ok(current)) if why.overtaken() => Some(overtaken(connection, &current, since)),
            Ok(Ok(_)) if why.undone() => None,
            Ok(Err(Flaw::NotFound | Flaw::Deleted)) if why.undone() => Some(Stop::Gone(connection.clone())),
            _ => {
                error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                    "not known whether the new grant is stored");
                return Err(Stop::NotStored { connection: connection.clone(), revoked: false });
            }
        };
        let revoked = self.hand_back(connection, refresh_token, &grant.data_center).await;
        let Some(stop) = stop else {
            error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                "the new grant could not be stored");
            return Err(Stop::NotStored { connection: connection.clone(), revoked });
        };
        Err(stop)
    }

    /// Revokes a refresh token that Zoho has just issued and that is not stored. Returns whether it
    /// is dead.
    async fn hand_back(&self, connection: &ConnectionName, refresh_token: &RefreshToken, at: &DataCenter) -> bool {
        let error = match self.zoho.revoke(refresh_token, at).await {
            Ok(Revoked::Now) => return true,
            // Zoho has just issued it, so a page that says "unknown" is not Zoho's.
            Ok(Revoked::Unknown) => "Zoho says that it does not know it".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        warn!(connection = connection.as_str(), error, "the unused refresh token was not revoked");
        false
    }
}

fn refused(connection: &ConnectionName, home: &DataCenter, refusal: &Refusal) -> Stop {
    warn!(
        connection = connection.as_str(),
        data_center = home.name,
        error = %refusal,
        remedy = refusal.untrusted().map(Untrusted::remedy),
        "the code was not exchanged"
    );
    match refusal {
        Refusal::ConsentRequired { .. } => Stop::CodeRefused(connection.clone()),
        Refusal::Misconfigured { error } => Stop::Misconfigured {
            connection: connection.clone(),
            why: format!("Zoho refuses the client in the data centre {} ({error})", home.name),
        },
        Refusal::Throttled | Refusal::OutOfOrder { .. } | Refusal::Unclear { .. } => {
            Stop::ZohoOutOfOrder(connection.clone())
        }
    }
}
