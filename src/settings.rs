//! What the operator chose for the use cases.

use std::time::Duration;

use jiff::SignedDuration;

use crate::connection::DataCenters;
use crate::name::Prefix;

/// How long both stores may take until every reader sees a write. AWS calls them eventually
/// consistent and gives no figure; in practice a second is long.
pub const SETTLING: Duration = Duration::from_secs(2);
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
}
