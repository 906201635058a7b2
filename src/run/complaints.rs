//! The third part of use case 1: answer readers that complain about a token.
//!
//! It mints as every run does, with brakes and pace. Nothing is forced: a pause that Zoho asked for
//! stands, and so does a dead grant.

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::connection::Grant;
use crate::lease::{Lease, Token, whole_second};
use crate::notice;
use crate::ports::{Grants, Issuer, Leases};
use crate::run::report::{Deferral, Entry, Outcome, Report};
use crate::run::verdict::{Complaint, Verdict, verdict};
use crate::run::{Refresher, Request, RunError, in_time, token_end};

impl<G: Grants, I: Issuer, L: Leases> Refresher<G, I, L> {
    /// Answers complaints: mints where a token died early, and marks the documents of tokens that
    /// are too young for that. The report has no line about the others. It may be repeated, done
    /// twice at the same time, or cut off at any call.
    ///
    /// # Errors
    /// As [`run`](Self::run), or if the time was up before a document was marked.
    pub async fn answer(&self, complaints: &[Complaint], end: Option<Instant>) -> Result<Report, RunError> {
        let started = self.source.now();
        let mut connections: Vec<_> = complaints.iter().map(|complaint| complaint.connection.clone()).collect();
        connections.sort();
        connections.dedup();
        let request = Request::Named { connections: connections.clone(), force: false, skip_missing: true };
        let mut seen = self.look(&request, false, end).await?;
        let (mut due, mut entries) = (Vec::new(), Vec::new());
        for connection in connections {
            let about = complaints.iter().filter(|complaint| complaint.connection == connection);
            let refused: Vec<_> = about.map(|complaint| complaint.issued_at).collect();
            let found = seen.iter().position(|seen| seen.name == connection.as_str());
            let now = self.source.now();
            let verdict = found.map(|place| verdict(seen.swap_remove(place).decision, &refused, now));
            let (outcome, lease) = match verdict {
                None | Some(Verdict::NotPublished) => {
                    info!(connection = connection.as_str(), "complaint about a token that is not published");
                    continue;
                }
                Some(Verdict::Mint(connection)) if self.brakes.permit_complaint(&connection.grant.connection, now) => {
                    due.push(connection);
                    continue;
                }
                Some(Verdict::Mint(connection)) => (Outcome::Deferred(Deferral::AskedAlready), connection.last),
                Some(Verdict::Rejected(grant, lease)) => {
                    let marked = async {
                        self.mark_rejected(&grant, &lease, now).await;
                        Ok(())
                    };
                    in_time(end, Box::pin(marked)).await?;
                    (Outcome::Rejected, Some(lease))
                }
                Some(Verdict::Settled(settled)) => (settled.state.outcome(), settled.lease),
            };
            entries.push(Entry {
                connection: connection.to_string(),
                outcome,
                expires_at: token_end(lease.as_ref()),
                refresh_token_expires_at: None,
            });
        }
        if !due.is_empty() {
            entries.extend(self.renew_all(due, end, |_, _| {}).await);
            // The queue brings the next complaints about these connections when this run has ended.
            // They have to find the new documents.
            let settled = async {
                sleep(self.settings.settling).await;
                Ok(())
            };
            in_time(end, settled).await.ok();
        }
        entries.sort_by(|a, b| a.connection.cmp(&b.connection));
        let ended = self.source.now();
        Ok(Report::answered(&entries, complaints.len(), ended, ended.duration_since(started)))
    }

    /// Writes into the document that readers complain about its token, unless it says so already.
    async fn mark_rejected(&self, grant: &Grant, lease: &Lease, now: Timestamp) {
        let (connection, mut marked) = (&grant.connection, lease.clone());
        match &mut marked.token {
            Some(Token { rejected_at: rejected_at @ None, .. }) => *rejected_at = Some(whole_second(now)),
            _ => return,
        }
        let turn = self.leases.pace().turn().await;
        let description = notice::description(connection, &marked, Some(lease));
        match self.leases.mark(turn, connection, &marked, &description).await {
            Ok(version) => self.put_right(grant, Some(lease), marked, version).await,
            Err(error) => warn!(connection = connection.as_str(), %error, "the document could not be marked"),
        }
    }
}
