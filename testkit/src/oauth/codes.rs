//! Authorization codes: good once, for a short time, for one client and address.

use jiff::Timestamp;

use super::rules::{Agreed, Code, Minted, Refused, Rules};
use crate::digest::challenge;

impl Rules {
    /// A code for what a user agreed to. It is good once, for a short time.
    pub fn code(&mut self, now: Timestamp, agreed: Agreed, redirect_uri: &str, challenge: Option<&str>) -> String {
        let text = self.make("code");
        let expires = now + self.settings.code_life;
        let (redirect_uri, challenge) = (redirect_uri.to_owned(), challenge.map(str::to_owned));
        let code = Code { agreed, redirect_uri, challenge, expires, spent: false, grant: None };
        self.codes.insert(text.clone(), code);
        text
    }

    /// Exchanges a code. Its client's first attempt spends it, whatever comes of it. A second
    /// attempt ends the grant that the first one brought (RFC 6749 §4.1.2).
    pub fn exchange(
        &mut self,
        now: Timestamp,
        client_id: &str,
        text: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<Minted, Refused> {
        let code = self.codes.get_mut(text).filter(|code| code.agreed.client_id == client_id).ok_or(Refused::Code)?;
        if std::mem::replace(&mut code.spent, true) {
            if let Some(grant) = code.grant {
                self.end(now, grant);
            }
            return Err(Refused::Code);
        }
        // A verifier without a challenge is refused too (RFC 9700 §4.8.2).
        if now >= code.expires || code.redirect_uri != redirect_uri || code.challenge != verifier.map(challenge) {
            return Err(Refused::Code);
        }
        let agreed = code.agreed.clone();
        let minted = self.consent(now, agreed);
        let grant = self.grants.len() - 1;
        self.codes.entry(text.to_owned()).and_modify(|code| code.grant = Some(grant));
        Ok(minted)
    }
}
