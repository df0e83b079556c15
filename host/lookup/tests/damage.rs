//! Damaged and hostile files are errors or misses, never wrong values, crashes or hangs.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprieve_lookup::{Form, Table, Tables, compile, read, text};
use xxhash_rust::xxh3::xxh3_64;

const TEXT: &str = "alice\nbob gold\ncarol 10m\ndave silver, until 2027\n\u{e4}\u{f6} \u{fc}\n";
const KEYS: [&str; 7] = ["alice", "bob", "carol", "dave", "\u{e4}\u{f6}", "", "erin"];

fn small() -> Vec<u8> {
    text::parse(TEXT.as_bytes(), Path::new("small")).unwrap().as_bytes().to_vec()
}

#[test]
fn every_flipped_bit_and_every_missing_byte_is_noticed() {
    let whole = small();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = Table::from_bytes(damaged).expect_err("damage").to_string();
        assert!(error.contains("compile it again"), "{error}");
    }
    for length in 0..whole.len() {
        assert!(Table::from_bytes(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(Table::from_bytes([&whole[..], &[0]].concat()).is_err());
}

/// Writes the checksums that the content has, where it says that its parts are.
fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
    let split = usize::try_from(length).ok().and_then(|length| length.checked_add(64));
    let split = split.filter(|split| *split <= bytes.len()).unwrap_or(bytes.len());
    for (at, sum) in [(40, xxh3_64(&bytes[64..split])), (48, xxh3_64(&bytes[split..]))] {
        bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Somebody who makes a file that is wrong computes its checksums, too.
#[test]
fn wrong_numbers_under_right_checksums_do_no_harm() {
    let whole = small();
    let (mut opened, mut refused) = (0, 0);
    let mut look = |bytes: Vec<u8>| match Table::from_bytes(bytes) {
        Ok(table) => {
            opened += 1;
            KEYS.iter()
                .filter_map(|key| table.get(key))
                .for_each(|value| assert!(value.len() <= whole.len()));
        }
        Err(_) => refused += 1,
    };
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut wrong = whole.clone();
            wrong[at] = byte;
            look(with_right_checksums(wrong));
        }
    }
    for at in (0..whole.len() - 8).step_by(4) {
        for number in [0, 1, u64::MAX, u64::MAX / 2, u64::from(u32::MAX), whole.len() as u64] {
            let mut wrong = whole.clone();
            wrong[at..at + 8].copy_from_slice(&number.to_le_bytes());
            look(with_right_checksums(wrong));
        }
    }
    for length in 64..whole.len() {
        look(with_right_checksums(whole[..length].to_vec()));
    }
    assert!(opened > 500 && refused > 200, "{opened} opened, {refused} refused");
}

/// A folder with a compiled table of several pages.
fn compiled_in(folder: &Path) -> PathBuf {
    let (source, target) = (folder.join("users.txt"), folder.join("users.tbl"));
    let lines: String = (0..20_000).map(|number| format!("user{number} value {number}\n")).collect();
    std::fs::write(&source, lines).unwrap();
    compile(&source, &target).unwrap();
    target
}

#[test]
fn a_mapped_table_that_is_truncated_has_no_entries_until_it_is_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let target = compiled_in(folder.path());
    let whole = std::fs::read(&target).unwrap();
    let tables = Tables::open([("users", &*target)]).unwrap();
    assert_eq!(tables.get("users", "user7"), Ok(Some("value 7".into())));
    let file = OpenOptions::new().write(true).open(&target).unwrap();
    file.set_len(0).unwrap();
    for number in 0..20_000 {
        assert_eq!(tables.contains("users", &format!("user{number}")), Ok(false));
    }
    let [reload] = &*tables.reload() else { panic!("one table") };
    assert!(reload.result.is_ok(), "an empty text: {reload:?}");
    std::fs::write(&target, whole).unwrap();
    assert_eq!(tables.reload().len(), 1);
    assert_eq!(tables.get("users", "user7"), Ok(Some("value 7".into())));
}

/// Run by the next test in a process of its own.
#[test]
#[ignore = "ends its process"]
fn touch_a_page_that_is_no_tables() {
    let folder = tempfile::tempdir().unwrap();
    let table = read(&compiled_in(folder.path())).unwrap();
    assert_eq!(table.1, Form::Compiled);
    let path = folder.path().join("other");
    File::create(&path).unwrap().write_all(&[1; 8192]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // SAFETY: nobody relies on what is read.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    file.set_len(0).unwrap();
    drop(folder);
    assert_eq!(std::hint::black_box(&map)[5000], 1, "unreachable");
}

#[test]
fn other_bus_errors_still_end_the_process() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "touch_a_page_that_is_no_tables", "--ignored"])
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
}
