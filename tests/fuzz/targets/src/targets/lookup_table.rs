//! Lookup tables. The first byte chooses the text form, a compiled table with damage, or one whose
//! checksums were made anew after the damage.
//!
//! A text is a table with the entries of a model, or an error with its line. Its compiled form has the
//! same entries. A damaged file is refused, or finds only what is in it, in bounded time.

use std::collections::HashMap;
use std::path::Path;

use reprieve_lookup::compiled::MAGIC;
use reprieve_lookup::{MAX_KEY, MAX_VALUE, Table, text};
use xxhash_rust::xxh3::xxh3_64;

use crate::input::Input;

/// Length of the header of a compiled table.
const HEADER: usize = 64;

/// See the head of this file.
pub fn lookup_table(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => drop(Table::from_bytes(input.rest().to_vec())),
        1 => damaged(input),
        2 => forged(input),
        _ => parsed(input.rest()),
    }
}

/// A text.
fn parsed(source: &[u8]) {
    let expected = model(source);
    match text::parse(source, Path::new("users.txt")) {
        Ok(table) => {
            let Ok(expected) = expected else { panic!("the model has an error in line {expected:?}") };
            assert_has(&table, &expected);
            let compiled = Table::from_bytes(table.as_bytes().to_vec()).expect("the compiled form");
            assert_has(&compiled, &expected);
        }
        Err(error) => {
            let message = error.to_string();
            let line = expected.expect_err("the model has no error");
            assert!(message.starts_with(&format!("users.txt:{line}: ")), "line {line}: {message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }
}

fn assert_has(table: &Table, expected: &HashMap<String, String>) {
    assert_eq!(table.len(), expected.len() as u64);
    for (key, value) in expected {
        assert_eq!(table.get(key), Some(value.as_str()));
        for other in [format!("{key}x"), key.to_uppercase(), String::new()] {
            assert_eq!(table.get(&other), expected.get(&other).map(String::as_str));
        }
    }
}

/// The entries of a text, or the number of its first wrong line.
fn model(source: &[u8]) -> Result<HashMap<String, String>, usize> {
    let mut entries = HashMap::new();
    let mut duplicate = None;
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
    for (number, line) in (1..).zip(source.split_inclusive(|&byte| byte == b'\n')) {
        let text = std::str::from_utf8(line).map_err(|_| number)?;
        let text = text.trim_matches(|it: char| it.is_ascii_whitespace());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let value = value.trim_start_matches(|it: char| it.is_ascii_whitespace());
        let has_control = text.chars().any(|it| it.is_ascii_control() && it != '\t');
        if has_control || key.len() > MAX_KEY || value.len() > MAX_VALUE {
            return Err(number);
        }
        if entries.insert(key.to_owned(), value.to_owned()).is_some() {
            duplicate.get_or_insert(number);
        }
    }
    // Found only when the table is built.
    duplicate.map_or(Ok(entries), Err)
}

/// A compiled table of some entries.
fn compiled(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.below(20);
    let lines: String = (0..count).map(|number| format!("key{number} value{number}\n")).collect();
    let table = text::parse(lines.as_bytes(), Path::new("users.txt")).expect("a table");
    table.as_bytes().to_vec()
}

/// Changes bytes at places that the input names.
fn damage(bytes: &mut Vec<u8>, mut input: Input<'_>) {
    while !input.is_empty() {
        let place = usize::from(input.byte()) << 8 | usize::from(input.byte());
        match input.byte() {
            0xFF => bytes.truncate(place),
            0xFE => bytes.push(input.byte()),
            _ if bytes.is_empty() => {}
            _ => {
                let place = place % bytes.len();
                bytes[place] = input.byte();
            }
        }
    }
}

fn damaged(mut input: Input<'_>) {
    let whole = compiled(&mut input);
    let mut bytes = whole.clone();
    damage(&mut bytes, input);
    let is_whole = bytes == whole;
    assert_eq!(Table::from_bytes(bytes).is_ok(), is_whole, "the checksums find damage");
}

/// Damage that no checksum shows, as in a file that somebody has forged.
fn forged(mut input: Input<'_>) {
    let mut bytes = compiled(&mut input);
    damage(&mut bytes, input);
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let slots = usize::try_from(number(&bytes, 24)).ok().and_then(|length| length.checked_add(HEADER));
    if let Some(slots) = slots.filter(|&slots| slots <= bytes.len()) {
        let sums = [xxh3_64(&bytes[HEADER..slots]), xxh3_64(&bytes[slots..])];
        bytes[40..48].copy_from_slice(&sums[0].to_le_bytes());
        bytes[48..56].copy_from_slice(&sums[1].to_le_bytes());
        let sum = xxh3_64(&bytes[..56]);
        bytes[56..HEADER].copy_from_slice(&sum.to_le_bytes());
    }
    let Ok(table) = Table::from_bytes(bytes.clone()) else { return };
    assert!(bytes.starts_with(&MAGIC) && table.as_bytes() == bytes);
    let contains = |part: &str| bytes.windows(part.len().max(1)).any(|window| window == part.as_bytes());
    for number in 0..20 {
        let key = format!("key{number}");
        if let Some(value) = table.get(&key) {
            assert!(contains(&key) && (value.is_empty() || contains(value)));
        }
    }
    assert!(table.get("").is_none_or(|value| value.is_empty() || contains(value)));
}
