//! Reads the rows of an input: JSON, CSV or .env. `plan` checks them later.
//!
//! No message quotes the input: if columns are mixed up, any of them can hold a secret.

use std::path::Path;

use serde_json::{Map, Value, json};
use token_keeper::connection::{DataCenters, UniqueFields};
use url::Url;

use super::Format;
use super::row::Row;
use crate::console::Failure;

/// Columns that become fields of the secret.
const FIELDS: [&str; 7] =
    ["client", "client_id", "client_secret", "data_center", "scopes", "refresh_token", "api_domain"];
/// Columns by which Zoho's SDKs identify a row; the best name comes first. Older SDKs write
/// `user_mail`.
const SDK_NAMES: [&str; 3] = ["user_name", "user_mail", "id"];
/// Variables that name the data centre of the account: by its name, a host or a URL.
const DATA_CENTER_VARIABLES: [&str; 6] =
    ["ZOHO_DATA_CENTER", "ZOHO_DC", "ZOHO_ACCOUNTS_URL", "ZOHO_ACCOUNTS_SERVER", "ZOHO_DOMAIN", "ZOHO_API_DOMAIN"];
const VARIABLES: [(&str, &str); 3] =
    [("ZOHO_CLIENT_ID", "client_id"), ("ZOHO_CLIENT_SECRET", "client_secret"), ("ZOHO_REFRESH_TOKEN", "refresh_token")];

/// Reads every connection of the input. An input without connections is an error.
pub(super) fn read(
    bytes: &[u8],
    path: Option<&Path>,
    format: Option<Format>,
    table: &DataCenters,
) -> Result<Vec<Row>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        Failure::new(format!("the input is not UTF-8, from line {line} on"), "save it as UTF-8")
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(Failure::new("the input is empty", "name a file, or pipe one in"));
    }
    let format = format.or_else(|| path.and_then(by_name)).or_else(|| by_content(text)).ok_or_else(|| {
        Failure::new("the input does not look like JSON, CSV or .env", "name its format: --format json, csv or env")
    })?;
    let rows = match format {
        Format::Json => json_rows(text)?,
        Format::Csv => csv_rows(text)?,
        Format::Env => vec![env_row(text, table)?],
    };
    if rows.is_empty() {
        return Err(Failure::new("there is no connection in the input", "see token-keeper import --help"));
    }
    Ok(rows)
}

fn by_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.rsplit_once('.') {
        Some((_, "json")) => Some(Format::Json),
        Some((_, "csv")) => Some(Format::Csv),
        Some((_, "env")) => Some(Format::Env),
        _ if name.starts_with(".env.") => Some(Format::Env),
        _ => None,
    }
}

fn by_content(text: &str) -> Option<Format> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    if first.starts_with(['{', '[']) {
        return Some(Format::Json);
    }
    match (first.find('='), first.find(',')) {
        (Some(equal), comma) if comma.is_none_or(|comma| equal < comma) => Some(Format::Env),
        (_, Some(_)) => Some(Format::Csv),
        _ => None,
    }
}

#[derive(serde::Deserialize)]
struct Wrapped {
    connections: Vec<UniqueFields>,
}

fn json_rows(text: &str) -> Result<Vec<Row>, Failure> {
    let wrong = |what: String| Failure::new(what, "give one JSON object, or an array of objects, each field once");
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        wrong(format!("the input is not valid JSON: see line {line}, column {column}"))
    })?;
    let list = value.get("connections").unwrap_or(&value);
    let odd = list.as_array().and_then(|list| list.iter().position(|row| !row.is_object()));
    if let Some(odd) = odd {
        return Err(wrong(format!("row {} is not a JSON object", odd + 1)));
    }
    let objects = match &value {
        Value::Array(_) => serde_json::from_str(text),
        Value::Object(fields) if fields.get("connections").is_some_and(Value::is_array) => {
            serde_json::from_str(text).map(|Wrapped { connections }| connections)
        }
        Value::Object(_) => serde_json::from_str(text).map(|object| vec![object]),
        _ => return Err(wrong("the input is neither a JSON object nor an array".to_owned())),
    };
    let objects = objects.map_err(|error| wrong(format!("a field occurs twice, at line {}", error.line())))?;
    let row =
        |UniqueFields(mut fields): UniqueFields| Row::new(fields.remove("connection").unwrap_or_default(), fields);
    Ok(objects.into_iter().map(row).collect())
}

/// Reads our own columns, or those of the file in which Zoho's SDKs keep tokens (`FileStore`).
/// Other columns of theirs, such as `access_token`, are ignored.
fn csv_rows(text: &str) -> Result<Vec<Row>, Failure> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_ascii_lowercase).collect(),
        Err(_) => Vec::new(),
    };
    check_header(&header)?;
    let mut rows = Vec::new();
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| {
            let what = match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    format!("row {} has {len} fields, and the header has {expected_len}", at + 1)
                }
                _ => format!("row {} is not valid CSV", at + 1),
            };
            Failure::new(what, "put double quotes around a field that contains a comma")
        })?;
        let value = |column: &str| {
            let at = header.iter().position(|name| name == column)?;
            record.get(at).filter(|value| !value.is_empty())
        };
        let name = value("connection").map(str::to_owned);
        let name = name.or_else(|| SDK_NAMES.iter().find_map(|column| value(column)).map(connection_name));
        let field = |&field: &&str| {
            let value = value(field)?;
            let value = if field == "scopes" { scopes(value) } else { json!(value) };
            Some((field.to_owned(), value))
        };
        rows.push(Row::new(json!(name), FIELDS.iter().filter_map(field).collect()));
    }
    Ok(rows)
}

fn check_header(header: &[String]) -> Result<(), Failure> {
    let known = |column: &str| column == "connection" || FIELDS.contains(&column);
    let wrong = |what: String| {
        let remedy =
            format!("the first line must name the columns, separated by commas: connection, {}", FIELDS.join(", "));
        Failure::new(what, remedy)
    };
    if !header.iter().any(|column| column == "refresh_token") {
        return Err(wrong("the header has no column `refresh_token`".to_owned()));
    }
    let twice = header.iter().enumerate().find(|(at, column)| known(column) && header[..*at].contains(column));
    if let Some((_, column)) = twice {
        return Err(wrong(format!("the header has the column `{column}` twice")));
    }
    let ours = header.iter().any(|column| column == "connection");
    match header.iter().position(|column| !known(column)) {
        Some(at) if ours => Err(wrong(format!("column {} of the header has an unknown name", at + 1))),
        _ => Ok(()),
    }
}

fn scopes(text: &str) -> Value {
    json!(text.split([' ', ',']).filter(|scope| !scope.is_empty()).collect::<Vec<_>>())
}

/// Turns the mail address of an SDK's user into a connection name.
fn connection_name(user: &str) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c) { c } else { '-' };
    let name: String = user.to_lowercase().chars().map(plain).collect();
    name.trim_start_matches(['-', '_', '.']).to_owned()
}

fn env_row(text: &str, table: &DataCenters) -> Result<Row, Failure> {
    let field_of = |variable: &str| {
        let field = VARIABLES.iter().find(|(name, _)| *name == variable).map(|(_, field)| *field);
        field.or_else(|| DATA_CENTER_VARIABLES.contains(&variable).then_some("data_center"))
    };
    check_references(text, |variable| field_of(variable).is_some())?;
    let mut fields = Map::new();
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        let (variable, value) = variable.map_err(|error| not_env(text, &error))?;
        let Some(field) = field_of(&variable).filter(|_| !value.is_empty()) else { continue };
        let value = if field == "data_center" { data_center(&value, table) } else { value };
        let value = json!(value);
        if let Some(before) = fields.insert(field.to_owned(), value.clone())
            && before != value
        {
            let what = format!("the input has two values for `{field}`, the second in {variable}");
            return Err(Failure::new(what, "keep one of them"));
        }
    }
    Ok(Row::new(Value::Null, fields))
}

/// Refuses a variable that refers to another: dotenvy would look that one up in this program's
/// environment first.
fn check_references(text: &str, needed: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some((variable, value)) = line.split_once('=')
            && needed(variable.trim())
            && value.contains('$')
        {
            let what = format!("{} in line {} refers to another variable", variable.trim(), at + 1);
            return Err(Failure::new(what, "write the value itself"));
        }
    }
    Ok(())
}

fn not_env(text: &str, error: &dotenvy::Error) -> Failure {
    let remedy = "correct that line, or keep only the lines that start with ZOHO_";
    let line = match error {
        dotenvy::Error::LineParse(line, _) => text.find(line.as_str()),
        _ => None,
    };
    let line = line.map(|at| format!(" (see line {})", text[..at].matches('\n').count() + 1)).unwrap_or_default();
    Failure::new(format!("the input is not a .env file: a line is not NAME=value{line}"), remedy)
}

/// Finds a data centre's name from `eu`, `zoho.eu`, `accounts.zoho.eu` or a URL. An unknown text
/// comes back unchanged and is refused later.
fn data_center(text: &str, table: &DataCenters) -> String {
    let text = text.trim().to_ascii_lowercase();
    let url = if text.contains("://") { text.clone() } else { format!("https://{text}") };
    let host = Url::parse(&url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    let found = table
        .get(&text)
        .or_else(|| table.by_accounts_server(&host))
        .or_else(|| table.by_api_domain(&host))
        .or_else(|| table.by_accounts_server(&format!("https://accounts.{text}")))
        .or_else(|| table.by_accounts_server(&format!("https://accounts.zoho.{text}")));
    found.map(|data_center| data_center.name.clone()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_center_is_found_by_name_domain_host_and_url() {
        let check = |text: &str, expected: &str| {
            assert_eq!(data_center(text, &DataCenters::default()), expected, "{text}");
        };
        check("eu", "eu");
        check(" EU ", "eu");
        check("com", "us");
        check("com.au", "au");
        check("zoho.com", "us");
        check("zohocloud.ca", "ca");
        check("accounts.zoho.in", "in");
        check("https://accounts.zoho.jp", "jp");
        check("https://accounts.zoho.com.cn/oauth/v2/token", "cn");
        check("https://www.zohoapis.com.au/", "au");
        check("mars", "mars");
        check("https://accounts.zoho.eu.example", "https://accounts.zoho.eu.example");
    }

    #[test]
    fn a_users_mail_address_becomes_a_name() {
        assert_eq!(connection_name("Sales.Team+eu@Example.com"), "sales.team-eu-example.com");
        assert_eq!(connection_name("_Ö1"), "1");
    }

    #[test]
    fn the_format_follows_from_the_file_name_or_else_from_the_content() {
        let named = |name: &str| by_name(Path::new(name)).map(|format| format!("{format:?}")).unwrap_or_default();
        assert_eq!(
            ["a.JSON", "b/a.csv", ".env", "prod.env", ".env.local", "tokens.txt"].map(named),
            ["Json", "Csv", "Env", "Env", "Env", ""]
        );
        let guessed = |text: &str| by_content(text).map(|format| format!("{format:?}")).unwrap_or_default();
        assert_eq!(
            ["\n [", "{", "# mine\nA=1,2", "export A=1", "id,user_name\n1,a=b", "a,b=c", "hello"].map(guessed),
            ["Json", "Json", "Env", "Env", "Csv", "Csv", ""]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "[a-z_,=#$'\"\\\\{}:\\[\\]\\r\\n ü]{0,60}", start in "(refresh_token,|ZOHO_DC=|\\{\"connections\":)?") {
            for format in [None, Some(Format::Json), Some(Format::Csv), Some(Format::Env)] {
                let _rows = read(format!("{start}{text}").as_bytes(), None, format, &DataCenters::default());
            }
        }
    }
}
