//! The keys of a configuration with their defaults and meanings: the table in docs/configuration.md, which the
//! manual page is made of and the tests hold against what is read.

/// The page of the release that this is.
const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// The table's first line.
const HEAD: &str = "| key | default | meaning |";

/// A line of the table: keys that are told of together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The tables that they stand in, as the file writes their heads; none for the top.
    pub(crate) tables: Vec<&'a str>,
    /// Their names; none where it is the table itself that is told of.
    pub(crate) keys: Vec<&'a str>,
    /// What holds where they are not set, in Markdown.
    pub(crate) default: &'a str,
    /// What they are for, in Markdown.
    pub(crate) meaning: &'a str,
}

/// The page's table, line by line.
pub(crate) fn entries() -> Vec<Entry<'static>> {
    entries_of(PAGE)
}

fn entries_of(text: &str) -> Vec<Entry<'_>> {
    let lines = text.lines().skip_while(|line| *line != HEAD).skip(2);
    let mut tables = Vec::new();
    let mut entries = Vec::new();
    for line in lines.take_while(|line| line.starts_with('|')) {
        let mut cells = line.trim_matches('|').splitn(3, " | ").map(str::trim);
        let (Some(first), default) = (cells.next(), cells.next().unwrap_or_default()) else { continue };
        let is_head = first.starts_with("**");
        if is_head {
            tables = code(first).collect();
        }
        // The last cell of most heads is empty, and so nothing divides it from the one before.
        if let Some(meaning) = cells.next() {
            let keys = if is_head { Vec::new() } else { code(first).collect() };
            entries.push(Entry { tables: tables.clone(), keys, default, meaning });
        }
    }
    entries
}

/// What stands between backticks.
pub(crate) fn code(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../packaging/reprieve.toml");

    #[test]
    fn the_example_serves_nothing_until_somebody_sets_something() {
        let table: toml::Table = EXAMPLE.parse().unwrap();
        assert!(table.is_empty(), "{table:?}");
    }

    #[test]
    fn a_table_is_read_line_by_line() {
        let text = "before\n| key | default | meaning |\n| --- | --- | --- |\n| `a`, `b` | `1`, 2 | what |\n\
                    | **`[t]`**, **`[u.t]`** | | |\n| `c` | none | or `x | y` |\n| **`[v]`** | none | as `t` |\n\n\
                    | `d` | no | part |\n";
        let entry = |tables: &[&'static str], keys: &[&'static str], default, meaning| Entry {
            tables: tables.to_vec(),
            keys: keys.to_vec(),
            default,
            meaning,
        };
        assert_eq!(
            entries_of(text),
            [
                entry(&[], &["a", "b"], "`1`, 2", "what"),
                entry(&["[t]", "[u.t]"], &["c"], "none", "or `x | y`"),
                entry(&["[v]"], &[], "none", "as `t`"),
            ]
        );
    }
}
