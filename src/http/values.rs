//! Values in the answers of token endpoints, which have them in many forms.

use serde_json::Value;

/// A whole number above zero. It may be a text.
pub fn positive(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|&number| number > 0)
}

/// At most this many characters that a header carries unchanged.
pub fn is_token(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
