//! A finding, and how it is printed.

use std::fmt::{self, Display};

use serde::Serialize;

/// The most names in one sentence.
const MAX_NAMES: usize = 20;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// All is well.
    Ok,
    /// Worth knowing. No program suffers.
    Note,
    /// Programs have no token now, or will have none.
    Wrong,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    pub(super) what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) why: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn new(
        check: &'static str,
        severity: Severity,
        what: impl Display,
        why: impl Display,
        remedy: impl Display,
    ) -> Self {
        Self { check, severity, what: what.to_string(), why: why.to_string(), remedy: remedy.to_string() }
    }

    pub(super) fn ok(check: &'static str, what: impl Display) -> Self {
        Self::new(check, Severity::Ok, what, "", "")
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, severity, what, why, remedy } = self;
        let word = match severity {
            Severity::Ok => return write!(f, "ok     {check}: {what}"),
            Severity::Note => "note ",
            Severity::Wrong => "wrong",
        };
        write!(f, "{word}  {check}: {what}\n       {why}\n       -> {remedy}")
    }
}

/// The findings or, if there are none, that all is well.
pub(super) fn or_ok(findings: Vec<Finding>, ok: Finding) -> Vec<Finding> {
    if findings.is_empty() { vec![ok] } else { findings }
}

/// The names for a sentence: the first ones, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
