//! The manual page of the configuration file.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::config::reference::{Entry, entries};

/// The shortest configuration that serves.
const SHORTEST: [&str; 7] = [
    "[[virtual-server]]",
    "name = \"pop3\"",
    "listen = [\"0.0.0.0:110\", \"[::]:110\"]",
    "pool = \"mail\"",
    "",
    "[pool.mail]",
    "nodes = [\"10.0.0.5:110\"]",
];

/// `manual`: what the page's foot has in the middle.
pub(super) fn page(manual: &str) -> std::io::Result<Vec<u8>> {
    let mut page = Roff::new();
    let source = concat!("reprieve ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["reprieve.toml", "5", "", source, manual]);
    page.control("SH", ["NAME"]);
    page.text([roman("reprieve.toml - configuration of reprieve, the POP3 proxy")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("What "),
        bold("reprieve run --config"),
        roman(" reads, in TOML. A key that is not known is an error. Durations are written as \"90s\", \"10m\" or \"1h\", sizes as \"64MiB\". "),
        bold("reprieve check --config"),
        roman(" checks all that a start checks, without starting."),
    ]);
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in SHORTEST {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    page.control("SH", ["KEYS"]);
    let mut tables: Vec<&str> = Vec::new();
    for entry in entries() {
        if entry.tables != tables {
            tables.clone_from(&entry.tables);
            page.control("SS", [tables.join(", ").as_str()]);
        }
        tell(&mut page, &entry);
    }
    page.control("SH", ["FILES"]);
    page.text([roman("/etc/reprieve/reprieve.toml")]);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("reprieve(1), reprieve-run(1), reprieve-check(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(text)
}

fn tell(page: &mut Roff, entry: &Entry<'_>) {
    if entry.keys.is_empty() {
        page.text(inlines(entry.meaning));
        return;
    }
    page.control("TP", []);
    let mut head = Vec::new();
    for key in &entry.keys {
        if !head.is_empty() {
            head.push(roman(", "));
        }
        head.push(bold(*key));
    }
    let word = if entry.default.starts_with("must be set") { "" } else { "default: " };
    head.push(roman(format!("  [{word}{}]", plain(entry.default))));
    page.text(head);
    page.text(inlines(entry.meaning));
}

/// Markdown without its marks.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

/// Markdown's code in bold, and the rest as it is.
fn inlines(markdown: &str) -> Vec<Inline> {
    let parts = markdown.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
