//! The installation that a command works on.

use token_keeper::address::BaseUrl;
use token_keeper::aws::{ParameterStore, Publishing, SecretsManager};
use token_keeper::connection::SecretDocument;
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::failure::StoreError;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::issuer::Providers;
use token_keeper::name::{SecretName, VersionId};
use token_keeper::ports::{Grants as _, SecretReplacer as _, SecretWriter as _};
use token_keeper::run::Refresher;
use token_keeper::run::brake::Brakes;
use token_keeper::settings::Settings;
use token_keeper::source::Source;
use tokio::time::sleep;

use crate::console::Failure;
use crate::stack::Told;

/// How often a change is made again if somebody else was first.
const WRITES: usize = 5;

/// An installation, with everything that the commands use of it.
pub struct Operator {
    /// The settings that the functions have too.
    pub settings: Settings,
    /// How leases are published.
    pub publishing: Publishing,
    /// The callback function's public base URL, if the environment or the stack's settings have it.
    pub callback_url: Option<BaseUrl>,
    /// What the stack says of its settings.
    pub stack: Told,
    /// Secrets Manager.
    pub secrets: SecretsManager,
    /// Zoho and the other providers.
    pub issuer: Providers,
    /// Parameter Store.
    pub leases: ParameterStore,
    /// The time, and random bytes.
    pub source: Source,
    /// The Region of both stores, if it is known.
    pub region: Option<String>,
    /// The AWS profile, if one was named.
    pub profile: Option<String>,
}

impl Operator {
    /// Where the command looks: another Region or prefix is another installation.
    pub(crate) fn place(&self) -> String {
        let region = self.region.as_ref().map_or("no Region".to_owned(), |region| format!("Region {region}"));
        let profile = self.profile.as_ref().map(|profile| format!(", AWS profile {profile}")).unwrap_or_default();
        format!("{region}, prefix {}{profile}", self.settings.prefix.as_str())
    }

    /// The refresher of this installation.
    pub(crate) fn refresher(self) -> Refresher<SecretsManager, Providers, ParameterStore> {
        let Self { settings, secrets, issuer, leases, source, .. } = self;
        Refresher { settings, grants: secrets, issuer, leases, source, brakes: Brakes::default() }
    }

    /// The consent of this installation.
    pub(crate) fn consent(self, key: KeyRing) -> Consent<SecretsManager, Providers, ParameterStore> {
        let Self { settings, secrets, issuer, leases, source, .. } = self;
        Consent { settings, secrets, issuer, leases, source, key }
    }

    /// Refuses a data centre that is not in the table.
    pub(crate) fn check_data_center(&self, name: Option<&str>) -> Result<(), Failure> {
        let table = &self.settings.data_centers;
        let Some(unknown) = name.filter(|name| table.get(name).is_none()) else { return Ok(()) };
        let remedy = format!("use one of {}, or add it to TOKEN_KEEPER_DATA_CENTERS", table.names());
        Err(Failure::new(format!("{unknown} is not a known data centre"), remedy))
    }

    /// Reads a secret's document and its version. `None` if the secret does not exist.
    pub(crate) async fn document(&self, name: &SecretName) -> Result<Option<(SecretDocument, VersionId)>, Failure> {
        let broken = |flaw: Flaw| Failure::from(Broken::secret(name, flaw));
        match self.secrets.read_one(name).await?.content {
            Ok(version) => Ok(Some((SecretDocument::parse(&version.text).map_err(broken)?, version.id))),
            Err(Flaw::NotFound) => Ok(None),
            Err(flaw) => Err(broken(flaw)),
        }
    }

    /// Creates a secret, or replaces the version that was `read`. `None` if somebody else was
    /// first: then nothing has changed. That includes a refresh that was cut off: its new refresh
    /// token would be lost, so it is stored first.
    pub(crate) async fn write(
        &self,
        name: &SecretName,
        read: Option<&VersionId>,
        document: &SecretDocument,
    ) -> Result<Option<VersionId>, StoreError> {
        let mut document = document.clone();
        document.end_links();
        let written = match read {
            Some(read) if self.secrets.complete_refresh(name, read).await.is_ok_and(|completed| completed) => {
                return Ok(None);
            }
            Some(read) => self.secrets.replace(name, &document.text(), read).await,
            None => self.secrets.create(name, &document.text()).await,
        };
        match written {
            Err(error) if error.overtaken() => Ok(None),
            written => written.map(Some),
        }
    }

    /// Makes a change to what is stored, and makes it again if somebody else was first. `change`
    /// reads, and writes with [`write`](Self::write).
    pub(crate) async fn until_written<T>(
        &self,
        name: &SecretName,
        change: impl AsyncFn() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        for _ in 0..WRITES {
            if let Some(done) = change().await? {
                return Ok(done);
            }
            sleep(self.settings.settling).await;
        }
        let what = format!("secret {name} was changed by somebody else at each of {WRITES} tries");
        Err(Failure::new(what, "see token-keeper list, then try again when nobody else works on it"))
    }
}
