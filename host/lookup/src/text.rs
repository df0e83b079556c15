//! The text form of a table: a key and an optional value on each line.
//!
//! The value is the rest of the line after the key, without the blanks and tabs around it. Empty
//! lines and lines that begin with `#` are ignored. A key that occurs twice is an error: a file with
//! two answers to one question is a mistake that should not wait for a customer to find it.

use std::io::{BufRead, Read as _};
use std::path::Path;

use crate::Table;
use crate::builder::{Builder, Duplicate, MAX_KEY, MAX_VALUE};
use crate::error::{Error, Problem};

/// The longest line with a key and a value, generous with blanks.
const MAX_LINE: u64 = (MAX_KEY + MAX_VALUE + 4096) as u64;

/// What some editors write at the start of a file in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a table. `path`: for errors.
///
/// # Errors
/// The first wrong line.
pub fn parse(mut source: impl BufRead, path: &Path) -> Result<Table, Error> {
    let mut builder = Builder::new();
    // The lines of the entries, for errors.
    let mut lines: Vec<u32> = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = source.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line);
        match read.map_err(|error| Error::new(path, Problem::Unreadable(error)))? {
            0 => break,
            length if length as u64 > MAX_LINE => {
                return Err(Error::at_line(path, number.into(), Problem::LongLine));
            }
            _ => {}
        }
        let content = if number == 1 { without_mark(&line) } else { &line };
        let entry = entry(content).map_err(|problem| Error::at_line(path, number.into(), problem))?;
        if let Some((key, value)) = entry {
            builder.add(key, value);
            lines.push(number);
        }
    }
    Table::build(builder).map_err(|duplicate| twice(path, &lines, duplicate))
}

fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// Key and value of a line; `None` if it is empty or a comment.
fn entry(line: &[u8]) -> Result<Option<(&str, &str)>, Problem> {
    let line = str::from_utf8(line).map_err(|_| Problem::NotUtf8)?.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(Problem::ControlCharacter);
    }
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let value = value.trim_ascii_start();
    match (key.len(), value.len()) {
        (length, _) if length > MAX_KEY => Err(Problem::LongKey(length)),
        (_, length) if length > MAX_VALUE => Err(Problem::LongValue(length)),
        _ => Ok(Some((key, value))),
    }
}

fn twice(path: &Path, lines: &[u32], duplicate: Duplicate) -> Error {
    let line = |position: usize| lines.get(position).copied().unwrap_or_default().into();
    let first = line(duplicate.first);
    Error::at_line(path, line(duplicate.second), Problem::Duplicate { key: duplicate.key, first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl AsRef<[u8]>) -> Result<Table, String> {
        super::parse(text.as_ref(), Path::new("users.txt")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_is_a_key_and_an_optional_value() {
        let table = parse(
            "\u{feff}first\n# alice x\n\n  \t\r\nalice\r\nbob  gold  plus \t\r\n\tcarol\t10m\n  # dave\nÄ ö#ü",
        );
        let table = table.unwrap();
        let values =
            ["first", "alice", "bob", "carol", "Ä", "dave", "#", "", "Bob", "bob "].map(|key| table.get(key));
        let (found, missing) = values.split_at(5);
        assert_eq!(found, [Some(""), Some(""), Some("gold  plus"), Some("10m"), Some("ö#ü")]);
        assert_eq!(missing, [None; 5]);
        assert_eq!(table.len(), 5);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn each_mistake_names_the_line_and_the_remedy() {
        let line = "x".repeat(MAX_LINE as usize + 1);
        for (text, expected) in [
            (&b"a\n#\nb 1\na 2\n"[..], "users.txt:4: the key \"a\" is already on line 1; remove one"),
            (b"a\nb\xff\n", "users.txt:2: the line is not UTF-8; convert"),
            (b"a\nb\0c\n", "users.txt:2: the line has a control character"),
            (b"a\rb\n", "users.txt:1: the line has a control character"),
            (&line.as_bytes()[..=MAX_KEY], "users.txt:1: the key has 1025 bytes; a key has at most 1024"),
            (line.as_bytes(), "users.txt:1: the line is longer than"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let long = format!("key {}", "v".repeat(MAX_VALUE + 1));
        let error = parse(&long).unwrap_err();
        assert_eq!(error, "users.txt:1: the value has 65536 bytes; a value has at most 65535");
        let longest = parse(&long[..long.len() - 1]).unwrap();
        assert_eq!(longest.get("key").unwrap().len(), MAX_VALUE);
    }
}
