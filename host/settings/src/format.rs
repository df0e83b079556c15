//! Formats of values: how they are parsed, printed and described.

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Error, Value};
use crate::table::{KeyDescription, Table};
use crate::units::{print_duration, print_size};

/// Parses, prints and describes values of the type `V`.
pub trait Format<V> {
    /// Parses a value.
    ///
    /// # Errors
    /// What is wrong with it, and what it must be.
    fn parse(&self, value: &Value<'_, '_>) -> Result<V, Error>;

    /// The value in TOML; `None` if the file has nothing for it.
    fn print(&self, value: &V) -> Option<String>;

    /// The type that the documentation and the JSON Schema show.
    fn describe(&self) -> Type;
}

/// The type of a value in the file.
#[derive(Clone, Debug)]
pub enum Type {
    /// `true` or `false`.
    Boolean,
    /// A whole number in a range.
    Integer(RangeInclusive<u64>),
    /// A number from 0 to 1.
    Fraction,
    /// A string. The words name its syntax.
    String(&'static str),
    /// A duration that may be zero, or not.
    Duration {
        /// Whether zero is allowed.
        zero: bool,
    },
    /// A size in bytes, in a range.
    Size(RangeInclusive<u64>),
    /// One of these strings.
    Word(Vec<&'static str>),
    /// A list of values.
    List(Box<Type>),
    /// A table with these keys.
    Table(Vec<KeyDescription>),
    /// A table whose keys are names, and whose values are tables with these keys.
    NamedTables(Vec<KeyDescription>),
    /// A table with any keys, whose values are strings, numbers or Booleans.
    FreeTable,
    /// A table with any keys, whose values are of this type.
    NamedValues(Box<Type>),
    /// One of several types.
    Either(Vec<Type>),
}

/// A format that two functions make.
struct Custom<V> {
    kind: Type,
    parse: fn(&Value<'_, '_>) -> Result<V, Error>,
    print: fn(&V) -> Option<String>,
}

impl<V> Format<V> for Custom<V> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<V, Error> {
        (self.parse)(value)
    }

    fn print(&self, value: &V) -> Option<String> {
        (self.print)(value)
    }

    fn describe(&self) -> Type {
        self.kind.clone()
    }
}

/// A format of its own: a type, a parser, and a printer of defaults.
pub fn custom<V>(
    kind: Type,
    parse: fn(&Value<'_, '_>) -> Result<V, Error>,
    print: fn(&V) -> Option<String>,
) -> impl Format<V> {
    Custom { kind, parse, print }
}

/// `true` or `false`.
#[must_use]
pub fn boolean() -> impl Format<bool> {
    custom(Type::Boolean, |value| value.boolean(), |value| Some(value.to_string()))
}

/// Any string.
#[must_use]
pub fn text() -> impl Format<String> {
    custom(Type::String("string"), |value| value.text().map(str::to_owned), |text| Some(quoted(text)))
}

/// A path that is not empty.
#[must_use]
pub fn path() -> impl Format<PathBuf> {
    custom(Type::String("path"), |value| value.path(), |path| Some(quoted(&path.display().to_string())))
}

/// A duration, which may be zero.
#[must_use]
pub fn duration() -> impl Format<Duration> {
    custom(Type::Duration { zero: true }, |value| value.duration(), print_quoted_duration)
}

/// A duration that is not zero.
#[must_use]
pub fn positive_duration() -> impl Format<Duration> {
    custom(Type::Duration { zero: false }, |value| value.positive_duration(), print_quoted_duration)
}

fn print_quoted_duration(duration: &Duration) -> Option<String> {
    Some(quoted(&print_duration(*duration)))
}

/// A string as TOML writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

struct Count(RangeInclusive<u64>);

impl<V: Copy + TryFrom<u64> + TryInto<u64>> Format<V> for Count {
    fn parse(&self, value: &Value<'_, '_>) -> Result<V, Error> {
        let number = value.count(*self.0.start(), *self.0.end())?;
        V::try_from(number).map_err(|_| value.error("is too large"))
    }

    fn print(&self, value: &V) -> Option<String> {
        (*value).try_into().ok().map(|number: u64| number.to_string())
    }

    fn describe(&self) -> Type {
        Type::Integer(self.0.clone())
    }
}

/// A whole number in a range.
pub fn count<V: Copy + TryFrom<u64> + TryInto<u64>>(range: RangeInclusive<u64>) -> impl Format<V> {
    Count(range)
}

struct Size(RangeInclusive<u64>);

impl<V: Copy + TryFrom<u64> + TryInto<u64>> Format<V> for Size {
    fn parse(&self, value: &Value<'_, '_>) -> Result<V, Error> {
        let bytes = value.size()?;
        let (least, most) = (print_size(*self.0.start()), print_size(*self.0.end()));
        match V::try_from(bytes) {
            Ok(bytes_of_type) if self.0.contains(&bytes) => Ok(bytes_of_type),
            _ if *self.0.end() == u64::MAX => Err(value.error(format!("must be at least {least:?}"))),
            _ => Err(value.error(format!("must be from {least:?} to {most:?}"))),
        }
    }

    fn print(&self, value: &V) -> Option<String> {
        (*value).try_into().ok().map(|bytes: u64| quoted(&print_size(bytes)))
    }

    fn describe(&self) -> Type {
        Type::Size(self.0.clone())
    }
}

/// A size in bytes, in a range.
pub fn size<V: Copy + TryFrom<u64> + TryInto<u64>>(range: RangeInclusive<u64>) -> impl Format<V> {
    Size(range)
}

struct Word<V: 'static>(&'static [(&'static str, V)]);

impl<V: Copy + PartialEq> Format<V> for Word<V> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<V, Error> {
        value.choice(self.0)
    }

    fn print(&self, value: &V) -> Option<String> {
        self.0.iter().find(|(_, meaning)| meaning == value).map(|(word, _)| quoted(word))
    }

    fn describe(&self) -> Type {
        Type::Word(self.0.iter().map(|(word, _)| *word).collect())
    }
}

/// One of several words, each with its meaning.
pub fn word<V: Copy + PartialEq>(words: &'static [(&'static str, V)]) -> impl Format<V> {
    Word(words)
}

struct Optional<F>(F);

impl<V, F: Format<V>> Format<Option<V>> for Optional<F> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<Option<V>, Error> {
        self.0.parse(value).map(Some)
    }

    fn print(&self, value: &Option<V>) -> Option<String> {
        self.0.print(value.as_ref()?)
    }

    fn describe(&self) -> Type {
        self.0.describe()
    }
}

/// A value that is `None` unless the key is set.
pub fn optional<V>(format: impl Format<V>) -> impl Format<Option<V>> {
    Optional(format)
}

struct OrOff<F>(F);

impl<V, F: Format<V>> Format<Option<V>> for OrOff<F> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<Option<V>, Error> {
        if value.is("off") {
            return Ok(None);
        }
        let parsed = self.0.parse(value);
        // A mistake within a table has its own remedy.
        let parsed = if value.is_table() { parsed } else { parsed.map_err(|error| error.or("\"off\"")) };
        parsed.map(Some)
    }

    fn print(&self, value: &Option<V>) -> Option<String> {
        match value {
            Some(value) => self.0.print(value),
            None => Some(quoted("off")),
        }
    }

    fn describe(&self) -> Type {
        Type::Either(vec![self.0.describe(), Type::Word(vec!["off"])])
    }
}

/// A value, or `"off"` for `None`.
pub fn or_off<V>(format: impl Format<V>) -> impl Format<Option<V>> {
    OrOff(format)
}

struct List<F>(F);

impl<V, F: Format<V>> Format<Vec<V>> for List<F> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<Vec<V>, Error> {
        value.list()?.iter().map(|item| self.0.parse(item)).collect()
    }

    fn print(&self, values: &Vec<V>) -> Option<String> {
        let items: Option<Vec<_>> = values.iter().map(|item| self.0.print(item)).collect();
        items.filter(|items| !items.is_empty()).map(|items| format!("[{}]", items.join(", ")))
    }

    fn describe(&self) -> Type {
        Type::List(Box::new(self.0.describe()))
    }
}

/// A list of values.
pub fn list<V>(format: impl Format<V>) -> impl Format<Vec<V>> {
    List(format)
}

struct Nested<T>(PhantomData<T>);

impl<T: Table> Format<T::Output> for Nested<T> {
    fn parse(&self, value: &Value<'_, '_>) -> Result<T::Output, Error> {
        T::read(&value.section()?)
    }

    fn print(&self, _: &T::Output) -> Option<String> {
        None
    }

    fn describe(&self) -> Type {
        Type::Table(T::describe())
    }
}

/// A table with keys of its own.
#[must_use]
pub fn table<T: Table>() -> impl Format<T::Output> {
    Nested::<T>(PhantomData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::{Section, Source};

    fn parse<V>(format: &impl Format<V>, value: &str) -> Result<V, String> {
        let text = format!("key = {value}");
        let source = Source { file: "f", text: &text };
        let document = source.parse().map_err(|error| error.to_string())?;
        let section = Section::new(source, "", document.span(), document.get_ref());
        format.parse(&section.value("key").expect("it is set")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_printed_as_it_is_parsed() {
        fn check<V>(format: &impl Format<V>, text: &str) {
            assert_eq!(format.print(&parse(format, text).unwrap()).as_deref(), Some(text));
        }
        check(&boolean(), "true");
        check(&text(), "\"a b\"");
        check(&path(), "\"/etc/reprieve\"");
        check(&duration(), "\"90s\"");
        check(&count::<u32>(1..=9), "9");
        check(&size::<u64>(0..=u64::MAX), "\"64MiB\"");
        check(&word(&[("on", true), ("off", false)]), "\"off\"");
        check(&optional(count::<usize>(1..=9)), "1");
        check(&or_off(duration()), "\"off\"");
        check(&list(text()), "[\"a\", \"b\"]");
    }

    #[test]
    fn a_value_out_of_range_is_answered_with_the_range() {
        let error = parse(&size::<u64>(1024..=1 << 20), "\"1B\"").unwrap_err();
        assert_eq!(error, "f:1: `key` must be from \"1KiB\" to \"1MiB\"");
        let error = parse(&size::<u32>(1024..=u64::MAX), "\"1B\"").unwrap_err();
        assert_eq!(error, "f:1: `key` must be at least \"1KiB\"");
        let error = parse(&or_off(positive_duration()), "5").unwrap_err();
        assert!(error.ends_with("such as \"90s\", \"10m\" or \"1h30m\", or \"off\""), "{error}");
    }
}
