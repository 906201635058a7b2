//! What to do about a connection, from its grant, its lease and the time: nothing else, and nothing
//! done.

use jiff::{SignedDuration, Timestamp};

use crate::flaw::Broken;
use crate::connection::Grant;
use crate::lease::{Lease, Status, Trouble};

/// What to do about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The lease has more than the margin left.
    Fresh {
        /// Its end.
        until: Timestamp,
    },
    /// A token is to be minted.
    Due,
    /// Nobody has consented yet.
    AwaitingConsent,
    /// The grant is dead. Nothing is sent until there is a new one.
    ConsentRequired(Trouble),
    /// Zoho refused client, secret or data centre less than an hour ago.
    Misconfigured(Trouble),
    /// Zoho asked for a pause.
    CoolingDown {
        /// Its end.
        until: Timestamp,
    },
    /// The secret cannot be read as a grant, or the parameter not as a lease.
    Broken(Broken),
}

/// What the operator and the caller want.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A lease with no more than this left is due.
    pub margin: SignedDuration,
    /// Mint for the fresh, the misconfigured and the dead as well. A pause that Zoho asked for
    /// stands.
    pub force: bool,
}

/// Decides. A lease that came from another version of the grant says nothing about this one: that
/// is how everything resumes by itself once a new grant is there.
pub fn decide(
    grant: &Result<Grant, Broken>,
    lease: &Result<Option<Lease>, Broken>,
    now: Timestamp,
    policy: Policy,
) -> Decision {
    let (grant, lease) = match (grant, lease) {
        (Err(broken), _) | (_, Err(broken)) => return Decision::Broken(broken.clone()),
        (Ok(grant), Ok(lease)) => (grant, lease),
    };
    if grant.refresh_token.is_none() {
        return Decision::AwaitingConsent;
    }
    let Some(lease) = lease.as_ref().filter(|lease| lease.grant_version == grant.version) else {
        return Decision::Due;
    };
    match &lease.status {
        Status::Throttled(Trouble { retry_after: Some(until), .. }) if now < *until => {
            Decision::CoolingDown { until: *until }
        }
        _ if policy.force => Decision::Due,
        Status::ConsentRequired(trouble) => Decision::ConsentRequired(trouble.clone()),
        Status::Misconfigured(trouble) if trouble.retry_after.is_some_and(|until| now < until) => {
            Decision::Misconfigured(trouble.clone())
        }
        Status::Active if lease.expires_at().duration_since(now) > policy.margin => {
            Decision::Fresh { until: lease.expires_at() }
        }
        Status::Active | Status::Misconfigured(_) | Status::Throttled(_) => Decision::Due,
    }
}

/// What has to be published instead of `ours`, which has just been written over `replaced`, a
/// document that somebody else wrote after this run had `seen` the connection's lease; `None` if
/// ours is right. `current` is the grant's version as Secrets Manager says now, if it is known:
/// what it says may be a little old.
pub fn what_is_right(ours: &Lease, replaced: &Lease, seen: Option<&Lease>, current: Option<&str>) -> Option<Lease> {
    if replaced.grant_version != ours.grant_version {
        // Of a version that was not there when the run began: a consent has been completed
        // meanwhile.
        let new = seen.is_some_and(|seen| seen.grant_version != replaced.grant_version);
        return (new || current == Some(&replaced.grant_version)).then(|| replaced.clone());
    }
    let issued_at = |lease: &Lease| lease.token.as_ref().map(|token| token.issued_at);
    // The grant died after this run had minted from it. The token is ours, the mark stays.
    if let (Status::ConsentRequired(death), Status::Active) = (&replaced.status, &ours.status)
        && issued_at(ours).is_some_and(|issued_at| issued_at <= death.since)
    {
        return Some(Lease { token: ours.token.clone(), ..replaced.clone() });
    }
    if issued_at(replaced) <= issued_at(ours) {
        return None;
    }
    Some(match ours.status {
        Status::Active | Status::Throttled(_) => replaced.clone(),
        // Of one grant, the refusal is the newer word; the token is theirs.
        Status::ConsentRequired(_) | Status::Misconfigured(_) => {
            Lease { token: replaced.token.clone(), ..ours.clone() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{DataCenters, GrantSecret};
    use crate::flaw::Flaw;
    use crate::lease::Token;
    use crate::secret::AccessToken;

    /// Seconds after an arbitrary beginning.
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[expect(clippy::unnecessary_wraps, reason = "as `decide` takes it")]
    fn grant(version: &str, refresh_token: &str) -> Result<Grant, Broken> {
        let text = format!(r#"{{"client_id":"c","client_secret":"s","data_center":"eu"{refresh_token}}}"#);
        let connection = "crm".parse().expect("a name");
        let secret = GrantSecret::parse(connection, version, &text, &DataCenters::default()).expect("a grant");
        Ok(secret.resolve(&[].into(), |_| String::new()).expect("a grant"))
    }

    /// A lease of version v1 with the token minted at 0, living to 3600.
    #[expect(clippy::unnecessary_wraps, reason = "as `decide` takes it")]
    fn lease(status: Status) -> Result<Option<Lease>, Broken> {
        let grant = grant("v1", "").expect("a grant");
        let token = Token { access_token: AccessToken::new("a"), issued_at: at(0), expires_at: at(3600) };
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
            let token = Token {
                access_token: AccessToken::new("a"),
                issued_at: at(issued_at),
                expires_at: at(issued_at + 3600),
            };
            Lease { grant_version: version.to_owned(), token: Some(token), ..lease }
        };
        let dead = |since: i64| {
            Status::ConsentRequired(Trouble { error: "invalid_code".to_owned(), since: at(since), retry_after: None })
        };
        let check = |ours: &Lease, replaced: &Lease, seen: &str, current: &str, right: Option<(&str, &str, i64)>| {
            let seen = of(seen, Status::Active, 0);
            let found = what_is_right(ours, replaced, Some(&seen), Some(current));
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
        // An older run was late, and this one knows of the newer grant.
        check(&of("v2", Status::Active, 20), &of("v1", Status::Active, 10), "v1", "v2", None);
        // Two runs of one grant.
        check(&of("v1", Status::Active, 20), &of("v1", Status::Active, 10), "v1", "v1", None);
        check(&of("v1", Status::Active, 10), &of("v1", Status::Active, 20), "v1", "v1", Some(("v1", "active", 20)));
        check(&of("v1", dead(25), 0), &of("v1", Status::Active, 20), "v1", "v1", Some(("v1", "consent_required", 20)));
        // The grant died after ours was minted; or it lived again.
        check(&of("v1", Status::Active, 20), &of("v1", dead(20), 0), "v1", "v1", Some(("v1", "consent_required", 20)));
        check(&of("v1", Status::Active, 20), &of("v1", dead(19), 0), "v1", "v1", None);
    }

    #[test]
    fn the_table_of_decisions() {
        let check =
            |grant: Result<Grant, Broken>, lease: Result<Option<Lease>, Broken>, now: i64, expected: [Decision; 2]| {
                for (force, expected) in [false, true].into_iter().zip(expected) {
                    let policy = Policy { margin: SignedDuration::from_secs(2100), force };
                    assert_eq!(decide(&grant, &lease, at(now), policy), expected, "{lease:?} at {now}, force {force}");
                }
            };
        let both = |decision: Decision| [decision.clone(), decision];
        let fresh = Decision::Fresh { until: at(3600) };
        let flaw = Broken::secret("s", Flaw::Binary);
        let foreign = Broken::parameter("p", Flaw::NewerSchema(2));

        check(grant("v1", TOKEN), Ok(None), 0, both(Decision::Due));
        check(grant("v1", TOKEN), lease(Status::Active), 0, [fresh.clone(), Decision::Due]);
        check(grant("v1", TOKEN), lease(Status::Active), 1499, [fresh, Decision::Due]);
        check(grant("v1", TOKEN), lease(Status::Active), 1500, both(Decision::Due));
        check(grant("v1", TOKEN), lease(Status::Active), 9999, both(Decision::Due));
        check(grant("v2", TOKEN), lease(Status::Active), 0, both(Decision::Due));
        check(grant("v1", ""), lease(Status::Active), 9999, both(Decision::AwaitingConsent));

        let dead = Status::ConsentRequired(trouble(None));
        check(grant("v1", TOKEN), lease(dead.clone()), 9999, [Decision::ConsentRequired(trouble(None)), Decision::Due]);
        check(grant("v2", TOKEN), lease(dead), 0, both(Decision::Due));

        let ours = Status::Misconfigured(trouble(Some(3600)));
        check(
            grant("v1", TOKEN),
            lease(ours.clone()),
            3599,
            [Decision::Misconfigured(trouble(Some(3600))), Decision::Due],
        );
        check(grant("v1", TOKEN), lease(ours.clone()), 3600, both(Decision::Due));
        check(grant("v2", TOKEN), lease(ours), 0, both(Decision::Due));

        let throttled = Status::Throttled(trouble(Some(660)));
        check(grant("v1", TOKEN), lease(throttled.clone()), 659, both(Decision::CoolingDown { until: at(660) }));
        check(grant("v1", TOKEN), lease(throttled.clone()), 660, both(Decision::Due));
        check(grant("v2", TOKEN), lease(throttled), 0, both(Decision::Due));

        check(Err(flaw.clone()), lease(Status::Active), 0, both(Decision::Broken(flaw)));
        check(grant("v1", TOKEN), Err(foreign.clone()), 0, both(Decision::Broken(foreign)));
    }
}
