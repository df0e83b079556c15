//! The generated documentation is accepted by the parser, and agrees with it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// The example file with every key set that does not exclude another one.
fn uncommented() -> String {
    let set = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    example().lines().map(set).collect()
}

/// The keys of all tables, with their headers.
fn keys() -> Vec<(String, KeyDescription)> {
    let of = |table: TableReference| {
        let header = table.header;
        table.keys.into_iter().map(move |key| (header.clone(), key))
    };
    tables().into_iter().flat_map(of).collect()
}

#[test]
fn every_key_is_documented_once_and_in_whole_sentences() {
    let keys = keys();
    let names: BTreeSet<_> = keys.iter().map(|(table, key)| (table, key.name)).collect();
    assert_eq!(names.len(), keys.len());
    assert!(keys.len() > 120, "{}", keys.len());
    for (table, key) in &keys {
        assert!(key.doc.ends_with('.'), "{table} {}: {}", key.name, key.doc);
        assert_eq!(key.doc.matches('`').count() % 2, 0, "{table} {}: {}", key.name, key.doc);
    }
}

#[test]
fn the_example_sets_nothing_until_a_line_is_uncommented() {
    let table: toml::Table = example().parse().unwrap();
    assert!(table.is_empty(), "{table:?}");
}

#[test]
fn the_example_shows_every_key() {
    let example = example();
    for (table, key) in keys() {
        let shown = format!("{} = ", key.name);
        let has_line = |line: &str| {
            line.trim_start_matches(['#', ' ']).strip_prefix(&shown).is_some_and(|value| !value.is_empty())
        };
        let section = example.split(&format!("# ---- {} ----", table.replace("NAME", "mail"))).nth(1);
        let section = section.or_else(|| example.split("# ---- Top of the file ----").nth(1)).unwrap();
        let section = section.split("# ---- ").next().unwrap();
        let is_section = example.contains(&format!(".{}]", key.name));
        assert!(section.lines().any(has_line) || is_section, "{table} {} is not shown", key.name);
    }
}

#[test]
fn the_uncommented_example_is_accepted() {
    Config::parse(&uncommented(), "reprieve.toml").unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn alternatives_are_accepted_in_place_of_what_they_exclude() {
    // `cluster` excludes `sentinel`.
    let of_redis =
        |key: &&KeyDescription| key.only_with.is_some() && key.alternative && key.name != "cluster";
    let line = |key: &KeyDescription| {
        format!("{} = {}\n", key.name, key.example.or(key.default.as_deref()).expect("a value"))
    };
    let lines = |header: &str| -> String {
        let table = tables().into_iter().find(|table| table.header == header).expect(header);
        table.keys.iter().filter(|key| table.is_list_item || of_redis(key)).map(line).collect()
    };
    let text = format!(
        "[store]\nbackend = \"redis\"\nshare = \"tags\"\nsecret-file = \"secret\"\n{}[[virtual-server]]\n\
         name = \"pop3\"\nlisten = [\"[::1]:110\"]\npool = \"mail\"\n[[pool.mail.nodes]]\n{}",
        lines("[store]"),
        lines("[[pool.NAME.nodes]]")
    );
    Config::parse(&text, "reprieve.toml").unwrap_or_else(|error| panic!("{error} in\n{text}"));
}

/// What the schema says against a value, as far as it uses these keywords.
fn mistake(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let wrong = |what: &str| Some(format!("{path}: {value} {what}"));
    if let Some(types) = schema["anyOf"].as_array() {
        let fits = types.iter().any(|kind| mistake(kind, value, path).is_none());
        return if fits { None } else { wrong("fits no alternative") };
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("is not one of the words");
    }
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        _ => panic!("{kind} is not a type of JSON"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    };
    if !fits {
        return wrong("has the wrong type");
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return wrong("is too small");
    }
    if let Some(missing) = schema["required"].as_array().and_then(|required| {
        required.iter().find(|key| value.get(key.as_str().unwrap_or_default()).is_none())
    }) {
        return wrong(&format!("lacks {missing}"));
    }
    let items = value.as_array().into_iter().flatten();
    let within =
        items.enumerate().find_map(|(at, item)| mistake(&schema["items"], item, &format!("{path}[{at}]")));
    within.or_else(|| {
        value.as_object()?.iter().find_map(|(key, value)| {
            let schema = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
            let path = format!("{path}.{key}");
            if *schema == json!(false) {
                Some(format!("{path}: unknown key"))
            } else {
                mistake(schema, value, &path)
            }
        })
    })
}

fn mistake_in(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().unwrap();
    mistake(&json_schema(), &serde_json::to_value(table).unwrap(), "")
}

#[test]
fn the_schema_accepts_the_uncommented_example() {
    assert_eq!(mistake_in(&uncommented()), None);
}

#[test]
fn the_schema_rejects_what_the_parser_rejects() {
    let text = uncommented();
    for (right, wrong, expected) in [
        ("\nthreads = 4", "\nthreads = 0", "threads: 0 is too small"),
        ("\nthreads = 4", "\nthreads = \"4\"", "threads: \"4\" has the wrong type"),
        ("\nwatch = false", "\nwach = false", "wach: unknown key"),
        ("\nverify = \"on\"", "\nverify = \"yes\"", "verify: \"yes\" is not one of the words"),
        ("\nnodes = [", "\nnode = [", "pool.mail:"),
    ] {
        let wrong = text.replacen(right, wrong, 1);
        assert_ne!(wrong, text, "{right}");
        assert!(Config::parse(&wrong, "reprieve.toml").is_err());
        let mistake = mistake_in(&wrong).unwrap_or_else(|| panic!("{expected} is accepted"));
        assert!(mistake.contains(expected), "{mistake}");
    }
}
