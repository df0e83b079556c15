//! Surviving a damaged file. The storage engine trusts the pages that it reads: at some damaged
//! pages it returns an error, at others it panics. This module turns its panics into errors and
//! renames damaged files, so that damage costs the file and nothing else.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use jiff::Timestamp;

/// Why the engine failed.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The disk does not read or write; that may pass.
    Disk(String),
    /// The content of the file makes no sense.
    Damaged(String),
}

impl From<redb::Error> for EngineError {
    fn from(error: redb::Error) -> Self {
        let text = error.to_string();
        match error {
            redb::Error::Io(error) if is_about_content(&error) => Self::Damaged(text),
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::ValueTooLarge(_) => Self::Disk(text),
            _ => Self::Damaged(text),
        }
    }
}

/// Whether a page is missing or is not a page, as opposed to a disk that fails.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

thread_local! {
    /// Whether this thread is inside the engine, so that a panic belongs to it.
    static IN_ENGINE: Cell<bool> = const { Cell::new(false) };
    /// Message of the engine's last panic.
    static PANIC_MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls the engine and returns its panics as errors, without writing them to the log.
pub(super) fn catch_panics<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, EngineError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_ENGINE.get() {
                let message = info.payload_as_str().unwrap_or("the engine panicked");
                let location = info.location().map(ToString::to_string).unwrap_or_default();
                PANIC_MESSAGE.set(format!("{message} ({location})"));
            } else {
                default_hook(info);
            }
        }));
    });
    let was_in_engine = IN_ENGINE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IN_ENGINE.set(was_in_engine);
    match outcome {
        Ok(done) => done.map_err(EngineError::from),
        Err(_) => Err(EngineError::Damaged(first_line(&PANIC_MESSAGE.take()))),
    }
}

/// The first line of a panic message and its location. The other lines of a failed assertion are
/// values, of no use to an administrator.
fn first_line(text: &str) -> String {
    let location = text.rfind(" (").map_or("", |at| &text[at..]);
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}{location}"),
        None => text.to_owned(),
    }
}

/// Whether a file that the engine does not recognise was probably a store once: its signature is
/// all zeros, or mostly right. Any other file may be somebody's data and must not be renamed.
pub(super) fn looks_like_a_store(path: &Path) -> bool {
    const SIGNATURE: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
    let mut first = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(SIGNATURE.len() as u64).read_to_end(&mut first));
    let matching = first.iter().zip(SIGNATURE).filter(|(one, other)| one == other).count();
    read.is_ok() && (first.iter().all(|&byte| byte == 0) || matching * 2 > first.len())
}

/// Renames a damaged file by appending `.damaged-` and the time; returns its new path.
pub(super) fn rename_damaged(path: &Path) -> io::Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 1.. {
        let mut renamed = path.as_os_str().to_owned();
        renamed.push(if number == 1 {
            format!(".damaged-{time}")
        } else {
            format!(".damaged-{time}-{number}")
        });
        let renamed = PathBuf::from(renamed);
        if std::fs::symlink_metadata(&renamed).is_err() {
            std::fs::rename(path, &renamed)?;
            return Ok(renamed);
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{File, FileNamespace};
    use super::*;
    use crate::FileSettings;
    use crate::clock::SystemClock;
    use crate::operation::Operation;
    use crate::{Lifetime, NamespaceConfig, Unavailable};

    const PAGE: usize = 4096;
    const ENTRIES: usize = 4000;

    fn open(path: &Path) -> (File, FileNamespace) {
        let settings =
            FileSettings { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 14 };
        let file = File::open(&settings, Arc::new(SystemClock)).expect("damage must not be an error");
        let namespace = file.namespace(NamespaceConfig::for_policies("tested", 1 << 30));
        (file, namespace)
    }

    async fn set(namespace: &FileNamespace, key: &str, value: &[u8]) {
        namespace.change(key, Operation::Set(value), Lifetime::Forever).await.unwrap().unwrap();
    }

    /// The bytes of a file with some thousand entries, which has grown and shrunk: after it was
    /// closed, and after a crash.
    async fn filled(folder: &Path) -> [Vec<u8>; 2] {
        let path = folder.join("filled");
        let (file, namespace) = open(&path);
        for number in 0..ENTRIES {
            set(&namespace, &number.to_string(), &[7; 150]).await;
            if number % 1000 == 999 {
                assert!(file.save().await);
            }
        }
        for number in (0..ENTRIES).step_by(3) {
            namespace.delete(&number.to_string()).await.unwrap();
        }
        assert!(file.save().await);
        let crashed = std::fs::read(&path).unwrap();
        drop((file, namespace));
        [std::fs::read(&path).unwrap(), crashed]
    }

    #[derive(Clone, Copy, Debug)]
    enum Damage {
        ZeroedPage,
        FlippedBit { at: usize },
        OtherPage,
        Truncated,
    }

    impl Damage {
        /// The bytes to write and where; None to truncate the file there.
        fn of(self, bytes: &[u8], page: usize) -> (usize, Option<Vec<u8>>) {
            let from = page * PAGE;
            let mut there = bytes[from..(from + PAGE).min(bytes.len())].to_vec();
            match self {
                Self::ZeroedPage => there.fill(0),
                Self::FlippedBit { at } => there[at] ^= 1 << (page % 8),
                Self::OtherPage => {
                    let other = (page * 7 + 3) % (bytes.len() / PAGE) * PAGE;
                    there.copy_from_slice(&bytes[other..other + PAGE]);
                }
                Self::Truncated => return (from, None),
            }
            (from, Some(there))
        }
    }

    fn damage(path: &Path, (from, there): (usize, Option<Vec<u8>>)) {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        match there {
            Some(there) => file.write_all_at(&there, from as u64).unwrap(),
            None => file.set_len(from as u64).unwrap(),
        }
    }

    /// Reads, writes, walks and saves, as a server does.
    async fn use_it(file: &File, namespace: &FileNamespace, what: &str) {
        for number in (0..ENTRIES).step_by(61) {
            let got = loop {
                match namespace.get(&number.to_string()).await {
                    // A busy machine: try again.
                    Err(Unavailable(why)) if why.contains("in time") => {}
                    got => break got,
                }
            };
            assert!(got.is_ok(), "{what}: {got:?}");
        }
        set(namespace, "new", what.as_bytes()).await;
        // This walk may fail: it may be what finds the damage.
        let mut from = Vec::new();
        while let Ok((_, Some(next))) = namespace.entries(from).await {
            from = next;
        }
        // So may the first save.
        file.save().await;
        assert!(file.save().await, "{what}: {:?}", file.health());
        assert_eq!(namespace.get("new").await.unwrap().as_deref(), Some(what.as_bytes()), "{what}");
        let mut from = Vec::new();
        while let (_, Some(next)) =
            namespace.entries(from).await.unwrap_or_else(|why| panic!("{what}: {why:?}"))
        {
            from = next;
        }
    }

    #[tokio::test]
    async fn no_damage_ends_the_process_or_fails_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut set_aside = 0;
        for (kind, bytes) in ["closed", "crashed"].iter().zip(filled(folder.path()).await) {
            let pages = bytes.len() / PAGE;
            let damages = [
                Damage::ZeroedPage,
                Damage::FlippedBit { at: 0 },
                Damage::FlippedBit { at: 9 },
                Damage::OtherPage,
                Damage::Truncated,
            ];
            // All of the first pages, which hold the header and the roots, and some of the others.
            let some = (0..6).chain((6..pages).step_by(PAGE_STEP));
            for (page, how) in some.flat_map(|page| damages.map(|how| (page, how))) {
                for serving in [false, true] {
                    if (page, serving) == (0, false) && matches!(how, Damage::OtherPage) {
                        // Not recognisable as a store: this is a configuration error.
                        continue;
                    }
                    let what = format!(
                        "{kind}, {how:?}, page {page}, {}",
                        if serving { "serving" } else { "start" }
                    );
                    std::fs::write(&path, &bytes).unwrap();
                    if !serving {
                        damage(&path, how.of(&bytes, page));
                    }
                    let (file, namespace) = open(&path);
                    if serving {
                        damage(&path, how.of(&bytes, page));
                    }
                    use_it(&file, &namespace, &what).await;
                    drop((file, namespace));
                    let (file, namespace) = open(&path);
                    let found = namespace.get("new").await.unwrap();
                    // Damage to pages that were not read before is found only now.
                    assert!(serving || found.as_deref() == Some(what.as_bytes()), "{what}: {found:?}");
                    drop((file, namespace));
                    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
                        if entry.file_name().to_string_lossy().starts_with("store.damaged-") {
                            set_aside += 1;
                            std::fs::remove_file(entry.path()).unwrap();
                        }
                    }
                }
            }
        }
        assert!(set_aside > 10, "{set_aside}");
    }

    /// The engine writes when it closes a file, from pages that may be damaged.
    #[tokio::test]
    async fn no_damage_ends_the_process_when_the_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (file, namespace) = open(&path);
        for number in 0..40 {
            set(&namespace, &number.to_string(), &[b'v'; 200]).await;
        }
        assert!(file.close(Duration::from_secs(20)));
        // The state of the engine's allocator is read only if the engine itself has not closed the file.
        let whole = std::fs::read(&path).unwrap();
        drop((file, namespace));
        // One byte here and there, after the header.
        let pages = (PAGE..whole.len()).step_by(PAGE);
        let places = pages.flat_map(|page| (page + 1..page + PAGE).step_by(288));
        let places = places.filter(|&place| whole.get(place).is_some_and(|&byte| byte != 0));
        for place in places {
            for how in ["the end", "a disk error", "a take-over"] {
                let mut bytes = whole.clone();
                bytes[place] = 0;
                let damaged = folder.path().join("damaged");
                std::fs::write(&damaged, &bytes).unwrap();
                // As if the check before its use had not found it.
                let Ok(database) = catch_panics(|| Ok(redb::Database::open(&damaged)?)) else { continue };
                let (file, namespace) = open(&path);
                file.shared.close_database();
                *file.shared.database.write() = Some(database);
                set(&namespace, "new", b"value").await;
                // The first save may be what finds the damage.
                file.save().await;
                assert!(file.save().await, "{how}, byte {place}: {:?}", file.health());
                match how {
                    "a disk error" => file.lose(),
                    "a take-over" => assert!(file.release().await, "{how}, byte {place}"),
                    _ => {}
                }
                drop((file, namespace));
            }
        }
    }

    /// Bytes, pages and the end of an open file change. At one of these seeds the engine used to panic while
    /// a panic of its own unwound, which ends a process.
    #[tokio::test]
    async fn an_open_file_may_change_in_any_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let files = filled(folder.path()).await;
        for seed in 1380_u64..1400 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut below = |limit: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 11) as usize % limit
            };
            std::fs::write(&path, &files[below(2)]).unwrap();
            let (file, namespace) = open(&path);
            if below(2) == 0 {
                set(&namespace, "pending", b"value").await;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            let length = bytes.len();
            for _ in 0..=below(6) {
                let anywhere = below(length);
                let page = anywhere / PAGE * PAGE;
                let place = if below(3) == 0 { page + below(64) } else { anywhere };
                match below(8) {
                    0 => bytes[page..(page + PAGE).min(length)].fill(0),
                    1 => {
                        let other = below(length / PAGE) * PAGE;
                        bytes.copy_within(other..other + PAGE, page.min(length - PAGE));
                    }
                    2 => bytes[place] ^= 1 << below(8),
                    3 => bytes[place] = 0xFF,
                    _ => bytes[place] = u8::try_from(below(256)).unwrap(),
                }
            }
            if below(8) == 0 {
                let length = below(length);
                damage(&path, (length, None));
                bytes.truncate(length);
            }
            damage(&path, (0, Some(bytes)));
            use_it(&file, &namespace, &format!("seed {seed}")).await;
        }
    }

    /// Pages between two that are damaged.
    const PAGE_STEP: usize = 131;

    /// The most memory that this process has used, in KiB.
    fn most_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[tokio::test]
    async fn a_damaged_page_number_does_not_take_all_memory() {
        const BRANCH: u8 = 2;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let [mut bytes, _] = filled(folder.path()).await;
        let mut branches = 0;
        for from in
            (PAGE..bytes.len()).step_by(PAGE).filter(|from| bytes[*from] == BRANCH).collect::<Vec<_>>()
        {
            let children = 1 + usize::from(u16::from_le_bytes([bytes[from + 2], bytes[from + 3]]));
            let numbers = from + 8 + 16 * children;
            if children > 1 && numbers + 8 * children <= from + PAGE {
                branches += 1;
                for child in 0..children {
                    let at = numbers + 8 * child;
                    // The five highest bits are the size of the page: now 2 GiB, behind another of that size.
                    bytes[at..at + 8].copy_from_slice(&(19 << 59 | 1_u64).to_le_bytes());
                }
            }
        }
        assert!(branches > 0);
        std::fs::write(&path, &bytes).unwrap();
        let before = most_memory();
        let (file, namespace) = open(&path);
        use_it(&file, &namespace, "damaged page numbers").await;
        let grown = most_memory() - before;
        assert!(grown < 1 << 20, "{grown} KiB");
    }
}
