//! From a provider's answer to a stored grant: whose account it is, the store, the first lease, and
//! the end of what was replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::publish::Before;
use super::{Connected, Consent, CurrentGrant, Stop, holds, is_about_scopes, overtaken, scope_refused};
use crate::connection::{
    Account, Credential, DataCenter, Grant, Provider, SecretDocument, StoredSecret, tells_account,
};
use crate::failure::{Refusal, StoreError, Untrusted};
use crate::flaw::Flaw;
use crate::lease::Token;
use crate::name::{ConnectionName, SecretName, VersionId};
use crate::ports::{Authorizer, Grants, Leases, Minted, Proof, Revoked, SecretWriter};
use crate::secret::RefreshToken;

/// How long a consent waits until its grant is stored. The callback function has 30 seconds in all:
/// ten for the exchange, three to ask whose account it is, and eight for the first lease.
const STORE_PATIENCE: Duration = Duration::from_secs(8);

/// What a refresh has made of a grant: its version, and its refresh token.
type Refreshed = (VersionId, RefreshToken);

impl<S: Grants + SecretWriter, Z: Authorizer, L: Leases> Consent<S, Z, L> {
    /// Spends a code, and [accepts](Self::accept) what the provider gives for it. `grant` is the
    /// secret's [`grant_at`](Self::grant_at) its home, with what the redirect brought as `kept`.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn redeem(
        &self,
        secret: CurrentGrant,
        grant: Grant,
        proof: &Proof,
        allow_other_account: bool,
    ) -> Result<Connected, Stop> {
        match self.issuer.exchange(&grant.client, &grant.provider, proof).await {
            Ok(minted) => self.accept(secret, grant, minted, allow_other_account).await,
            Err(refusal) => {
                // The same redirect may have come twice, and the other request was first.
                if let Refusal::ConsentRequired { .. } = refusal {
                    let link = secret.document.link_version(&secret.version);
                    self.current_grant(&secret.connection, &link, secret.since).await?;
                }
                Err(match &refusal {
                    Refusal::Misconfigured { error } if is_about_scopes(error) => {
                        scope_refused(&secret.connection, &grant.scopes)
                    }
                    _ => refused(&secret.connection, &grant.provider, &refusal),
                })
            }
        }
    }

    /// The grant as it would be for a Zoho account in this data centre, with the client's secret
    /// there; or as it is.
    ///
    /// # Errors
    /// If the secret does not fit its client.
    pub async fn grant_at(&self, secret: &CurrentGrant, home: Option<&DataCenter>) -> Result<Grant, Stop> {
        let parsed = secret.parsed.clone();
        let parsed = if let Some(home) = home { parsed.at(home.clone()) } else { parsed };
        self.resolve(&secret.connection, parsed).await
    }

    /// Takes what a provider has given for a consent: checks whose account it is, stores the grant,
    /// publishes the first lease and revokes the refresh token that was replaced. `grant` says
    /// where the account lives.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn accept(
        &self,
        secret: CurrentGrant,
        grant: Grant,
        minted: Minted,
        allow_other_account: bool,
    ) -> Result<Connected, Stop> {
        let CurrentGrant { connection, version: read, since, mut document, parsed } = secret;
        let was_at = match (&grant.provider, parsed.data_center()) {
            (Provider::Zoho(_), Some(at)) => Provider::Zoho(at.clone()),
            (provider, _) => provider.clone(),
        };
        let replaced = parsed.refresh_token().cloned();
        let (connected, granted_before) = (replaced.is_some(), document.granted_at());
        let refresh_token = minted.refresh_token.clone();
        let refresh_token = refresh_token.ok_or_else(|| Stop::NoRefreshToken(connection.clone()))?;
        let scopes = minted.scopes(&grant.scopes);
        let account = self.account(&connection, &scopes, &minted.token, &grant.provider).await;
        // Zoho may give the refresh token that is stored already. Then it is the same account's,
        // and must not be revoked.
        let again = replaced.as_ref().is_some_and(|replaced| replaced.expose() == refresh_token.expose());
        let known = parsed.account();
        let account = if again { account.or(known.cloned()) } else { account };
        if let Some(known) = known.filter(|_| !again && !allow_other_account)
            && account.as_ref().map(Account::id) != Some(known.id())
        {
            let now = account.as_ref().map(Account::id);
            warn!(connection = connection.as_str(), known = known.id(), now, "it is not shown to be the known account");
            let revoked = self.hand_back(&grant, &refresh_token).await;
            return Err(match account {
                Some(_) => Stop::OtherAccount { connection, revoked },
                None => Stop::AccountUnknown { connection, revoked },
            });
        }
        let kept: BTreeMap<_, _> = grant.kept.clone().into_iter().chain(minted.kept).collect();
        for value in grant.provider.profile().into_iter().flat_map(|profile| profile.kept) {
            let (known, now) = (parsed.kept().get(value.name), kept.get(value.name));
            let wrong = match (known, now) {
                (_, None) if value.needed => true,
                (Some(known), _) => value.identity && now != Some(known) && !allow_other_account && !again,
                (None, _) => false,
            };
            if wrong {
                warn!(connection = connection.as_str(), value = value.name, "missing, or another account's");
                let revoked = !again && self.hand_back(&grant, &refresh_token).await;
                return Err(match now {
                    Some(_) => Stop::OtherAccount { connection, revoked },
                    None => Stop::Incomplete { connection, missing: value.name, revoked: Some(revoked) },
                });
            }
        }
        let asked = grant.scopes;
        let api_domain = minted.api_domain;
        // The same time as in the first lease: a lease from before shows that this one is missing.
        let granted_at = Some(minted.token.issued_at);
        let credential = Some(Credential::RefreshToken(refresh_token.clone()));
        let grant = Grant { scopes, credential, api_domain, granted_at, account, kept, ..grant };
        let refresh_token_expires_at =
            grant.end_of_refresh_token(minted.refresh_token_expires_at, minted.token.issued_at);
        let grant = Grant { refresh_token_expires_at, ..grant };
        let old = document.clone();
        document.grant(&grant);
        let stored = self.store(&grant, &refresh_token, [&old, &document], &read, since);
        let (version, refreshed) = timeout(STORE_PATIENCE, stored).await.unwrap_or_else(|_| {
            error!(
                connection = connection.as_str(),
                "Secrets Manager took too long: not known whether the new grant is stored"
            );
            Err(Stop::NotStored { connection: connection.clone(), revoked: false })
        })?;
        // From here on the consent is valid, whatever happens.
        let grant = Grant { version, ..grant };
        let (read, replaced) = refreshed.map_or((read, replaced), |(read, refreshed)| (read, Some(refreshed)));
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
        } else if let Some(replaced) = replaced
            && let Some(Err(refusal)) = self.issuer.revoke(&replaced, &grant.client, &was_at).await
        {
            warn!(
                connection = connection.as_str(),
                error = %refusal,
                "the replaced refresh token was not revoked"
            );
        }
        // Some answers leave out the scope that asks for a refresh token, and here is one.
        let needed = grant.provider.profile().map_or(&[][..], |profile| profile.scopes);
        let withheld = asked.into_iter().filter(|scope| !grant.scopes.contains(scope));
        let withheld: Vec<_> = withheld.filter(|scope| !needed.contains(&scope.as_str())).collect();
        let provider = grant.provider.title();
        let data_center = grant.provider.data_center().map(|at| at.name.clone());
        info!(
            connection = connection.as_str(),
            provider = grant.provider.name(),
            data_center,
            published,
            account = grant.account.as_ref().map(Account::id),
            withheld = withheld.join(" "),
            "connected"
        );
        Ok(Connected { connection, provider, data_center, account: grant.account, withheld, published })
    }

    /// Whose account at Zoho it is, if the granted scopes allow that question and Zoho answers it.
    async fn account(
        &self,
        connection: &ConnectionName,
        scopes: &[String],
        token: &Token,
        at: &Provider,
    ) -> Option<Account> {
        let at = at.data_center().filter(|_| tells_account(scopes))?;
        let account = self.issuer.account(&token.access_token, at).await;
        account
            .inspect_err(|refusal| {
                warn!(connection = connection.as_str(), error = %refusal, "Zoho did not say whose account it is");
            })
            .ok()
    }

    /// Stores a new grant in place of the version `read`, and returns its version. If a refresh of
    /// the grant before was faster, it stores it in place of what the refresh has made, and returns
    /// that too. After an error it reads the secret, to find out whether the grant was stored. A
    /// refresh token that is certainly not stored is revoked: nobody could use it, and Zoho allows
    /// a user only twenty.
    async fn store(
        &self,
        grant: &Grant,
        refresh_token: &RefreshToken,
        [old, document]: [&SecretDocument; 2],
        read: &VersionId,
        since: Timestamp,
    ) -> Result<(VersionId, Option<Refreshed>), Stop> {
        let connection = &grant.connection;
        let name = self.settings.prefix.grant(connection.as_str());
        let (mut refreshed, mut written) = (None, self.secrets.replace(&name, &document.text(), read).await);
        if written.as_ref().is_err_and(StoreError::overtaken) {
            refreshed = self.refreshed(&name, old, read).await;
        }
        if let Some((version, _)) = &refreshed {
            written = self.secrets.replace(&name, &document.text(), version).await;
        }
        let why = match written {
            Ok(version) => return Ok((version, refreshed)),
            Err(why) => why,
        };
        let stop = match self.secrets.read_one(&name).await.map(|StoredSecret { content, .. }| content) {
            Ok(Ok(current)) if holds(&current, refresh_token) => return Ok((current.id, refreshed)),
            Ok(Ok(current)) if why.overtaken() => Some(overtaken(connection, &current, since)),
            Ok(Ok(_)) if why.undone() => None,
            Ok(Err(Flaw::NotFound | Flaw::Deleted)) if why.undone() => Some(Stop::Gone(connection.clone())),
            _ => {
                error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                    "not known whether the new grant is stored");
                return Err(Stop::NotStored { connection: connection.clone(), revoked: false });
            }
        };
        let revoked = self.hand_back(grant, refresh_token).await;
        let Some(stop) = stop else {
            error!(connection = connection.as_str(), error = %why, remedy = why.remedy(),
                "the new grant could not be stored");
            return Err(Stop::NotStored { connection: connection.clone(), revoked });
        };
        Err(stop)
    }

    /// The current version and its refresh token, if only refreshes have changed the secret since
    /// it was as in `old`. An import makes a version with links of its own.
    async fn refreshed(&self, name: &SecretName, old: &SecretDocument, read: &VersionId) -> Option<Refreshed> {
        let current = self.secrets.read_one(name).await.ok()?.content.ok()?;
        let document = SecretDocument::parse(&current.text).ok()?;
        let successor = document.successor_of(old)?;
        (document.link_version(&current.id) == old.link_version(read)).then_some((current.id, successor))
    }

    /// Revokes a refresh token that the provider has just issued and that is not stored, where that
    /// harms no other grant. Returns whether it is dead.
    async fn hand_back(&self, grant: &Grant, refresh_token: &RefreshToken) -> bool {
        let error = match self.issuer.revoke(refresh_token, &grant.client, &grant.provider).await {
            Some(Ok(Revoked::Now)) => return true,
            // It has just been issued, so a page that says "unknown" is not the provider's.
            Some(Ok(Revoked::Unknown)) => "the provider says that it does not know it".to_owned(),
            Some(Err(refusal)) => refusal.to_string(),
            None => "at this provider that could end other grants".to_owned(),
        };
        warn!(connection = grant.connection.as_str(), error, "the unused refresh token was not revoked");
        false
    }
}

fn refused(connection: &ConnectionName, at: &Provider, refusal: &Refusal) -> Stop {
    warn!(
        connection = connection.as_str(),
        provider = at.name(),
        data_center = at.data_center().map(|at| &at.name),
        error = %refusal,
        remedy = refusal.untrusted().map(Untrusted::remedy),
        "the code was not exchanged"
    );
    match refusal {
        Refusal::ConsentRequired { .. } => Stop::CodeRefused(connection.clone()),
        Refusal::Misconfigured { error } => Stop::Misconfigured {
            connection: connection.clone(),
            why: match at.data_center() {
                Some(home) => format!("Zoho refuses the client in the data centre {} ({error})", home.name),
                None => format!("{} refuses the client ({error})", at.title()),
            },
        },
        Refusal::Throttled | Refusal::OutOfOrder { .. } | Refusal::Unclear { .. } => {
            Stop::ProviderOutOfOrder(connection.clone())
        }
    }
}
