//! `token-keeper providers`: what the program knows of OAuth providers other than Zoho.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use token_keeper::provider::refusal::Class;
use token_keeper::provider::server::{FIELDS, takes};
use token_keeper::provider::table::{CUSTOM, TABLE, find};
use token_keeper::provider::{
    ApiDomain, ClientAuthentication, EndsAccessToken, Header, KeptFrom, Pkce, Profile, Reuse, Rotation, ZOHO,
};

use crate::console::{Console, Failure};
use crate::text::table;

/// Which providers to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  token-keeper providers\n  token-keeper providers xero\n\n\
                        Zoho is not in the table: a client without `provider` is Zoho's.")]
pub struct Arguments {
    /// Everything that is known of this one
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Shows the table, or one row of it.
pub(super) fn show(arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
    let Some(name) = &arguments.name else {
        console.answer(json!({"providers": TABLE.map(as_json)}));
        show_table(console);
        return Ok(());
    };
    let Some(profile) = find(name) else {
        let meant = TABLE.iter().find(|row| row.title.to_lowercase().contains(&name.to_lowercase()));
        let meant = meant.filter(|_| name.len() > 2);
        let remedy = match meant {
            _ if name == ZOHO => "a client without --provider is Zoho's".to_owned(),
            Some(row) => format!("{} is called {}: token-keeper providers {}", row.title, row.name, row.name),
            None => {
                let names = TABLE.map(|row| row.name).join(", ");
                format!("choose one of {names}; custom is for any other server that follows RFC 6749")
            }
        };
        return Err(Failure::new(format!("the table has no provider {name:?}"), remedy));
    };
    console.answer(json!({"providers": [as_json(profile)]}));
    let mut shown = table(console.terminal.look(), &[profile.name, title(profile)]);
    for (what, value) in facts(profile) {
        shown.add_row([what.to_owned(), value]);
    }
    console.show(&shown.trim_fmt());
    Ok(())
}

fn show_table(console: &Console<'_>) {
    let headings = ["name", "provider", "rotates", "used twice", "access token", "refresh token", "header"];
    let mut shown = table(console.terminal.look(), &headings);
    for row in TABLE {
        shown.add_row([
            row.name.to_owned(),
            title(row).to_owned(),
            row.rotation.to_string(),
            reuse(row),
            if row.name == CUSTOM.name { "as it says".to_owned() } else { access_token(row) },
            refresh_token(row),
            header(row).to_owned(),
        ]);
    }
    console.show(&shown.trim_fmt());
    console.show(
        "\nused twice: what becomes of a refresh token that is sent again. kills: the whole grant ends.\n\
         This is from the providers' documents and SDKs of 2026-11, and was not tried against them.\n\
         token-keeper providers NAME shows more of one. Where a refresh rotates, the stack needs\n\
         RotatingProviders=true. Zoho is not in the table: a client without `provider` is Zoho's.",
    );
}

fn title(profile: &Profile) -> &'static str {
    if profile.name == CUSTOM.name { "any other server" } else { profile.title }
}

/// What is known of a provider, in words.
fn facts(profile: &Profile) -> Vec<(&'static str, String)> {
    let list = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    let or = |endpoint: Option<&str>, none: &str| endpoint.filter(|e| !e.is_empty()).unwrap_or(none).to_owned();
    let secret = "in the client's secret";
    let custom = profile.name == CUSTOM.name;
    let kept = profile.kept.iter().map(|kept| {
        let from = if kept.from == KeptFrom::Callback { "callback" } else { "answer" };
        let needed = if kept.needed { ", needed" } else { "" };
        let identity = if kept.identity { ", says whose account it is" } else { "" };
        format!("{} ({from}{needed}{identity}; {})", kept.name, kept.pattern)
    });
    let parameters = profile.authorization_parameters.iter().chain(profile.token_parameters);
    let mut facts = vec![
        ("a refresh rotates", profile.rotation.to_string()),
        ("RotatingProviders", if profile.rotates() { "needed" } else { "not needed" }.to_owned()),
        ("a refresh token used twice", reuse(profile)),
        ("access token", access_token(profile)),
        ("a refresh ends the old one", ends_access_token(profile)),
        ("refresh token", refresh_token(profile)),
        ("header for consumers", header(profile).to_owned()),
        (
            "authorization endpoint",
            or(profile.authorization_endpoint, if custom { secret } else { "none; refresh tokens are imported" }),
        ),
        ("token endpoint", or(Some(profile.token_endpoint), secret)),
        (
            "revocation endpoint",
            or(
                profile.revocation_endpoint,
                if custom { "in the client's secret, if there is one" } else { "none; nothing is revoked" },
            ),
        ),
    ];
    if let Some(tenant) = profile.tenant {
        let default = tenant.default.map_or_else(|| "needed".to_owned(), |default| format!("{default} unless given"));
        facts.push(("{tenant}", format!("{} ({default})", tenant.what)));
    }
    facts.extend([
        ("client authentication", authentication(profile).to_owned()),
        ("PKCE", pkce(profile).to_owned()),
        ("scopes that are added", list(profile.scopes.iter().map(|scope| (*scope).to_owned()).collect())),
        ("parameters that are added", list(parameters.map(|(name, value)| format!("{name}={value}")).collect())),
        ("kept for consumers", list(kept.collect())),
        (
            "base URL",
            match profile.api_domain {
                ApiDomain::Unknown => "not known: see the notes".to_owned(),
                ApiDomain::Fixed(url) => url.to_owned(),
                ApiDomain::Kept(name) => format!("the value {name}"),
            },
        ),
        ("dead grant", list(dead(profile))),
        ("fields that a client may have", list(fields(profile).map(str::to_owned).collect())),
        ("notes", profile.notes.to_owned()),
    ]);
    facts
}

/// The same for programs.
fn as_json(profile: &Profile) -> Value {
    let (api_domain, kept) = match profile.api_domain {
        ApiDomain::Fixed(url) => (json!(url), None),
        ApiDomain::Kept(name) => (Value::Null, Some(name)),
        ApiDomain::Unknown => (Value::Null, None),
    };
    let values = profile.kept.iter().map(|value| {
        json!({
            "name": value.name,
            "from": if value.from == KeptFrom::Callback { "callback" } else { "answer" },
            "needed": value.needed,
            "identity": value.identity,
            "api_domain": kept == Some(value.name),
        })
    });
    json!({
        "provider": profile.name,
        "title": title(profile),
        "rotation": profile.rotation.to_string(),
        "needs_rotating_providers": profile.rotates(),
        "reuse": match profile.reuse {
            Reuse::Tolerated => json!("tolerated"),
            Reuse::For(seconds) => json!(seconds),
            Reuse::UntilUsed => json!("until_used"),
            Reuse::Kills => json!("kills"),
        },
        "access_token_life_s": profile.access_token_life_s,
        "ends_access_token": match profile.ends_access_token {
            EndsAccessToken::No => Value::Null,
            EndsAccessToken::AtOnce => json!(0),
            EndsAccessToken::After(seconds) => json!(seconds),
        },
        "idle_days": profile.idle_days,
        "token_days": profile.token_days,
        "grant_days": profile.grant_days,
        "header": header(profile),
        "authorization_endpoint": profile.authorization_endpoint,
        "token_endpoint": Some(profile.token_endpoint).filter(|endpoint| !endpoint.is_empty()),
        "revocation_endpoint": profile.revocation_endpoint,
        "tenant": profile.tenant.and_then(|tenant| tenant.default),
        "client_authentication": authentication(profile),
        "pkce": pkce(profile),
        "scope_separator": profile.scope_separator,
        "scopes": profile.scopes,
        "authorization_parameters": profile.authorization_parameters.iter().copied().collect::<BTreeMap<_, _>>(),
        "kept": values.collect::<Vec<_>>(),
        "api_domain": api_domain,
        "fields": fields(profile).collect::<Vec<_>>(),
        "notes": profile.notes,
    })
}

/// What a client's secret may have beside the client's id and secret.
fn fields(profile: &Profile) -> impl Iterator<Item = &'static str> {
    FIELDS.into_iter().filter(|field| takes(profile, field))
}

fn reuse(profile: &Profile) -> String {
    if profile.rotation == Rotation::Never { "–".to_owned() } else { profile.reuse.to_string() }
}

fn access_token(profile: &Profile) -> String {
    let seconds = profile.access_token_life_s;
    if seconds > 3600 { format!("{} h", seconds / 3600) } else { format!("{} min", seconds / 60) }
}

fn ends_access_token(profile: &Profile) -> String {
    match profile.ends_access_token {
        EndsAccessToken::No => "no".to_owned(),
        EndsAccessToken::AtOnce => "at once, so it comes late".to_owned(),
        EndsAccessToken::After(seconds) => format!("after {} minutes, so it comes late", seconds / 60),
    }
}

/// How long a refresh token lives.
fn refresh_token(profile: &Profile) -> String {
    let lives = [
        profile.idle_days.map(|days| format!("{days} days unused")),
        profile.token_days.map(|days| format!("{days} days each")),
        profile.grant_days.map(|days| format!("{days} days in all")),
    ];
    let lives: Vec<_> = lives.into_iter().flatten().collect();
    if lives.is_empty() { "no end known".to_owned() } else { lives.join(", ") }
}

fn header(profile: &Profile) -> &'static str {
    match profile.header {
        Header::Bearer => "Bearer",
        Header::Named(name) => name,
    }
}

fn authentication(profile: &Profile) -> &'static str {
    match profile.client_authentication {
        ClientAuthentication::Basic => "basic",
        ClientAuthentication::Form => "form",
    }
}

fn pkce(profile: &Profile) -> &'static str {
    match profile.pkce {
        Pkce::Required => "required",
        Pkce::Allowed => "allowed",
        Pkce::Off => "off",
    }
}

/// What the provider says of a dead grant.
fn dead(profile: &Profile) -> Vec<String> {
    let rules = profile.refusals.iter().filter(|rule| rule.class == Class::Dead);
    let words = rules.map(|rule| {
        let status = rule.status.map_or_else(|| "any status".to_owned(), |status| status.to_string());
        let text = rule.text.map(|text| format!(" \"{text}\"")).unwrap_or_default();
        format!("{status} {}{text}", rule.error.unwrap_or("page"))
    });
    words.collect()
}
