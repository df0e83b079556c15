//! No file mentions two public types of one name: its reader would have to look up which is which.
//!
//! Types are told apart by their crate and, in the proxy, by their first module: two files of one such
//! place that share a name are not noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::imports::{full_paths, public_types};
use super::{CRATES, HOST, package, sources};

/// A source file.
struct Source {
    path: String,
    /// Its crate, as imports name it.
    package: String,
    module: Vec<String>,
    text: String,
}

impl Source {
    /// Where its types are told apart from those of others.
    fn place(&self) -> String {
        self.place_of(&[&["crate".to_owned()], &*self.module].concat())
    }

    /// The place that a path leads to.
    fn place_of(&self, path: &[String]) -> String {
        let package = if path[0] == "crate" { &self.package } else { &path[0] };
        match path.get(1) {
            Some(module) if package == "reprieve" => format!("reprieve::{module}"),
            _ => package.clone(),
        }
    }
}

fn look_alikes(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for name in public_types(&source.text) {
            places.entry(name).or_default().insert(source.place());
        }
    }
    let mut found = Vec::new();
    for source in sources {
        let module: Vec<_> = source.module.iter().map(String::as_str).collect();
        let own = public_types(&source.text).into_iter().map(|name| (name, source.place()));
        let paths = full_paths(&source.text, &module);
        let others = paths.iter().filter_map(|path| Some((path.last()?.clone(), source.place_of(path))));
        let mut mentioned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, place) in own.chain(others) {
            if places.get(&name).is_some_and(|places| places.contains(&place)) {
                mentioned.entry(name).or_default().insert(place);
            }
        }
        mentioned.retain(|_, places| places.len() > 1);
        found.extend(mentioned.into_iter().map(|(name, places)| {
            let places: Vec<_> = places.into_iter().collect();
            format!("{}: {name} of {}", source.path, places.join(" and "))
        }));
    }
    found
}

#[test]
fn no_file_mentions_two_public_types_of_one_name() {
    let crates = CRATES.iter().map(|layer| (layer.name, package(layer.name).replace('-', "_")));
    let mut all = Vec::new();
    for (folder, package) in crates.chain([("proxy", "reprieve".to_owned())]) {
        let mut found = Vec::new();
        sources(&PathBuf::from(format!("{HOST}/{folder}/src")), &[], &mut found);
        // It only shows types of other modules to fuzz targets.
        found.retain(|(_, module, _)| module.first().is_none_or(|first| first != "fuzzing"));
        all.extend(found.into_iter().map(|(path, module, text)| Source {
            path: path.display().to_string(),
            package: package.clone(),
            module,
            text,
        }));
    }
    assert_eq!(look_alikes(&all), [""; 0]);
}

#[test]
fn planted_look_alikes_are_found() {
    let source = |package: &str, module: &str, text: &str| Source {
        path: "planted.rs".to_owned(),
        package: package.to_owned(),
        module: module.split("::").map(str::to_owned).collect(),
        text: text.to_owned(),
    };
    let declared = || {
        [
            source("reprieve_store", "entry", "pub struct Entry;"),
            source("reprieve", "pool::node", "pub(crate) enum Entry { Ended }"),
            source("reprieve", "admin", "pub use super::pool::node::Entry as NodeEntry;"),
            source("reprieve", "server", "pub use reprieve_store::Entry;"),
        ]
    };
    for (text, is_found) in [
        ("use reprieve_store::Entry as Stored;\nuse crate::pool::Entry;", true),
        ("use reprieve_store as store;\nfn f(_: store::Entry, _: crate::pool::node::Entry) {}", true),
        ("use crate::pool::{self, Node};\npub type Entry = u32;\nfn f(_: pool::Entry) {}", true),
        ("use super::super::pool::Entry;\nfn f(_: reprieve_store::Entry) {}", true),
        ("use reprieve_store::Entry;\nuse std::collections::hash_map;\nfn f(_: hash_map::Entry) {}", false),
        ("use crate::pool::node::Entry;\nfn f(_: crate::pool::Entry) {}", false),
        ("use reprieve_store::Entry;\nuse crate::admin::NodeEntry;", false),
    ] {
        let sources: Vec<_> =
            declared().into_iter().chain([source("reprieve", "server::core", text)]).collect();
        assert_eq!(look_alikes(&sources).len(), usize::from(is_found), "{text}");
    }
}
