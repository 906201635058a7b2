//! What the operator chose for the use cases.

use std::time::Duration;

use jiff::SignedDuration;

use crate::connection::DataCenters;
use crate::name::Prefix;

/// How long both stores may take until every reader sees a write. AWS calls them eventually
/// consistent and gives no figure; in practice a second is long.
pub const SETTLING: Duration = Duration::from_secs(2);
/// The shortest wait before a provider is asked once more.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First part of every name.
    pub prefix: Prefix,
    /// The hosts that may be asked.
    pub data_centers: DataCenters,
    /// A lease with no more than this left is due.
    pub margin: SignedDuration,
    /// Whether connections are served whose provider rotates refresh tokens. The role that runs
    /// this must then be able to write claims and the connections' secrets.
    pub rotating: bool,
    /// How many connections are worked on at the same time.
    pub concurrency: usize,
    /// How long the stores may take until every reader sees a write: [`SETTLING`].
    pub settling: Duration,
    /// The shortest wait before the one retry, after a fault that may be over in a second:
    /// [`RETRY_AFTER`].
    pub retry_after: Duration,
}
