//! Reads the variables of one connection: a `.env` file.

use serde_json::{Map, Value, json};
use token_keeper::connection::DataCenters;
use url::Url;

use crate::console::Failure;
use crate::import::row::Row;

/// Variables that name the data centre of the account: by its name, a host or a URL.
const DATA_CENTER_VARIABLES: [&str; 6] =
    ["ZOHO_DATA_CENTER", "ZOHO_DC", "ZOHO_ACCOUNTS_URL", "ZOHO_ACCOUNTS_SERVER", "ZOHO_DOMAIN", "ZOHO_API_DOMAIN"];
const VARIABLES: [(&str, &str); 3] =
    [("ZOHO_CLIENT_ID", "client_id"), ("ZOHO_CLIENT_SECRET", "client_secret"), ("ZOHO_REFRESH_TOKEN", "refresh_token")];

pub(super) fn row(text: &str, table: &DataCenters) -> Result<Row, Failure> {
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
}
