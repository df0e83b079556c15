//! The manual page of the configuration file.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::config::reference::{self, TableReference};

/// The shortest useful configuration.
const SHORTEST: [&str; 8] = [
    "[[virtual-server]]",
    "name = \"pop3\"",
    "listen = [\"0.0.0.0:110\", \"[::]:110\"]",
    "pool = \"mail\"",
    "",
    "[pool.mail]",
    "nodes = [\"mail.example.org:995\"]",
    "tls = \"implicit\"",
];

/// Renders reprieve.toml(5). `manual`: the middle of the page's footer.
pub(super) fn page(manual: &str) -> std::io::Result<Vec<u8>> {
    let mut page = Roff::new();
    let source = concat!("reprieve ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["reprieve.toml", "5", "", source, manual]);
    page.control("SH", ["NAME"]);
    page.text([roman("reprieve.toml - configuration of reprieve, the POP3 proxy")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("The configuration of "),
        bold("reprieve run"),
        roman(
            ", in TOML. An unknown key is an error. Durations are written as \"500ms\", \"90s\", \"10m\", \"1h30m\" \
             or \"1d\", sizes as \"512B\", \"100KiB\", \"64MiB\" or \"1GiB\". ",
        ),
        bold("reprieve check"),
        roman(" checks a configuration without starting, and "),
        bold("reprieve check --schema"),
        roman(" prints its JSON Schema for editors."),
    ]);
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in SHORTEST {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["KEYS"]);
    for table in reference::tables() {
        add_table(&mut page, &table);
    }
    page.control("SH", ["FILES"]);
    page.text([roman("/etc/reprieve/reprieve.toml")]);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("reprieve(1), reprieve-run(1), reprieve-check(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}

fn add_table(page: &mut Roff, table: &TableReference) {
    page.control("SS", [if table.header.is_empty() { "Top of the file" } else { table.header.as_str() }]);
    page.text(inlines(table.doc));
    if let Some(other) = table.also_has_keys_of {
        page.text([roman(format!("It also has the keys of {other}."))]);
    }
    for key in &table.keys {
        let default = reference::default_of(key).replace('`', "");
        let word = if key.required { "" } else { "default: " };
        page.control("TP", []);
        page.text([bold(key.name), roman(format!("  [{word}{default}]"))]);
        page.text(inlines(&reference::meaning_of(key)));
    }
}

/// Markdown with its code in bold.
fn inlines(markdown: &str) -> Vec<Inline> {
    let parts = markdown.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
