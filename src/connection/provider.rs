//! Where a grant's tokens come from: one of Zoho's data centres, or another provider's server.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::DataCenter;
use crate::provider::server::Server;
use crate::provider::{EndsAccessToken, Profile, Reuse, ZOHO, table};

/// Where a grant's tokens come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// Zoho, in the account's data centre.
    Zoho(DataCenter),
    /// Another provider.
    Other(Arc<Server>),
}

impl Provider {
    /// Its name in documents: `zoho`, `xero`.
    pub fn name(&self) -> &'static str {
        self.profile().map_or(ZOHO, |profile| profile.name)
    }

    /// Its name for people: `Zoho`, `Xero`.
    pub fn title(&self) -> &'static str {
        table::title(self.name())
    }

    /// Zoho's data centre, if it is Zoho.
    pub fn data_center(&self) -> Option<&DataCenter> {
        match self {
            Self::Zoho(data_center) => Some(data_center),
            Self::Other(_) => None,
        }
    }

    /// What the table says, if it is not Zoho.
    pub fn profile(&self) -> Option<&'static Profile> {
        match self {
            Self::Zoho(_) => None,
            Self::Other(server) => Some(server.profile),
        }
    }

    /// The server for a sentence: `the data centre eu`, `Xero`.
    pub fn place(&self) -> String {
        match self {
            Self::Zoho(data_center) => format!("the data centre {}", data_center.name),
            Self::Other(server) => server.profile.title.to_owned(),
        }
    }

    /// Where tokens are asked for. Two grants with the same address share their fate.
    pub fn address(&self) -> &str {
        match self {
            Self::Zoho(data_center) => &data_center.accounts_server,
            Self::Other(server) => &server.token_endpoint,
        }
    }

    /// The base URL of the provider's API, as far as its table and the kept values tell.
    pub fn api_domain(&self, kept: &BTreeMap<String, String>) -> Option<String> {
        match self {
            Self::Zoho(data_center) => data_center.api_domain.clone(),
            Self::Other(server) => server.api_domain(kept),
        }
    }

    /// Whether each refresh token may be sent only once.
    pub fn rotates(&self) -> bool {
        matches!(self, Self::Other(server) if server.rotates())
    }

    /// What becomes of a refresh token that is sent a second time. Zoho's stay the same.
    pub fn reuse(&self) -> Reuse {
        match self {
            Self::Zoho(_) => Reuse::Tolerated,
            Self::Other(server) => server.reuse,
        }
    }

    /// Whether a refresh ends the access token that readers hold, at once or soon.
    pub fn ends_access_token(&self) -> bool {
        self.profile().is_some_and(|profile| profile.ends_access_token != EndsAccessToken::No)
    }

    /// How much of its `life` a token has left when it is due. The operator's `margin` is made for
    /// Zoho's tokens of an hour: of a shorter life it would leave nothing. A token that ends with
    /// the next refresh is replaced late.
    pub fn margin(&self, margin: SignedDuration, life: SignedDuration) -> SignedDuration {
        match self {
            Self::Zoho(_) => margin,
            Self::Other(_) => {
                let margin = if self.ends_access_token() { margin / 2 } else { margin };
                margin.min(life * 7 / 12)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::DataCenters;

    #[test]
    fn the_margin_fits_the_life_and_leaves_readers_their_token() {
        let server = |name| {
            let profile = table::find(name).expect("a row");
            Provider::Other(Arc::new(Server::of(profile, |_| None).expect("a server")))
        };
        let zoho = Provider::Zoho(DataCenters::default().get("eu").expect("a data centre").clone());
        for (provider, life, expected) in [
            (&zoho, 3600, 2100),
            (&zoho, 600, 2100),
            (&server("google"), 3600, 2100),
            (&server("dropbox"), 14_400, 2100),
            // Half an hour: with the whole margin it would be due at once.
            (&server("xero"), 1800, 1050),
            // A refresh ends the token that readers hold.
            (&server("github"), 28_800, 1050),
            (&server("atlassian"), 3600, 1050),
        ] {
            let margin = provider.margin(SignedDuration::from_secs(2100), SignedDuration::from_secs(life));
            assert_eq!(margin.as_secs(), expected, "{} with a life of {life}", provider.name());
        }
    }
}
