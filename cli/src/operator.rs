//! The installation that a command works on.

use token_keeper::address::BaseUrl;
use token_keeper::aws::{ParameterStore, Publishing, SecretsManager};
use token_keeper::connection::SecretDocument;
use token_keeper::consent::{Consent, KeyRing};
use token_keeper::failure::StoreError;
use token_keeper::flaw::{Broken, Flaw};
use token_keeper::name::{SecretName, VersionId};
use token_keeper::ports::{Grants as _, SecretWriter as _};
use token_keeper::run::brake::Brakes;
use token_keeper::run::{Refresher, Settings};
use token_keeper::source::Source;
use token_keeper::zoho::Zoho;

use crate::console::Failure;
use crate::stack::Told;

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
    /// Zoho.
    pub zoho: Zoho,
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

    /// A new `VersionId`.
    pub(crate) fn new_version(&self) -> VersionId {
        VersionId::of_bytes(self.source.random())
    }

    /// The refresher of this installation.
    pub(crate) fn refresher(self) -> Refresher<SecretsManager, Zoho, ParameterStore> {
        let Self { settings, secrets, zoho, leases, source, .. } = self;
        Refresher { settings, grants: secrets, issuer: zoho, leases, source, brakes: Brakes::default() }
    }

    /// The consent of this installation.
    pub(crate) fn consent(self, key: KeyRing) -> Consent<SecretsManager, Zoho, ParameterStore> {
        let Self { settings: Settings { prefix, data_centers, .. }, secrets, zoho, leases, source, .. } = self;
        Consent { prefix, data_centers, secrets, zoho, leases, source, key }
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

    /// Creates a secret, or stores a new version of an existing one.
    pub(crate) async fn write(
        &self,
        name: &SecretName,
        exists: bool,
        document: &SecretDocument,
    ) -> Result<VersionId, StoreError> {
        let (version, text) = (self.new_version(), document.text());
        if exists {
            self.secrets.replace(name, &text, &version).await?;
        } else {
            self.secrets.create(name, &text, &version).await?;
        }
        Ok(version)
    }
}
