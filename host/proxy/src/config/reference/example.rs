//! The example file: every key as a comment.

use std::fmt::Write as _;

use reprieve_settings::KeyDescription;
use reprieve_settings::format::Type;

use super::{TableReference, default_of, meaning_of, tables};

/// Columns of a comment line.
const WIDTH: usize = 98;

const INTRODUCTION: &str = r##"# The configuration of Reprieve: every key.
#
# A line that begins with `#` and no space is a key with its default or an example: remove the `#`
# to set it. A key after `#` and a space is an alternative to other keys: a store in Redis to one in
# a file, for example. These lines are a complete configuration:
#
#     [[virtual-server]]
#     name = "pop3"
#     listen = ["0.0.0.0:110", "[::]:110"]
#     pool = "mail"
#
#     [pool.mail]
#     nodes = ["mail.example.org:995"]
#     tls = "implicit"
#
# Then:  reprieve check
#        systemctl enable --now reprieve
#
# Durations are written as "500ms", "90s", "10m", "1h30m", "1d"; sizes as "512B", "100KiB",
# "64MiB", "1GiB". An unknown key is an error. See reprieve.toml(5) for this reference as a manual page.
"##;

/// The file with every key as a comment.
pub(crate) fn example() -> String {
    let mut file = INTRODUCTION.to_owned();
    for table in tables() {
        // The name that INTRODUCTION uses.
        let header = table.header.replace("NAME", "mail");
        let _ = writeln!(
            file,
            "\n\n# ---- {} ----\n",
            if header.is_empty() { "Top of the file" } else { &header }
        );
        add_comment(&mut file, table.doc);
        if let Some(other) = table.also_has_keys_of {
            add_comment(&mut file, &format!("It also has the keys of {other}."));
        }
        let prefix = if table.is_list_item { "# " } else { "#" };
        if !header.is_empty() {
            let _ = writeln!(file, "{prefix}{header}");
        }
        for key in table.keys.iter().filter(|key| !has_table_of_its_own(key)) {
            add_key(&mut file, &table, key);
        }
    }
    file
}

/// Whether the example shows the key as a table, although it can be something else.
fn has_table_of_its_own(key: &KeyDescription) -> bool {
    matches!(&key.kind, Type::Either(types) if types.iter().any(|kind| matches!(kind, Type::Table(_))))
}

fn add_key(file: &mut String, table: &TableReference, key: &KeyDescription) {
    file.push('\n');
    let default = match key.example.zip(key.default.as_deref()) {
        // The line shows the default itself.
        None if key.default.is_some() && key.default_text.is_none() => String::new(),
        _ if default_of(key).starts_with("required") => format!(" [{}]", default_of(key)),
        _ => format!(" [default: {}]", default_of(key)),
    };
    add_comment(file, &format!("{}{default}", meaning_of(key)));
    let prefix = if key.alternative || table.is_list_item { "# " } else { "#" };
    let value = key.example.or(key.default.as_deref()).unwrap_or_default();
    let _ = writeln!(file, "{prefix}{} = {value}", key.name);
}

/// Adds Markdown as wrapped comment lines.
fn add_comment(file: &mut String, markdown: &str) {
    let mut line = String::from("#");
    for word in markdown.replace('`', "").split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(file, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(file, "{line}");
}
