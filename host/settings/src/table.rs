//! Tables of configuration keys. One declaration of a key serves its parser, the manual page,
//! the reference, the example file and the JSON Schema.

use crate::format::{Format, Type};
use crate::reader::{Error, Section, Value};

/// A TOML table, as a list of its keys.
pub trait Table: Sized + 'static {
    /// What the table configures.
    type Output;

    /// The values of all keys that are not set. Those of required keys are placeholders.
    fn defaults() -> Self;

    /// The keys, in the order of the documentation.
    fn keys() -> Vec<Key<Self>>;

    /// Applies the rules that concern more than one key.
    ///
    /// # Errors
    /// The first rule that is broken, with its line, key and remedy.
    fn build(self, section: &Section<'_, '_>) -> Result<Self::Output, Error>;

    /// Reads the table.
    ///
    /// # Errors
    /// The first mistake: an unknown key, a key without the one that it depends on, a wrong value, a
    /// missing key, a broken rule.
    fn read(section: &Section<'_, '_>) -> Result<Self::Output, Error> {
        let keys = Self::keys();
        let names: Vec<_> = keys.iter().map(|key| key.description.name).collect();
        section.reject_unknown(&names)?;
        let mut table = Self::defaults();
        for key in &keys {
            key.read(&mut table, section)?;
        }
        table.build(section)
    }

    /// Describes the keys with their defaults, which are those of the code.
    #[must_use]
    fn describe() -> Vec<KeyDescription> {
        let mut table = Self::defaults();
        let described = |key: Key<Self>| {
            let default = (key.print)(&mut table);
            KeyDescription { default, ..key.description }
        };
        Self::keys().into_iter().map(described).collect()
    }
}

/// A key of the table `T`.
pub struct Key<T> {
    description: KeyDescription,
    parse: Box<Parse<T>>,
    print: Box<Print<T>>,
}

type Parse<T> = dyn Fn(&mut T, &Value<'_, '_>) -> Result<(), Error>;
type Print<T> = dyn Fn(&mut T) -> Option<String>;

/// What the documentation says about a key.
#[derive(Clone, Debug)]
pub struct KeyDescription {
    /// Its name in the file.
    pub name: &'static str,
    /// Its meaning: whole sentences in Markdown.
    pub doc: &'static str,
    /// Its type.
    pub kind: Type,
    /// Its default in TOML, from the code; `None` if nothing is set.
    pub default: Option<String>,
    /// The default in words, if it is not a fixed value.
    pub default_text: Option<&'static str>,
    /// A value in TOML that the example file shows, if the default is not a good one.
    pub example: Option<&'static str>,
    /// Whether it must be set.
    pub required: bool,
    /// The key in the same table, and the value, without which it has no meaning.
    pub only_with: Option<(&'static str, &'static str)>,
    /// The key in the same table that it depends on.
    pub needs: Option<&'static str>,
    /// Whether it excludes other keys, so that the example file does not show it beside them.
    pub alternative: bool,
    /// The table that documents it, if that is another one.
    pub documented_in: Option<&'static str>,
}

impl<T: 'static> Key<T> {
    /// Declares a key. `field`: where its value is kept. `doc`: whole sentences in Markdown.
    pub fn new<V: 'static>(
        name: &'static str,
        field: fn(&mut T) -> &mut V,
        format: impl Format<V> + 'static,
        doc: &'static str,
    ) -> Self {
        let description = KeyDescription {
            name,
            doc,
            kind: format.describe(),
            default: None,
            default_text: None,
            example: None,
            required: false,
            only_with: None,
            needs: None,
            alternative: false,
            documented_in: None,
        };
        let format = std::rc::Rc::new(format);
        let printer = format.clone();
        Self {
            description,
            parse: Box::new(move |table, value| {
                *field(table) = format.parse(value)?;
                Ok(())
            }),
            print: Box::new(move |table| printer.print(field(table))),
        }
    }

    /// The key must be set. `example`: a value in TOML.
    #[must_use]
    pub fn required(mut self, example: &'static str) -> Self {
        self.description.required = true;
        self.example(example)
    }

    /// A value in TOML that shows more than the default.
    #[must_use]
    pub fn example(mut self, example: &'static str) -> Self {
        self.description.example = Some(example);
        self
    }

    /// Documents a default that depends on other things, in words.
    #[must_use]
    pub fn default_text(mut self, words: &'static str) -> Self {
        self.description.default_text = Some(words);
        self
    }

    /// The key has a meaning, and can be required, only if another key has this value.
    #[must_use]
    pub fn only_with(mut self, key: &'static str, value: &'static str) -> Self {
        self.description.only_with = Some((key, value));
        self
    }

    /// The key depends on another key.
    #[must_use]
    pub fn needs(mut self, key: &'static str) -> Self {
        self.description.needs = Some(key);
        self
    }

    /// The key cannot stand beside others that the example file shows.
    #[must_use]
    pub fn alternative(mut self) -> Self {
        self.description.alternative = true;
        self
    }

    /// Makes it a key of a table that contains `T` in a field. `documented_in`: the table that
    /// documents it.
    #[must_use]
    pub fn within<U: 'static>(self, field: fn(&mut U) -> &mut T, documented_in: &'static str) -> Key<U> {
        let (parse, print) = (self.parse, self.print);
        Key {
            description: KeyDescription { documented_in: Some(documented_in), ..self.description },
            parse: Box::new(move |table, value| parse(field(table), value)),
            print: Box::new(move |table| print(field(table))),
        }
    }

    fn read(&self, table: &mut T, section: &Section<'_, '_>) -> Result<(), Error> {
        let KeyDescription { name, only_with, needs, required, example, .. } = self.description;
        let applies =
            only_with.is_none_or(|(key, value)| section.value(key).is_some_and(|set| set.is(value)));
        match section.value(name) {
            Some(value) => {
                if let Some((key, needed)) = only_with.filter(|_| !applies) {
                    return Err(value.error(format!("belongs to `{key} = \"{needed}\"`")));
                }
                if let Some(needed) = needs.filter(|needed| section.value(needed).is_none()) {
                    return Err(value.error(format!("needs `{needed}` beside it")));
                }
                (self.parse)(table, &value)
            }
            None if required && applies => Err(section.missing(name, example.unwrap_or_default())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{boolean, optional, text};
    use crate::reader::Source;

    #[derive(Debug, PartialEq)]
    struct Server {
        name: String,
        user: Option<String>,
        group: Option<String>,
        verbose: bool,
    }

    impl Table for Server {
        type Output = Self;

        fn defaults() -> Self {
            Self { name: String::new(), user: None, group: None, verbose: true }
        }

        fn keys() -> Vec<Key<Self>> {
            vec![
                Key::new("name", |server: &mut Self| &mut server.name, text(), "Its name.").required("\"a\""),
                Key::new("user", |server: &mut Self| &mut server.user, optional(text()), "A user."),
                Key::new("group", |server: &mut Self| &mut server.group, optional(text()), "A group.").needs("user"),
                Key::new("verbose", |server: &mut Self| &mut server.verbose, boolean(), "Log more.")
                    .only_with("name", "main"),
            ]
        }

        fn build(self, _: &Section<'_, '_>) -> Result<Self, Error> {
            Ok(self)
        }
    }

    fn read(text: &str) -> Result<Server, String> {
        let source = Source { file: "f", text };
        let document = source.parse().map_err(|error| error.to_string())?;
        let section = Section::new(source, "", document.span(), document.get_ref());
        Server::read(&section).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_that_are_not_set_keep_their_defaults() {
        let expected = Server { name: "a".into(), user: None, group: None, verbose: true };
        assert_eq!(read("name = \"a\""), Ok(expected));
    }

    #[test]
    fn each_mistake_names_line_key_and_remedy() {
        for (text, expected) in [
            ("user = \"u\"", "f:1: `name` is missing; for example: name = \"a\""),
            ("nam = \"a\"", "f:1: unknown key `nam`; did you mean `name`?"),
            ("colour = 1", "f:1: unknown key `colour`; known keys: name, user, group, verbose"),
            ("name = 1", "f:1: `name` is the number 1; it must be a string in quotes"),
            ("name = \"a\"\ngroup = \"g\"", "f:2: `group` needs `user` beside it"),
            ("name = \"a\"\nverbose = false", "f:2: `verbose` belongs to `name = \"main\"`"),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn defaults_are_described_as_the_code_has_them() {
        let defaults: Vec<_> = Server::describe().into_iter().map(|key| key.default).collect();
        assert_eq!(defaults, [Some("\"\"".to_owned()), None, None, Some("true".to_owned())]);
    }
}
