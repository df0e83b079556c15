//! A file whose pages are damaged. The engine trusts what it reads: at some damaged pages it
//! returns an error, at others it panics, and never is more lost than the file. Here its panics
//! become errors, and a damaged file is renamed, for a new one to take its place.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use jiff::Timestamp;

/// Why the engine did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failed {
    /// The disk does not read or write: it may become better by itself.
    Disk(String),
    /// What the file holds makes no sense.
    Damaged(String),
}

impl From<redb::Error> for Failed {
    fn from(error: redb::Error) -> Self {
        let text = error.to_string();
        match error {
            redb::Error::Io(error) if is_of_content(&error) => Self::Damaged(text),
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::ValueTooLarge(_) => Self::Disk(text),
            _ => Self::Damaged(text),
        }
    }
}

/// A page that is not there, or is no page.
fn is_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

thread_local! {
    /// Whether the thread is within the engine: its panics are errors here, and nobody else's.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
    /// What the last of them said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls the engine. A panic of it is an error, which is not written to the log by itself.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Failed> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WITHIN.get() {
                let said = info.payload_as_str().unwrap_or("the engine panicked");
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                SAID.set(format!("{said} ({place})"));
            } else {
                before(info);
            }
        }));
    });
    let outside = WITHIN.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    WITHIN.set(outside);
    match outcome {
        Ok(done) => done.map_err(Failed::from),
        Err(_) => Err(Failed::Damaged(first_line(&SAID.take()))),
    }
}

/// An assertion's other lines are values that help nobody here.
fn first_line(text: &str) -> String {
    let end = text.rfind(" (").map_or("", |at| &text[at..]);
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}{end}"),
        None => text.to_owned(),
    }
}

/// Whether a file that the engine does not know as its own was its own once: its first bytes are
/// lost, or are nearly what they should be. Anything else may be somebody's other file.
pub(super) fn was_a_store(path: &Path) -> bool {
    const BEGINS: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
    let mut first = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(BEGINS.len() as u64).read_to_end(&mut first));
    let right = first.iter().zip(BEGINS).filter(|(one, other)| one == other).count();
    read.is_ok() && (first.iter().all(|&byte| byte == 0) || right * 2 > first.len())
}

/// Renames a damaged file; its new path.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let moment = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 1.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(if number == 1 {
            format!(".damaged-{moment}")
        } else {
            format!(".damaged-{moment}-{number}")
        });
        let aside = PathBuf::from(aside);
        if std::fs::symlink_metadata(&aside).is_err() {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{File, Part};
    use super::*;
    use crate::FileHome;
    use crate::clock::SystemClock;
    use crate::operation::Operation;
    use crate::{Space, Unavailable};

    const PAGE: usize = 4096;
    const ENTRIES: usize = 4000;

    fn open(path: &Path) -> (File, Part) {
        let home = FileHome { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 20 };
        let file = File::open(&home, Arc::new(SystemClock)).expect("a damaged file is no error");
        let part = file.part(Space::for_policies("tested", 1 << 30));
        (file, part)
    }

    async fn set(part: &Part, key: &str, value: &[u8]) {
        part.change(key, Operation::Set(value), None).await.unwrap().unwrap();
    }

    /// A file with some thousand entries, which has grown and shrunk: one that was closed, and one
    /// as a crash leaves it.
    async fn filled(folder: &Path) -> [Vec<u8>; 2] {
        let path = folder.join("filled");
        let (file, part) = open(&path);
        for number in 0..ENTRIES {
            set(&part, &number.to_string(), &[7; 150]).await;
            if number % 1000 == 999 {
                assert!(file.save().await);
            }
        }
        for number in (0..ENTRIES).step_by(3) {
            part.delete(&number.to_string()).await.unwrap();
        }
        assert!(file.save().await);
        let crashed = std::fs::read(&path).unwrap();
        drop((file, part));
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
        /// What it makes of a file, from the beginning of a page on: where, and what stands there
        /// then; None for nothing more.
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

    /// What a server does with its store, on and on.
    async fn used(file: &File, part: &Part, what: &str) {
        for number in (0..ENTRIES).step_by(61) {
            let got = loop {
                match part.get(&number.to_string()).await {
                    // The machine may be busy: that is no damage.
                    Err(Unavailable(why)) if why.contains("in time") => {}
                    got => break got,
                }
            };
            assert!(got.is_ok(), "{what}: {got:?}");
        }
        set(part, "new", what.as_bytes()).await;
        // A step over all entries may fail, and is the one that finds the damage.
        let mut from = Vec::new();
        while let Ok((_, Some(next))) = part.entries(from).await {
            from = next;
        }
        // The first may be the one that finds it.
        file.save().await;
        assert!(file.save().await, "{what}: {:?}", file.health());
        assert_eq!(part.get("new").await.unwrap().as_deref(), Some(what.as_bytes()), "{what}");
        let mut from = Vec::new();
        while let (_, Some(next)) = part.entries(from).await.unwrap_or_else(|why| panic!("{what}: {why:?}")) {
            from = next;
        }
    }

    #[tokio::test]
    async fn no_damage_ends_the_process_or_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut aside = 0;
        for (kind, bytes) in ["closed", "crashed"].iter().zip(filled(folder.path()).await) {
            let pages = bytes.len() / PAGE;
            let damages = [
                Damage::ZeroedPage,
                Damage::FlippedBit { at: 0 },
                Damage::FlippedBit { at: 9 },
                Damage::OtherPage,
                Damage::Truncated,
            ];
            // All pages of the beginning, where there is most to go wrong, and some of the others.
            let some = (0..6).chain((6..pages).step_by(STEP));
            for (page, how) in some.flat_map(|page| damages.map(|how| (page, how))) {
                for serving in [false, true] {
                    if (page, serving) == (0, false) && matches!(how, Damage::OtherPage) {
                        // That is another file, as far as anybody can tell: it is the administrator's.
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
                    let (file, part) = open(&path);
                    if serving {
                        damage(&path, how.of(&bytes, page));
                    }
                    used(&file, &part, &what).await;
                    drop((file, part));
                    let (file, part) = open(&path);
                    let found = part.get("new").await.unwrap();
                    // Damage that hit what nobody has read meanwhile is only found now.
                    assert!(serving || found.as_deref() == Some(what.as_bytes()), "{what}: {found:?}");
                    drop((file, part));
                    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
                        if entry.file_name().to_string_lossy().starts_with("store.damaged-") {
                            aside += 1;
                            std::fs::remove_file(entry.path()).unwrap();
                        }
                    }
                }
            }
        }
        assert!(aside > 10, "there were damages: {aside}");
    }

    /// Pages between two that are damaged.
    const STEP: usize = 131;
}
