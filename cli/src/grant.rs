//! `token-keeper grant`: makes a connection from a self client's code, without a browser.

use serde_json::json;
use token_keeper::connection::Account;
use token_keeper::consent::{KeyRing, Stop};
use token_keeper::ports::Proof;
use token_keeper::secret::AuthorizationCode;

use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::prepare::Wanted;

/// Which connection. The command asks for the code.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper grant crm-prod --client my-client --data-center eu --scope ZohoCRM.modules.ALL\n  token-keeper grant \
                  crm-prod --client my-client --data-center eu --scope ZohoCRM.modules.ALL --client-credentials --soid \
                  ZohoCRM.600000434\n\nMake the code in Zoho's \
                  API console: open the self client and choose Generate Code. Enter the same scopes and the longest time (10 minutes).",
    mut_arg("data_center", |option| option.help("The data centre of the API console in which you make the code")),
    mut_arg("scope", |option| option.help("The scopes for which you make the code, separated by commas. You can repeat the option"))
)]
pub struct Arguments {
    /// What to connect.
    #[command(flatten)]
    pub wanted: Wanted,
    /// Take the self client's own id and secret, and no code. Its tokens are for the organisation
    /// that owns the self client
    #[arg(long, conflicts_with_all = ["identify", "allow_other_account"])]
    pub client_credentials: bool,
    /// The organisation, for services that can have several: the service's name and the
    /// organisation's id, such as ZohoCRM.600000434
    #[arg(long, value_name = "SERVICE.ID", requires = "client_credentials", value_parser = soid)]
    pub soid: Option<String>,
}

impl Operator {
    pub(super) async fn grant(self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        if arguments.client_credentials {
            return Box::pin(self.grant_by_client(&arguments.wanted, arguments.soid.as_deref(), console)).await;
        }
        let Wanted { connection, .. } = &arguments.wanted;
        let ready = self.prepare(&arguments.wanted, false, console).await?;
        console.say("In Zoho's API console, open the self client, choose Generate Code, enter these scopes and choose 10 minutes:");
        console.say(&format!("  {}", ready.grant.scopes.join(",")));
        let code = console
            .terminal
            .ask_secret("Code: ")
            .map_err(|error| Failure::new(format!("the code could not be read: {error}"), "type it, or pipe it in"))?;
        let code = code.trim();
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::new(
                "this is not a code",
                "copy it again from Zoho's API console; nothing was sent to Zoho",
            ));
        }
        let now = self.source.now();
        let parameter = self.settings.prefix.lease(connection.as_str());
        let consent = self.consent(KeyRing::default());
        let proof = Proof { code: AuthorizationCode::new(code), redirect: None };
        let home = ready.grant.data_center.clone();
        let done = async {
            let secret = consent.current_grant(connection, &ready.grant.version, now).await?;
            consent.redeem(secret, home, &proof, arguments.wanted.allow_other_account).await
        };
        // The code is good for one exchange, and its refresh token has to be stored.
        console.terminal.finish_first(true);
        let connected = done.await.map_err(|stop| explain(&stop))?;
        console.answer(json!({
            "connection": connection.as_str(),
            "parameter": parameter.as_str(),
            "published": connected.published,
            "withheld": connected.withheld,
            "account": connected.account.as_ref().map(Account::as_json),
        }));
        if !connected.withheld.is_empty() {
            console.show(&format!("Zoho granted only some of the scopes. Missing: {}.", connected.withheld.join(", ")));
        }
        if let Some(account) = &connected.account {
            console.show(&format!("The account is {account}."));
        }
        if connected.published {
            console.show(&format!("Connected. The access token is in the parameter {parameter}."));
        } else {
            console.show(&format!("Connected, but the first token could not be published. See token-keeper list, then type token-keeper refresh {connection}."));
        }
        Ok(())
    }
}

/// Checks the form of an organisation's name. `client_credentials` is the only use of it.
fn soid(text: &str) -> Result<String, String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text.split_once('.') {
        Some((service, id)) if plain(service) && plain(id) => Ok(text.to_owned()),
        _ => Err("use the service's name and the organisation's id, such as ZohoCRM.600000434".to_owned()),
    }
}

/// Tells the operator why the code made no connection.
fn explain(stop: &Stop) -> Failure {
    let (what, remedy) = match stop {
        Stop::CodeRefused(_) => (
            "Zoho does not accept the code".to_owned(),
            "a code works once, in its own data centre, for the minutes chosen in the console (3 by default, 10 at most); make another one and paste it at once",
        ),
        Stop::Misconfigured { why, .. } => {
            (why.clone(), "compare the client's id and secret with the self client in Zoho's API console")
        }
        Stop::ScopeRefused { scopes, .. } => (
            format!("Zoho does not accept one of these scopes: {}", scopes.join(", ")),
            "compare them with token-keeper scopes, then make another code with the same scopes as --scope",
        ),
        Stop::NoRefreshToken(_) => (
            "Zoho sent no refresh token".to_owned(),
            "make the code with a self client, not with a server-based client",
        ),
        Stop::Superseded(_) | Stop::AlreadyConnected(_) | Stop::Gone(_) => {
            ("somebody else changed the connection meanwhile".to_owned(), "see token-keeper list")
        }
        Stop::NotStored { .. } | Stop::StoreOutOfOrder => (
            "the grant could not be stored".to_owned(),
            "see the message above; infra/callback-policy.json lists the permissions that you need",
        ),
        Stop::OtherAccount(_) => (
            "the code belongs to another account than the one that was connected before".to_owned(),
            "make the code in that account, or add --allow-other-account; nothing was changed",
        ),
        Stop::AccountUnknown(_) => (
            "Zoho did not say whose account it is, and the connection belongs to a known one".to_owned(),
            "make another code with the scope AaaServer.profile.READ too, or add --allow-other-account; nothing was changed",
        ),
        stop => (
            format!("the exchange stopped: {}", stop.reason().replace('_', " ")),
            "wait a few minutes, then try again with a new code",
        ),
    };
    Failure::new(what, remedy)
}
