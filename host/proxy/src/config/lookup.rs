//! Lookup tables of a virtual server.

use std::path::PathBuf;

use super::store::is_plain_name;
use reprieve_settings::format::{Format, Type, custom};
use reprieve_settings::{Error, Location, Value};

/// A lookup table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupConfig {
    /// Its name for policies.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Where it is configured, for errors that are found when the file is read.
    pub location: Location,
}

/// The key `lookups`: a table of names and paths.
pub(super) fn lookups() -> impl Format<Vec<LookupConfig>> {
    fn lookup((name, value): (&str, Value<'_, '_>)) -> Result<LookupConfig, Error> {
        check_name(name).map_err(|why| value.error(why))?;
        Ok(LookupConfig { name: name.to_owned(), path: value.path()?, location: value.location() })
    }
    custom(
        Type::NamedValues(Box::new(Type::String("path"))),
        |value| value.section()?.entries().into_iter().map(lookup).collect(),
        |_| None,
    )
}

/// A lookup table that is written as `NAME=FILE`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_lookup(text: &str) -> Result<LookupConfig, String> {
    let Some((name, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
        return Err(format!(
            "has {text:?}; a lookup table is written as NAME=FILE, such as premium=users.txt"
        ));
    };
    check_name(name).map_err(|why| format!("has {text:?}, whose name {why}"))?;
    Ok(LookupConfig { name: name.to_owned(), path: path.into(), location: "--lookup".into() })
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if is_plain_name(name) { Ok(()) } else { Err(super::store::PLAIN_NAME) }
}
