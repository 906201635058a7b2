//! Many connections at once, for benchmarks and the served stand-ins. Each has a live refresh
//! token.

use serde_json::json;

use crate::aws::Aws;
use crate::zoho::Zoho;

/// The client of all seeded connections. It is invented.
pub const CLIENT_ID: &str = "1000.STANDINCLIENT0000000000000000AA";
/// A non-browser application with the same secret, for the served stand-ins. It is invented.
pub const DEVICE_CLIENT_ID: &str = "1004.STANDINDEVICE0000000000000000AA";
/// The client's secret, the same in every data centre. It is invented.
pub const CLIENT_SECRET: &str = "stand-in-client-secret-0000000000000000";

/// A self client, with the same secret. It is invented.
pub const SELF_CLIENT_ID: &str = "1000.STANDINSELFCLIENT00000000000000AA";

/// The scope of every seeded connection.
const SCOPE: &str = "ZohoCRM.modules.ALL";

/// One seeded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// `conn-00001`, …
    pub name: String,
    /// The connection's own refresh token.
    pub refresh_token: String,
    /// The data centre's name. Connections take turns over all data centres that Zoho serves.
    pub data_center: String,
}

/// Consents to `count` connections and stores each as `token-keeper/connections/conn-00001`, … with
/// the client inline, so that a run reads one secret for each. Raises Zoho's limit of refresh
/// tokens per user, so that all of them live.
pub fn connections(aws: &Aws, zoho: &Zoho, count: usize) -> Vec<Seeded> {
    let table = zoho.data_centers();
    let data_centers: Vec<&str> = table.split(',').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    let secrets: Vec<_> = data_centers.iter().map(|name| (*name, CLIENT_SECRET)).collect();
    zoho.register(CLIENT_ID, &[], &secrets);
    zoho.register(SELF_CLIENT_ID, &[], &secrets);
    let needed = zoho.refresh_tokens().len() + count;
    zoho.settings(|settings| settings.refresh_tokens_per_user = settings.refresh_tokens_per_user.max(needed));
    let seed = |(number, data_center): (usize, &&str)| {
        let name = format!("conn-{number:05}");
        let refresh_token = zoho.consent(data_center, CLIENT_ID, &[SCOPE]);
        let grant = json!({
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": refresh_token,
            "data_center": data_center,
            "scopes": [SCOPE],
        });
        aws.put_secret(&format!("token-keeper/connections/{name}"), &grant.to_string());
        Seeded { name, refresh_token, data_center: (*data_center).to_owned() }
    };
    (1..=count).zip(data_centers.iter().cycle()).map(seed).collect()
}
