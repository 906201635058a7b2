//! The provider of a client: what the options of `client add` say of it, as fields of its secret.

use serde_json::{Map, Value, json};
use token_keeper::oauth::{Metadata, Undiscovered};
use token_keeper::provider::server::{FIELDS, MAX_REUSE_S, RESERVED, Server, takes};
use token_keeper::provider::table::{CUSTOM, TABLE, find};
use token_keeper::provider::{ClientAuthentication, Pkce, Profile, ZOHO};

use crate::console::{Console, Failure};
use crate::operator::Operator;

/// Which provider, if it is not Zoho.
#[derive(Debug, clap::Args)]
pub struct ProviderOptions {
    /// The provider, if it is not Zoho: a name from `token-keeper providers`
    #[arg(long, value_name = "NAME", value_parser = row, conflicts_with_all = ["data_center", "issuer"])]
    pub provider: Option<&'static Profile>,
    /// Your part of the provider's addresses, where it has one: Salesforce's My Domain, Entra's
    /// directory. `token-keeper providers NAME` says what is meant
    #[arg(long, value_name = "VALUE", requires = "provider", conflicts_with = "issuer")]
    pub tenant: Option<String>,
    /// Any other OAuth server. Its own description (RFC 8414 or `OpenID` Connect Discovery) is read
    /// once, shown, and stored. It replaces all that was stored of the client's server
    #[arg(long, value_name = "URL", conflicts_with = "data_center")]
    pub issuer: Option<String>,
    /// With --issuer: whether a refresh gives a new refresh token. Without it, `always`
    #[arg(long, value_name = "WHEN", requires = "issuer", conflicts_with = "provider", value_parser = ["never", "sometimes", "always"])]
    pub rotation: Option<String>,
    /// With --issuer: what becomes of a refresh token that is sent twice: `kills` (the grant ends),
    /// `tolerated`, `until_used` (works until its successor is used), or the SECONDS in which it
    /// works. Without it, `kills`; for a server that never rotates, `tolerated`
    #[arg(long, value_name = "WHAT", requires = "issuer", conflicts_with = "provider", value_parser = reuse)]
    pub reuse: Option<String>,
    /// With --issuer: a parameter of each consent's request that this server needs, such as
    /// prompt=consent. You can repeat the option
    #[arg(long, value_name = "NAME=VALUE", requires = "issuer", conflicts_with = "provider", value_parser = parameter)]
    pub authorization_parameter: Vec<(String, String)>,
    /// With --issuer: the server's revocation ends the one refresh token and nothing else, so use
    /// it. At many servers it ends all grants of that user and client; without this, nothing is
    /// ever revoked there
    #[arg(long, requires = "issuer", conflicts_with = "provider")]
    pub revokes_one_token: bool,
}

/// The provider of a client, and the fields of its secret that say so.
pub(crate) struct Described {
    pub(crate) server: Server,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

impl Operator {
    /// What the options say of the provider; `None` if they say nothing. Asks an issuer for its
    /// description, and shows that.
    pub(crate) async fn describe(
        &self,
        options: &ProviderOptions,
        console: &Console<'_>,
    ) -> Result<Option<Described>, Failure> {
        let (profile, fields) = match (options.provider, &options.issuer) {
            (None, None) => return Ok(None),
            (Some(profile), _) => (profile, of_row(profile, options.tenant.as_deref())?),
            (None, Some(issuer)) => {
                let metadata = self.issuer.oauth().discover(issuer).await.map_err(|why| undiscovered(issuer, &why))?;
                let fields = of_metadata(&metadata, options)?;
                show(&metadata, options, console);
                (&CUSTOM, fields)
            }
        };
        let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
        let server = Server::of(profile, field).map_err(|flaw| {
            let tenant = profile.tenant.map(|tenant| format!("--tenant is {}; nothing was changed", tenant.what));
            let remedy = tenant.unwrap_or_else(|| flaw.remedy());
            Failure::new(format!("{}: {flaw}", profile.title), remedy)
        })?;
        Ok(Some(Described { server, fields }))
    }
}

fn of_row(profile: &'static Profile, tenant: Option<&str>) -> Result<Vec<(&'static str, Value)>, Failure> {
    if tenant.is_some() && !takes(profile, "tenant") {
        let what = format!("{} has the same addresses for everybody, so it takes no --tenant", profile.title);
        return Err(Failure::new(what, "leave --tenant out; nothing was changed"));
    }
    let mut fields = vec![("provider", json!(profile.name))];
    fields.extend(tenant.map(|tenant| ("tenant", json!(tenant))));
    Ok(fields)
}

fn of_metadata(metadata: &Metadata, options: &ProviderOptions) -> Result<Vec<(&'static str, Value)>, Failure> {
    let mut fields = vec![
        ("provider", json!(CUSTOM.name)),
        ("issuer", json!(metadata.issuer)),
        ("authorization_endpoint", json!(metadata.authorization_endpoint)),
        ("token_endpoint", json!(metadata.token_endpoint)),
        ("client_authentication", json!(authentication(metadata))),
        ("pkce", json!(pkce(metadata))),
    ];
    if options.revokes_one_token {
        let endpoint = metadata.revocation_endpoint.as_ref().ok_or_else(|| {
            let remedy = "leave --revokes-one-token out; nothing was changed";
            Failure::new(format!("{} names no revocation endpoint", metadata.issuer), remedy)
        })?;
        fields.push(("revocation_endpoint", json!(endpoint)));
    }
    let parameters = &options.authorization_parameter;
    if !parameters.is_empty() {
        let parameters: Map<_, _> = parameters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        fields.push(("authorization_parameters", json!(parameters)));
    }
    fields.extend(options.rotation.as_ref().map(|rotation| ("rotation", json!(rotation))));
    fields.extend(options.reuse.as_ref().map(|reuse| ("reuse", json!(reuse))));
    Ok(fields)
}

/// A parameter of an authorization request.
fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("use NAME=VALUE")?;
    if RESERVED.contains(&name) {
        return Err(format!("{name} is set for each request: leave it out here; scopes go to connect --scope"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn authentication(metadata: &Metadata) -> &'static str {
    match metadata.client_authentication {
        ClientAuthentication::Basic => "basic",
        ClientAuthentication::Form => "form",
    }
}

fn pkce(metadata: &Metadata) -> &'static str {
    if metadata.pkce == Pkce::Off { "off" } else { "allowed" }
}

/// Shows what a server says of itself, and what it does not say.
fn show(metadata: &Metadata, options: &ProviderOptions, console: &Console<'_>) {
    console.say(&format!("{} says of itself:", metadata.issuer));
    console.say(&format!("  authorization endpoint  {}", metadata.authorization_endpoint));
    console.say(&format!("  token endpoint          {}", metadata.token_endpoint));
    let revocation = match &metadata.revocation_endpoint {
        None => "none".to_owned(),
        Some(endpoint) if options.revokes_one_token => endpoint.clone(),
        Some(endpoint) => format!("{endpoint} (not used: it may end other grants; see --revokes-one-token)"),
    };
    console.say(&format!("  revocation endpoint     {revocation}"));
    console.say(&format!("  client authentication   {}", authentication(metadata)));
    console.say(&format!("  PKCE                    {}", pkce(metadata)));
    if options.rotation.is_none() {
        console.say(
            "It does not say whether a refresh gives a new refresh token. This is taken to be so, and a second use of the old one to end \
             the grant. If you know better: --rotation and --reuse.",
        );
    }
}

fn undiscovered(issuer: &str, why: &Undiscovered) -> Failure {
    let remedy = match why {
        Undiscovered::NotAnIssuer => "give the issuer as the server's documents spell it, such as https://login.example.com".to_owned(),
        Undiscovered::Silent(_) => "check the address, and that this machine can reach it".to_owned(),
        _ if issuer.contains("/.well-known/") => {
            "leave out `/.well-known/` and what follows: what comes before it is usually the issuer".to_owned()
        }
        Undiscovered::OtherIssuer(Some(other)) => format!("if that is the same server: --issuer {other}"),
        Undiscovered::OtherIssuer(None) | Undiscovered::NoDocument(_) => {
            "give the issuer as the server's documents spell it; for a server without a description, store the client's secret \
             yourself (docs/reference.md lists its fields)"
                .to_owned()
        }
        Undiscovered::Endpoint(_) | Undiscovered::Authentication => {
            "ask whoever runs the server, or store the client's secret yourself (docs/reference.md lists its fields)".to_owned()
        }
    };
    // What is no issuer may be anything, a secret too.
    let subject = if *why == Undiscovered::NotAnIssuer { "--issuer" } else { issuer };
    Failure::new(format!("{subject}: {why}"), format!("{remedy}; nothing was changed"))
}

fn row(name: &str) -> Result<&'static Profile, String> {
    match find(name) {
        Some(profile) if profile.name == CUSTOM.name => {
            Err("a server that is not in the table is described with --issuer".to_owned())
        }
        Some(profile) => Ok(profile),
        None if name == ZOHO => Err("a client is Zoho's without --provider".to_owned()),
        None => {
            let names: Vec<_> = TABLE.iter().filter(|row| row.name != CUSTOM.name).map(|row| row.name).collect();
            Err(format!("use one of {}, or --issuer for another server", names.join(", ")))
        }
    }
}

fn reuse(text: &str) -> Result<String, String> {
    let seconds = text.parse().is_ok_and(|seconds: i64| (1..=MAX_REUSE_S).contains(&seconds));
    if seconds || ["kills", "tolerated", "until_used"].contains(&text) {
        Ok(text.to_owned())
    } else {
        Err("use kills, tolerated, until_used, or seconds (90 days at most)".to_owned())
    }
}

/// The fields of a client's secret that say what its provider is.
pub(crate) fn provider_fields() -> impl Iterator<Item = &'static str> {
    ["provider"].into_iter().chain(FIELDS)
}
