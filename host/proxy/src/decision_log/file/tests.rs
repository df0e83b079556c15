use super::*;

const SMALL: Rotation = Rotation { size: 10, keep: 2, compress: false };

fn write(file: &mut LogFile, lines: &str) {
    let mut done = 0;
    file.write(lines.as_bytes(), &mut done).unwrap();
    assert_eq!(done, lines.len());
}

/// The contents of the directory, in order of names.
fn all(directory: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = entries
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            let text = if name.ends_with(".zst") { zstd::decode_all(&*bytes).unwrap() } else { bytes };
            (name, String::from_utf8(text).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn files_rotate_at_line_ends_and_the_oldest_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    let mut file = LogFile::open(&path, Some(SMALL)).unwrap().kept();
    std::fs::write(directory.path().join("d.jsonl.mine"), "not ours").unwrap();
    write(&mut file, "1234\n1234\n5678\n");
    write(&mut file, "a line that is longer than a file\n");
    write(&mut file, "1\n");
    let files = all(directory.path());
    let texts: Vec<_> = files.iter().map(|(_, text)| &**text).collect();
    assert_eq!(texts, ["1\n", "5678\n", "a line that is longer than a file\n", "not ours"], "{files:?}");
    assert!(files[1].0.len() == "d.jsonl.20261127T220723.123Z".len(), "{files:?}");
}

#[test]
fn rotated_files_are_compressed_if_configured() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    let rotation = Rotation { compress: true, ..SMALL };
    let mut file = LogFile::open(&path, Some(rotation)).unwrap().kept();
    write(&mut file, "1234\n1234\n5678\n");
    let deadline = Instant::now() + Duration::from_secs(60);
    let files = loop {
        let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let names: Vec<_> = files.collect();
        if names.len() == 2 && names.iter().any(|name| name.extension().is_some_and(|end| end == "zst")) {
            break all(directory.path());
        }
        assert!(Instant::now() < deadline, "{names:?}");
        std::thread::yield_now();
    };
    assert_eq!((&*files[0].1, &*files[1].1), ("5678\n", "1234\n1234\n"));
}

#[test]
fn a_new_file_is_started_if_the_file_was_renamed_or_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    let mut file = LogFile::open(&path, None).unwrap().kept();
    write(&mut file, "one\n");
    std::fs::rename(&path, directory.path().join("d.old")).unwrap();
    write(&mut file, "two\n");
    std::fs::remove_file(&path).unwrap();
    file.reopen();
    assert!(path.exists(), "at once, by a signal");
    write(&mut file, "three\n");
    // Truncated by another program, as logrotate's copytruncate does.
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    write(&mut file, "four\n");
    let expected = [("d.jsonl", "four\n"), ("d.old", "one\n")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(all(directory.path()), expected);
}

#[test]
fn a_torn_line_is_rewritten_whole_in_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    std::fs::write(&path, "whole\nto").unwrap();
    let mut file = LogFile::open(&path, None).unwrap().kept();
    let (batch, mut done) = (b"first\nsecond\n", 9);
    // As if the disk had become full within the second line.
    (&file.file).write_all(&batch[..done]).unwrap();
    file.at_line_start = false;
    std::fs::rename(&path, directory.path().join("d.old")).unwrap();
    file.write(batch, &mut done).unwrap();
    let expected = [("d.jsonl", "second\n"), ("d.old", "whole\nto\nfirst\nsec")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(all(directory.path()), expected);
}

#[test]
fn an_unused_decision_log_leaves_no_empty_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.jsonl");
    drop(LogFile::open(&path, None).unwrap());
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    drop(LogFile::open(&path, None).unwrap());
    assert!(path.exists(), "that one was there before");
    let error = LogFile::open(&directory.path().join("none/d.jsonl"), None).unwrap_err();
    assert!(error.contains("there is no directory") && error.contains("install -d"), "{error}");
}

#[test]
fn pipes_are_written_to_and_not_rotated() {
    let mut full = LogFile::open(Path::new("/dev/full"), Some(SMALL)).unwrap().kept();
    let mut done = 0;
    let error = full.write(b"one\n", &mut done).unwrap_err();
    assert_eq!((error.kind(), done), (io::ErrorKind::StorageFull, 0));
    let mut nothing = LogFile::open(Path::new("/dev/null"), Some(SMALL)).unwrap().kept();
    write(&mut nothing, "a line that is longer than a file\n");
}
