//! A finding, and how it is told.

use std::fmt::{self, Display};

use serde::Serialize;

/// The most names in one sentence.
const MAX_NAMES: usize = 20;
/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// All is well.
    Ok,
    /// Worth knowing, and no program suffers.
    Note,
    /// Programs are without a token, or will be.
    Wrong,
}

/// What a check came to.
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

/// What there is to say, or that all is well.
pub(super) fn or_ok(findings: Vec<Finding>, ok: Finding) -> Vec<Finding> {
    if findings.is_empty() { vec![ok] } else { findings }
}

/// Names in a sentence, not more than can be read.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
