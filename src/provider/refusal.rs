//! What a provider's refusals mean. No two providers say it alike, so each has rules: status, error
//! code and a piece of the text, and what they mean together.

/// One kind of refusal. Every part that is there has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The status; any if `None`.
    pub status: Option<u16>,
    /// The error code; `None` if the body is not JSON.
    pub error: Option<&'static str>,
    /// A piece of the text beside the code, or of a body that is not JSON.
    pub text: Option<&'static str>,
    /// What it means.
    pub class: Class,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The grant is dead: somebody has to consent again.
    Dead,
    /// The client, its secret or its rights are wrong: the operator has to correct it.
    Client,
    /// Too many requests.
    Throttle,
    /// It may have been carried out all the same: the answer counts as lost.
    Lost,
    /// Nothing of the above. It passes.
    Passing,
}

impl Rule {
    /// A refusal with this status and code.
    pub const fn of(status: u16, error: &'static str, class: Class) -> Self {
        Self { status: Some(status), error: Some(error), text: None, class }
    }

    /// A refusal with this code, whatever the status.
    pub const fn code(error: &'static str, class: Class) -> Self {
        Self { status: None, error: Some(error), text: None, class }
    }

    /// A refusal with this status, this code, and this piece of text.
    pub const fn text(status: u16, error: &'static str, text: &'static str, class: Class) -> Self {
        Self { status: Some(status), error: Some(error), text: Some(text), class }
    }

    /// A body of this status that is not JSON and has this piece of text.
    pub const fn page(status: u16, text: &'static str, class: Class) -> Self {
        Self { status: Some(status), error: None, text: Some(text), class }
    }

    fn matches(&self, status: u16, error: Option<&str>, text: &str) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self.error == error
            && self.text.is_none_or(|piece| text.contains(piece))
    }
}

/// What a refusal means by these rules, and by those that hold everywhere (RFC 6749 §5.2). `error`
/// is `None` if the body is not JSON.
pub fn class(rules: &[Rule], status: u16, error: Option<&str>, text: &str) -> Class {
    const EVERYWHERE: [Rule; 4] = [
        Rule::of(400, "invalid_client", Class::Client),
        Rule::of(401, "invalid_client", Class::Client),
        Rule::of(400, "unauthorized_client", Class::Client),
        Rule::of(401, "unauthorized_client", Class::Client),
    ];
    let found = rules.iter().chain(&EVERYWHERE).find(|rule| rule.matches(status, error, text));
    found.map_or(Class::Passing, |rule| rule.class)
}
