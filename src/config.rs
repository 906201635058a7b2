//! The environment as a checked value. A wrong environment gives every problem at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;

use jiff::SignedDuration;

use crate::address::{BaseUrl, NotBaseUrl};
use crate::aws::{Publishing, Tier};
use crate::connection::DataCenters;
use crate::name::Prefix;
use crate::settings::{RETRY_AFTER, SETTLING, Settings};

/// What the functions and the command line need to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the use case.
    pub settings: Settings,
    /// For Parameter Store.
    pub publishing: Publishing,
    /// The callback function's public base URL.
    pub callback_url: Option<BaseUrl>,
    /// The queue that takes over what is too much for one run.
    pub queue_url: Option<String>,
    /// The most connections that a run works on itself if there is a queue.
    pub queue_above: usize,
}

/// Everything that is wrong with an environment: each variable, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<(String, String)>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment is wrong, nothing was started:")?;
        self.0.iter().try_for_each(|(variable, problem)| write!(f, "\n  - {variable}: {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Every variable that is read here, with its default. A test compares the table in
/// docs/reference.md with this one.
pub const VARIABLES: [(&str, &str); 12] = [
    ("TOKEN_KEEPER_PREFIX", "token-keeper"),
    ("TOKEN_KEEPER_MARGIN_S", "2100"),
    ("TOKEN_KEEPER_PUBLISH", "document"),
    ("TOKEN_KEEPER_CONCURRENCY", "16"),
    ("TOKEN_KEEPER_SSM_RATE", "40"),
    ("TOKEN_KEEPER_KMS_KEY_ID", ""),
    ("TOKEN_KEEPER_TIER", "Standard"),
    ("TOKEN_KEEPER_DATA_CENTERS", ""),
    ("TOKEN_KEEPER_ROTATING_PROVIDERS", "false"),
    ("TOKEN_KEEPER_CALLBACK_URL", ""),
    ("TOKEN_KEEPER_QUEUE_URL", ""),
    ("TOKEN_KEEPER_QUEUE_ABOVE", "500"),
];

/// The longest sensible margin in seconds: with more, a new token would be due at once.
const MAX_MARGIN_S: u32 = 3500;
/// The most connections at the same time: each holds a connection to Zoho.
const MAX_CONCURRENCY: u32 = 256;
/// The highest ceiling on calls per second: a higher one limits nothing.
const MAX_RATE: u32 = 100_000;
/// The most connections before a queue is used: as many as Parameter Store can hold.
const MAX_QUEUE_ABOVE: u32 = 100_000;

impl Config {
    /// Reads the environment's variables.
    ///
    /// # Errors
    /// Every problem, each with the variable's name.
    pub fn read(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problems> {
        let mut reader = Reader { variables: environment.into_iter().collect(), problems: Vec::new() };
        let mut data_centers = DataCenters::default();
        if let Err(problems) = data_centers.extend(&reader.value("TOKEN_KEEPER_DATA_CENTERS")) {
            for problem in problems {
                reader.problem("TOKEN_KEEPER_DATA_CENTERS", problem);
            }
        }
        let tiers = [
            ("Standard", Tier::Standard),
            ("Advanced", Tier::Advanced),
            ("Intelligent-Tiering", Tier::IntelligentTiering),
        ];
        let prefix = reader.prefix();
        let config = Self {
            settings: Settings {
                prefix,
                data_centers,
                margin: SignedDuration::from_secs(reader.number("TOKEN_KEEPER_MARGIN_S", 60..=MAX_MARGIN_S).into()),
                rotating: reader.one_of("TOKEN_KEEPER_ROTATING_PROVIDERS", &[("false", false), ("true", true)]),
                concurrency: reader.number("TOKEN_KEEPER_CONCURRENCY", 1..=MAX_CONCURRENCY) as usize,
                settling: SETTLING,
                retry_after: RETRY_AFTER,
            },
            publishing: Publishing {
                plain: reader.one_of("TOKEN_KEEPER_PUBLISH", &[("document", false), ("document,plain", true)]),
                rate: reader.number("TOKEN_KEEPER_SSM_RATE", 1..=MAX_RATE),
                kms_key_id: Some(reader.value("TOKEN_KEEPER_KMS_KEY_ID")).filter(|key| !key.is_empty()),
                tier: reader.one_of("TOKEN_KEEPER_TIER", &tiers),
            },
            callback_url: reader.url("TOKEN_KEEPER_CALLBACK_URL"),
            queue_url: reader.url("TOKEN_KEEPER_QUEUE_URL").map(|url| url.to_string()),
            queue_above: reader.number("TOKEN_KEEPER_QUEUE_ABOVE", 1..=MAX_QUEUE_ABOVE) as usize,
        };
        reader.refuse_unknown();
        if reader.problems.is_empty() { Ok(config) } else { Err(Problems(reader.problems)) }
    }
}

/// Variables as text. What is not UTF-8 gets replacement characters, which no setting takes.
pub fn as_text(variables: impl IntoIterator<Item = (OsString, OsString)>) -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    variables.into_iter().map(move |(name, value)| (text(name), text(value)))
}

/// Reads variables and collects what is wrong. A wrong value counts as the default meanwhile.
struct Reader {
    variables: HashMap<String, String>,
    problems: Vec<(String, String)>,
}

impl Reader {
    /// The variable's value, or its default if it is unset or empty.
    fn value(&self, variable: &str) -> String {
        let default = VARIABLES.iter().find(|(name, _)| *name == variable).map_or("", |(_, default)| default);
        let set = self.variables.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty());
        set.unwrap_or(default).to_owned()
    }

    fn problem(&mut self, variable: &str, problem: impl fmt::Display) {
        self.problems.push((variable.to_owned(), problem.to_string()));
    }

    fn prefix(&mut self) -> Prefix {
        let prefix = self.value("TOKEN_KEEPER_PREFIX").parse();
        prefix.unwrap_or_else(|problem: String| {
            self.problem("TOKEN_KEEPER_PREFIX", problem);
            Prefix::default()
        })
    }

    fn number(&mut self, variable: &str, range: RangeInclusive<u32>) -> u32 {
        let value = self.value(variable);
        value.parse().ok().filter(|number| range.contains(number)).unwrap_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.problem(variable, format!("{value:?} is not a whole number from {least} to {most}"));
            *least
        })
    }

    /// `None` if it is not set, too.
    fn url(&mut self, variable: &str) -> Option<BaseUrl> {
        let url = Some(self.value(variable)).filter(|url| !url.is_empty())?;
        url.parse().map_err(|why: NotBaseUrl| self.problem(variable, format!("{url:?} is {why}"))).ok()
    }

    fn one_of<T: Copy>(&mut self, variable: &str, choices: &[(&str, T)]) -> T {
        let value = self.value(variable);
        let choice = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
        choice.unwrap_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problem(variable, format!("{value:?} is not one of {}", names.join(" | ")));
            choices[0].1
        })
    }

    /// A misspelt variable would otherwise be a setting that silently has no effect.
    fn refuse_unknown(&mut self) {
        let known = |name: &str| VARIABLES.iter().any(|(known, _)| *known == name);
        let mut unknown: Vec<_> =
            self.variables.keys().filter(|name| name.starts_with("TOKEN_KEEPER_") && !known(name)).cloned().collect();
        unknown.sort();
        for name in unknown {
            self.problem(&name, "there is no such setting");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Problems> {
        Config::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let Config { settings, publishing, callback_url, queue_url, queue_above } =
            read(&[("PATH", "/bin"), ("TOKEN_KEEPER_TIER", "")]).expect("defaults");
        assert_eq!(settings.prefix.grant("a").as_str(), "token-keeper/connections/a");
        assert_eq!((settings.margin.as_secs(), settings.concurrency, settings.rotating), (2100, 16, false));
        assert_eq!((publishing.plain, publishing.rate, publishing.tier), (false, 40, Tier::Standard));
        assert_eq!((publishing.kms_key_id, callback_url), (None, None));
        assert_eq!((queue_url, queue_above), (None, 500));
    }

    #[test]
    fn every_setting_is_read() {
        let Config { settings, publishing, callback_url, queue_url, queue_above } = read(&[
            ("TOKEN_KEEPER_PREFIX", "team/tk"),
            ("TOKEN_KEEPER_MARGIN_S", "600"),
            ("TOKEN_KEEPER_PUBLISH", "document,plain"),
            ("TOKEN_KEEPER_CONCURRENCY", "4"),
            ("TOKEN_KEEPER_SSM_RATE", "3"),
            ("TOKEN_KEEPER_KMS_KEY_ID", "alias/tokens"),
            ("TOKEN_KEEPER_TIER", "Advanced"),
            ("TOKEN_KEEPER_DATA_CENTERS", "lab=http://127.0.0.1:9"),
            ("TOKEN_KEEPER_ROTATING_PROVIDERS", "true"),
            ("TOKEN_KEEPER_CALLBACK_URL", "https://consent.example/prod/"),
            ("TOKEN_KEEPER_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/token-keeper"),
            ("TOKEN_KEEPER_QUEUE_ABOVE", "2000"),
        ])
        .expect("a right environment");
        assert_eq!(settings.prefix.lease("a"), "/team/tk/tokens/a");
        assert_eq!((settings.margin.as_secs(), settings.concurrency, settings.rotating), (600, 4, true));
        assert_eq!((publishing.plain, publishing.rate, publishing.tier), (true, 3, Tier::Advanced));
        assert_eq!(publishing.kms_key_id.as_deref(), Some("alias/tokens"));
        assert!(settings.data_centers.get("lab").is_some());
        assert_eq!(callback_url.map(|url| url.to_string()).as_deref(), Some("https://consent.example/prod"));
        let queue = "https://sqs.eu-central-1.amazonaws.com/123456789012/token-keeper";
        assert_eq!((queue_url.as_deref(), queue_above), (Some(queue), 2000));
    }

    #[test]
    fn a_wrong_environment_gives_every_problem_at_once() {
        let problems = read(&[
            ("TOKEN_KEEPER_PREFIX", "/x"),
            ("TOKEN_KEEPER_MARGIN_S", "1h"),
            ("TOKEN_KEEPER_PUBLISH", "plain"),
            ("TOKEN_KEEPER_CONCURRENCY", "0"),
            ("TOKEN_KEEPER_SSM_RATE", "-1"),
            ("TOKEN_KEEPER_TIER", "standard"),
            ("TOKEN_KEEPER_DATA_CENTERS", "eu=http://accounts.example,mars"),
            ("TOKEN_KEEPER_ROTATING_PROVIDERS", "yes"),
            ("TOKEN_KEEPER_MARGINS", "2100"),
            ("TOKEN_KEEPER_CALLBACK_URL", "http://consent.example"),
            ("TOKEN_KEEPER_QUEUE_URL", "token-keeper"),
            ("TOKEN_KEEPER_QUEUE_ABOVE", "0"),
        ])
        .expect_err("twelve wrong settings");
        let text = problems.to_string();
        for wanted in [
            "TOKEN_KEEPER_PREFIX: \"/x\" is not a prefix",
            "TOKEN_KEEPER_MARGIN_S: \"1h\" is not a whole number from 60 to 3500",
            "TOKEN_KEEPER_PUBLISH: \"plain\" is not one of document | document,plain",
            "TOKEN_KEEPER_CONCURRENCY: \"0\" is not a whole number from 1 to 256",
            "TOKEN_KEEPER_SSM_RATE: \"-1\" is not a whole number from 1 to 100000",
            "TOKEN_KEEPER_TIER: \"standard\" is not one of Standard | Advanced | Intelligent-Tiering",
            "TOKEN_KEEPER_DATA_CENTERS: \"http://accounts.example\" is not an accounts server",
            "TOKEN_KEEPER_DATA_CENTERS: \"mars\" is not name=https://accounts.example",
            "TOKEN_KEEPER_ROTATING_PROVIDERS: \"yes\" is not one of false | true",
            "TOKEN_KEEPER_MARGINS: there is no such setting",
            "TOKEN_KEEPER_CALLBACK_URL: \"http://consent.example\" is not an https URL",
            "TOKEN_KEEPER_QUEUE_URL: \"token-keeper\" is not an https URL",
            "TOKEN_KEEPER_QUEUE_ABOVE: \"0\" is not a whole number from 1 to 100000",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_text_is_refused_like_any_other() {
        use std::os::unix::ffi::OsStringExt as _;

        let variable = ("TOKEN_KEEPER_PREFIX".into(), OsString::from_vec(vec![b'k', 0xff]));
        let problems = Config::read(as_text([variable])).expect_err("no text").to_string();
        assert!(problems.contains("TOKEN_KEEPER_PREFIX: \"k\u{fffd}\" is not a prefix"), "{problems}");
    }
}
