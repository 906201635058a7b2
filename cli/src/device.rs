//! `token-keeper connect --device`: a consent for machines without a browser and without a callback
//! (RFC 8628).
//!
//! The command shows a code. Somebody types it at Zoho on any device and agrees. Meanwhile the
//! command asks Zoho again and again, and ends as every consent does.

use std::time::Duration;

use jiff::Timestamp;
use token_keeper::aws::{ParameterStore, SecretsManager};
use token_keeper::connection::{DataCenter, Grant};
use token_keeper::consent::{Consent, CurrentGrant, KeyRing, Stop};
use token_keeper::failure::{Refusal, Untrusted};
use token_keeper::issuer::Providers;
use token_keeper::lease::whole_second;
use token_keeper::ports::{DeviceAuthorization, DeviceAuthorizer as _, Minted, Polled};

use crate::connected::{explain, left_behind, tell};
use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::prepare::{Ready, Wanted, Way};

/// How much longer the command waits between polls after each that came too early (RFC 8628 §3.5)
/// or that got no usable answer.
const SLOWER: Duration = Duration::from_secs(5);

impl Operator {
    pub(super) async fn connect_device(
        self,
        wanted: &Wanted,
        allow_move: bool,
        console: &Console<'_>,
    ) -> Result<(), Failure> {
        let Ready { grant, done, .. } = self.prepare(wanted, Way::Device { allow_move }, console).await?;
        let connection = &wanted.connection;
        let name = self.settings.prefix.grant(connection.as_str());
        let parameter = self.settings.prefix.lease(connection.as_str());
        let begun = whole_second(self.source.now());
        let consent = self.consent(KeyRing::default());
        let secret =
            consent.current_grant(connection, &grant.link_version, begun).await.map_err(|stop| explain(&stop))?;
        let left = |failure| left_behind(failure, connection, done);
        let home = grant.provider.data_center().cloned().expect("only Zoho's grants are prepared for this");
        let asked = consent.issuer.ask(&grant, &home).await.map_err(|refusal| left(refused(&refusal, &home)))?;
        let until = begun + asked.life;
        console.say(&format!("The connection {connection} awaits consent (secret {name} {done}).\n"));
        if let Some(account) = grant.account.as_ref().filter(|_| !wanted.allow_other_account) {
            console.say(&format!("It belongs to {account}. A consent by another account is refused.\n"));
        }
        console.say("1. Let an administrator of the Zoho account open this page, on any device:");
        console.say(&format!("     {}", asked.page));
        console.say(&format!("2. The administrator types this code and agrees, before {until}:"));
        console.say(&format!("     {}", asked.user_code));
        if let Some(page) = &asked.complete_page {
            console.say("   This page knows the code already:");
            console.say(&format!("     {page}"));
        }
        if console.is_lost() {
            return Err(Failure::new("nobody could read the code", "run the command again and read what it prints"));
        }
        console
            .say("3. After the consent, the secret holds the refresh token and this parameter the first access token:");
        console.say(&format!("     {parameter}"));
        console.say("\nWaiting for the consent. Stop with Ctrl-C; nothing changes before the consent.");
        let (grant, minted) =
            until_granted(&consent, &secret, (grant, home), &asked, [begun, until], allow_move, console)
                .await
                .map_err(left)?;
        // Ctrl-C still waits: the refresh token has to be stored.
        let accepted = consent.accept(secret, grant, minted, wanted.allow_other_account).await;
        let connected = accepted.map_err(|stop| explain(&stop))?;
        tell(&connected, &parameter, console);
        Ok(())
    }
}

/// Polls until the user has agreed. Returns the tokens, and the grant with the account's own data
/// centre. From the poll that brought the tokens on, Ctrl-C waits.
///
/// The first poll comes at once: it shows that Zoho takes the client's secret, before anybody types
/// the code. The last one comes at the end of the code's life, because somebody may have agreed in
/// the last seconds.
async fn until_granted(
    consent: &Consent<SecretsManager, Providers, ParameterStore>,
    secret: &CurrentGrant,
    (mut grant, mut home): (Grant, DataCenter),
    asked: &DeviceAuthorization,
    [begun, until]: [Timestamp; 2],
    allow_move: bool,
    console: &Console<'_>,
) -> Result<(Grant, Minted), Failure> {
    let mut interval = asked.interval;
    loop {
        console.terminal.finish_first(true);
        let polled = consent.issuer.poll(&grant.client, &home, &asked.device_code).await;
        if let Ok(Polled::Granted(minted)) = polled {
            return Ok((grant, minted));
        }
        console.terminal.finish_first(false);
        let late = consent.source.now() >= until;
        match polled {
            Ok(Polled::Granted(_) | Polled::Pending) => {}
            Ok(Polled::SlowDown) => interval += SLOWER,
            Ok(Polled::OtherDataCenter(name)) => {
                (grant, home) = move_to(&name, consent, secret, allow_move).await?;
                console.say(&format!("The account lives in the data centre {name}. Its tokens come from there."));
            }
            Ok(Polled::Denied) => {
                return Err(Failure::new(
                    "the user said no; no grant was changed",
                    "run the command again to ask again",
                ));
            }
            Ok(Polled::Expired) => return Err(expired()),
            // Zoho has given a code, so the type of the client is right.
            Err(Refusal::Misconfigured { error }) => {
                let what = format!("Zoho refuses the client's secret in the data centre {} ({error})", home.name);
                let remedy = "compare it with Zoho's API console, and store the right one with token-keeper client add; then run the command again";
                return Err(Failure::new(what, remedy));
            }
            Err(refusal @ Refusal::ConsentRequired { .. }) => return Err(refused(&refusal, &home)),
            Err(refusal) if late => {
                let what = format!("Zoho gave no usable answer until the code ended ({refusal})");
                return Err(Failure::new(what, again(&refusal)));
            }
            Err(refusal) => {
                console.terminal.note(&format!("Zoho gave no usable answer ({refusal}). The command asks again."));
                interval += SLOWER;
            }
        }
        if late {
            return Err(expired());
        }
        let seconds = |time: Timestamp| usize::try_from(time.duration_since(begun).as_secs()).unwrap_or_default();
        console.terminal.progress(seconds(consent.source.now()), seconds(until));
        // The last poll is at the end, but never too early.
        let left = until.duration_since(consent.source.now()).unsigned_abs();
        console.terminal.wait(interval.min(left.max(asked.interval))).await;
    }
}

/// The grant for an account in the data centre that Zoho has named.
async fn move_to(
    name: &str,
    consent: &Consent<SecretsManager, Providers, ParameterStore>,
    secret: &CurrentGrant,
    allow_move: bool,
) -> Result<(Grant, DataCenter), Failure> {
    let home = consent.settings.data_centers.get(name).ok_or_else(|| {
        let what = format!("the account lives in the data centre {name}, which is not in the table of data centres");
        let remedy = format!(
            "if that is one of Zoho's, add it and run the command again: export TOKEN_KEEPER_DATA_CENTERS='{name}=https://…'"
        );
        Failure::new(what, remedy)
    })?;
    secret.check_move(home, allow_move).map_err(|stop| explain(&stop))?;
    let grant = consent.grant_at(secret, Some(home)).await.map_err(|stop| match stop {
        Stop::Misconfigured { why, .. } => Failure::new(
            format!("the account lives in the data centre {name}; the client: {why}"),
            format!(
                "store the secret for it, then run the command again: token-keeper client add … --data-center {name}"
            ),
        ),
        stop => explain(&stop),
    })?;
    Ok((grant, home.clone()))
}

fn expired() -> Failure {
    Failure::new("nobody agreed before the code ended; no grant was changed", "run the command again for a new code")
}

/// Tells the operator why Zoho gives no code or no tokens.
fn refused(refusal: &Refusal, at: &DataCenter) -> Failure {
    match refusal {
        Refusal::Misconfigured { error } if error == "invalid_scope" => Failure::new(
            "Zoho refuses the scopes (invalid_scope)",
            "correct them with --scope, as Zoho's documents spell them",
        ),
        Refusal::Misconfigured { error } => Failure::new(
            format!("Zoho refuses the client in the data centre {} ({error})", at.name),
            "in Zoho's API console of this data centre the client has to be a Non-browser Application; compare its id and secret too",
        ),
        Refusal::ConsentRequired { error } => Failure::new(
            format!("Zoho does not accept the code any more ({error})"),
            "if an answer of Zoho was lost before, the tokens were in it; run the command again for a new code",
        ),
        refusal => Failure::new(format!("Zoho gave no code ({refusal})"), again(refusal)),
    }
}

/// What to do about trouble that may pass.
fn again(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Throttled => "run the command again in ten minutes",
        refusal => refusal.untrusted().map_or("run the command again in a few minutes", Untrusted::remedy),
    }
}
