//! Decides for each row whether it is new, replaces a stored one, changes nothing, or is refused.
//! Writes nothing.

use std::collections::BTreeMap;

use token_keeper::connection::{
    Clients, Grant, GrantSecret, SecretDocument, SecretVersion, StoredSecret, read_clients,
};
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{SecretName, VersionId};
use token_keeper::settings::Settings;

use super::row::Row;
use crate::console::Failure;

/// A row that can be imported.
pub(super) struct Taken {
    pub(super) grant: Grant,
    pub(super) document: SecretDocument,
    /// The version of the secret, if it exists already.
    pub(super) read: Option<VersionId>,
    pub(super) plan: Plan,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    New,
    Replace,
    Same,
}

impl Plan {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Replace => "replace",
            Self::Same => "unchanged",
        }
    }
}

/// The stored secrets and settings with which each row is compared.
pub(super) struct Store<'s> {
    settings: &'s Settings,
    /// The secrets that exist already, by full name: the value, or why it cannot be read.
    secrets: BTreeMap<&'s SecretName, Result<&'s SecretVersion, &'s Flaw>>,
    clients: Clients,
}

impl<'s> Store<'s> {
    pub(super) fn new(settings: &'s Settings, secrets: &'s [StoredSecret]) -> Self {
        let clients = read_clients(secrets, &settings.prefix);
        let secrets = secrets.iter().map(|secret| (&secret.name, secret.content.as_ref())).collect();
        Self { settings, secrets, clients }
    }

    /// Checks a row as the refresher will read it.
    pub(super) fn judge(&self, row: &Row, replace: bool) -> Result<Taken, Failure> {
        let prefix = &self.settings.prefix;
        let (connection, client) = (row.connection()?, row.client()?);
        let name = prefix.grant(connection.as_str());
        let (before, read) = self.stored(&name)?.unzip();
        let mut document = before.clone().unwrap_or_default();
        document.replace_grant(&row.fields);
        let secret = GrantSecret::of(connection, VersionId::default(), &document, &self.settings.data_centers)?;
        let grant = secret.resolve(&self.clients, prefix).map_err(|broken| {
            let remedy = match (&broken.flaw, &client) {
                (Flaw::NotFound, Some(client)) => {
                    format!("store the client first: token-keeper client add {client} --client-id …")
                }
                (flaw, _) => flaw.remedy(),
            };
            Failure::new(broken, remedy)
        })?;
        if row.registered.as_ref().is_some_and(|id| *id != grant.client.id.as_str()) {
            return Err(Failure::new(
                "its `client_id` is not that of --client; a refresh token works only with its own client",
                "give --client the client that the refresh token belongs to, or leave --client out",
            ));
        }
        let refresh_token =
            grant.refresh_token().ok_or_else(|| Failure::from(Flaw::Missing("refresh_token".to_owned())))?;
        let plan = match before.as_ref().and_then(|before| before.field("refresh_token")) {
            None => Plan::New,
            Some(before) if before == refresh_token.expose() => Plan::Same,
            _ if replace => Plan::Replace,
            _ => {
                return Err(Failure::new(
                    "it exists already, with another refresh token",
                    "use another name, or replace the stored one with --replace",
                ));
            }
        };
        Ok(Taken { grant, document, read, plan })
    }

    /// The document of a secret and its version, if it exists already.
    fn stored(&self, name: &SecretName) -> Result<Option<(SecretDocument, VersionId)>, Failure> {
        let broken = |flaw: Flaw| Failure::from(Broken::secret(name, flaw));
        match self.secrets.get(name) {
            None | Some(Err(Flaw::NotFound)) => Ok(None),
            Some(Err(flaw)) => Err(broken((*flaw).clone())),
            Some(Ok(SecretVersion { id, text })) => {
                Ok(Some((SecretDocument::parse(text).map_err(broken)?, id.clone())))
            }
        }
    }
}

/// Refuses a row whose name or refresh token an earlier row already has.
pub(super) fn refuse_duplicates(judged: &mut [Result<Taken, Failure>]) {
    let (mut names, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    for (at, row) in judged.iter_mut().enumerate() {
        let Ok(Taken { grant, .. }) = row else { continue };
        let token = grant.refresh_token().map(|token| token.expose().to_owned());
        let first = *names.entry(grant.connection.clone()).or_insert(at);
        let holder = *tokens.entry(token).or_insert(at);
        if first != at {
            *row = Err(Failure::new(format!("row {} has the same name", first + 1), "give each connection one row"));
        } else if holder != at {
            let why = format!("row {} has the same refresh token", holder + 1);
            *row = Err(Failure::new(why, "import each refresh token once"));
        }
    }
}
