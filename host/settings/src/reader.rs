//! Reads TOML values and keeps the line of each, so that every error names it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::location::Location;

/// One mistake in a configuration: "`file:line`: message".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct Error {
    location: String,
    message: String,
}

impl Error {
    /// An error that concerns no line, but for example a command-line option.
    #[must_use]
    pub fn general(location: &str, message: impl Into<String>) -> Self {
        Self { location: location.to_owned(), message: message.into() }
    }

    /// Adds an alternative to the remedy.
    #[must_use]
    pub fn or(mut self, alternative: &str) -> Self {
        self.message = format!("{}, or {alternative}", self.message);
        self
    }
}

/// The text of a configuration file with its name.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file's path, for error messages.
    pub file: &'a str,
    /// Its contents.
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

    /// An error at the line where `span` begins.
    pub fn at(self, span: &Range<usize>, message: String) -> Error {
        Error { location: format!("{}:{}", self.file, self.line(span)), message }
    }

    fn line(self, span: &Range<usize>) -> usize {
        let preceding = self.text.get(..span.start.min(self.text.len())).unwrap_or_default();
        preceding.bytes().filter(|&byte| byte == b'\n').count() + 1
    }
}

/// A TOML table.
pub struct Section<'a, 's> {
    source: Source<'a>,
    /// Dotted key from the top of the file.
    path: String,
    span: Range<usize>,
    table: &'s DeTable<'a>,
    /// Keys that [`Section::get`] was called with.
    known: Vec<&'static str>,
}

/// A TOML value.
pub struct Value<'a, 's> {
    source: Source<'a>,
    /// Dotted key from the top of the file.
    pub path: String,
    value: &'s Spanned<DeValue<'a>>,
}

impl<'a, 's> Section<'a, 's> {
    /// The table at `path`; the empty path is the top of the file.
    pub fn new(source: Source<'a>, path: &str, span: Range<usize>, table: &'s DeTable<'a>) -> Self {
        Self { source, path: path.to_owned(), span, table, known: Vec::new() }
    }

    /// The dotted key from the top of the file.
    pub fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is set.
    pub fn value(&self, key: &str) -> Option<Value<'a, 's>> {
        let value = self.table.get(key)?;
        Some(Value { source: self.source, path: self.key_path(key), value })
    }

    /// Like [`Section::value`]; [`Section::finish`] accepts the key from now on.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a, 's>> {
        self.known.push(key);
        self.value(key)
    }

    /// Like [`Section::get`] for a required key. `example`: a value in TOML, for the error.
    ///
    /// # Errors
    /// If the key is missing or misspelled.
    pub fn required(&mut self, key: &'static str, example: &str) -> Result<Value<'a, 's>, Error> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        // A misspelled key is the better explanation for a missing one.
        let distance = 1 + key.len() / 5;
        let similar = |other: &&Spanned<_>| strsim::damerau_levenshtein(as_str(other), key) <= distance;
        Err(match self.table.keys().find(similar) {
            Some(other) => self.unknown(other, &format!("did you mean `{key}`?")),
            None => self.missing(key, example),
        })
    }

    /// The error for a required key that is not set.
    pub fn missing(&self, key: &str, example: &str) -> Error {
        self.error(format!("`{}` is missing; for example: {key} = {example}", self.key_path(key)))
    }

    /// Each key with its value in the order of the file, for tables whose keys are names.
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

    /// Rejects keys that [`Section::get`] was not called with.
    ///
    /// # Errors
    /// The first unknown key, with the nearest known one.
    pub fn finish(self) -> Result<(), Error> {
        self.reject_unknown(&self.known)
    }

    /// Rejects keys that are not in `known`.
    ///
    /// # Errors
    /// The first unknown key, with the nearest known one.
    pub fn reject_unknown(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.table.keys().filter(|key| !known.contains(&as_str(key)));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, as_str(key)), *known))
            .min()
            .filter(|(distance, known)| *distance <= 1 + known.len() / 3);
        let remedy = match nearest {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => format!("known keys: {}", known.join(", ")),
        };
        Err(self.unknown(key, &remedy))
    }

    fn unknown(&self, key: &Spanned<std::borrow::Cow<'_, str>>, remedy: &str) -> Error {
        let path = self.key_path(key.get_ref());
        self.source.at(&key.span(), format!("unknown key `{path}`; {remedy}"))
    }

    /// An error at the line where the table begins.
    pub fn error(&self, message: String) -> Error {
        self.source.at(&self.span, message)
    }

    /// The line where the table begins.
    pub fn location(&self) -> Location {
        format!("{}:{}", self.source.file, self.source.line(&self.span)).into()
    }
}

fn as_str<'k>(key: &'k Spanned<std::borrow::Cow<'_, str>>) -> &'k str {
    key.get_ref()
}

impl<'a, 's> Value<'a, 's> {
    /// An error at the value that begins with its key: "`path` message".
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.source.at(&self.value.span(), format!("`{}` {message}", self.path))
    }

    /// The error for a value of another type or out of range: the value, and what it must be.
    pub fn expected(&self, expected: &str) -> Error {
        let found = match self.value.get_ref() {
            DeValue::String(text) => format!("the string {text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => format!("{value}"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.error(format!("is {found}; it must be {expected}"))
    }

    /// The file and line of the value.
    pub fn location(&self) -> Location {
        format!("{}:{}", self.source.file, self.line()).into()
    }

    /// The line of the value, from 1.
    pub fn line(&self) -> usize {
        self.source.line(&self.value.span())
    }

    /// Whether the value is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// Whether the value is this string.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.value.get_ref(), DeValue::String(value) if value == text)
    }

    /// The value as a table.
    ///
    /// # Errors
    /// If it is something else.
    pub fn section(&self) -> Result<Section<'a, 's>, Error> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section::new(self.source, &self.path, self.value.span(), table)),
            _ => Err(self.expected("a table")),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn list(&self) -> Result<Vec<Value<'a, 's>>, Error> {
        match self.value.get_ref() {
            DeValue::Array(items) => Ok(items
                .iter()
                .map(|value| Value { source: self.source, path: self.path.clone(), value })
                .collect()),
            _ => Err(self.expected("a list in square brackets")),
        }
    }

    /// The value as a string.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self) -> Result<&'s str, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.expected("a string in quotes")),
        }
    }

    /// The value as a path, which is not empty.
    ///
    /// # Errors
    /// If it is something else.
    pub fn path(&self) -> Result<std::path::PathBuf, Error> {
        match self.text()? {
            "" => Err(self.expected("the path of a file")),
            text => Ok(text.into()),
        }
    }

    /// The value as a Boolean.
    ///
    /// # Errors
    /// If it is something else.
    pub fn boolean(&self) -> Result<bool, Error> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number from `least` to `most`.
    ///
    /// # Errors
    /// If the value is something else or out of range.
    pub fn count(&self, least: u64, most: u64) -> Result<u64, Error> {
        let expected = match most {
            u64::MAX => format!("a whole number of at least {least}"),
            _ => format!("a whole number from {least} to {most}"),
        };
        match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| self.expected(&expected)),
            _ => Err(self.expected(&expected)),
        }
    }

    /// [`Value::count`] for the smaller type.
    ///
    /// # Errors
    /// If the value is something else or out of range.
    pub fn count_u32(&self, least: u32, most: u32) -> Result<u32, Error> {
        let number = self.count(u64::from(least), u64::from(most))?;
        Ok(u32::try_from(number).unwrap_or(most))
    }

    /// A number with or without a fraction; `None` if the value is something else.
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
    /// If the value is something else.
    pub fn duration(&self) -> Result<std::time::Duration, Error> {
        let expected = "a duration such as \"90s\", \"10m\" or \"1h30m\"";
        crate::units::duration(self.text().map_err(|_| self.expected(expected))?)
            .ok_or_else(|| self.expected(expected))
    }

    /// A duration that is not zero.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn positive_duration(&self) -> Result<std::time::Duration, Error> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.error("must be longer than zero")) } else { Ok(duration) }
    }

    /// A size in bytes, as [`crate::size`] parses it.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn size(&self) -> Result<u64, Error> {
        let expected = "a size such as \"64MiB\" or \"100KiB\"";
        crate::units::size(self.text().map_err(|_| self.expected(expected))?)
            .ok_or_else(|| self.expected(expected))
    }

    /// One of several words, and its meaning.
    ///
    /// # Errors
    /// If the value is none of them.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let expected = names.join(" or ");
        let text = self.text().map_err(|_| self.expected(&expected))?;
        choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| self.expected(&expected))
    }

    /// A date and time or a time of day, in quotes or as TOML writes it without.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn datetime(&self) -> Result<String, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Datetime(time) => Ok(time.to_string()),
            _ => Err(self.expected("a time such as \"2026-03-10T12:00:00\" or \"12:30\"")),
        }
    }

    /// The value as text, in the form in which a policy gets its settings.
    ///
    /// # Errors
    /// If it is a list, a table or a date.
    pub fn setting(&self) -> Result<String, Error> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(value) => Ok(value.to_string()),
            _ => Err(self.expected("a string, a number, true or false")),
        }
    }
}
