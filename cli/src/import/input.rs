//! Reads the rows of an input: JSON, separated values or .env. `plan` checks them later.
//!
//! No message quotes the input: if columns are mixed up, any of them can hold a secret.

mod env;
mod json;
mod table;

use std::path::Path;

use token_keeper::connection::DataCenters;

use super::Format;
use super::row::Row;
use crate::console::Failure;

/// Reads every connection of the input. An input without connections is an error.
pub(super) fn read(
    bytes: &[u8],
    path: Option<&Path>,
    format: Option<Format>,
    data_centers: &DataCenters,
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
        Format::Json => json::rows(text)?,
        Format::Csv => table::rows(text)?,
        Format::Env => vec![env::row(text, data_centers)?],
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
        Some((_, "csv" | "tsv")) => Some(Format::Csv),
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
    match (first.find('='), first.find(table::SEPARATORS)) {
        (Some(equal), separator) if separator.is_none_or(|separator| equal < separator) => Some(Format::Env),
        (_, Some(_)) => Some(Format::Csv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_from_the_file_name_or_else_from_the_content() {
        let named = |name: &str| by_name(Path::new(name)).map(|format| format!("{format:?}")).unwrap_or_default();
        assert_eq!(
            ["a.JSON", "b/a.csv", "a.tsv", ".env", "prod.env", ".env.local", "tokens.txt"].map(named),
            ["Json", "Csv", "Csv", "Env", "Env", "Env", ""]
        );
        let guessed = |text: &str| by_content(text).map(|format| format!("{format:?}")).unwrap_or_default();
        assert_eq!(
            ["\n [", "{", "# mine\nA=1,2", "export A=1", "id,user_name\n1,a=b", "a,b=c", "a;b", "a\tb", "hello"]
                .map(guessed),
            ["Json", "Json", "Env", "Env", "Csv", "Csv", "Csv", "Csv", ""]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "[a-z_,;=#$'\"\\\\{}:\\[\\]\\r\\n\\t ü]{0,60}", start in "(refresh_token,|ZOHO_DC=|\\{\"connections\":)?") {
            for format in [None, Some(Format::Json), Some(Format::Csv), Some(Format::Env)] {
                let _rows = read(format!("{start}{text}").as_bytes(), None, format, &DataCenters::default());
            }
        }
    }
}
