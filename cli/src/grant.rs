//! `token-keeper grant`: makes a connection from a self client's code, without a browser.

use token_keeper::consent::{KeyRing, Stop};
use token_keeper::ports::Proof;
use token_keeper::secret::AuthorizationCode;

use crate::connected::{explain, left_behind, tell};
use crate::console::{Console, Failure};
use crate::credentials;
use crate::operator::Operator;
use crate::prepare::{Wanted, Way};

/// Which connection. The command asks for the code.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper grant crm-prod --client my-client --data-center eu --scope ZohoCRM.modules.ALL\n  token-keeper grant \
                  crm-prod --client my-client --data-center eu --scope ZohoCRM.modules.ALL --client-credentials --soid \
                  ZohoCRM.600000434\n\nMake the code in Zoho's \
                  API console: open the self client and choose Generate Code. Enter the same scopes and the longest time (10 minutes).",
    mut_arg("data_center", |option| option.help("The data centre of the API console with the self client")),
    mut_arg("scope", |option| option.help("What the token may do: Zoho's scopes, separated by commas; for a code, the same as in the console. You can repeat the option"))
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
    #[arg(long, value_name = "SERVICE.ID", requires = "client_credentials", value_parser = credentials::soid)]
    pub soid: Option<String>,
}

impl Operator {
    pub(super) async fn grant(self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        if arguments.client_credentials {
            return self.grant_by_client(&arguments.wanted, arguments.soid.as_deref(), console).await;
        }
        let Wanted { connection, .. } = &arguments.wanted;
        let ready = self.prepare(&arguments.wanted, Way::Code, console).await?;
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
        let done = async {
            let secret = consent.current_grant(connection, &ready.grant.link_version, now).await?;
            consent.redeem(secret, ready.grant, &proof, arguments.wanted.allow_other_account).await
        };
        // The code is good for one exchange, and its refresh token has to be stored.
        console.terminal.finish_first(true);
        let connected = done.await.map_err(|stop| left_behind(explain_code(&stop), connection, ready.done))?;
        tell(&connected, &parameter, console);
        Ok(())
    }
}

/// Tells the operator why the code made no connection.
fn explain_code(stop: &Stop) -> Failure {
    match stop {
        Stop::CodeRefused(_) => Failure::new(
            "Zoho does not accept the code",
            "a code works once, in its own data centre, for the minutes chosen in the console (3 by default, 10 at most); make another one and paste it at once",
        ),
        Stop::Misconfigured { why, .. } => {
            Failure::new(why, "compare the client's id and secret with the self client in Zoho's API console")
        }
        Stop::NoRefreshToken(_) => Failure::new(
            "Zoho sent no refresh token",
            "make the code with a self client, not with a server-based client",
        ),
        stop => explain(stop),
    }
}
