//! Decides what to do about a connection, from its grant, its lease and the time.
//!
//! Pure: it asks nobody and changes nothing.

use jiff::{SignedDuration, Timestamp};

use crate::connection::Grant;
use crate::flaw::Broken;
use crate::lease::{Lease, Status, Trouble};
use crate::name::VersionId;

/// What to do about a connection.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Mint a token.
    Due(Due),
    /// Mint nothing.
    Settled(Settled),
}

/// A connection that needs a new token.
#[derive(Clone, Debug)]
pub struct Due {
    /// What to mint with.
    pub grant: Grant,
    /// What is published.
    pub last: Option<Lease>,
    /// When a reader complained, if that is why a token is minted.
    pub complaint_at: Option<Timestamp>,
}

/// A connection that gets no new token.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Why.
    pub state: State,
    /// Its grant, if it can be read.
    pub grant: Option<Grant>,
    /// What is published, if it can be read.
    pub lease: Option<Lease>,
}

/// Why no token is minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The lease has more than the margin left.
    Fresh {
        /// Its end.
        until: Timestamp,
    },
    /// Nobody has consented yet.
    AwaitingConsent,
    /// The grant is dead. Nothing is sent until there is a new one.
    ConsentRequired(Trouble),
    /// Zoho refused client, secret or data centre less than an hour ago.
    Misconfigured(Trouble),
    /// Zoho asked for a pause.
    Throttled {
        /// Its end.
        until: Timestamp,
    },
    /// Its provider rotates refresh tokens, and the refresher may not store them.
    MayNotRotate,
    /// The secret cannot be read as a grant.
    BrokenGrant(Broken),
    /// The parameter cannot be read as a lease.
    BrokenLease(Broken),
}

/// What the operator and the caller want.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A lease with no more than this left is due, if it is Zoho's. See
    /// [`Provider::margin`](crate::connection::Provider::margin).
    pub margin: SignedDuration,
    /// Whether connections are served whose provider rotates refresh tokens.
    pub rotating: bool,
    /// Mint for the fresh, the misconfigured and the dead as well. A pause that Zoho asked for
    /// still counts.
    pub force: bool,
}

/// Decides. A lease from another version of the grant does not count: that is how a connection
/// resumes by itself when it gets a new grant.
pub fn decide(
    grant: Result<Grant, Broken>,
    lease: Result<Option<Lease>, Broken>,
    now: Timestamp,
    policy: Policy,
) -> Decision {
    let (grant, lease) = match (grant, lease) {
        (Err(broken), lease) => return settled(State::BrokenGrant(broken), None, lease.ok().flatten()),
        (Ok(grant), Err(broken)) => return settled(State::BrokenLease(broken), Some(grant), None),
        (Ok(grant), Ok(lease)) => (grant, lease),
    };
    match state(&grant, lease.as_ref(), now, policy) {
        Some(state) => settled(state, Some(grant), lease),
        None => Decision::Due(Due { grant, last: lease, complaint_at: None }),
    }
}

fn settled(state: State, grant: Option<Grant>, lease: Option<Lease>) -> Decision {
    Decision::Settled(Settled { state, grant, lease })
}

/// `None` for a connection that is due.
fn state(grant: &Grant, lease: Option<&Lease>, now: Timestamp, policy: Policy) -> Option<State> {
    if grant.credential.is_none() {
        return Some(State::AwaitingConsent);
    }
    if grant.provider.rotates() && !policy.rotating {
        return Some(State::MayNotRotate);
    }
    let lease = lease.filter(|lease| lease.grant_version == grant.version)?;
    let life = lease.token.as_ref().map(|token| token.expires_at.duration_since(token.issued_at)).unwrap_or_default();
    match &lease.status {
        Status::Throttled(Trouble { retry_after: Some(until), .. }) if now < *until => {
            Some(State::Throttled { until: *until })
        }
        _ if policy.force => None,
        Status::ConsentRequired(trouble) => Some(State::ConsentRequired(trouble.clone())),
        Status::Misconfigured(trouble) if trouble.retry_after.is_some_and(|until| now < until) => {
            Some(State::Misconfigured(trouble.clone()))
        }
        Status::Active if lease.expires_at().duration_since(now) > grant.provider.margin(policy.margin, life) => {
            Some(State::Fresh { until: lease.expires_at() })
        }
        Status::Active | Status::Misconfigured(_) | Status::Throttled(_) => None,
    }
}

/// What to publish after two writers have met; `None` if `ours` is right. This run had `seen` the
/// lease, then somebody else wrote `replaced`, and then this run wrote `ours` over it. `current` is
/// the grant's version in Secrets Manager, if it is known; it may be a little old.
pub fn what_is_right(
    ours: &Lease,
    replaced: &Lease,
    seen: Option<&Lease>,
    current: Option<&VersionId>,
) -> Option<Lease> {
    if replaced.grant_version != ours.grant_version {
        // This version was not there when the run began: a consent has been completed meanwhile. If
        // ours was not there either, each of two runs has rotated the refresh token, and the
        // current one counts.
        let new = |lease: &Lease| seen.is_some_and(|seen| seen.grant_version != lease.grant_version);
        let theirs = new(replaced) && !new(ours);
        return (theirs || current == Some(&replaced.grant_version)).then(|| replaced.clone());
    }
    let issued_at = |lease: &Lease| lease.token.as_ref().map(|token| token.issued_at);
    // The grant died after this run had minted from it: keep our token and their status.
    if let (Status::ConsentRequired(death), Status::Active) = (&replaced.status, &ours.status)
        && issued_at(ours).is_some_and(|issued_at| issued_at <= death.since)
    {
        return Some(Lease { token: ours.token.clone(), ..replaced.clone() });
    }
    // This run has only marked the token as rejected, and kept the status that it had seen.
    if ours.status == Status::Active && replaced.status != Status::Active && issued_at(replaced) == issued_at(ours) {
        return Some(Lease { token: ours.token.clone(), ..replaced.clone() });
    }
    if issued_at(replaced) <= issued_at(ours) {
        return None;
    }
    Some(match ours.status {
        Status::Active | Status::Throttled(_) => replaced.clone(),
        // Our refusal came after their token: keep our status and their token.
        Status::ConsentRequired(_) | Status::Misconfigured(_) => {
            Lease { token: replaced.token.clone(), ..ours.clone() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{DataCenters, GrantSecret, SecretDocument};
    use crate::flaw::Flaw;
    use crate::lease::Token;
    use crate::name::SecretName;
    use crate::secret::{AccessToken, SecretText};

    /// Seconds after an arbitrary beginning.
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn grant(version: &str, refresh_token: &str) -> Result<Grant, Broken> {
        let text = format!(r#"{{"client_id":"c","client_secret":"s","data_center":"eu"{refresh_token}}}"#);
        let connection = "crm".parse().expect("a name");
        let document = SecretDocument::parse(&SecretText::new(text)).expect("a document");
        let secret = GrantSecret::of(connection, VersionId::new(version), &document, &DataCenters::default());
        secret.expect("a grant").resolve(&[].into(), &"k".parse().expect("a prefix"))
    }

    /// A lease of version v1. Its token was minted at 0 and ends at 3600.
    #[expect(clippy::unnecessary_wraps, reason = "as `decide` takes it")]
    fn lease(status: Status) -> Result<Option<Lease>, Broken> {
        let grant = grant("v1", "").expect("a grant");
        let token = Token::new(AccessToken::new("a"), at(0), at(3600));
        Ok(Some(Lease { token: Some(token), ..Lease::of(&grant, status, None) }))
    }

    fn trouble(retry_after: Option<i64>) -> Trouble {
        Trouble { error: "code".to_owned(), since: at(0), retry_after: retry_after.map(at) }
    }

    const TOKEN: &str = r#","refresh_token":"r""#;

    #[test]
    fn what_was_written_over_decides_what_is_right() {
        let of = |version: &str, status: Status, issued_at: i64| {
            let lease = lease(status).expect("a lease").expect("one");
            let token = Token::new(AccessToken::new("a"), at(issued_at), at(issued_at + 3600));
            Lease { grant_version: VersionId::new(version), token: Some(token), ..lease }
        };
        let dead = |since: i64| {
            Status::ConsentRequired(Trouble { error: "invalid_code".to_owned(), since: at(since), retry_after: None })
        };
        let check = |ours: &Lease, replaced: &Lease, seen: &str, current: &str, right: Option<(&str, &str, i64)>| {
            let seen = of(seen, Status::Active, 0);
            let found = what_is_right(ours, replaced, Some(&seen), Some(&VersionId::new(current)));
            let found = found.as_ref().map(|lease| {
                let issued_at = lease.token.as_ref().expect("a token").issued_at;
                (lease.grant_version.as_str(), lease.status.word(), issued_at.duration_since(at(0)).as_secs())
            });
            assert_eq!(found, right, "{:?} over {:?}", ours.status, replaced.status);
        };
        // A consent has been completed meanwhile, whether or not Secrets Manager says so already.
        for current in ["v1", "v2"] {
            for ours in [Status::Active, dead(20)] {
                check(&of("v1", ours, 20), &of("v2", Status::Active, 10), "v1", current, Some(("v2", "active", 10)));
            }
        }
        // An older run was late, and this run knows the newer grant.
        check(&of("v2", Status::Active, 20), &of("v1", Status::Active, 10), "v1", "v2", None);
        // Two runs, each of which has rotated the refresh token: this one was the second, or the
        // first.
        check(&of("v3", Status::Active, 20), &of("v2", Status::Active, 10), "v1", "v3", None);
        check(&of("v2", Status::Active, 10), &of("v3", Status::Active, 20), "v1", "v3", Some(("v3", "active", 20)));
        // Two runs of one grant.
        check(&of("v1", Status::Active, 20), &of("v1", Status::Active, 10), "v1", "v1", None);
        check(&of("v1", Status::Active, 10), &of("v1", Status::Active, 20), "v1", "v1", Some(("v1", "active", 20)));
        check(&of("v1", dead(25), 0), &of("v1", Status::Active, 20), "v1", "v1", Some(("v1", "consent_required", 20)));
        // The grant died after our token was minted; or our token came after its death.
        check(&of("v1", Status::Active, 20), &of("v1", dead(20), 0), "v1", "v1", Some(("v1", "consent_required", 20)));
        check(&of("v1", Status::Active, 20), &of("v1", dead(19), 0), "v1", "v1", None);
        // This run has only marked a token as rejected, and the connection was throttled meanwhile.
        let throttled = Status::Throttled(trouble(Some(660)));
        check(&of("v1", Status::Active, 0), &of("v1", throttled, 0), "v1", "v1", Some(("v1", "throttled", 0)));
    }

    #[test]
    fn the_table_of_decisions() {
        type Found = (Result<Grant, Broken>, Result<Option<Lease>, Broken>);
        let check = |(grant, lease): Found, now: i64, expected: [Option<State>; 2]| {
            for (force, expected) in [false, true].into_iter().zip(expected) {
                let policy = Policy { margin: SignedDuration::from_secs(2100), rotating: false, force };
                let found = match decide(grant.clone(), lease.clone(), at(now), policy) {
                    Decision::Due(_) => None,
                    Decision::Settled(settled) => Some(settled.state),
                };
                assert_eq!(found, expected, "{lease:?} at {now}, force {force}");
            }
        };
        let both = |state: State| [Some(state.clone()), Some(state)];
        let due = [None, None];
        let fresh = State::Fresh { until: at(3600) };
        let flaw = Broken::secret(&SecretName::found("s"), Flaw::Binary);
        let foreign = Broken::parameter("p", Flaw::NewerSchema(2));

        check((grant("v1", TOKEN), Ok(None)), 0, due.clone());
        check((grant("v1", TOKEN), lease(Status::Active)), 0, [Some(fresh.clone()), None]);
        check((grant("v1", TOKEN), lease(Status::Active)), 1499, [Some(fresh), None]);
        check((grant("v1", TOKEN), lease(Status::Active)), 1500, due.clone());
        check((grant("v1", TOKEN), lease(Status::Active)), 9999, due.clone());
        check((grant("v2", TOKEN), lease(Status::Active)), 0, due.clone());
        check((grant("v1", ""), lease(Status::Active)), 9999, both(State::AwaitingConsent));

        let dead = Status::ConsentRequired(trouble(None));
        check((grant("v1", TOKEN), lease(dead.clone())), 9999, [Some(State::ConsentRequired(trouble(None))), None]);
        check((grant("v2", TOKEN), lease(dead)), 0, due.clone());

        let ours = Status::Misconfigured(trouble(Some(3600)));
        let refused = State::Misconfigured(trouble(Some(3600)));
        check((grant("v1", TOKEN), lease(ours.clone())), 3599, [Some(refused), None]);
        check((grant("v1", TOKEN), lease(ours.clone())), 3600, due.clone());
        check((grant("v2", TOKEN), lease(ours)), 0, due.clone());

        let throttled = Status::Throttled(trouble(Some(660)));
        check((grant("v1", TOKEN), lease(throttled.clone())), 659, both(State::Throttled { until: at(660) }));
        check((grant("v1", TOKEN), lease(throttled.clone())), 660, due.clone());
        check((grant("v2", TOKEN), lease(throttled)), 0, due.clone());

        check((Err(flaw.clone()), lease(Status::Active)), 0, both(State::BrokenGrant(flaw)));
        check((grant("v1", TOKEN), Err(foreign.clone())), 0, both(State::BrokenLease(foreign)));
    }
}
