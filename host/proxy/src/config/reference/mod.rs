//! Documentation that is generated from the keys: docs/configuration.md, the example file, the JSON
//! Schema, and, in `cli`, the manual page.

mod example;
mod json_schema;
mod page;

pub(crate) use example::example;
pub(crate) use json_schema::json_schema;
pub(crate) use page::page;

use reprieve_settings::format::Type;
use reprieve_settings::{KeyDescription, Table as _, print_size};

use super::Config;

/// A table of the configuration file.
#[derive(Clone, Debug)]
pub(crate) struct TableReference {
    /// Its header, such as `[store]` or `[[virtual-server]]`; empty for the top of the file.
    pub(crate) header: String,
    /// Its purpose, in Markdown.
    pub(crate) doc: &'static str,
    /// Its keys without those that are nothing but tables, which have their own reference.
    pub(crate) keys: Vec<KeyDescription>,
    /// The header of the table whose keys it has, too.
    pub(crate) also_has_keys_of: Option<&'static str>,
    /// Whether it is an item of a list that can also have other items.
    pub(crate) is_list_item: bool,
}

/// All tables, in the order of the documentation.
pub(crate) fn tables() -> Vec<TableReference> {
    let mut tables = Vec::new();
    let top = Scope { path: String::new(), doc: "Settings of the process.", in_list: false, mixed: false };
    top.add_table(&Config::describe(), &mut tables);
    tables
}

/// Where a value stands.
#[derive(Clone)]
struct Scope {
    path: String,
    doc: &'static str,
    in_list: bool,
    /// Whether the value can be something else than a table.
    mixed: bool,
}

impl Scope {
    fn add_table(&self, keys: &[KeyDescription], tables: &mut Vec<TableReference>) {
        let own = || keys.iter().filter(|key| key.documented_in.is_none());
        let header = match (self.path.as_str(), self.in_list) {
            ("", _) => String::new(),
            (path, false) => format!("[{path}]"),
            (path, true) => format!("[[{path}]]"),
        };
        tables.push(TableReference {
            header,
            doc: self.doc,
            keys: own().filter(|key| !is_table(&key.kind)).cloned().collect(),
            also_has_keys_of: keys.iter().find_map(|key| key.documented_in),
            is_list_item: self.in_list && self.mixed,
        });
        for key in own() {
            let path = if self.path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{}.{}", self.path, key.name)
            };
            let scope = Self { path, doc: key.doc, in_list: false, mixed: false };
            scope.add_tables_of(&key.kind, tables);
        }
    }

    /// Adds the tables that a value of this type can be.
    fn add_tables_of(&self, kind: &Type, tables: &mut Vec<TableReference>) {
        match kind {
            Type::Table(keys) => self.add_table(keys, tables),
            Type::NamedTables(keys) => {
                Self { path: format!("{}.NAME", self.path), ..self.clone() }.add_table(keys, tables);
            }
            Type::List(item) => Self { in_list: true, ..self.clone() }.add_tables_of(item, tables),
            Type::Either(types) => {
                let scope = Self { mixed: true, ..self.clone() };
                types.iter().for_each(|kind| scope.add_tables_of(kind, tables));
            }
            _ => {}
        }
    }
}

/// Whether the value is nothing but a table, or a list of nothing but tables.
fn is_table(kind: &Type) -> bool {
    match kind {
        Type::Table(_) | Type::NamedTables(_) => true,
        Type::List(item) => is_table(item),
        _ => false,
    }
}

/// The type of a value, for readers.
pub(crate) fn type_name(kind: &Type) -> String {
    match kind {
        Type::Boolean => "boolean".to_owned(),
        Type::Integer(range) if *range.end() == u64::MAX => format!("number, at least {}", range.start()),
        Type::Integer(range) => format!("number, {} to {}", range.start(), range.end()),
        Type::Fraction => "number".to_owned(),
        Type::String(name) => (*name).to_owned(),
        Type::Duration { .. } => "duration".to_owned(),
        Type::Size(range) => match (*range.start(), *range.end()) {
            (0, u64::MAX) => "size".to_owned(),
            (least, u64::MAX) => format!("size, at least `{}`", print_size(least)),
            (least, most) => format!("size, `{}` to `{}`", print_size(least), print_size(most)),
        },
        Type::Word(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Type::List(item) => format!("list of: {}", type_name(item)),
        Type::NamedValues(kind) => format!("table of: {}", type_name(kind)),
        Type::Table(_) | Type::NamedTables(_) | Type::FreeTable => "table".to_owned(),
        Type::Either(types) => types.iter().map(type_name).collect::<Vec<_>>().join(" or "),
    }
}

/// The default of a key in Markdown, or that it is required.
pub(crate) fn default_of(key: &KeyDescription) -> String {
    match (key.only_with, key.default_text, &key.default) {
        (Some((other, value)), ..) if key.required => format!("required with `{other} = \"{value}\"`"),
        _ if key.required => "required".to_owned(),
        (_, Some(words), _) => words.to_owned(),
        (.., Some(default)) => format!("`{default}`"),
        (.., None) => "none".to_owned(),
    }
}

/// The meaning of a key in Markdown, with the keys that it depends on.
pub(crate) fn meaning_of(key: &KeyDescription) -> String {
    let mut meaning = key.doc.to_owned();
    if let Some((other, value)) = key.only_with.filter(|_| !key.required) {
        meaning.push_str(&format!(" Only with `{other} = \"{value}\"`."));
    }
    if !key.needs.is_empty() {
        let needed: Vec<_> = key.needs.iter().map(|key| format!("`{key}`")).collect();
        meaning.push_str(&format!(" Needs {}.", needed.join(" and ")));
    }
    meaning
}

#[cfg(test)]
mod tests;
