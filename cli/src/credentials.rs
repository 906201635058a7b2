//! `token-keeper grant --client-credentials`: makes a connection that asks for tokens with a self
//! client's own id and secret. There is no code, no consent and no refresh token.

use token_keeper::connection::Grant;
use token_keeper::consent::Connected;
use token_keeper::failure::{Refusal, Untrusted, refused_client_remedy};
use token_keeper::lease::Lease;
use token_keeper::notice::QUIET;
use token_keeper::ports::{Issuer as _, Leases as _, Minted};

use crate::connected::tell;
use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::prepare::{Wanted, Way};
use crate::scopes;

impl Operator {
    /// Asks for a first token, and stores the connection only if Zoho gives one.
    pub(super) async fn grant_by_client(
        &self,
        wanted: &Wanted,
        soid: Option<&str>,
        console: &Console<'_>,
    ) -> Result<(), Failure> {
        let connection = &wanted.connection;
        let prefix = &self.settings.prefix;
        let (name, parameter) = (prefix.grant(connection.as_str()), prefix.lease(connection.as_str()));
        let way = Way::ClientCredentials { soid };
        let grant = self.plan(wanted, way).await?.grant;
        scopes::doubts(&wanted.scope, console);
        let minted = self.issuer.mint(&grant).await.map_err(|refusal| refused(&refusal, &grant))?;
        let store = async || {
            let plan = self.plan(wanted, way).await?;
            Ok(self.save(&plan).await?.map(|(version, done)| (Grant { version, ..plan.grant }, done)))
        };
        let (grant, done) = Box::pin(self.until_written(&name, store)).await?;
        console.show(&format!("Zoho gives tokens to this client. The connection is {done} in secret {name}."));
        let granted = minted.scopes(&grant.scopes);
        let withheld = grant.scopes.iter().filter(|scope| !granted.contains(scope)).cloned().collect();
        let Minted { token, api_domain, .. } = minted;
        let mut lease = Lease::active(&grant, token, None);
        lease.api_domain = api_domain.or(lease.api_domain);
        lease.scope = granted.join(" ");
        let turn = self.leases.pace().turn().await;
        let published = self.leases.publish(turn, connection, &lease, QUIET).await;
        let published = published.inspect_err(|error| console.say(&format!("The token is not published: {error}")));
        let connected = Connected {
            connection: connection.clone(),
            provider: grant.provider.title(),
            data_center: grant.provider.data_center().map(|home| home.name.clone()),
            account: None,
            withheld,
            published: published.is_ok(),
        };
        tell(&connected, &parameter, console);
        Ok(())
    }
}

/// Tells the operator why Zoho gave no token.
fn refused(refusal: &Refusal, grant: &Grant) -> Failure {
    let service = grant.scopes.first().and_then(|scope| scope.split('.').next()).unwrap_or("SERVICE");
    let remedy = match refusal {
        Refusal::Misconfigured { error } if error == "missing_org_info" => format!(
            "add --soid {service}.ID with the id of the organisation, which the service shows (CRM: click your picture); nothing was \
             stored"
        ),
        Refusal::Misconfigured { error } if error == "invalid_client" => {
            "take id and secret of a self client, from the API console of this data centre: Zoho gives other clients no token without a \
             consent; nothing was stored"
                .to_owned()
        }
        Refusal::Misconfigured { error } if error == "invalid_scope" => {
            "compare `scopes` with token-keeper scopes; nothing was stored".to_owned()
        }
        Refusal::Misconfigured { error } => format!("{}; nothing was stored", refused_client_remedy(error)),
        Refusal::Throttled => "wait ten minutes, then try again; nothing was stored".to_owned(),
        Refusal::Unclear { .. } => {
            "check --soid, --scope and the client's type, which has to be Self Client; if they are right, try again in a few \
             minutes; nothing was stored"
                .to_owned()
        }
        Refusal::OutOfOrder(_) | Refusal::ConsentRequired { .. } => {
            let remedy = refusal.untrusted().map_or("try again in a few minutes", Untrusted::remedy);
            format!("{remedy}; nothing was stored")
        }
    };
    Failure::new(format!("Zoho gave no token: {refusal}"), remedy)
}

/// Checks the form of an organisation's name.
pub(super) fn soid(text: &str) -> Result<String, String> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text.split_once('.') {
        Some((service, id)) if plain(service) && plain(id) => Ok(text.to_owned()),
        _ => Err("use the service's name and the organisation's id, such as ZohoCRM.600000434".to_owned()),
    }
}
