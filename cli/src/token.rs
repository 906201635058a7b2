//! `token-keeper token`: prints a live access token. No other command prints a secret.

use serde_json::json;
use token_keeper::name::ConnectionName;
use token_keeper::ports::Leases as _;

use crate::console::{Console, Failure};
use crate::operator::Operator;

/// Which connection's token.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, which keeps the token out of the list of processes:\n  token-keeper token crm-prod --header | curl -H @- \
                  https://www.zohoapis.eu/crm/v8/org"
)]
pub struct Arguments {
    /// The connection
    pub connection: ConnectionName,
    /// Print the whole header, for `curl -H @-`
    #[arg(long)]
    pub header: bool,
}

impl Operator {
    pub(super) async fn token(&self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let Arguments { connection, header } = arguments;
        let parameter = self.settings.prefix.lease(connection.as_str());
        let mut leases = self.leases.read(std::slice::from_ref(connection)).await?;
        let Some(lease) = leases.remove(connection.as_str()) else {
            let remedy = format!("see token-keeper list, or mint with token-keeper refresh {connection}");
            return Err(Failure::new(format!("there is no parameter {parameter}"), remedy));
        };
        let lease = lease?;
        let minted = lease.token.is_some();
        let (token_type, own_header) = (lease.token_type(), lease.header());
        let token = lease.token.filter(|token| token.expires_at > self.source.now()).ok_or_else(|| {
            let remedy = match lease.status.trouble() {
                None => format!("mint with token-keeper refresh {connection}, then read the refresher's log"),
                Some(_) => "token-keeper list says what to do".to_owned(),
            };
            let what = if minted { "the token has expired" } else { "there is no token yet" };
            Failure::new(format!("parameter {parameter}: {what} (status {})", lease.status.word()), remedy)
        })?;
        let (token, expires_at) = (token.access_token.expose(), token.expires_at);
        console.show(&match (header, own_header) {
            (false, _) => token.to_owned(),
            (true, None) => format!("Authorization: {token_type} {token}"),
            (true, Some(name)) => format!("{name}: {token}"),
        });
        console.answer(json!({
            "connection": connection.as_str(),
            "access_token": token,
            "token_type": token_type,
            "header": own_header.unwrap_or("Authorization"),
            "expires_at": expires_at,
            "api_domain": lease.api_domain,
        }));
        Ok(())
    }
}
