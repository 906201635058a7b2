//! The stack's settings: the parameter in which the stack says how its functions are set. They are
//! the defaults of the command line; the environment wins over them.
//!
//! Pure. `main` reads the parameter.

use std::collections::HashMap;

use serde_json::Value;
use token_keeper::config::{Config, Problems, VARIABLES};
use token_keeper::failure::StoreError;
use token_keeper::flaw::{Broken, Flaw};

/// Each field that is also a variable.
const FIELDS: [(&str, &str); 8] = [
    ("callback_url", "TOKEN_KEEPER_CALLBACK_URL"),
    ("kms_key_id", "TOKEN_KEEPER_KMS_KEY_ID"),
    ("tier", "TOKEN_KEEPER_TIER"),
    ("publish", "TOKEN_KEEPER_PUBLISH"),
    ("data_centers", "TOKEN_KEEPER_DATA_CENTERS"),
    ("rotating_providers", "TOKEN_KEEPER_ROTATING_PROVIDERS"),
    ("margin_s", "TOKEN_KEEPER_MARGIN_S"),
    ("ssm_rate", "TOKEN_KEEPER_SSM_RATE"),
];
/// The version of the format.
const SCHEMA: u64 = 1;

/// What the stack says. Without the parameter, `None`.
pub type Told = Result<Option<Stack>, Unread>;

/// The stack's settings.
pub struct Stack {
    pub(crate) parameter: String,
    /// When the refresher runs: `rate(15 minutes)`.
    pub(crate) schedule: Option<String>,
    /// Where the environment says something else.
    pub(crate) overruled: Vec<Overruled>,
    /// The data centres of the stack, if the environment does not name the same. Refresh tokens and
    /// client secrets go to these hosts, and more people may write this parameter than may read the
    /// secrets. So the command line takes them from the environment only.
    pub(crate) data_centers: Option<String>,
    variables: Vec<(String, String)>,
}

/// A setting that the environment has too, with another value.
pub(crate) struct Overruled {
    pub(crate) field: &'static str,
    pub(crate) variable: &'static str,
    /// What the environment says.
    pub(crate) here: String,
    /// What the stack says; empty if it says nothing.
    pub(crate) there: String,
}

/// Why the stack's settings are not known.
pub enum Unread {
    /// AWS does not answer, or accepts nothing from this caller. Other calls would fail too.
    Failed(StoreError),
    /// The parameter may not be read, or something in it is wrong.
    Unusable {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: String,
    },
}

/// The configuration: the environment over what is stored in the stack's parameter.
///
/// # Errors
/// If the environment is wrong. Trouble with the parameter is part of the result, because not every
/// command needs it.
pub fn configure(
    environment: &[(String, String)],
    parameter: &str,
    stored: Result<Option<String>, StoreError>,
) -> Result<(Config, Told), Problems> {
    let set = environment.iter().filter(|(_, value)| !value.trim().is_empty());
    let here: HashMap<_, _> = set.cloned().collect();
    let told = match stored {
        Ok(None) => Ok(None),
        Ok(Some(text)) => Stack::parse(parameter, &text, &here).map(Some),
        Err(error) if error.is_one_of(&["AccessDeniedException", "AccessDenied"]) => Err(Unread::Unusable {
            what: format!("the stack's settings cannot be read: {error}"),
            remedy: format!(
                "allow ssm:GetParameter on {parameter} to the role or user that ran this, as infra/operator-policy.json does"
            ),
        }),
        Err(error) => Err(Unread::Failed(error)),
    };
    let there = told.as_ref().ok().and_then(Option::as_ref).map(|stack| stack.variables.clone());
    Ok((Config::read(there.into_iter().flatten().chain(here))?, told))
}

impl Stack {
    fn parse(parameter: &str, text: &str, here: &HashMap<String, String>) -> Result<Self, Unread> {
        let unusable = |what: String| Unread::Unusable {
            what,
            remedy: "deploy the stack again, which writes this parameter".to_owned(),
        };
        let flawed = |flaw: Flaw| unusable(Broken::parameter(parameter, flaw).to_string());
        let fields: Value = serde_json::from_str(text)
            .map_err(|error| flawed(Flaw::NotJson { line: error.line(), column: error.column() }))?;
        let fields = fields.as_object().ok_or_else(|| flawed(Flaw::NotAnObject))?;
        let schema = fields.get("schema").ok_or_else(|| flawed(Flaw::Missing("schema".to_owned())))?;
        if *schema != SCHEMA {
            let what = format!(
                "parameter {parameter}: it has schema {schema}, and this version of token-keeper reads only schema {SCHEMA}"
            );
            return Err(Unread::Unusable { what, remedy: "update token-keeper".to_owned() });
        }
        // CloudFormation cannot easily leave a field out, so an empty one counts as unset.
        let field = |field: &str| match fields.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(flawed(Flaw::WrongType { field: field.to_owned(), wanted: "a text or a number" })),
        };
        let (mut variables, mut overruled, mut data_centers) = (Vec::new(), Vec::new(), None);
        for (name, variable) in FIELDS {
            let said = field(name)?;
            let there = if said.is_empty() { default(variable).to_owned() } else { said.clone() };
            if name == "data_centers" {
                let same = here.get(variable).is_some_and(|here| same(here, &there));
                data_centers = Some(said.clone()).filter(|said| !said.is_empty() && !same);
            }
            if !said.is_empty() {
                variables.push((variable.to_owned(), said));
            }
            if let Some(here) = here.get(variable).filter(|here| !same(here, &there)) {
                overruled.push(Overruled { field: name, variable, here: here.clone(), there });
            }
        }
        Config::read(variables.clone()).map_err(|Problems(problems)| {
            let problems: Vec<_> = problems.into_iter().map(|(name, why)| format!("{}: {why}", named(&name))).collect();
            unusable(format!("parameter {parameter}: {}", problems.join("; ")))
        })?;
        variables.retain(|(name, _)| name != "TOKEN_KEEPER_DATA_CENTERS");
        let schedule = Some(field("schedule")?).filter(|schedule| !schedule.is_empty());
        Ok(Self { parameter: parameter.to_owned(), schedule, overruled, data_centers, variables })
    }
}

fn default(variable: &str) -> &'static str {
    VARIABLES.iter().find(|(name, _)| *name == variable).map_or("", |(_, default)| default)
}

/// The field of a variable.
fn named(variable: &str) -> &str {
    FIELDS.iter().find(|(_, name)| *name == variable).map_or(variable, |(field, _)| field)
}

/// Whether two values mean the same. A slash at the end of a URL means nothing.
fn same(one: &str, other: &str) -> bool {
    one.trim().trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use token_keeper::aws::Tier;

    use super::*;

    const PARAMETER: &str = "/token-keeper/settings";

    fn read(environment: &[(&str, &str)], text: &str) -> (Config, Told) {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        configure(&environment, PARAMETER, Ok(Some(text.to_owned()))).expect("a right environment")
    }

    fn check_unusable(text: &str, wanted: &str, remedy: &str) {
        let (config, told) = read(&[], text);
        let Err(Unread::Unusable { what, remedy: said }) = told else { panic!("{text} is taken") };
        assert_eq!((what.as_str(), said.as_str()), (wanted, remedy));
        assert_eq!(config.publishing.tier, Tier::Standard, "nothing of it counts");
    }

    #[test]
    fn every_field_is_a_default() {
        let text = r#"{"schema": 1, "callback_url": "https://abc.lambda-url.eu-central-1.on.aws/", "kms_key_id": "arn:key",
            "tier": "Advanced", "publish": "document,plain", "data_centers": "lab=http://127.0.0.1:9", "margin_s": 600, "rotating_providers": "true",
            "schedule": "rate(5 minutes)", "ssm_rate": "7", "new": [true]}"#;
        let (Config { settings, publishing, callback_url, .. }, told) = read(&[], text);
        assert_eq!(
            callback_url.map(|url| url.to_string()).as_deref(),
            Some("https://abc.lambda-url.eu-central-1.on.aws")
        );
        assert_eq!((publishing.kms_key_id.as_deref(), publishing.tier), (Some("arn:key"), Tier::Advanced));
        assert_eq!((publishing.plain, publishing.rate, settings.margin.as_secs()), (true, 7, 600));
        assert!(settings.rotating);
        assert!(settings.data_centers.get("lab").is_none(), "a host for secrets comes from the environment only");
        let stack = told.ok().flatten().expect("the stack's settings");
        assert_eq!(stack.data_centers.as_deref(), Some("lab=http://127.0.0.1:9"));
        assert_eq!((stack.schedule.as_deref(), stack.overruled.len()), (Some("rate(5 minutes)"), 0));
    }

    #[test]
    fn an_empty_field_or_variable_counts_as_unset() {
        let text = r#"{"schema": 1, "kms_key_id": "", "data_centers": "", "margin_s": null, "tier": "Advanced"}"#;
        let (config, told) = read(&[("TOKEN_KEEPER_TIER", " ")], text);
        assert_eq!((config.publishing.kms_key_id, config.publishing.tier), (None, Tier::Advanced));
        assert_eq!((config.settings.margin.as_secs(), config.settings.rotating), (2100, false));
        assert!(told.ok().flatten().is_some_and(|stack| stack.overruled.is_empty() && stack.schedule.is_none()));
    }

    #[test]
    fn the_environment_wins_and_what_differs_is_known() {
        let environment = [
            ("TOKEN_KEEPER_TIER", "Standard"),
            ("TOKEN_KEEPER_MARGIN_S", "2100"),
            ("TOKEN_KEEPER_KMS_KEY_ID", "alias/mine"),
            ("TOKEN_KEEPER_CALLBACK_URL", "https://consent.example"),
        ];
        let text = r#"{"schema": 1, "tier": "Advanced", "kms_key_id": "", "callback_url": "https://consent.example/"}"#;
        let (config, told) = read(&environment, text);
        assert_eq!(
            (config.publishing.kms_key_id.as_deref(), config.publishing.tier),
            (Some("alias/mine"), Tier::Standard)
        );
        let stack = told.ok().flatten().expect("the stack's settings");
        let overruled = stack.overruled.iter().map(|one| (one.field, one.here.as_str(), one.there.as_str()));
        assert_eq!(overruled.collect::<Vec<_>>(), [("kms_key_id", "alias/mine", ""), ("tier", "Standard", "Advanced")]);
    }

    #[test]
    fn what_is_wrong_names_the_parameter_and_the_field() {
        let again = "deploy the stack again, which writes this parameter";
        for (text, wanted) in [
            ("{", "parameter /token-keeper/settings: not JSON: it breaks off or goes wrong at line 1, column 1"),
            ("[]", "parameter /token-keeper/settings: not a JSON object"),
            ("{}", "parameter /token-keeper/settings: the field `schema` is missing"),
            (
                r#"{"schema": 1, "tier": ["Standard"]}"#,
                "parameter /token-keeper/settings: the field `tier` is not a text or a number",
            ),
            (
                r#"{"schema": 1, "tier": "Gold", "margin_s": 5, "data_centers": "mars"}"#,
                "parameter /token-keeper/settings: data_centers: \"mars\" is not name=https://accounts.example; \
                 margin_s: \"5\" is not a whole number from 60 to 3500; \
                 tier: \"Gold\" is not one of Standard | Advanced | Intelligent-Tiering",
            ),
        ] {
            check_unusable(text, wanted, again);
        }
        check_unusable(
            r#"{"schema": 2, "tier": "Advanced"}"#,
            "parameter /token-keeper/settings: it has schema 2, and this version of token-keeper reads only schema 1",
            "update token-keeper",
        );
    }

    #[test]
    fn every_field_is_a_setting() {
        for (field, variable) in FIELDS {
            assert!(VARIABLES.iter().any(|(name, _)| *name == variable), "{variable}");
            assert_eq!(variable.strip_prefix("TOKEN_KEEPER_").map(str::to_lowercase).as_deref(), Some(field));
        }
    }
}
