//! The parameters of a request.

use std::collections::HashMap;

use url::form_urlencoded;

/// Form fields or query parameters. An absent one reads as an empty text; no valid value is empty.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
