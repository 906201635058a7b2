//! `token-keeper client`: registered applications and their secrets.

use jiff::Timestamp;
use serde_json::json;

use super::{Ask, Failure, Operator, Show};
use crate::connection::{Broken, ClientName, ClientSecrets, Flaw};
use crate::ports::{Authorizer, Grants, Leases, SecretWriter};
use crate::secret::Text;

/// Which client, and which of its secrets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  token-keeper client add acme-app --client-id 1000.ABC\n  token-keeper client add acme-app --client-id 1000.ABC \
                  --data-center in < secret.txt"
)]
pub struct Arguments {
    /// Your name for it: a-z 0-9 - _ .
    pub name: ClientName,
    /// The client id from Zoho's API console, the same in every data centre
    #[arg(long, value_name = "ID")]
    pub client_id: String,
    /// The data centre whose own secret this is. A client for several data centres has one secret in each by default
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
}

impl<S, Z, L, Random, Now> Operator<S, Z, L, Random, Now>
where
    S: Grants + SecretWriter,
    Z: Authorizer,
    L: Leases,
    Random: Fn() -> [u8; 32],
    Now: Fn() -> Timestamp,
{
    /// Stores a client, or adds a secret to it. Its other secrets and fields stay.
    pub(super) async fn add_client(&self, arguments: &Arguments, ask: Ask<'_>, show: Show<'_>) -> Result<(), Failure> {
        let Arguments { name, client_id, data_center } = arguments;
        let table = &self.settings.data_centers;
        if let Some(unknown) = data_center.as_ref().filter(|name| table.get(name).is_none()) {
            let remedy = format!("use one of {}, or add it to TOKEN_KEEPER_DATA_CENTERS", table.names());
            return Err(Failure::new(format!("{unknown} is no data centre"), remedy));
        }
        let secret_name = self.settings.prefix.client(name.as_str());
        let mut found = self.secrets.read(std::slice::from_ref(&secret_name)).await?;
        let found = found.pop().map_or(Err(Flaw::NotFound), |secret| secret.content);
        let broken = |flaw: Flaw| Failure::new(Broken::secret(&secret_name, flaw.clone()), flaw.remedy());
        let (exists, mut fields) = match found {
            Ok(version) => {
                let before = ClientSecrets::parse(version.text.expose()).map_err(broken)?;
                if before.id != *client_id {
                    let what = format!("there is a client {name} already, with another client id ({})", before.id);
                    return Err(Failure::new(what, "choose another name; nothing was changed"));
                }
                (true, serde_json::from_str(version.text.expose()).unwrap_or_default())
            }
            Err(Flaw::NotFound) => (false, json!({"client_id": client_id})),
            Err(flaw) => return Err(broken(flaw)),
        };
        let whose = data_center.as_ref().map(|name| format!(" in data centre {name}")).unwrap_or_default();
        let secret = ask(&format!("Client secret of {client_id}{whose}: "))
            .map_err(|error| Failure::new(format!("no secret was read: {error}"), "type it, or pipe it in"))?;
        let secret = secret.trim();
        match data_center {
            Some(data_center) => fields["client_secrets"][data_center] = json!(secret),
            None => fields["client_secret"] = json!(secret),
        }
        let text = Text::new(fields.to_string());
        let client = ClientSecrets::parse(text.expose()).map_err(|flaw| {
            Failure::new(
                format!("that is no client secret or client id: {flaw}"),
                "paste it again from Zoho's API console; nothing was changed",
            )
        })?;
        self.write(&secret_name, exists, &text).await?;
        let own = client.by_data_center.keys().map(String::as_str);
        let secrets: Vec<_> = client.common.iter().map(|_| "one for all data centres").chain(own).collect();
        let done = if exists { "updated" } else { "stored" };
        show(&format!(
            "Client {name} is {done} in secret {secret_name}. It has these secrets: {}.",
            secrets.join(", ")
        ));
        let data_center = data_center.as_deref().unwrap_or("eu");
        show("Next: make a link with which an administrator connects an account, for example");
        show(&format!(
            "  token-keeper connect crm-prod --client {name} --data-center {data_center} --scope ZohoCRM.modules.READ"
        ));
        Ok(())
    }
}
