//! Use case 1 for more connections than one run has time for. Their names go to a queue in chunks,
//! and the same function works on each chunk in a separate run.
//!
//! It reads only names. The run of a chunk decides which connections are due, so a chunk may come
//! late, twice, or twice at the same time.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::Instant;

use crate::flaw::{Broken, Flaw};
use crate::name::ConnectionName;
use crate::ports::{GrantNames, Queue, Unsent};
use crate::run::report::{Entry, Outcome, Report};
use crate::run::{Refresher, RunError, in_time};

/// The most connections in one message. If all are due, their puts take 33 seconds at three a
/// second (twice as long with bare tokens). So several messages fit into one invocation, and after
/// a failure little work is done twice.
pub const CHUNK: usize = 100;

/// A queue, and when to use it.
pub struct Dispatcher<Q> {
    /// The queue that brings its messages to this function.
    pub queue: Q,
    /// A run with more connections than this sends them to the queue.
    pub above: usize,
}

impl<Q: Queue> Dispatcher<Q> {
    /// Lists the connections' names. If there are too many for one run, it sends them to the queue;
    /// otherwise it returns `None`.
    ///
    /// # Errors
    /// If the names could not be listed, or the queue did not take every message.
    pub async fn dispatch<G: GrantNames, I, L>(
        &self,
        refresher: &Refresher<G, I, L>,
        end: Option<Instant>,
    ) -> Result<Option<Report>, RunError> {
        let Refresher { settings, grants, source, .. } = refresher;
        let started = source.now();
        let secrets = in_time(end, async { grants.names().await.map_err(RunError::Grants) }).await?;
        let path = settings.prefix.grants();
        // Sorted, so that a chunk holds the same connections in each run.
        let names: BTreeSet<_> = secrets.iter().filter_map(|secret| secret.as_str().strip_prefix(&path)).collect();
        if names.len() <= self.above {
            return Ok(None);
        }
        let (mut connections, mut misnamed) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            // One wrong name would make the function refuse the whole chunk.
            match name.parse::<ConnectionName>() {
                Ok(_) => connections.push(name),
                Err(error) => {
                    let outcome = Outcome::broken(&Broken::secret(&settings.prefix.grant(name), Flaw::Name(error)));
                    misnamed.push(Entry {
                        connection: name.to_owned(),
                        outcome,
                        expires_at: None,
                        refresh_token_expires_at: None,
                    });
                }
            }
        }
        let message = |chunk: &[&str]| json!({"connections": chunk}).to_string();
        // Chunks of equal size. A small last chunk could be mostly sick, and then its message comes
        // again.
        let size = connections.len().div_ceil(connections.len().div_ceil(CHUNK).max(1)).max(1);
        let messages: Vec<_> = connections.chunks(size).map(message).collect();
        let queue_failed = |Unsent { messages: unsent, error }| RunError::Queue { unsent, of: messages.len(), error };
        in_time(end, async { self.queue.send(&messages).await.map_err(queue_failed) }).await?;
        let ended = source.now();
        Ok(Some(Report::dispatched(&misnamed, connections.len(), ended, ended.duration_since(started))))
    }
}
