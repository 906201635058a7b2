//! Reads JSON: our own fields, the rows of a table of Zoho's SDKs, or what Zoho's token endpoint
//! answered.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use token_keeper::connection::UniqueFields;

use crate::console::Failure;
use crate::import::row::Row;

/// Fields of Zoho's SDKs and of its token endpoint. An object with one of them was not written for
/// Token Keeper, so only what Token Keeper needs is taken from it.
const FOREIGN: [&str; 5] = ["access_token", "grant_token", "token_type", "expires_in", "error"];

#[derive(serde::Deserialize)]
struct Wrapped {
    connections: Vec<UniqueFields>,
}

pub(super) fn rows(text: &str) -> Result<Vec<Row>, Failure> {
    let wrong = |what: String| Failure::new(what, "give one JSON object, or an array of objects, each field once");
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        wrong(format!("the input is not valid JSON: see line {line}, column {column}"))
    })?;
    // Tools that export a table wrap its rows in an object whose one field is the table's name.
    let table = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next());
    let table = table.filter(|table| table.is_array());
    let list = value.get("connections").or(table).unwrap_or(&value);
    let odd = list.as_array().and_then(|list| list.iter().position(|row| !row.is_object()));
    if let Some(odd) = odd {
        return Err(wrong(format!("row {} is not a JSON object", odd + 1)));
    }
    let objects = match &value {
        Value::Array(_) => serde_json::from_str(text),
        Value::Object(fields) if fields.get("connections").is_some_and(Value::is_array) => {
            serde_json::from_str(text).map(|Wrapped { connections }| connections)
        }
        Value::Object(_) if table.is_some() => serde_json::from_str(text)
            .map(|tables: BTreeMap<String, Vec<UniqueFields>>| tables.into_values().flatten().collect()),
        Value::Object(_) => serde_json::from_str(text).map(|object| vec![object]),
        _ => return Err(wrong("the input is neither a JSON object nor an array".to_owned())),
    };
    let objects: Vec<UniqueFields> =
        objects.map_err(|error| wrong(format!("a field occurs twice, at line {}", error.line())))?;
    Ok(objects.into_iter().map(|UniqueFields(fields)| row(fields)).collect())
}

fn row(mut fields: Map<String, Value>) -> Row {
    if FOREIGN.iter().any(|field| fields.contains_key(*field)) {
        return Row::of_columns(|column| fields.get(column).filter(|value| !value.is_null() && *value != "").cloned());
    }
    Row::new(fields.remove("connection").unwrap_or_default(), fields)
}
