//! The JSON Schema of the configuration file, for editors.

use reprieve_settings::format::Type;
use reprieve_settings::{KeyDescription, Table as _};
use serde_json::{Map, Value, json};

use super::{Config, meaning_of};

/// JSON Schema, draft 2020-12.
pub(crate) fn json_schema() -> Value {
    let mut schema = table(&Config::describe());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Reprieve");
    schema["description"] = json!("Configuration of Reprieve, a POP3 proxy");
    schema
}

fn table(keys: &[KeyDescription]) -> Value {
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required = keys.iter().filter(|key| key.required && key.only_with.is_none());
    let required: Vec<_> = required.map(|key| key.name).collect();
    let dependent = keys.iter().filter(|key| !key.needs.is_empty());
    let dependent: Map<_, _> = dependent.map(|key| (key.name.to_owned(), json!(key.needs))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !dependent.is_empty() {
        schema["dependentRequired"] = Value::Object(dependent);
    }
    schema
}

fn property(key: &KeyDescription) -> Value {
    let mut schema = value(&key.kind);
    schema["description"] = json!(meaning_of(key));
    if key.default_text.is_none()
        && !key.required
        && let Some(default) = key.default.as_deref().and_then(json_of)
    {
        schema["default"] = default;
    }
    if let Some(example) = key.example.and_then(json_of) {
        schema["examples"] = json!([example]);
    }
    schema
}

/// A value in TOML as JSON.
fn json_of(toml: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {toml}").parse().ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

fn value(kind: &Type) -> Value {
    match kind {
        Type::Boolean => json!({ "type": "boolean" }),
        // A TOML integer is one of 64 bits with a sign.
        Type::Integer(range) if *range.end() > i64::MAX.unsigned_abs() => {
            json!({ "type": "integer", "minimum": range.start() })
        }
        Type::Integer(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Type::Fraction => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Type::String(_) => json!({ "type": "string" }),
        Type::Duration { zero } => json!({ "type": "string", "pattern": duration_pattern(*zero) }),
        Type::Size(_) => json!({ "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)$" }),
        Type::Word(words) => json!({ "enum": words }),
        Type::List(item) => json!({ "type": "array", "items": value(item) }),
        Type::Table(keys) => table(keys),
        Type::NamedTables(keys) => json!({ "type": "object", "additionalProperties": table(keys) }),
        Type::NamedValues(kind) => json!({ "type": "object", "additionalProperties": value(kind) }),
        Type::FreeTable => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Type::Either(types) => json!({ "anyOf": types.iter().map(value).collect::<Vec<_>>() }),
    }
}

/// Matches what [`reprieve_settings::duration`] accepts, and units in another order.
fn duration_pattern(zero: bool) -> &'static str {
    if zero {
        "^[0-9]+ *(ms|s|m|h|d)( *[0-9]+ *(ms|s|m|h|d))*$"
    } else {
        "^([0-9]+ *(ms|s|m|h|d) *)*0*[1-9][0-9]* *(ms|s|m|h|d)( *[0-9]+ *(ms|s|m|h|d))*$"
    }
}
