//! The generated part of docs/configuration.md.

use std::fmt::Write as _;

use super::{TableReference, default_of, meaning_of, tables, type_name};

/// The tables of all keys, in Markdown.
pub(crate) fn page() -> String {
    let mut page = String::new();
    for table in tables() {
        let title = if table.header.is_empty() { "Top of the file".to_owned() } else { code(&table.header) };
        let _ = write!(page, "\n### {title}\n\n{}\n", table.doc);
        if let Some(other) = table.also_has_keys_of {
            let _ = write!(page, "\nIt also has the keys of {}.\n", code(other));
        }
        add_keys(&mut page, &table);
    }
    page.push('\n');
    page
}

fn add_keys(page: &mut String, table: &TableReference) {
    if table.keys.is_empty() {
        return;
    }
    page.push_str("\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in &table.keys {
        let cells = [code(key.name), type_name(&key.kind), default_of(key), meaning_of(key)];
        let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
