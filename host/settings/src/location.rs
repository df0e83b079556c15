//! Where something stands in a configuration.

use std::fmt;
use std::ops::Deref;

/// The file and line of something that is configured, for errors that show only later.
///
/// Any two are equal: where something stands is no part of what it says, and a configuration
/// that has only moved has not changed.
#[derive(Clone, Debug, Default)]
pub struct Place(String);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl From<String> for Place {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Deref for Place {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
