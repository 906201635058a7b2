//! `token-keeper grant --client-credentials`: makes a connection that asks for tokens with a self
//! client's own id and secret. There is no code, no consent and no refresh token.

use serde_json::json;
use token_keeper::connection::Grant;
use token_keeper::failure::{Refusal, refused_client_remedy};
use token_keeper::lease::Lease;
use token_keeper::notice::QUIET;
use token_keeper::ports::{Issuer as _, Leases as _, Minted};

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
        scopes::check(&wanted.scope, console)?;
        let connection = &wanted.connection;
        let prefix = &self.settings.prefix;
        let (name, parameter) = (prefix.grant(connection.as_str()), prefix.lease(connection.as_str()));
        let store = async || {
            let plan = self.plan(wanted, Way::ClientCredentials { soid }).await?;
            let minted = self.zoho.mint(&plan.grant).await.map_err(|refusal| refused(&refusal, &plan.grant))?;
            Ok(self.save(&plan).await?.map(|(version, done)| (Grant { version, ..plan.grant }, minted, done)))
        };
        let (grant, minted, done) = Box::pin(self.until_written(&name, store)).await?;
        console.show(&format!("Zoho gives tokens to this client. The connection is {done} in secret {name}."));
        let Minted { token, api_domain, scope } = minted;
        let granted = scope.unwrap_or_else(|| grant.scopes.join(" "));
        let withheld: Vec<_> =
            grant.scopes.iter().filter(|scope| !granted.split(' ').any(|granted| granted == *scope)).collect();
        let mut lease = Lease::active(&grant, token, None);
        lease.api_domain = api_domain.or(lease.api_domain);
        lease.scope.clone_from(&granted);
        let turn = self.leases.pace().turn().await;
        let published = self.leases.publish(turn, connection, &lease, QUIET).await;
        console.answer(json!({
            "connection": connection.as_str(),
            "parameter": parameter.as_str(),
            "published": published.is_ok(),
            "withheld": withheld,
            "account": null,
        }));
        if !withheld.is_empty() {
            let withheld: Vec<_> = withheld.into_iter().map(String::as_str).collect();
            console.show(&format!("Zoho granted only some of the scopes. Missing: {}.", withheld.join(", ")));
        }
        match published {
            Ok(_) => console.show(&format!("The access token is in the parameter {parameter}.")),
            Err(error) => console.show(&format!(
                "The first token could not be published ({error}). The next run does it, or type token-keeper refresh {connection}."
            )),
        }
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
        Refusal::Misconfigured { error } => format!("{}; nothing was stored", refused_client_remedy(error)),
        Refusal::Throttled => "wait ten minutes, then try again; nothing was stored".to_owned(),
        _ => "try again in a few minutes; nothing was stored".to_owned(),
    };
    Failure::new(format!("Zoho gave no token: {refusal}"), remedy)
}
