//! Reads a table key by key. It remembers which keys were asked for, so that any other key is an
//! error, and knows the line of each.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::location::Location;

/// An error in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct Error {
    /// The file, and the line if the error has one.
    location: String,
    message: String,
}

impl Error {
    /// An error that belongs to no line. `location`: what is wrong, such as a file or an option.
    #[must_use]
    pub fn general(location: &str, message: impl Into<String>) -> Self {
        Self { location: location.to_owned(), message: message.into() }
    }
}

/// The text of a configuration, with the name that errors show.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Its path.
    pub file: &'a str,
    /// What is in the file.
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses the text.
    ///
    /// # Errors
    /// The first syntax error, with its line.
    pub fn parse(self) -> Result<Spanned<DeTable<'a>>, Error> {
        DeTable::parse(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.at(&span, error.message().to_owned())
        })
    }

    /// An error at the line on which a span begins.
    pub fn at(self, span: &Range<usize>, message: String) -> Error {
        Error { location: format!("{}:{}", self.file, self.line(span)), message }
    }

    fn line(self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or_default();
        before.bytes().filter(|&byte| byte == b'\n').count() + 1
    }
}

/// A table that is being read.
pub struct Section<'a, 's> {
    source: Source<'a>,
    /// The dotted key of the table, as in `virtual-server.policy`.
    path: String,
    span: Range<usize>,
    table: &'s DeTable<'a>,
    known: Vec<&'static str>,
}

/// A value, with its key and line for errors.
pub struct Value<'a, 's> {
    source: Source<'a>,
    /// The dotted key of the value, as in `virtual-server.policy.wait`.
    pub path: String,
    value: &'s Spanned<DeValue<'a>>,
}

impl<'a, 's> Section<'a, 's> {
    /// The table at the dotted key `path`, which is empty for the whole file.
    pub fn new(source: Source<'a>, path: &str, span: Range<usize>, table: &'s DeTable<'a>) -> Self {
        Self { source, path: path.to_owned(), span, table, known: Vec::new() }
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is set.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a, 's>> {
        self.known.push(key);
        asked::note(self.key_path(key));
        let value = self.table.get(key)?;
        Some(Value { source: self.source, path: self.key_path(key), value })
    }

    /// The value of a key that must be set.
    ///
    /// # Errors
    /// If it is missing; the message shows `example`, or a key that looks like a misspelt one.
    pub fn required(&mut self, key: &'static str, example: &str) -> Result<Value<'a, 's>, Error> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        // A misspelt key explains more than the one that is missing.
        let largest_distance = 1 + key.len() / 5;
        let misspelt = self
            .table
            .keys()
            .find(|other| strsim::damerau_levenshtein(other.get_ref(), key) <= largest_distance);
        Err(match misspelt {
            Some(other) => {
                let path = self.key_path(other.get_ref());
                self.source.at(&other.span(), format!("`{path}` is not known; did you mean `{key}`?"))
            }
            None => {
                let path = self.key_path(key);
                self.error(format!("`{path}` is missing; for example: {key} = {example}"))
            }
        })
    }

    /// All keys with their values, in the order of the file: for tables whose keys are names that
    /// the administrator chooses.
    pub fn entries(&self) -> Vec<(&'s str, Value<'a, 's>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let name: &'s str = key.get_ref();
                (name, Value { source: self.source, path: self.key_path(name), value })
            })
            .collect()
    }

    /// Ends the reading of a table.
    ///
    /// # Errors
    /// If it has a key that was not asked for; the message names the nearest known key.
    pub fn finish(self) -> Result<(), Error> {
        let mut unknown: Vec<_> = self
            .table
            .iter()
            .filter(|(key, _)| !self.known.iter().any(|known| *known == &**key.get_ref()))
            .map(|(key, _)| key)
            .collect();
        unknown.sort_by_key(|key| key.span().start);
        let Some(key) = unknown.first() else { return Ok(()) };
        let name: &str = key.get_ref();
        let nearest = self
            .known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), *known))
            .min()
            .filter(|(distance, known)| *distance <= 1 + known.len() / 3);
        let remedy = match nearest {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", self.known.join(", ")),
        };
        Err(self.source.at(&key.span(), format!("`{}` is not known; {remedy}", self.key_path(name))))
    }

    /// An error at the line on which the table begins.
    pub fn error(&self, message: String) -> Error {
        self.source.at(&self.span, message)
    }

    /// The file and line at which the table begins.
    pub fn location(&self) -> Location {
        format!("{}:{}", self.source.file, self.source.line(&self.span)).into()
    }
}

impl<'a, 's> Value<'a, 's> {
    /// An error at the value's line. The message follows the key: "`path` message".
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.source.at(&self.value.span(), format!("`{}` {message}", self.path))
    }

    /// The value's line, from 1.
    pub fn line(&self) -> usize {
        self.source.line(&self.value.span())
    }

    /// Whether the value is a table, for keys that also take something shorter.
    pub fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// A date, a time or both: a string, or TOML's own date type.
    ///
    /// # Errors
    /// If it is something else.
    pub fn datetime(&self) -> Result<String, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Datetime(datetime) => Ok(datetime.to_string()),
            _ => Err(self.expected("a date or time such as \"2026-03-10T12:00:00\" or \"12:30\"")),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// If it is something else.
    pub fn boolean(&self) -> Result<bool, Error> {
        match self.value.get_ref() {
            DeValue::Boolean(boolean) => Ok(*boolean),
            _ => Err(self.expected("true or false")),
        }
    }

    /// The error for a value that has the wrong type or is out of range: `what` it must be.
    pub fn expected(&self, what: &str) -> Error {
        let found = match self.value.get_ref() {
            DeValue::String(text) => format!("the text {text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.error(format!("is {found}; it must be {what}"))
    }

    /// A string.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self) -> Result<&'s str, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.expected("a text in quotes")),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// If it is something else.
    pub fn list(&self) -> Result<Vec<Value<'a, 's>>, Error> {
        match self.value.get_ref() {
            DeValue::Array(items) => Ok(items
                .iter()
                .map(|value| Value { source: self.source, path: self.path.clone(), value })
                .collect()),
            _ => Err(self.expected("a list in square brackets")),
        }
    }

    /// A table.
    ///
    /// # Errors
    /// If it is something else.
    pub fn section(&self) -> Result<Section<'a, 's>, Error> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section::new(self.source, &self.path, self.value.span(), table)),
            _ => Err(self.expected("a table")),
        }
    }

    /// A whole number in a range, both ends included.
    ///
    /// # Errors
    /// If it is something else or out of range.
    pub fn count(&self, least: u64, most: u64) -> Result<u64, Error> {
        let what = format!("a whole number from {least} to {most}");
        match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| self.expected(&what)),
            _ => Err(self.expected(&what)),
        }
    }

    /// A number with or without a fraction; None if it is something else.
    pub fn number(&self) -> Option<f64> {
        match self.value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        }
    }

    /// A duration, as [`crate::duration`] parses it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn duration(&self) -> Result<std::time::Duration, Error> {
        let what = "a duration such as \"90s\", \"10m\" or \"1h\"";
        crate::units::duration(self.text().map_err(|_| self.expected(what))?)
            .ok_or_else(|| self.expected(what))
    }

    /// A duration of more than zero.
    ///
    /// # Errors
    /// If it is something else, or zero.
    pub fn positive_duration(&self) -> Result<std::time::Duration, Error> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.error("must be more than zero")) } else { Ok(duration) }
    }

    /// As [`count`](Self::count), for values that fit in 32 bits.
    ///
    /// # Errors
    /// If it is something else or out of range.
    pub fn count_u32(&self, least: u32, most: u32) -> Result<u32, Error> {
        let number = self.count(u64::from(least), u64::from(most))?;
        Ok(u32::try_from(number).unwrap_or(most))
    }

    /// The path of a file.
    ///
    /// # Errors
    /// If it is something else, or empty.
    pub fn path(&self) -> Result<std::path::PathBuf, Error> {
        match self.text()? {
            "" => Err(self.expected("the path of a file")),
            text => Ok(text.into()),
        }
    }

    /// The file and line of the value.
    pub fn location(&self) -> Location {
        format!("{}:{}", self.source.file, self.line()).into()
    }

    /// A size in bytes, as [`crate::size`] parses it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn size(&self) -> Result<u64, Error> {
        let what = "a size such as \"64MiB\" or \"100KiB\"";
        crate::units::size(self.text().map_err(|_| self.expected(what))?).ok_or_else(|| self.expected(what))
    }

    /// One of several words, as the value that belongs to it.
    ///
    /// # Errors
    /// If it is none of the words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let what = names.join(" or ");
        let text = self.text().map_err(|_| self.expected(&what))?;
        choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.expected(&what))
    }

    /// A string, number or boolean, as the text that a policy gets.
    ///
    /// # Errors
    /// If it is something else.
    pub fn setting(&self) -> Result<String, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(truth) => Ok(truth.to_string()),
            _ => Err(self.expected("a text, a number, true or false")),
        }
    }
}

/// Which keys were asked for, for the tests that hold the documentation against them.
#[doc(hidden)]
pub mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static KEYS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub fn note(path: String) {
        KEYS.with_borrow_mut(|keys| keys.insert(path));
    }

    /// Forgets those of before.
    pub fn forget() {
        KEYS.take();
    }

    /// Their paths from the top.
    pub fn keys() -> BTreeSet<String> {
        KEYS.with_borrow(Clone::clone)
    }
}
