//! What `doctor` has read, before it judges anything.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use token_keeper::address::BaseUrl;
use token_keeper::aws::Publishing;
use token_keeper::connection::StoredSecret;
use token_keeper::failure::StoreError;
use token_keeper::flaw::Flaw;
use token_keeper::ports::Published;
use token_keeper::settings::Settings;

use crate::stack::Told;

/// Each answer of a store, or why there was no answer.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) publishing: &'a Publishing,
    pub(super) callback_url: Option<&'a BaseUrl>,
    pub(super) stack: &'a Told,
    /// How often the refresher runs, if the operator says so.
    pub(super) schedule: Option<SignedDuration>,
    pub(super) now: Timestamp,
    /// The secrets of all connections and clients.
    pub(super) secrets: Result<Vec<StoredSecret>, StoreError>,
    /// Connections that have a lease but no secret. The flaw says whether the secret does not exist
    /// or is marked for deletion.
    pub(super) gone: BTreeMap<String, Flaw>,
    pub(super) leases: Result<Published, StoreError>,
    /// The secret with the signing key.
    pub(super) key: Result<StoredSecret, StoreError>,
}
