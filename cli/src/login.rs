//! Credentials as the AWS CLI finds them, and what to type where there are none.
//!
//! The SDK finds credentials in its own order, which is not the AWS CLI's: keys in the environment
//! win over `--profile`, and if the profile does not exist, the machine's role is used instead.
//! Each could be another account. So this module chooses where to look, and the SDK looks there.

use std::borrow::Cow;
use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::{Profile, ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{SdkConfig, profile};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sso::operation::get_role_credentials::GetRoleCredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use token_keeper::failure::NoCredentials;
use token_keeper::http::untrusted;
use tokio::time::timeout;

/// How long a login may take. A `credential_process` may ask a person for a code or a finger.
const LOGIN_TIMEOUT: Duration = Duration::from_mins(5);
/// STS's word for a refusal by policy.
const DENIED: &str = "AccessDenied";

/// The same configuration with credentials from this profile. Without a name, the default profile
/// is used, or the machine's role if it does not exist.
pub fn with_profile(shared: &SdkConfig, profile: Option<String>) -> SdkConfig {
    let mut surroundings = ProviderConfig::without_region()
        .with_region(shared.region().cloned())
        .with_use_fips(shared.use_fips())
        .with_use_dual_stack(shared.use_dual_stack());
    if let Some(client) = shared.http_client() {
        surroundings = surroundings.with_http_client(client);
    }
    if let Some(timeouts) = shared.timeout_config() {
        surroundings = surroundings.with_timeout_config(timeouts.clone());
    }
    shared
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(Login { profile, surroundings }))
        .identity_cache(IdentityCache::lazy().load_timeout(LOGIN_TIMEOUT + Duration::from_secs(5)).build())
        .build()
}

#[derive(Debug)]
struct Login {
    profile: Option<String>,
    surroundings: ProviderConfig,
}

impl ProvideCredentials for Login {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // The SDK's own error stays here: it may quote what a program has printed.
        future::ProvideCredentials::new(async {
            let late = |_| {
                Err(NoCredentials {
                    why: format!("the AWS login did not end within {} minutes", LOGIN_TIMEOUT.as_secs() / 60),
                    remedy: "see what `aws sts get-caller-identity` says with the same profile".to_owned(),
                })
            };
            let found = timeout(LOGIN_TIMEOUT, self.credentials()).await.unwrap_or_else(late);
            found.map_err(CredentialsError::provider_error)
        })
    }
}

impl Login {
    /// Reads the files each time, so that `refresh --watch` sees a login in another terminal. The
    /// SDK keeps the credentials until they end.
    async fn credentials(&self) -> Result<Credentials, NoCredentials> {
        let name = Some(Cow::Owned(self.profile.clone().unwrap_or_else(|| "default".to_owned())));
        #[expect(clippy::default_trait_access, reason = "their types are in crates that nothing else needs")]
        let (disk, environment, places) = (Default::default(), Default::default(), Default::default());
        let files = profile::load(&disk, &environment, &places, name).await.map_err(|error| NoCredentials {
            why: sources(&error).map(ToString::to_string).collect::<Vec<_>>().join(": "),
            remedy: "correct that file".to_owned(),
        })?;
        let origin = Origin::of(&files, self.profile.is_some())?;
        let surroundings = &self.surroundings;
        let found = if origin.kind == Kind::Machine {
            let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(surroundings).build();
            let container = EcsCredentialsProvider::builder().configure(surroundings).build();
            let instance = ImdsCredentialsProvider::builder().configure(surroundings).build();
            CredentialsProviderChain::first_try("WebIdentityToken", web_identity)
                .or_else("EcsContainer", container)
                .or_else("Ec2InstanceMetadata", instance)
                .provide_credentials()
                .await
        } else {
            let provider = ProfileFileCredentialsProvider::builder().configure(surroundings);
            provider.profile_name(files.selected_profile()).build().provide_credentials().await
        };
        found.map_err(|error| origin.explain(&error))
    }
}

/// Where a profile says that its credentials come from.
struct Origin {
    /// The profile that was asked for.
    asked: String,
    /// The profile at the end of the chain of `source_profile`: the one that logs in.
    base: String,
    /// How the base gets its credentials.
    kind: Kind,
    /// Whether the AWS CLI would ask for a code of a second factor.
    asks_for_code: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `aws sso login`.
    IdentityCenter,
    /// `aws login`.
    Console,
    /// A `credential_process`.
    Process,
    /// Keys, or a role that needs no login.
    Other,
    /// The profile says nothing, so the machine's own role is used.
    Machine,
}

impl Kind {
    /// By the SDK's order.
    fn of(profile: &Profile) -> Self {
        let has = |settings: &[&str]| settings.iter().any(|setting| profile.get(setting).is_some());
        if has(&["credential_source", "web_identity_token_file"]) {
            Self::Other
        } else if has(&["sso_session", "sso_start_url", "sso_account_id", "sso_role_name"]) {
            Self::IdentityCenter
        } else if has(&["login_session"]) {
            Self::Console
        } else if has(&["credential_process"]) {
            Self::Process
        } else if has(&["aws_access_key_id", "aws_secret_access_key", "role_arn"]) {
            Self::Other
        } else {
            Self::Machine
        }
    }
}

impl Origin {
    /// Follows the selected profile to its base. It has to exist if somebody `named` it.
    fn of(files: &ProfileSet, named: bool) -> Result<Self, NoCredentials> {
        let asked = files.selected_profile();
        let missing = |why| {
            let remedy = "choose one that `aws configure list-profiles` shows, or correct ~/.aws/config";
            Err(NoCredentials { why, remedy: remedy.to_owned() })
        };
        let (mut seen, mut kind, mut asks_for_code) = (vec![asked], Kind::Machine, false);
        loop {
            let base = seen[seen.len() - 1];
            let found = files.get_profile(base);
            match (found, seen.len()) {
                (Some(profile), place) => {
                    kind = Kind::of(profile);
                    // The machine's role is for the profile that was asked for. For a role, it
                    // would be another account's.
                    if kind == Kind::Machine && place > 1 {
                        return Err(NoCredentials {
                            why: format!(
                                "the AWS profile {asked} takes its credentials from the profile {base}, which has none"
                            ),
                            remedy: format!(
                                "set {base} up with `aws configure --profile {base}`, or correct source_profile of {asked}"
                            ),
                        });
                    }
                    asks_for_code |= profile.get("mfa_serial").is_some();
                }
                (None, 1) if named => return missing(format!("there is no AWS profile {asked}")),
                (None, 1) => {}
                (None, _) => {
                    return missing(format!("the AWS profile {asked} needs the profile {base}, which does not exist"));
                }
            }
            let source = found.and_then(|profile| profile.get("role_arn").and(profile.get("source_profile")));
            match source.filter(|source| !seen.contains(source)) {
                Some(source) => seen.push(source),
                None => return Ok(Self { asked: asked.to_owned(), base: base.to_owned(), kind, asks_for_code }),
            }
        }
    }

    /// What to say of an error of the SDK, by its types and by what the profile says.
    fn explain(&self, error: &CredentialsError) -> NoCredentials {
        let Self { asked, base, kind, .. } = self;
        let missing = |why: String, remedy: String| NoCredentials { why, remedy };
        if let Some(untrusted) = untrusted(error) {
            let why = format!("the certificate of the server that gives credentials {}", untrusted.words());
            return missing(why, untrusted.remedy().to_owned());
        }
        if found::<ConnectorError>(error).is_some() {
            return missing(
                "the server that gives credentials did not answer".to_owned(),
                "check the network, and the Region of the login in ~/.aws/config".to_owned(),
            );
        }
        if let Some(refused) = found::<SdkError<AssumeRoleError>>(error) {
            return self.role_refused(refused.code().unwrap_or("the answer is not AWS's"));
        }
        if let Some(refused) = found::<SdkError<GetRoleCredentialsError>>(error)
            && !refused.as_service_error().is_some_and(GetRoleCredentialsError::is_unauthorized_exception)
        {
            let code = refused.code().unwrap_or("the answer is not AWS's");
            return missing(
                format!("IAM Identity Center refused the role of the AWS profile {base} ({code})"),
                format!(
                    "compare sso_account_id and sso_role_name of {base} with what your access portal shows; if they are right, try \
                     again in a minute"
                ),
            );
        }
        match (error, kind) {
            (CredentialsError::CredentialsNotLoaded(_), Kind::Machine) if asked == "default" => {
                NoCredentials::default()
            }
            (CredentialsError::CredentialsNotLoaded(_), Kind::Machine) => missing(
                format!("the AWS profile {asked} has no credentials"),
                format!("set it up with `aws login --profile {asked}` or `aws configure sso --profile {asked}`"),
            ),
            (_, Kind::Machine) => missing(
                "this machine's role gave no credentials".to_owned(),
                "see what `aws sts get-caller-identity` says".to_owned(),
            ),
            // Only the text says what is wrong. It names profiles and settings, and quotes no keys.
            (CredentialsError::InvalidConfiguration(_), _) => {
                let text = error.source().map(ToString::to_string).unwrap_or_default();
                let text = text.strip_prefix("ProfileFile provider could not be built: ").unwrap_or(&text);
                missing(format!("the AWS profile {asked} cannot be used: {text}"), "correct ~/.aws/config".to_owned())
            }
            (CredentialsError::CredentialsNotLoaded(_), Kind::IdentityCenter) => missing(
                format!("the AWS profile {base} lacks a setting of IAM Identity Center"),
                format!("complete it with `aws configure sso --profile {base}`"),
            ),
            (_, Kind::IdentityCenter) => missing(
                format!("the login of the AWS profile {base} has ended, or there was none"),
                format!("type `aws sso login --profile {base}`"),
            ),
            (_, Kind::Console) => missing(
                format!("the login of the AWS profile {base} has ended, or there was none"),
                format!("type `aws login --profile {base}`"),
            ),
            // Only a text says why. It quotes what the program printed, which may be a secret.
            (_, Kind::Process) => missing(
                format!("the credential_process of the AWS profile {base} failed, or printed no credentials"),
                format!("run it yourself: `aws configure get credential_process --profile {base}` shows the command"),
            ),
            (_, Kind::Other) => missing(
                format!("the AWS profile {asked} gave no credentials"),
                format!("see what `aws sts get-caller-identity --profile {asked}` says"),
            ),
        }
    }

    fn role_refused(&self, code: &str) -> NoCredentials {
        let Self { asked, base, asks_for_code, .. } = self;
        if *asks_for_code && code == DENIED {
            return NoCredentials {
                why: format!(
                    "the AWS profile {asked} needs a code of your second factor (mfa_serial), which token-keeper cannot ask for"
                ),
                remedy: format!(
                    "type `eval \"$(aws configure export-credentials --profile {asked} --format env)\"`, then this command again with \
                     AWS_PROFILE={asked} in place of --profile"
                ),
            };
        }
        NoCredentials {
            why: format!("AWS refused the role of the AWS profile {asked} ({code})"),
            remedy: format!("check role_arn, who may assume that role, and the credentials of the profile {base}"),
        }
    }
}

/// An error and its sources.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// The error of this type among an error's sources.
fn found<E: Error + 'static>(error: &CredentialsError) -> Option<&E> {
    sources(error).find_map(|error| error.downcast_ref())
}
