//! The environment as a checked value. A wrong environment gives every problem at once.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use crate::aws::{Publishing, Tier};
use crate::connection::{DataCenters, web_url};
use crate::run::{SETTLING, Settings};

/// What the functions and the command line need to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the use case.
    pub settings: Settings,
    /// For Parameter Store.
    pub publishing: Publishing,
    /// The callback function's public base URL, without a trailing slash.
    pub callback_url: Option<String>,
    /// The queue that takes over what is too much for one run.
    pub queue_url: Option<String>,
    /// The most connections that a run works on itself if there is a queue.
    pub queue_above: usize,
}

/// Everything that is wrong with an environment.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment is wrong, nothing was started:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Every variable that is read here, with its default. A test holds the table in docs/reference.md to this one.
pub const VARIABLES: [(&str, &str); 11] = [
    ("TOKEN_KEEPER_PREFIX", "token-keeper"),
    ("TOKEN_KEEPER_MARGIN_S", "2100"),
    ("TOKEN_KEEPER_PUBLISH", "document"),
    ("TOKEN_KEEPER_CONCURRENCY", "16"),
    ("TOKEN_KEEPER_SSM_RATE", "40"),
    ("TOKEN_KEEPER_KMS_KEY_ID", ""),
    ("TOKEN_KEEPER_TIER", "Standard"),
    ("TOKEN_KEEPER_DATA_CENTERS", ""),
    ("TOKEN_KEEPER_CALLBACK_URL", ""),
    ("TOKEN_KEEPER_QUEUE_URL", ""),
    ("TOKEN_KEEPER_QUEUE_ABOVE", "500"),
];

/// The longest sensible margin in seconds: with more, a new token would be due at once.
const MAX_MARGIN_S: u32 = 3500;
/// The most connections at the same time: each holds a connection to Zoho.
const MAX_CONCURRENCY: u32 = 256;
/// The highest ceiling on calls per second: more is as good as none.
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
        let prefix = reader.parsed("TOKEN_KEEPER_PREFIX");
        let margin = reader.number("TOKEN_KEEPER_MARGIN_S", 60..=MAX_MARGIN_S);
        let concurrency = reader.number("TOKEN_KEEPER_CONCURRENCY", 1..=MAX_CONCURRENCY);
        let rate = reader.number("TOKEN_KEEPER_SSM_RATE", 1..=MAX_RATE);
        let plain = reader.one_of("TOKEN_KEEPER_PUBLISH", &[("document", false), ("document,plain", true)]);
        let tiers = [
            ("Standard", Tier::Standard),
            ("Advanced", Tier::Advanced),
            ("Intelligent-Tiering", Tier::IntelligentTiering),
        ];
        let tier = reader.one_of("TOKEN_KEEPER_TIER", &tiers);
        let kms_key_id = Some(reader.value("TOKEN_KEEPER_KMS_KEY_ID")).filter(|key| !key.is_empty());
        let mut data_centers = DataCenters::default();
        if let Err(problems) = data_centers.extend(&reader.value("TOKEN_KEEPER_DATA_CENTERS")) {
            reader.problems.extend(problems.into_iter().map(|problem| format!("TOKEN_KEEPER_DATA_CENTERS: {problem}")));
        }
        let callback_url = reader.url("TOKEN_KEEPER_CALLBACK_URL");
        let queue_url = reader.url("TOKEN_KEEPER_QUEUE_URL");
        let queue_above = reader.number("TOKEN_KEEPER_QUEUE_ABOVE", 1..=MAX_QUEUE_ABOVE);
        reader.refuse_unknown();
        let (
            Some(prefix),
            Some(margin),
            Some(concurrency),
            Some(rate),
            Some(plain),
            Some(tier),
            Some(queue_above),
            true,
        ) = (prefix, margin, concurrency, rate, plain, tier, queue_above, reader.problems.is_empty())
        else {
            return Err(Problems(reader.problems));
        };
        let margin = SignedDuration::from_secs(margin.into());
        let settings = Settings { prefix, data_centers, margin, concurrency: concurrency as usize, settling: SETTLING };
        let publishing = Publishing { plain, rate, kms_key_id, tier };
        Ok(Self { settings, publishing, callback_url, queue_url, queue_above: queue_above as usize })
    }
}

struct Reader {
    variables: HashMap<String, String>,
    problems: Vec<String>,
}

impl Reader {
    /// The variable's value, or its default if it is unset or empty.
    fn value(&self, variable: &str) -> String {
        let default = VARIABLES.iter().find(|(name, _)| *name == variable).map_or("", |(_, default)| default);
        let set = self.variables.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty());
        set.unwrap_or(default).to_owned()
    }

    fn problem<T>(&mut self, variable: &str, problem: impl fmt::Display) -> Option<T> {
        self.problems.push(format!("{variable}: {problem}"));
        None
    }

    fn parsed<T: FromStr<Err = String>>(&mut self, variable: &str) -> Option<T> {
        self.value(variable).parse().map_or_else(|problem| self.problem(variable, problem), Some)
    }

    fn number(&mut self, variable: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(variable);
        match value.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let problem = format!("{value:?} is no whole number from {} to {}", range.start(), range.end());
                self.problem(variable, problem)
            }
        }
    }

    /// `None` if it is unset, too.
    fn url(&mut self, variable: &str) -> Option<String> {
        let url = Some(self.value(variable)).filter(|url| !url.is_empty())?;
        let problem = format!("{url:?} is no https URL (http only for a loopback address)");
        web_url(&url).or_else(|| self.problem(variable, problem))
    }

    fn one_of<T: Copy>(&mut self, variable: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(variable);
        let choice = choices.iter().find(|(name, _)| *name == value);
        choice.map(|(_, choice)| *choice).or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problem(variable, format!("{value:?} is none of {}", names.join(" | ")))
        })
    }

    /// A misspelt variable would otherwise be a setting that silently has no effect.
    fn refuse_unknown(&mut self) {
        let known = |name: &str| VARIABLES.iter().any(|(known, _)| *known == name);
        let mut unknown: Vec<_> =
            self.variables.keys().filter(|name| name.starts_with("TOKEN_KEEPER_") && !known(name)).cloned().collect();
        unknown.sort();
        for name in unknown {
            self.problem::<()>(&name, "there is no such setting");
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
        assert_eq!((settings.margin.as_secs(), settings.concurrency), (2100, 16));
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
            ("TOKEN_KEEPER_CALLBACK_URL", "https://consent.example/prod/"),
            ("TOKEN_KEEPER_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/token-keeper"),
            ("TOKEN_KEEPER_QUEUE_ABOVE", "2000"),
        ])
        .expect("a right environment");
        assert_eq!(settings.prefix.lease("a"), "/team/tk/tokens/a");
        assert_eq!((settings.margin.as_secs(), settings.concurrency), (600, 4));
        assert_eq!((publishing.plain, publishing.rate, publishing.tier), (true, 3, Tier::Advanced));
        assert_eq!(publishing.kms_key_id.as_deref(), Some("alias/tokens"));
        assert!(settings.data_centers.get("lab").is_some());
        assert_eq!(callback_url.as_deref(), Some("https://consent.example/prod"));
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
            ("TOKEN_KEEPER_MARGINS", "2100"),
            ("TOKEN_KEEPER_CALLBACK_URL", "http://consent.example"),
            ("TOKEN_KEEPER_QUEUE_URL", "token-keeper"),
            ("TOKEN_KEEPER_QUEUE_ABOVE", "0"),
        ])
        .expect_err("eleven wrong settings");
        let text = problems.to_string();
        for wanted in [
            "TOKEN_KEEPER_PREFIX: \"/x\" is no prefix",
            "TOKEN_KEEPER_MARGIN_S: \"1h\" is no whole number from 60 to 3500",
            "TOKEN_KEEPER_PUBLISH: \"plain\" is none of document | document,plain",
            "TOKEN_KEEPER_CONCURRENCY: \"0\" is no whole number from 1 to 256",
            "TOKEN_KEEPER_SSM_RATE: \"-1\" is no whole number from 1 to 100000",
            "TOKEN_KEEPER_TIER: \"standard\" is none of Standard | Advanced | Intelligent-Tiering",
            "TOKEN_KEEPER_DATA_CENTERS: \"http://accounts.example\" is no accounts server",
            "TOKEN_KEEPER_DATA_CENTERS: \"mars\" is not name=https://accounts.example",
            "TOKEN_KEEPER_MARGINS: there is no such setting",
            "TOKEN_KEEPER_CALLBACK_URL: \"http://consent.example\" is no https URL",
            "TOKEN_KEEPER_QUEUE_URL: \"token-keeper\" is no https URL",
            "TOKEN_KEEPER_QUEUE_ABOVE: \"0\" is no whole number from 1 to 100000",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }
}
