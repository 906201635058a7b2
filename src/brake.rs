//! Stops asking where a run has seen that asking is in vain, so that one sick data centre or one throttled client does not use up
//! the time that healthy connections need. It lives for one run; what is stopped is deferred to the next.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::connection::Grant;
use crate::ports::{Minted, Refusal};

/// So many connections of one client refused for too many requests in a row say that Zoho counts by client, not by refresh token
/// (its documents say both). Each further request would only prolong the pause.
const THROTTLED_IN_A_ROW: usize = 3;
/// So many passing faults in a row, or as many as run at the same time if that is more, say that a data centre is down.
const FAULTS_IN_A_ROW: usize = 10;

/// What the run has seen so far: refusals in a row, by accounts server and by client.
pub struct Brakes {
    fault_limit: usize,
    faults: RefCell<HashMap<String, usize>>,
    throttled: RefCell<HashMap<(String, String), usize>>,
}

impl Brakes {
    /// For a run that works on `concurrency` connections at the same time.
    pub fn new(concurrency: usize) -> Self {
        let fault_limit = concurrency.max(FAULTS_IN_A_ROW);
        Self { fault_limit, faults: RefCell::default(), throttled: RefCell::default() }
    }

    /// Why nothing is to be asked for this grant any more, if so.
    pub fn stopped(&self, grant: &Grant) -> Option<String> {
        let in_a_row = |count: Option<&usize>, limit: usize| count.is_some_and(|&count| count >= limit);
        if in_a_row(self.faults.borrow().get(&grant.data_center.accounts_server), self.fault_limit) {
            return Some(format!("the data centre {} seems to be out of order", grant.data_center.name));
        }
        in_a_row(self.throttled.borrow().get(&client(grant)), THROTTLED_IN_A_ROW)
            .then(|| format!("Zoho has had too many requests of the client {}", grant.client.id))
    }

    /// Takes an answer into account.
    pub fn note(&self, grant: &Grant, answer: &Result<Minted, Refusal>) {
        let count = |in_a_row: &mut usize, counts: bool| *in_a_row = if counts { *in_a_row + 1 } else { 0 };
        let mut faults = self.faults.borrow_mut();
        let faults = faults.entry(grant.data_center.accounts_server.clone()).or_default();
        count(faults, matches!(answer, Err(Refusal::Passing { .. })));
        let mut throttled = self.throttled.borrow_mut();
        match answer {
            Ok(_) => count(throttled.entry(client(grant)).or_default(), false),
            Err(Refusal::Throttled) => count(throttled.entry(client(grant)).or_default(), true),
            Err(_) => {}
        }
    }
}

fn client(grant: &Grant) -> (String, String) {
    (grant.data_center.accounts_server.clone(), grant.client.id.clone())
}
