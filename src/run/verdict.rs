//! Decides what a complaint leads to: a token that died early is replaced, once.
//!
//! Pure: it asks nobody and changes nothing.

use jiff::{SignedDuration, Timestamp};

use crate::connection::Grant;
use crate::lease::{Lease, Token, whole_second};
use crate::name::ConnectionName;
use crate::run::decision::{Decision, Due, Settled, State};

/// A younger token has not died early: Zoho refuses it for another reason.
const YOUNG: SignedDuration = SignedDuration::from_mins(2);
/// The same for a token that answers a complaint. So a reader that complains about each new token
/// gets one in ten minutes, which is a tenth of what Zoho allows.
const YOUNG_ANSWER: SignedDuration = SignedDuration::from_mins(10);

/// A reader says that Zoho refuses a token, also after the reader has read the parameter again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Whose token it is.
    pub connection: ConnectionName,
    /// The `issued_at` of the document that the reader used.
    pub issued_at: Timestamp,
}

/// What complaints about a connection lead to.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nothing: the token in question is not the published one. If the published one is due, the
    /// scheduled run does it.
    NotPublished,
    /// A new token.
    Mint(Due),
    /// A mark in the document: the token is so young that another one would not help.
    Rejected(Grant, Lease),
    /// Nothing, because something else is wrong with the connection.
    Settled(Settled),
}

/// Decides. `decision` is that of a run which forces nothing; `refused` has the `issued_at` of each
/// token that readers complain about.
pub fn verdict(decision: Decision, refused: &[Timestamp], now: Timestamp) -> Verdict {
    let (grant, lease) = match decision {
        Decision::Due(Due { grant, last: Some(lease), .. })
        | Decision::Settled(Settled { state: State::Fresh { .. }, grant: Some(grant), lease: Some(lease) }) => {
            (grant, lease)
        }
        Decision::Settled(settled) if is_published(settled.lease.as_ref(), refused) => {
            return Verdict::Settled(settled);
        }
        Decision::Due(_) | Decision::Settled(_) => return Verdict::NotPublished,
    };
    if !is_published(Some(&lease), refused) {
        return Verdict::NotPublished;
    }
    let young = lease.token.as_ref().is_some_and(|token| now.duration_since(token.issued_at) < young_for(token));
    // Another token would end the one that all other readers hold.
    if young || grant.provider.ends_access_token() {
        return Verdict::Rejected(grant, lease);
    }
    Verdict::Mint(Due { grant, last: Some(lease), complaint_at: Some(whole_second(now)) })
}

fn is_published(lease: Option<&Lease>, refused: &[Timestamp]) -> bool {
    let token = lease.and_then(|lease| lease.token.as_ref());
    token.is_some_and(|token| refused.contains(&token.issued_at))
}

/// How long a token counts as young.
fn young_for(token: &Token) -> SignedDuration {
    if token.complaint_at.is_some() { YOUNG_ANSWER } else { YOUNG }
}
