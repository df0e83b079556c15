//! Tables answer as a `HashMap` does.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reprieve_lookup::{Table, Tables, text};

/// Keys of a small alphabet are often in the table, and often share a prefix.
fn key() -> impl Strategy<Value = String> {
    let long = (1000..=1024_usize).prop_map(|length| "k".repeat(length));
    prop_oneof![8 => "[ab]{1,4}", 4 => "[a-zA-Z0-9@.äß€-]{1,40}", 1 => long]
}

fn value() -> impl Strategy<Value = String> {
    let long = (60_000..=65_535_usize).prop_map(|length| "v".repeat(length));
    prop_oneof![20 => Just(String::new()), 20 => "[!-~]( ?[!-~ü]){0,30}", 1 => long]
}

#[test]
fn a_table_has_the_entries_of_its_text_and_no_others() {
    // The same cases in each run.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[19; 32]);
    let mut runner = TestRunner::new_with_rng(Config::with_cases(100), rng);
    let inputs = (prop::collection::hash_map(key(), value(), 0..60), prop::collection::vec(key(), 60));
    let checked = runner.run(&inputs, |(model, others)| {
        let mut lines = String::new();
        for (key, value) in &model {
            writeln!(lines, "{key}  {value}").unwrap();
        }
        let table = text::parse(lines.as_bytes(), Path::new("model")).unwrap();
        // What is written is what is read.
        let compiled = Table::from_bytes(table.as_bytes().to_vec()).unwrap();
        for key in model.keys().chain(&others) {
            let expected = model.get(key).map(String::as_str);
            prop_assert_eq!(table.get(key), expected);
            prop_assert_eq!(compiled.get(key), expected);
        }
        prop_assert_eq!(compiled.len(), model.len() as u64);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn a_large_table_has_every_entry() {
    let model: HashMap<_, _> =
        (0..200_000).map(|number| (format!("user{number}@example.com"), format!("{}", number % 7))).collect();
    let lines: String = model.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
    let table = text::parse(lines.as_bytes(), Path::new("large")).unwrap();
    for (key, value) in &model {
        assert_eq!(table.get(key), Some(&**value));
        assert_eq!(table.get(&format!("{key}x")), None);
    }
}

#[test]
fn tables_are_found_by_name() {
    let tables =
        Tables::from_entries([("premium", vec![("alice", ""), ("bob", "gold")]), ("quota", vec![])]).unwrap();
    let boxed = |text: &str| Some(Box::from(text));
    assert_eq!(tables.get("premium", "alice"), Ok(boxed("")));
    assert_eq!(tables.get("premium", "bob"), Ok(boxed("gold")));
    assert_eq!(tables.get("premium", "Bob"), Ok(None));
    assert_eq!(tables.contains("premium", "alice"), Ok(true));
    assert_eq!(tables.contains("quota", "alice"), Ok(false));
    assert!(tables.get("plans", "alice").is_err() && tables.contains("plans", "alice").is_err());
    assert_eq!(tables.names().collect::<Vec<_>>(), ["premium", "quota"]);
    assert!(Tables::empty().names().next().is_none() && Tables::empty().contains("premium", "a").is_err());
    assert!(tables.reload().is_empty() && tables.reload_changed().is_empty());
    for (key, expected) in
        [("a", "premium: has the key \"a\" twice"), ("", "premium: has the key \"\" twice")]
    {
        let error = Tables::from_entries([("premium", vec![(key, "1"), (key, "1")])]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
