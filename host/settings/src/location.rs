//! File and line of a setting.

use std::fmt;
use std::ops::Deref;

/// The file and line of a setting, such as `reprieve.toml:18`, for errors that are found only
/// when it is used.
///
/// All locations are equal: a configuration whose lines have only moved has not changed.
#[derive(Clone, Debug, Default)]
pub struct Location(String);

impl PartialEq for Location {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Location {}

impl From<String> for Location {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Deref for Location {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
