//! `token-keeper import`: takes over refresh tokens that another program kept until now.
//!
//! Reads and checks every row before it writes anything. One row that is refused stops the whole
//! import.

mod row;
mod input;
mod plan;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use token_keeper::address::origin;
use token_keeper::failure::StoreError;
use token_keeper::name::{ClientName, ConnectionName, SecretName};
use token_keeper::ports::Grants as _;

use self::plan::{Plan, Store, Taken, refuse_duplicates};
use self::row::Row;
use crate::console::{Console, Failure};
use crate::operator::Operator;
use crate::text::{counted, table};

/// Where the refresh tokens are, and what is missing in the input.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  token-keeper import grants.json\n  token-keeper import .env --connection crm-prod\n  token-keeper import \
                  zoho_sdk_tokens.txt --client acme-app\n  mysql --batch -e 'select * from oauthtoken' zohooauth | token-keeper import\n  \
                  token-keeper import answer.json --connection crm-prod --client acme-app\n\n\
                  JSON: an object or an array of objects with connection, client (or client_id and client_secret), \
                  data_center, refresh_token and, if you have them, scopes and api_domain. For another provider than Zoho: a client of \
                  it (or provider, client_id and client_secret), refresh_token, scopes, no data_center, and kept, an object with what \
                  callers of its API need. Or the rows of the SDKs' table; or what Zoho's \
                  token endpoint answered when a code was exchanged.\n\
                  CSV: a header with the same names, the token file of one of Zoho's SDKs, or an export of their table, \
                  separated by commas, semicolons or tabs.\n\
                  .env: ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET, ZOHO_REFRESH_TOKEN, and ZOHO_DATA_CENTER or ZOHO_ACCOUNTS_URL.\n\n\
                  If one row is refused, nothing is stored. The input file stays: delete it afterwards."
)]
pub struct Arguments {
    /// The file to read. Without it, standard input is read
    pub file: Option<PathBuf>,
    /// The format of the input, if its name and content do not show it
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Let the input change what is stored. A refresh token that it replaces is not revoked
    #[arg(long)]
    pub replace: bool,
    /// The connection's name, for an input with one connection
    #[arg(long, value_name = "NAME")]
    pub connection: Option<ConnectionName>,
    /// Use this stored client, instead of storing its id and secret with each connection
    #[arg(long, value_name = "NAME")]
    pub client: Option<ClientName>,
    /// Zoho's data centre of the accounts. Wins over the input
    #[arg(long, value_name = "NAME")]
    pub data_center: Option<String>,
}

/// The format of an input.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// One object, an array, or an answer of Zoho's token endpoint
    Json,
    /// A header and rows, separated by commas, semicolons or tabs
    Csv,
    /// Variables of one connection
    Env,
}

impl Operator {
    pub(super) async fn import(&self, arguments: &Arguments, console: &Console<'_>) -> Result<(), Failure> {
        let rows = self.rows(arguments, console)?;
        let secrets = self.secrets.read(&self.secrets_of(&rows)).await?;
        let store = Store::new(&self.settings, &secrets);
        let mut judged: Vec<_> = rows.iter().map(|row| store.judge(row, arguments.replace)).collect();
        refuse_duplicates(&mut judged);
        self.show_plan(&rows, &judged, console);
        let taken = all_taken(&rows, judged)?;
        self.store(&taken, console).await?;
        let stored = taken.iter().filter(|taken| taken.plan != Plan::Same).count();
        let names: Vec<_> = taken.iter().map(|taken| taken.grant.connection.as_str()).collect();
        let connections = taken.iter().map(|Taken { grant, plan, changes, .. }| {
            let (connection, provider) = (grant.connection.as_str(), grant.provider.name());
            let data_center = grant.provider.data_center().map(|home| &home.name);
            json!({"connection": connection, "provider": provider, "data_center": data_center, "plan": plan.word(), "changes": changes})
        });
        self.warn_of_rotation(taken.iter().map(|taken| &taken.grant), console);
        console.answer(json!({"stored": stored, "connections": connections.collect::<Vec<_>>()}));
        console.show(&format!("\n{stored} of {} stored.", counted(names.len(), "connection")));
        let next = taken.iter().filter(|taken| !taken.grant.provider.rotates() || self.settings.rotating);
        let next: Vec<_> = next.map(|taken| taken.grant.connection.as_str()).collect();
        let next =
            if next.is_empty() { String::new() } else { format!(" Next: token-keeper refresh {}", next.join(" ")) };
        console.show(&format!("Nothing was minted.{next}"));
        Ok(())
    }

    /// Reads the input and adds what the options say.
    fn rows(&self, arguments: &Arguments, console: &Console<'_>) -> Result<Vec<Row>, Failure> {
        let Arguments { file, format, connection, client, data_center, .. } = arguments;
        let table = &self.settings.data_centers;
        self.check_data_center(data_center.as_deref())?;
        let path = file.as_deref();
        let bytes = console.terminal.read_file(path).map_err(|error| {
            let input = path.map_or("the input".to_owned(), |path| path.display().to_string());
            Failure::new(format!("{input} cannot be read: {error}"), "name a file, or pipe one in")
        })?;
        let mut rows = input::read(&bytes, path, *format, table)?;
        if let Some(connection) = connection {
            let [row] = rows.as_mut_slice() else {
                let what = format!("--connection gives one name, but the input has {} connections", rows.len());
                return Err(Failure::new(what, "name them in the input: a field or column `connection`"));
            };
            row.name = json!(connection.as_str());
        }
        for row in &mut rows {
            let home = row.text("api_domain").and_then(origin);
            let home = home.and_then(|api_domain| table.by_api_domain(&api_domain)).map(|home| home.name.clone());
            let fields = &mut row.fields;
            if let Some(data_center) = data_center {
                fields.insert("data_center".to_owned(), json!(data_center));
                if home.as_ref() != Some(data_center) {
                    fields.remove("api_domain");
                }
            } else if let Some(home) = home {
                fields.entry("data_center").or_insert(json!(home));
            }
            if let Some(client) = client {
                row.registered = fields.remove("client_id");
                fields.remove("client_secret");
                fields.insert("client".to_owned(), json!(client.as_str()));
            }
        }
        Ok(rows)
    }

    /// The full names of the secrets that the rows become, and of the clients that they use.
    fn secrets_of(&self, rows: &[Row]) -> Vec<SecretName> {
        let prefix = &self.settings.prefix;
        let grants = rows.iter().filter_map(|row| Some(prefix.grant(row.connection().ok()?.as_str())));
        let clients = rows.iter().filter_map(|row| Some(prefix.client(row.client().ok()??.as_str())));
        grants.chain(clients).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Shows what was found and what will be done. Of a refused row, it shows only what cannot be a
    /// secret.
    fn show_plan(&self, rows: &[Row], judged: &[Result<Taken, Failure>], console: &Console<'_>) {
        let headings = ["connection", "server", "client", "scopes", "refresh token", "plan"];
        let mut table = table(console.terminal.look(), &headings);
        for (row, judged) in rows.iter().zip(judged) {
            table.add_row(self.cells(row, judged.as_ref().ok()));
        }
        console.show(&table.trim_fmt());
    }

    fn cells(&self, row: &Row, taken: Option<&Taken>) -> [String; 6] {
        let name = row.connection().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let refresh_token = row.text("refresh_token").map_or("?".to_owned(), masked);
        let Some(Taken { grant, plan, changes, .. }) = taken else {
            let home = row.text("data_center").filter(|home| self.settings.data_centers.get(home).is_some());
            let [client, scopes] = ["?", "?"].map(str::to_owned);
            return [name, home.unwrap_or("?").to_owned(), client, scopes, refresh_token, "refused".to_owned()];
        };
        let client = row.text("client").unwrap_or("its own").to_owned();
        // `replace` is said of the refresh token.
        let changes = changes.iter().copied().filter(|change| *plan != Plan::Replace || *change != "refresh_token");
        let changes = changes.collect::<Vec<_>>().join(", ");
        let plan = if changes.is_empty() { plan.word().to_owned() } else { format!("{}: {changes}", plan.word()) };
        let home = grant.provider.data_center().map_or(grant.provider.name(), |home| home.name.as_str());
        [name, home.to_owned(), client, grant.scopes.join(" "), refresh_token, plan]
    }

    async fn store(&self, taken: &[Taken], console: &Console<'_>) -> Result<(), Failure> {
        let writes: Vec<_> = taken.iter().filter(|taken| taken.plan != Plan::Same).collect();
        for (done, taken) in writes.iter().enumerate() {
            console.terminal.progress(done, writes.len());
            let name = self.settings.prefix.grant(taken.grant.connection.as_str());
            // The plan was for the version that was read, so nothing newer is replaced.
            match self.write(&name, taken.read.as_ref(), &taken.document).await {
                Ok(Some(_)) => {}
                Ok(None) => return Err(overtaken(&writes, done)),
                Err(error) => return Err(broken_off(&writes, done, &error)),
            }
        }
        Ok(())
    }
}

/// Somebody else has changed a secret since the plan was made.
fn overtaken(writes: &[&Taken], done: usize) -> Failure {
    let connection = &writes[done].grant.connection;
    let what = format!("somebody else has just changed {connection}{}", so_far(writes, done, done));
    Failure::new(what, "run the same command again: it shows the new plan, and skips what is stored")
}

/// After a failed write: says what is stored and what is not.
fn broken_off(writes: &[&Taken], done: usize, error: &StoreError) -> Failure {
    // If a call got no answer, AWS may have done it or not.
    let known = done + usize::from(!error.undone());
    let what = format!("{error}{}", so_far(writes, done, known));
    Failure::new(what, format!("{}; then run the same command again: it skips what is stored", error.remedy()))
}

/// The names of the `done` rows, of those up to `known` that may be stored, and of the others.
fn so_far(writes: &[&Taken], done: usize, known: usize) -> String {
    let names = |writes: &[&Taken]| {
        let names: Vec<_> = writes.iter().map(|taken| taken.grant.connection.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (stored, unknown, rest) = (&writes[..done], &writes[done..known], &writes[known..]);
    let unknown = if unknown.is_empty() { String::new() } else { format!("\n  perhaps stored: {}", names(unknown)) };
    format!("\n  stored: {}{unknown}\n  not stored: {}", names(stored), names(rest))
}

/// Returns every row, or an error that lists the refused ones.
fn all_taken(rows: &[Row], judged: Vec<Result<Taken, Failure>>) -> Result<Vec<Taken>, Failure> {
    let mut all = Vec::new();
    let mut complaints = Vec::new();
    for (at, (row, judged)) in rows.iter().zip(judged).enumerate() {
        match judged {
            Ok(taken) => all.push(taken),
            Err(Failure { what, remedy }) => {
                let name = row.connection().map(|name| format!(" ({name})")).unwrap_or_default();
                complaints.push(format!("\n  row {}{name}: {what}; {remedy}", at + 1));
            }
        }
    }
    if complaints.is_empty() {
        return Ok(all);
    }
    let (refused, complaints) = (complaints.len(), complaints.concat());
    let what = format!("nothing was stored, because {refused} of {} rows cannot be imported:{complaints}", rows.len());
    Err(Failure::new(what, "correct this, then run the command again"))
}

/// The first characters of a refresh token, so that the operator recognises it. Shows nothing of a
/// short one.
fn masked(token: &str) -> String {
    let shown = token.get(..5).filter(|shown| token.len() > 20 && shown.chars().all(|c| c.is_ascii_graphic()));
    format!("{}...", shown.unwrap_or_default())
}
