//! The data-centre table: the only hosts that a code, a secret or a token is ever sent to.

use std::collections::BTreeMap;

use crate::address::origin;

/// One of Zoho's data centres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCenter {
    /// What Zoho calls it in a redirect's `location`: `eu`.
    pub name: String,
    /// Base URL for consents and tokens, without a trailing slash: `https://accounts.zoho.eu`.
    pub accounts_server: String,
    /// Base URL of most APIs, for token answers without one. `None` for a data centre that Zoho
    /// does not document.
    pub api_domain: Option<String>,
}

/// Name, accounts server and usual API domain as Zoho documents them (accounts protocol,
/// "multi-DC").
const BUILT_IN: [(&str, &str, &str); 11] = [
    ("us", "https://accounts.zoho.com", "https://www.zohoapis.com"),
    ("eu", "https://accounts.zoho.eu", "https://www.zohoapis.eu"),
    ("in", "https://accounts.zoho.in", "https://www.zohoapis.in"),
    ("au", "https://accounts.zoho.com.au", "https://www.zohoapis.com.au"),
    ("jp", "https://accounts.zoho.jp", "https://www.zohoapis.jp"),
    ("ca", "https://accounts.zohocloud.ca", "https://www.zohoapis.ca"),
    ("sa", "https://accounts.zoho.sa", "https://www.zohoapis.sa"),
    ("uk", "https://accounts.zoho.uk", "https://www.zohoapis.uk"),
    ("ae", "https://accounts.zoho.ae", "https://www.zohoapis.ae"),
    ("sg", "https://accounts.zoho.sg", "https://www.zohoapis.sg"),
    ("cn", "https://accounts.zoho.com.cn", "https://www.zohoapis.com.cn"),
];

/// The table: Zoho's own data centres and what the operator added.
#[derive(Clone, Debug)]
pub struct DataCenters(BTreeMap<String, DataCenter>);

impl Default for DataCenters {
    fn default() -> Self {
        Self(
            BUILT_IN
                .into_iter()
                .map(|(name, accounts_server, api_domain)| {
                    let data_center = DataCenter {
                        name: name.to_owned(),
                        accounts_server: accounts_server.to_owned(),
                        api_domain: Some(api_domain.to_owned()),
                    };
                    (name.to_owned(), data_center)
                })
                .collect(),
        )
    }
}

impl DataCenters {
    /// Adds or replaces entries from `name=https://accounts.example` items, comma-separated.
    ///
    /// # Errors
    /// One sentence for each wrong item. The table may then have only some of the items: do not use
    /// it.
    pub fn extend(&mut self, setting: &str) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        for entry in setting.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match parse_entry(entry) {
                Ok(data_center) => {
                    self.0.insert(data_center.name.clone(), data_center);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The data centre of this name.
    pub fn get(&self, name: &str) -> Option<&DataCenter> {
        self.0.get(name)
    }

    /// The data centre of this accounts server. The whole text has to match.
    pub fn by_accounts_server(&self, accounts_server: &str) -> Option<&DataCenter> {
        self.0.values().find(|data_center| data_center.accounts_server == accounts_server)
    }

    /// The data centre with this API domain. The whole text has to match.
    pub fn by_api_domain(&self, api_domain: &str) -> Option<&DataCenter> {
        self.0.values().find(|data_center| data_center.api_domain.as_deref() == Some(api_domain))
    }

    /// Every name, comma-separated, for a message.
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn parse_entry(entry: &str) -> Result<DataCenter, String> {
    let (name, server) =
        entry.split_once('=').ok_or_else(|| format!("{entry:?} is not name=https://accounts.example"))?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Err(format!("{name:?} is not a name for a data centre: use a-z, 0-9 and '-'"));
    }
    let accounts_server = origin(server).ok_or_else(|| {
        format!("{server:?} is not an accounts server: use https://host (http only for a loopback address)")
    })?;
    let api_domain =
        BUILT_IN.iter().find(|(known, ..)| *known == name).map(|(.., api_domain)| (*api_domain).to_owned());
    Ok(DataCenter { name: name.to_owned(), accounts_server, api_domain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_has_every_documented_data_center() {
        let table = DataCenters::default();
        assert_eq!(table.names(), "ae, au, ca, cn, eu, in, jp, sa, sg, uk, us");
        assert_eq!(table.get("ca").map(|ca| ca.accounts_server.as_str()), Some("https://accounts.zohocloud.ca"));
        for (_, accounts_server, api_domain) in BUILT_IN {
            assert_eq!(origin(accounts_server).as_deref(), Some(accounts_server));
            assert_eq!(origin(api_domain).as_deref(), Some(api_domain));
        }
    }

    #[test]
    fn a_setting_adds_and_replaces_entries() {
        let mut table = DataCenters::default();
        table.extend("eu=http://127.0.0.1:8000, portal=https://Accounts.Example/").expect("a right setting");
        assert_eq!(table.get("eu").expect("eu").accounts_server, "http://127.0.0.1:8000");
        assert_eq!(table.get("eu").expect("eu").api_domain.as_deref(), Some("https://www.zohoapis.eu"));
        assert_eq!(table.get("portal").expect("portal").accounts_server, "https://accounts.example");
        assert_eq!(table.get("portal").expect("portal").api_domain, None);
    }

    #[test]
    fn a_wrong_setting_names_every_wrong_item() {
        let check = |setting: &str, wrong: usize| {
            let problems = DataCenters::default().extend(setting).expect_err(setting);
            assert_eq!(problems.len(), wrong, "{problems:?}");
        };
        check("eu", 1);
        check("EU=https://accounts.example", 1);
        check("=https://accounts.example", 1);
        check("a=http://accounts.example,b=ftp://x,c=https://ok.example", 2);
        check("a=https://user@accounts.example", 1);
        check("a=https://accounts.example/path", 1);
        check("a=https://accounts.example?q", 1);
        check("a=https:accounts.example", 1);
        check("a=https://accounts.example//", 1);
        check("a=http://localhost.evil.example", 1);
        check("a=", 1);
    }
}
