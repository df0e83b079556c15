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
        let mut table = Self::defaults();
        read(&Self::keys(), &mut table, section)?;
        table.build(section)
    }

    /// Describes the keys with their defaults, which are those of the code.
    #[must_use]
    fn describe() -> Vec<KeyDescription> {
        describe(&Self::keys(), &mut Self::defaults())
    }
}

fn read<T: 'static>(keys: &[Key<T>], table: &mut T, section: &Section<'_, '_>) -> Result<(), Error> {
    let names: Vec<_> = keys.iter().map(|key| key.description.name).collect();
    section.reject_unknown(&names)?;
    keys.iter().try_for_each(|key| key.read(table, section))
}

fn describe<T>(keys: &[Key<T>], defaults: &mut T) -> Vec<KeyDescription> {
    let described = |key: &Key<T>| {
        let mut description = key.description.clone();
        (key.describe)(defaults, &mut description);
        description
    };
    keys.iter().map(described).collect()
}

/// A key of the table `T`.
pub struct Key<T> {
    description: KeyDescription,
    parse: Box<Parse<T>>,
    /// Adds what depends on the table's defaults.
    describe: Box<Describe<T>>,
}

type Parse<T> = dyn Fn(&mut T, &Value<'_, '_>) -> Result<(), Error>;
type Describe<T> = dyn Fn(&mut T, &mut KeyDescription);

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
    /// The keys in the same table without which it has no meaning.
    pub needs: Vec<&'static str>,
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
        let format = std::rc::Rc::new(format);
        let printer = format.clone();
        Self {
            description: KeyDescription::new(name, format.describe(), doc),
            parse: Box::new(move |table, value| {
                *field(table) = format.parse(value)?;
                Ok(())
            }),
            describe: Box::new(move |table, description| description.default = printer.print(field(table))),
        }
    }

    /// Declares a table within the table whose keys are kept in fields of `T`, too.
    pub fn group(name: &'static str, keys: Vec<Self>, doc: &'static str) -> Self {
        let keys = std::rc::Rc::new(keys);
        let described = keys.clone();
        Self {
            description: KeyDescription::new(name, Type::Table(Vec::new()), doc),
            parse: Box::new(move |table, value| read(&keys, table, &value.section()?)),
            describe: Box::new(move |table, description| {
                description.kind = Type::Table(describe(&described, table));
            }),
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
        self.description.needs.push(key);
        self
    }

    /// The key cannot stand beside others that the example file shows.
    #[must_use]
    pub fn alternative(mut self) -> Self {
        self.description.alternative = true;
        self
    }

    /// The documentation of another table, such as `[store]`, has the key.
    #[must_use]
    pub fn documented_in(mut self, table: &'static str) -> Self {
        self.description.documented_in = Some(table);
        self
    }

    /// Makes it a key of a table that contains `T` in a field.
    #[must_use]
    pub fn within<U: 'static>(self, field: fn(&mut U) -> &mut T) -> Key<U> {
        let (parse, describe) = (self.parse, self.describe);
        Key {
            description: self.description,
            parse: Box::new(move |table, value| parse(field(table), value)),
            describe: Box::new(move |table, description| describe(field(table), description)),
        }
    }

    fn read(&self, table: &mut T, section: &Section<'_, '_>) -> Result<(), Error> {
        let KeyDescription { name, only_with, required, example, .. } = self.description;
        let applies =
            only_with.is_none_or(|(key, value)| section.value(key).is_some_and(|set| set.is(value)));
        match section.value(name) {
            Some(value) => {
                if let Some((key, needed)) = only_with.filter(|_| !applies) {
                    return Err(value.error(format!("belongs to `{key} = \"{needed}\"`")));
                }
                let missing = self.description.needs.iter().find(|needed| section.value(needed).is_none());
                if let Some(missing) = missing {
                    let path = section.key_path(missing);
                    return Err(value.error(format!("needs `{path}`, which is not set")));
                }
                (self.parse)(table, &value)
            }
            None if required && applies => Err(section.missing(name, example.unwrap_or_default())),
            None => Ok(()),
        }
    }
}

impl KeyDescription {
    fn new(name: &'static str, kind: Type, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            kind,
            default: None,
            default_text: None,
            example: None,
            required: false,
            only_with: None,
            needs: Vec::new(),
            alternative: false,
            documented_in: None,
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
                Key::new("group", |server: &mut Self| &mut server.group, optional(text()), "A group.")
                    .needs("user"),
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
            ("name = \"a\"\ngroup = \"g\"", "f:2: `group` needs `user`, which is not set"),
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
