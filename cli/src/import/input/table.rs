//! Reads separated values with a header: our own columns, the token file of Zoho's SDKs, or an
//! export of their table.

use serde_json::json;

use crate::console::Failure;
use crate::import::row::{FIELDS, Row};

/// What may stand between two columns.
pub(super) const SEPARATORS: [char; 3] = [',', ';', '\t'];
/// What a client of the database writes for a value that is null.
const NULLS: [&str; 2] = ["NULL", "\\N"];

/// Reads every row. Columns that Token Keeper does not need, such as an SDK's `access_token`, are
/// ignored.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, Failure> {
    let text = text.trim_start();
    let separator = text.lines().next().and_then(|header| header.chars().find(|c| SEPARATORS.contains(c)));
    let separator = separator.unwrap_or(',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator as u8)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_ascii_lowercase).collect(),
        Err(_) => Vec::new(),
    };
    check_header(&header)?;
    // An SDK that takes over the file of an older one leaves rows without any value.
    let records =
        reader.records().filter(|record| !record.as_ref().is_ok_and(|record| record.iter().all(str::is_empty)));
    let mut rows = Vec::new();
    for (at, record) in records.enumerate() {
        let remedy = "put double quotes around a field that contains the separator";
        let record = record.map_err(|_| Failure::new(format!("row {} is not valid CSV", at + 1), remedy))?;
        let (fields, columns) = (record.len(), header.len());
        if fields != columns {
            let what = format!("row {} has {fields} fields, and the header has {columns}", at + 1);
            return Err(Failure::new(what, remedy));
        }
        rows.push(Row::of_columns(|column| {
            let at = header.iter().position(|name| name == column)?;
            let value = record.get(at).filter(|value| !value.is_empty() && !NULLS.contains(value))?;
            // `mysql --batch` doubles a backslash.
            Some(if separator == '\t' { json!(value.replace("\\\\", "\\")) } else { json!(value) })
        }));
    }
    Ok(rows)
}

fn check_header(header: &[String]) -> Result<(), Failure> {
    let known = |column: &str| column == "connection" || FIELDS.contains(&column);
    let wrong = |what: String| {
        let remedy = "the first line must name the columns, separated by commas, semicolons or tabs: connection, ";
        Failure::new(what, format!("{remedy}{}", FIELDS.join(", ")))
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
