//! Lists entries by name, in pages.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::answer::{Refusal, invalid};

/// Where a listing continues. The caller sees it as a `NextToken`.
#[derive(Default)]
pub(super) struct Cursor {
    /// The last name on the page before.
    after: Option<String>,
    /// Whether the page before was an empty one.
    rested: bool,
}

impl Cursor {
    /// Reads a `NextToken`. `None` if it is not one of ours.
    pub(super) fn parse(token: Option<&str>) -> Option<Self> {
        let Some(token) = token else { return Some(Self::default()) };
        let (kind, after) = token.split_once(':')?;
        let after = (!after.is_empty()).then(|| after.to_owned());
        matches!(kind, "rested" | "page").then(|| Self { after, rested: kind == "rested" })
    }

    fn token(&self) -> String {
        let kind = if self.rested { "rested" } else { "page" };
        format!("{kind}:{}", self.after.as_deref().unwrap_or_default())
    }

    /// The entries whose names begin with `prefix`, after the cursor.
    pub(super) fn entries<'a, 'p, V>(
        &self,
        map: &'a BTreeMap<String, V>,
        prefix: &'p str,
    ) -> impl Iterator<Item = (&'a str, &'a V)> + use<'a, 'p, V> {
        let from = match self.after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        map.range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The next `size` of `entries`, and the token for the rest. With `empty_pages`, an empty page
    /// comes first.
    pub(super) fn page<'a, V>(
        &self,
        entries: impl Iterator<Item = (&'a str, V)>,
        size: usize,
        empty_pages: bool,
    ) -> (Vec<(&'a str, V)>, Option<String>) {
        if empty_pages && !self.rested {
            return (Vec::new(), Some(Self { after: self.after.clone(), rested: true }.token()));
        }
        let mut entries = entries.peekable();
        let page: Vec<_> = entries.by_ref().take(size).collect();
        let last = page.last().filter(|_| entries.peek().is_some());
        let next = last.map(|(name, _)| Self { after: Some((*name).to_owned()), rested: false }.token());
        (page, next)
    }
}

/// The page size to use: as requested, at most `limit`, which is also the default.
pub(super) fn page_size(requested: Option<usize>, limit: usize) -> Result<usize, Refusal> {
    match requested {
        Some(size) if !(1..=limit).contains(&size) => {
            invalid(format!("Value '{size}' at 'maxResults' must be between 1 and {limit}"))
        }
        size => Ok(size.unwrap_or(limit)),
    }
}

/// Refuses a list of `what` that is empty or longer than `limit`.
pub(super) fn check_length<T>(what: &str, list: &[T], limit: usize) -> Result<(), Refusal> {
    if (1..=limit).contains(&list.len()) {
        return Ok(());
    }
    invalid(format!("'{what}' must have 1 to {limit} members and has {}", list.len()))
}
