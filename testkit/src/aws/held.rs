//! What readers do not see yet. The services are eventually consistent: a read may show the state
//! before a write.

use std::collections::BTreeMap;

/// The older states of some entries of a map. `None` means that the entry did not exist.
pub(super) struct Held<V>(BTreeMap<String, Option<V>>);

impl<V: Clone> Held<V> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// From now on, readers see this entry as it is now.
    pub(super) fn hold(&mut self, name: &str, entries: &BTreeMap<String, V>) {
        self.0.insert(name.to_owned(), entries.get(name).cloned());
    }

    pub(super) fn release(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Swaps the older states with those in `entries`. A second call restores them.
    pub(super) fn swap(&mut self, entries: &mut BTreeMap<String, V>) {
        for (name, held) in &mut self.0 {
            let other = match held.take() {
                Some(held) => entries.insert(name.clone(), held),
                None => entries.remove(name),
            };
            *held = other;
        }
    }
}
