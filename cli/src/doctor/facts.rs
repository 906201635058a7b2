//! What is known of an installation before anything is judged.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use token_keeper::address::BaseUrl;
use token_keeper::aws::Publishing;
use token_keeper::connection::StoredSecret;
use token_keeper::failure::StoreError;
use token_keeper::flaw::Flaw;
use token_keeper::ports::Published;
use token_keeper::run::Settings;

/// What could be found out, and what kept the rest from being found out.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) publishing: &'a Publishing,
    pub(super) callback_url: Option<&'a BaseUrl>,
    pub(super) schedule: SignedDuration,
    pub(super) now: Timestamp,
    /// Every connection's and client's secret.
    pub(super) secrets: Result<Vec<StoredSecret>, StoreError>,
    /// Connections that have a lease and no secret, and whether there is none or it is marked for deletion.
    pub(super) gone: BTreeMap<String, Flaw>,
    pub(super) leases: Result<Published, StoreError>,
    /// The answer about the signing key's secret.
    pub(super) key: Result<StoredSecret, StoreError>,
}
