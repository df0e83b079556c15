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
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;
    use reprieve_settings::asked;

    const EXAMPLE: &str = include_str!("../../../packaging/reprieve.toml");

    /// The example with every key set that it only shows.
    fn uncommented() -> String {
        let set = |line: &'static str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key,
            _ => line,
        };
        EXAMPLE.lines().map(|line| format!("{}\n", set(line))).collect()
    }

    /// A key's path from the top, the same for all pools and both places of a store; a policy in
    /// the shadow has the keys of any other.
    fn canonical(path: &str) -> String {
        path.replace("virtual-server.store", "store")
            .replace("virtual-server.shadow.", "virtual-server.policy.")
            .replace("pool.mail", "pool.NAME")
    }

    fn paths(table: &toml::Table, above: &str, to: &mut BTreeSet<String>) {
        for (key, value) in table {
            let path = format!("{above}{key}");
            to.insert(canonical(&path));
            let within = format!("{path}.");
            match value {
                toml::Value::Table(table) => paths(table, &within, to),
                toml::Value::Array(items) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|item| paths(item, &within, to));
                }
                _ => {}
            }
        }
    }

    /// Each key that is asked for where a file has every table.
    fn read() -> BTreeSet<String> {
        asked::forget();
        Config::parse(&uncommented(), "reprieve.toml").unwrap_or_else(|error| panic!("{error}"));
        let keys: BTreeSet<String> = asked::keys().iter().map(|path| canonical(path)).collect();
        assert!(keys.contains("virtual-server.policy.limits.time") && keys.len() > 100, "{keys:?}");
        keys
    }

    #[test]
    fn the_example_has_every_key_that_is_read() {
        let mut shown = BTreeSet::new();
        paths(&uncommented().parse().unwrap(), "", &mut shown);
        let lacking: Vec<_> = read().into_iter().filter(|key| !shown.contains(key)).collect();
        assert!(lacking.is_empty(), "host/packaging/reprieve.toml lacks: {}", lacking.join(", "));
    }

    #[test]
    fn the_example_serves_nothing_until_somebody_sets_something() {
        let table: toml::Table = EXAMPLE.parse().unwrap();
        assert!(table.is_empty(), "{table:?}");
    }

    #[test]
    fn the_page_has_every_key_that_is_read_and_no_other() {
        let read = read();
        let mut told = BTreeSet::new();
        // Keys of small tables are told of in the line of the table.
        let mut within = BTreeSet::new();
        for entry in entries() {
            let tables: Vec<_> = entry.tables.iter().map(|table| table.trim_matches(['[', ']'])).collect();
            if entry.keys.is_empty() {
                told.extend(tables.iter().map(|table| canonical(table)));
            }
            let tables = if tables.is_empty() { vec![""] } else { tables };
            for (table, key) in tables.iter().flat_map(|table| entry.keys.iter().map(move |key| (table, key)))
            {
                let path =
                    canonical(&if table.is_empty() { (*key).to_owned() } else { format!("{table}.{key}") });
                let words = code(entry.default).chain(code(entry.meaning)).flat_map(|code| {
                    code.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'))
                });
                within.extend(words.map(|word| format!("{path}.{word}")));
                told.insert(path);
            }
        }
        let is_table = |key: &str| told.iter().any(|path| path.starts_with(&format!("{key}.")));
        let lacking: Vec<_> = read
            .iter()
            .filter(|key| !told.contains(*key) && !within.contains(*key) && !is_table(key))
            .map(String::as_str)
            .collect();
        assert!(lacking.is_empty(), "docs/configuration.md lacks: {}", lacking.join(", "));
        let stale: Vec<_> = told.iter().filter(|key| !read.contains(*key)).map(String::as_str).collect();
        assert!(stale.is_empty(), "docs/configuration.md has keys that nobody reads: {}", stale.join(", "));
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
