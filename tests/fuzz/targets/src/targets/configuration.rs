//! Configurations and scenario files: texts in TOML.
//!
//! Each is read, or refused with an error of one line that names a line of the file. The result depends
//! on nothing but the text, and not on what a comment at its end says.

use reprieve::config::Config;
use reprieve_policy_host::scenario::Scenario;
use reprieve_settings::{duration, print_duration, print_size, size};

/// See the head of this file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let longer = format!("{text}\n# the end");
    let (read, again, other) = (parse(text), parse(text), parse(&longer));
    assert!(read == again, "{text:?} is read in two ways");
    match (&read, &other) {
        (Ok(config), Ok(other)) => assert!(config == other, "a comment changes {text:?}"),
        (Err(why), _) => check(why, text),
        // The text ends within a string, or a comment that lacks its line end.
        (Ok(_), Err(why)) => panic!("a comment makes {text:?} invalid: {why}"),
    }
    if let Err(error) = Scenario::parse(text, "reprieve.toml", "interval") {
        check(&error.to_string(), text);
    }
    units(text.lines().next().unwrap_or_default());
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "reprieve.toml").map_err(|error| error.to_string())
}

/// An error names a line that exists, and fits on one line of a terminal's output.
fn check(error: &str, text: &str) {
    let rest = error.strip_prefix("reprieve.toml:").unwrap_or_else(|| panic!("no file: {error}"));
    let (line, message) = rest.split_once(": ").unwrap_or_else(|| panic!("no line: {error}"));
    let line: usize = line.parse().unwrap_or_else(|_| panic!("no line: {error}"));
    assert!((1..=text.split('\n').count()).contains(&line), "{error}");
    assert!(!message.trim().is_empty());
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

/// Durations and sizes are the same after they were printed.
fn units(text: &str) {
    if let Some(read) = duration(text) {
        assert_eq!(duration(&print_duration(read)), Some(read), "{text}");
    }
    if let Some(read) = size(text) {
        assert_eq!(size(&print_size(read)), Some(read), "{text}");
    }
}
