//! Runs every target on its corpus, and on mutations of it that a seed determines: what a fuzzer has
//! found before must hold in each build, without a fuzzer.

use std::path::{Path, PathBuf};

use reprieve_fuzz::mutator::{Mutator, words};
use reprieve_fuzz::{Target, targets};

/// Length of the longest mutation in bytes, unless an input is longer.
const LONGEST: usize = 4096;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The inputs of a target's corpus, in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn dictionary(target: &str) -> Vec<Vec<u8>> {
    let path = folder("dictionaries").join(format!("{target}.dict"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    words(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Runs a target. If it panics, says on which input.
fn run(target: &Target, input: &[u8], origin: &str) {
    let run = target.run;
    if std::panic::catch_unwind(|| run(input)).is_err() {
        panic!("{} panics on {origin}: b\"{}\"", target.name, input.escape_ascii());
    }
}

fn replay(target: &Target) {
    let corpus = corpus(target.name);
    assert!(corpus.len() >= 5, "{} has {} inputs", target.name, corpus.len());
    for (path, input) in &corpus {
        run(target, input, &path.display().to_string());
    }
    let (inputs, words) =
        (corpus.into_iter().map(|(_, input)| input).collect::<Vec<_>>(), dictionary(target.name));
    let longest = inputs.iter().map(Vec::len).fold(LONGEST, usize::max);
    let mut mutator = Mutator::new(1, longest);
    for number in 0..target.mutations {
        run(target, &mutator.mutate(&inputs, &words), &format!("mutation {number}"));
    }
}

#[test]
fn every_target_holds_for_its_corpus_and_for_mutations_of_it() {
    std::thread::scope(|threads| {
        let each = targets::ALL.iter().map(|target| (target, threads.spawn(|| replay(target))));
        let failed: Vec<_> = each
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|(target, thread)| thread.join().is_err().then_some(target.name))
            .collect();
        assert!(failed.is_empty(), "{failed:?}: see above");
    });
}

/// Without some targets, their programs are left over.
#[cfg(feature = "whole")]
#[test]
fn every_target_has_a_program_for_the_fuzzer_and_nothing_else_has() {
    let mut names: Vec<_> = targets::ALL.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    for (kind, extension) in [("fuzz_targets", ".rs"), ("dictionaries", ".dict"), ("corpus", "")] {
        let entries = std::fs::read_dir(folder(kind)).unwrap();
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_suffix(extension).map(str::to_owned).unwrap_or(name))
            .collect();
        found.sort();
        assert_eq!(found, names, "{kind}");
    }
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
