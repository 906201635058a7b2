//! `token-keeper client`: stores, lists and removes the applications registered at Zoho and other
//! providers, with their secrets.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use token_keeper::address::BaseUrl;
use token_keeper::connection::{ClientSecrets, Clients, SecretDocument, SecretVersion, clients_of, read_clients};
use token_keeper::flaw::Broken;
use token_keeper::name::{ClientName, SecretName, VersionId};
use token_keeper::ports::{Grants as _, RECOVERY_DAYS, SecretRemover as _};
use token_keeper::provider::ZOHO;
use token_keeper::provider::server::Server;
use token_keeper::provider::table::CUSTOM;
use token_keeper::settings::Settings;

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::server::{Described, ProviderOptions, provider_fields};
use crate::text;

/// Which client, and which of its secrets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  token-keeper client add acme-app --client-id 1000.ABC\n  token-keeper client add acme-app --client-id 1000.ABC \
                  --data-center in < secret.txt\n  token-keeper client add books-app --client-id ABC --provider xero\n  token-keeper client add \
                  corp --client-id ABC --issuer https://login.example.com\n\nWithout --provider and --issuer, a client is Zoho's."
)]
pub struct Arguments {
    /// Your name for the client: letters a-z, digits and . - _
    pub name: ClientName,
    /// The client id from the provider's console (Zoho's API console: the same in every data
    /// centre)
    #[arg(long, value_name = "ID")]
    pub client_id: String,
    /// Zoho's data centre of this secret. By default, a client for several data centres has another
    /// secret in each
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
    /// Which provider.
    #[command(flatten, next_help_heading = "Other providers than Zoho")]
    pub at: ProviderOptions,
}

/// Which client.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  token-keeper client remove old-app")]
pub struct RemoveArguments {
    /// The client
    pub name: ClientName,
}

impl Operator {
    /// Stores a client, or adds a secret to a stored one and keeps its other secrets and fields.
    pub(super) async fn add_client(&self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let Arguments { name, client_id, data_center, at } = arguments;
        self.check_data_center(data_center.as_deref())?;
        let secret_name = self.settings.prefix.client(name.as_str());
        // Both before the secret is asked for.
        let described = self.describe(at, console).await?;
        self.same_client(&secret_name, arguments, described.as_ref()).await?;
        let whose = data_center.as_ref().map(|name| format!(" in data centre {name}")).unwrap_or_default();
        let secret =
            console.terminal.ask_secret(&format!("Client secret of {client_id}{whose}: ")).map_err(|error| {
                Failure::new(format!("the client secret could not be read: {error}"), "type it, or pipe it in")
            })?;
        let secret = secret.trim();
        let add = async || {
            let (mut document, read) = self.same_client(&secret_name, arguments, described.as_ref()).await?;
            if let Some(Described { fields, .. }) = &described {
                for field in provider_fields() {
                    document.remove(field);
                }
                for (field, value) in fields {
                    document.set(field, value.clone());
                }
            }
            match data_center {
                Some(data_center) => document.set_within("client_secrets", data_center, json!(secret)),
                None => document.set("client_secret", json!(secret)),
            }
            let client = ClientSecrets::of(&document).map_err(|flaw| {
                Failure::new(
                    format!("this is not a client secret or client id: {flaw}"),
                    "paste it again from the provider's console; nothing was changed",
                )
            })?;
            let written = self.write(&secret_name, read.as_ref(), &document).await?;
            Ok(written.map(|_| (client, if read.is_some() { "updated" } else { "stored" })))
        };
        let (client, done) = self.until_written(&secret_name, add).await?;
        console.answer(as_json(name, Some(&client)));
        console
            .show(&format!("Client {name} is {done} in secret {secret_name}. Its secrets: {}.", secrets_of(&client)));
        if let Some(server) = &client.server {
            self.next_for(name, server, console);
            return Ok(());
        }
        let data_center = data_center.as_deref().unwrap_or("eu");
        let callback = if self.callback_url.is_some() { "" } else { " --callback-url https://YOUR-CALLBACK" };
        console.show("Next: make a link to connect an account, for example");
        console.show(&format!(
            "  token-keeper connect crm-prod --client {name} --data-center {data_center} --scope ZohoCRM.modules.READ{callback}"
        ));
        console.show("Without a browser: connect --device for a Non-browser Application, grant for a Self Client.");
        Ok(())
    }

    /// What to do with a client of another provider than Zoho.
    fn next_for(&self, name: &ClientName, server: &Server, console: &Console<'_>) {
        let title = server.profile.title;
        if server.rotates() {
            self.warn_of_rotation_at(title, console);
        }
        if server.authorization_endpoint.is_none() {
            console
                .show(&format!("Next: get a refresh token at {title}, and take it over: token-keeper import --help"));
            return;
        }
        let place =
            self.callback_url.as_ref().map_or("https://YOUR-CALLBACK/callback".to_owned(), BaseUrl::redirect_uri);
        let callback = if self.callback_url.is_some() { "" } else { " --callback-url https://YOUR-CALLBACK" };
        console.show(&format!("Next: register the redirect URI {place} with the client at {title}, then make a link:"));
        console.show(&format!("  token-keeper connect books --client {name} --scope SCOPE{callback}"));
    }

    /// The document of the client as it is stored, or the beginning of a new one. Refuses another
    /// client of the same name.
    async fn same_client(
        &self,
        secret_name: &SecretName,
        Arguments { name, client_id, data_center, .. }: &Arguments,
        described: Option<&Described>,
    ) -> Result<(SecretDocument, Option<VersionId>), Failure> {
        let Some((document, version)) = self.document(secret_name).await? else {
            let mut document = SecretDocument::default();
            document.set("client_id", json!(client_id));
            return Ok((document, None));
        };
        let before = ClientSecrets::of(&document).map_err(|flaw| Broken::secret(secret_name, flaw))?;
        if before.id != *client_id {
            let what = format!("client {name} already exists, with another client id ({})", before.id);
            return Err(Failure::new(
                what,
                format!(
                    "choose another name, or remove it first: token-keeper client remove {name}; nothing was changed"
                ),
            ));
        }
        let stored = before.server.as_deref().map(|server| server.profile);
        let title = stored
            .map_or("Zoho", |profile| if profile.name == CUSTOM.name { "another OAuth server" } else { profile.title });
        if described.is_some_and(|described| stored.map(|profile| profile.name) != Some(described.server.profile.name))
        {
            let what = format!("client {name} already exists, for {title}");
            let remedy = "choose another name; nothing was changed";
            return Err(Failure::new(what, remedy));
        }
        if stored.is_some() && data_center.is_some() {
            let what = format!("client {name} is for {title}, and only Zoho has data centres");
            return Err(Failure::new(what, "leave --data-center out; nothing was changed"));
        }
        Ok((document, Some(version)))
    }

    pub(super) async fn list_clients(&self, console: &Console<'_>) -> Result<(), Failure> {
        let (clients, users) = self.clients().await?;
        let users = |name: &ClientName| users.get(name).cloned().unwrap_or_default();
        let answers = clients.iter().map(|(name, client)| {
            let mut answer = as_json(name, client.as_ref().ok());
            answer["error"] = json!(client.as_ref().err().map(ToString::to_string));
            answer["connections"] = json!(users(name));
            answer
        });
        console.answer(json!({"clients": answers.collect::<Vec<_>>()}));
        if clients.is_empty() {
            console.show("There are no clients. Next: token-keeper client add --help");
            return Ok(());
        }
        // Where all are Zoho's, there is nothing to tell apart.
        let others = clients.values().flatten().any(|client| client.server.is_some());
        let more: &[&str] = if others { &["provider"] } else { &[] };
        let headings = [&["client"], more, &["client id", "secrets", "used by"]].concat();
        let mut table = text::table(console.terminal.look(), &headings);
        for (name, client) in &clients {
            let (id, secrets) = match client {
                Ok(client) => (client.id.clone(), secrets_of(client)),
                Err(broken) => ("?".to_owned(), broken.flaw.to_string()),
            };
            let mut row = vec![name.to_string(), id, secrets, users(name).join(", ")];
            if others {
                row.insert(1, client.as_ref().map_or("?", |client| provider(client)).to_owned());
            }
            table.add_row(row);
        }
        console.show(&table.trim_fmt());
        Ok(())
    }

    pub(super) async fn remove_client(
        &self,
        arguments: &RemoveArguments,
        console: &Console<'_>,
    ) -> Result<(), Failure> {
        let name = &arguments.name;
        let secret = self.settings.prefix.client(name.as_str());
        // Before the list, so that nothing newer than the list is removed.
        let Ok(SecretVersion { id: version, .. }) = self.secrets.read_one(&secret).await?.content else {
            return Err(Failure::new(format!("there is no client {name}"), "see token-keeper client list"));
        };
        let (_, users) = self.clients().await?;
        if let Some(users) = users.get(name) {
            let what = format!("client {name} is used by {}", users.join(", "));
            return Err(Failure::new(
                what,
                "revoke these connections first: token-keeper revoke --help; nothing was changed",
            ));
        }
        match self.secrets.remove_unchanged(&secret, &version).await {
            Err(error) if error.overtaken() => {
                let what = format!("somebody else has just changed client {name}");
                return Err(Failure::new(what, "see token-keeper client list; nothing was removed"));
            }
            removed => removed?,
        }
        let until = self.source.now() + SignedDuration::from_hours(24 * RECOVERY_DAYS);
        console.answer(json!({"client": name.as_str(), "secret": secret.as_str()}));
        console.show(&format!(
            "Secret {secret} is marked for deletion. You can restore it until {}:",
            until.strftime("%Y-%m-%d")
        ));
        console.show(&format!("  aws secretsmanager restore-secret --secret-id {secret}"));
        Ok(())
    }

    /// Every client, and the connections that use each.
    async fn clients(&self) -> Result<(Clients, BTreeMap<ClientName, Vec<String>>), Failure> {
        let secrets = self.secrets.list().await?;
        let Settings { prefix, data_centers, .. } = &self.settings;
        let mut users = BTreeMap::<_, Vec<_>>::new();
        let grants = prefix.grants();
        for secret in &secrets {
            let Some(connection) = secret.name.as_str().strip_prefix(&grants) else { continue };
            for client in clients_of(std::slice::from_ref(secret), prefix, data_centers) {
                users.entry(client).or_default().push(connection.to_owned());
            }
        }
        Ok((read_clients(&secrets, prefix), users))
    }
}

fn as_json(name: &ClientName, client: Option<&ClientSecrets>) -> Value {
    json!({
        "client": name.as_str(),
        "provider": client.map(provider),
        "token_endpoint": client.and_then(|client| Some(client.server.as_ref()?.token_endpoint.clone())),
        "client_id": client.map(|client| client.id.clone()),
        "data_centers": client.map(|client| client.by_data_center.keys().collect::<Vec<_>>()),
        "common_secret": client.is_some_and(|client| client.common.is_some()),
    })
}

fn provider(client: &ClientSecrets) -> &'static str {
    client.server.as_ref().map_or(ZOHO, |server| server.profile.name)
}

fn secrets_of(client: &ClientSecrets) -> String {
    let own = client.by_data_center.keys().map(String::as_str);
    let secrets: Vec<_> = client.common.iter().map(|_| "common").chain(own).collect();
    secrets.join(", ")
}
