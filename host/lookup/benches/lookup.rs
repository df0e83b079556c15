//! Lookups in a compiled table of ten million lines, and what it takes to make and open it.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use divan::{Bencher, black_box};
use reprieve_lookup::{Tables, compile, read};

const LINES: u64 = 10_000_000;
/// Lookups per sample, so that reading the clock does not count.
const LOOKUPS: u64 = 10_000;

fn main() {
    divan::main();
}

/// A user name of realistic length. Numbers in a row give names far apart.
fn write_key(key: &mut String, number: u64) {
    key.clear();
    let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let _ = write!(key, "{:06x}.{number}@example{}.com", hash >> 40, hash % 1000);
}

struct Files {
    folder: tempfile::TempDir,
    tables: Tables,
}

impl Files {
    fn get() -> &'static Self {
        static FILES: OnceLock<Files> = OnceLock::new();
        FILES.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let (source, target) = (folder.path().join("users.txt"), folder.path().join("users.tbl"));
            let mut file = BufWriter::new(std::fs::File::create(&source).expect("a file"));
            let mut key = String::new();
            for number in 0..LINES {
                write_key(&mut key, number);
                writeln!(file, "{key} plan{}", number % 7).expect("a line");
            }
            file.into_inner().expect("the last lines");
            compile(&source, &target).expect("a table");
            let size = |path: &Path| std::fs::metadata(path).map_or(0, |of| of.len() / 1_000_000);
            println!("{LINES} lines: text {} MB, compiled {} MB", size(&source), size(&target));
            let tables = Tables::open([("users", &*target)]).expect("the table");
            Self { folder, tables }
        })
    }
}

/// Looks up keys in no order. `suffix`: added to each key.
fn look_up(bencher: Bencher<'_, '_>, suffix: &str, look: impl Fn(&Tables, &str) -> bool + Sync) {
    let tables = &Files::get().tables;
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut key = String::new();
        write_key(&mut key, random % LINES);
        key + suffix
    };
    bencher
        .counter(LOOKUPS)
        .with_inputs(|| (0..LOOKUPS).map(|_| next()).collect::<Vec<_>>())
        .bench_local_refs(|keys| {
            let found = keys.iter().filter(|key| look(tables, black_box(key))).count();
            assert!(found == if suffix.is_empty() { keys.len() } else { 0 });
        });
}

#[divan::bench]
fn get_a_value(bencher: Bencher<'_, '_>) {
    look_up(bencher, "", |tables, key| tables.get("users", key).is_ok_and(|value| value.is_some()));
}

#[divan::bench]
fn contains_a_key(bencher: Bencher<'_, '_>) {
    look_up(bencher, "", |tables, key| tables.contains("users", key) == Ok(true));
}

#[divan::bench]
fn miss(bencher: Bencher<'_, '_>) {
    look_up(bencher, "x", |tables, key| tables.contains("users", key) == Ok(true));
}

#[divan::bench(sample_count = 3)]
fn open_the_compiled_form() -> u64 {
    read(&Files::get().folder.path().join("users.tbl")).expect("a table").0.len()
}

#[divan::bench(sample_count = 3)]
fn read_the_text() -> u64 {
    read(&Files::get().folder.path().join("users.txt")).expect("a table").0.len()
}

#[divan::bench(sample_count = 3)]
fn compile_the_text() -> u64 {
    let folder = Files::get().folder.path();
    compile(&folder.join("users.txt"), &folder.join("again.tbl")).expect("a table").len()
}
