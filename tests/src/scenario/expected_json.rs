//! Expectations of a JSON document.
//!
//! An object must have the keys given, others are free; arrays and plain values must be equal. An object with
//! one key that begins with `$` is a condition: `{$any: true}` (present, not null), `{$at_least: N}`,
//! `{$at_most: N}`, `{$contains: TEXT}` (a string's part, or an array's element that matches), `{$len: N}`.

use anyhow::{Result, bail};
use serde_json::Value;

/// Checks `actual`; `place` is where in the document it is.
///
/// # Errors
/// The first difference, with its place.
pub(super) fn check(expected: &Value, actual: &Value, place: &str) -> Result<()> {
    match (expected, actual) {
        (Value::Object(wanted), _) if wanted.len() == 1 && wanted.keys().all(|key| key.starts_with('$')) => {
            for (condition, bound) in wanted {
                meets(condition, bound, actual, place)?;
            }
            Ok(())
        }
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let place = format!("{place}.{key}");
                match found.get(key) {
                    Some(other) => check(value, other, &place)?,
                    None => bail!("{place} is missing"),
                }
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (value, other)) in wanted.iter().zip(found).enumerate() {
                check(value, other, &format!("{place}[{index}]"))?;
            }
            Ok(())
        }
        // 1 and 1.0 are one number to whoever writes a scenario.
        (Value::Number(wanted), Value::Number(found)) if wanted.as_f64() == found.as_f64() => Ok(()),
        _ if expected == actual => Ok(()),
        _ => bail!("{place} is {actual}, not {expected}"),
    }
}

fn meets(condition: &str, bound: &Value, actual: &Value, place: &str) -> Result<()> {
    let number = actual.as_f64();
    let limit = bound.as_f64();
    let holds = match condition {
        "$any" => !actual.is_null(),
        "$at_least" => number.zip(limit).is_some_and(|(number, limit)| number >= limit),
        "$at_most" => number.zip(limit).is_some_and(|(number, limit)| number <= limit),
        "$len" => actual.as_array().map(Vec::len) == bound.as_u64().map(|count| count as usize),
        "$contains" => match actual {
            Value::String(text) => bound.as_str().is_some_and(|part| text.contains(part)),
            Value::Array(elements) => elements.iter().any(|element| check(bound, element, place).is_ok()),
            _ => false,
        },
        _ => bail!("{place}: no condition {condition:?}"),
    };
    if holds { Ok(()) } else { bail!("{place} is {actual}, not {condition} {bound}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(expected: Value, actual: Value) -> bool {
        check(&expected, &actual, "").is_ok()
    }

    #[test]
    fn keys_that_are_not_named_are_free_and_named_ones_are_not() {
        assert!(matches(json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}, "d": 3})));
        assert!(!matches(json!({"a": 1}), json!({"a": 2})));
        assert!(!matches(json!({"a": 1}), json!({})));
        assert!(!matches(json!([1]), json!([1, 2])));
    }

    #[test]
    fn conditions_hold_or_not() {
        assert!(matches(json!({"a": {"$at_least": 2}}), json!({"a": 2})));
        assert!(!matches(json!({"a": {"$at_least": 3}}), json!({"a": 2})));
        assert!(matches(json!({"a": {"$contains": {"b": 1}}}), json!({"a": [{"b": 2}, {"b": 1, "c": 3}]})));
        assert!(matches(json!({"$contains": "fence"}), json!("the fence holds")));
        assert!(!matches(json!({"$any": true}), Value::Null));
        assert!(!matches(json!({"$len": 2}), json!([1])));
    }
}
