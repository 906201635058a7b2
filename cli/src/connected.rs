//! What the commands say at the end of a consent that they have carried out themselves.

use serde_json::json;
use token_keeper::connection::Account;
use token_keeper::consent::{Connected, Stop};
use token_keeper::name::ConnectionName;

use crate::console::{Console, Failure};

/// Tells what has been connected, and where programs find its token.
pub(super) fn tell(connected: &Connected, parameter: &str, console: &Console<'_>) {
    let Connected { connection, provider, data_center, account, withheld, published } = connected;
    console.answer(json!({
        "connection": connection.as_str(),
        "data_center": data_center,
        "account": account.as_ref().map(Account::as_json),
        "parameter": parameter,
        "published": published,
        "withheld": withheld,
    }));
    if let Some(account) = account {
        console.show(&format!("The account is {account}."));
    }
    if !withheld.is_empty() {
        console.show(&format!("{provider} granted only some of the scopes. Missing: {}.", withheld.join(", ")));
    }
    console.show(&if *published {
        format!("Connected. The access token is in the parameter {parameter}.")
    } else {
        format!(
            "Connected, but the first token could not be published. See token-keeper list, then type token-keeper refresh {connection}."
        )
    });
}

fn handed_back(revoked: bool) -> &'static str {
    if revoked {
        "the new grant was handed back to Zoho"
    } else {
        "the new grant is not used, but Zoho did not revoke it: remove the application among the account's connected applications"
    }
}

/// A failure of a command that has just made the connection: it says what is left.
pub(super) fn left_behind(failure: Failure, connection: &ConnectionName, done: &str) -> Failure {
    if done != "created" {
        return failure;
    }
    let left = format!("{connection} is stored and awaits a consent; token-keeper revoke {connection} removes it");
    Failure::new(failure.what, format!("{}; {left}", failure.remedy))
}

/// Tells the operator why a consent stopped.
pub(super) fn explain(stop: &Stop) -> Failure {
    let (what, remedy) = match stop {
        Stop::Moved { connection, from, to } => (
            format!("the account lives in the data centre {to}, and {connection} belongs to {from}"),
            "if the account has moved, add --allow-move; no grant was changed",
        ),
        Stop::OtherAccount { connection, revoked } => (
            format!("{connection} belongs to another account; {}", handed_back(*revoked)),
            "use the account that was connected before, or add --allow-other-account",
        ),
        Stop::AccountUnknown { connection, revoked } => (
            format!(
                "{connection} belongs to a known account, and Zoho did not say whose this one is; {}",
                handed_back(*revoked)
            ),
            "try again with the scope AaaServer.profile.READ; to connect any account, add --allow-other-account",
        ),
        Stop::Misconfigured { why, .. } => (why.clone(), "token-keeper doctor says more; no grant was changed"),
        Stop::ScopeRefused { scopes, .. } => (
            format!("Zoho does not accept one of these scopes: {}", scopes.join(", ")),
            "compare them with token-keeper scopes, then try again with --scope",
        ),
        Stop::NoRefreshToken(_) => (
            "Zoho sent no refresh token; no grant was changed".to_owned(),
            "remove the application among the account's connected applications at Zoho, then run the command again",
        ),
        Stop::AlreadyConnected(connection) | Stop::Superseded(connection) | Stop::Gone(connection) => (
            format!("somebody else changed {connection} meanwhile; nothing of this consent is kept"),
            "see token-keeper list",
        ),
        Stop::NotStored { revoked: true, .. } => (
            "the grant could not be stored, so its refresh token was revoked".to_owned(),
            "see the message above; infra/operator-policy.json lists the permissions that you need",
        ),
        Stop::NotStored { .. } => {
            ("it is not known whether the grant is stored".to_owned(), "see the message above, then token-keeper list")
        }
        Stop::ProviderOutOfOrder(_) => (
            "the provider gave no usable answer".to_owned(),
            "see the message above, then run the command again in ten minutes",
        ),
        stop => (
            format!("the consent stopped: {}", stop.reason().replace('_', " ")),
            "see the message above, then run the command again in a few minutes",
        ),
    };
    Failure::new(what, remedy)
}
