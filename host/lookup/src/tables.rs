//! The tables of one virtual server, which follow their files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::builder::{Builder, MAX_KEY, MAX_VALUE};
use crate::compiled::Table;
use crate::error::{Error, Problem};
use crate::file::{self, Form};

/// All tables of one virtual server, by name. Clones share them.
///
/// Readers never wait: a new version of a file is read completely and then replaces the old one.
#[derive(Clone, Debug)]
pub struct Tables(Arc<[Named]>);

/// There is no table of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no lookup table of this name")]
pub struct NoSuchTable;

#[derive(Debug)]
struct Named {
    name: Box<str>,
    current: ArcSwap<Table>,
    /// `None` if the entries come from the program.
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    state: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    /// The file when it was read last, whether or not it could be used.
    read: Stamp,
    /// The file at the last check, if it has changed since.
    changed: Option<Stamp>,
    form: Form,
    /// Why the newest version of the file is not in use.
    error: Option<Arc<Error>>,
}

/// What changes with a file's content; `None` if there is no file.
type Stamp = Option<[i64; 6]>;

fn stamp(path: &Path) -> Stamp {
    let of = std::fs::metadata(path).ok()?;
    let length = i64::try_from(of.len()).ok()?;
    Some([of.ino().cast_signed(), length, of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()])
}

/// A table whose file was read again.
#[derive(Debug)]
pub struct Reload {
    /// Name of the table.
    pub table: String,
    /// The file.
    pub path: PathBuf,
    /// The number of entries, or why the old version stays in use.
    pub result: Result<u64, Arc<Error>>,
}

/// A table as an administrator wants to see it.
#[derive(Clone, Debug)]
pub struct TableState {
    /// Its name.
    pub name: String,
    /// Its file; `None` if the entries come from the program.
    pub path: Option<PathBuf>,
    /// The form of the file.
    pub form: Option<Form>,
    /// Number of entries in use.
    pub entries: u64,
    /// Why the newest version of the file is not in use.
    pub error: Option<Arc<Error>>,
}

impl Tables {
    /// No tables.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// Reads tables from files: names and paths.
    ///
    /// # Errors
    /// The first file that cannot be used, with the name of its table.
    pub fn open<'a>(files: impl IntoIterator<Item = (&'a str, &'a Path)>) -> Result<Self, (String, Error)> {
        let open = |(name, path): (&str, &Path)| {
            // Before the file is read: a change meanwhile is one that `reload_changed` sees.
            let read = stamp(path);
            let (table, form) = file::read(path).map_err(|error| (name.to_owned(), error))?;
            let state = Mutex::new(FileState { read, changed: None, form, error: None });
            Ok(Named {
                name: name.into(),
                current: ArcSwap::from_pointee(table),
                source: Some(Source { path: path.to_owned(), state }),
            })
        };
        files.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Tables whose entries are given, for tests of policies: names, each with keys and values.
    ///
    /// # Errors
    /// The table with a key that is longer than [`MAX_KEY`], a value that is longer than
    /// [`MAX_VALUE`], or a key that occurs twice.
    pub fn from_entries<'a, E>(tables: impl IntoIterator<Item = (&'a str, E)>) -> Result<Self, Error>
    where
        E: IntoIterator<Item = (&'a str, &'a str)>,
    {
        let build = |(name, entries): (&str, E)| {
            let mut builder = Builder::new();
            for (key, value) in entries {
                let problem = match (key.len(), value.len()) {
                    (length, _) if length > MAX_KEY => Problem::LongKey(length),
                    (_, length) if length > MAX_VALUE => Problem::LongValue(length),
                    _ => {
                        builder.add(key, value);
                        continue;
                    }
                };
                return Err(Error::new(Path::new(name), problem));
            }
            let table = Table::build(builder)
                .map_err(|duplicate| Error::new(Path::new(name), Problem::DuplicateEntry(duplicate.key)))?;
            Ok(Named { name: name.into(), current: ArcSwap::from_pointee(table), source: None })
        };
        tables.into_iter().map(build).collect::<Result<_, _>>().map(Self)
    }

    /// The value of a key, which is empty if the key has none; `None` if the key is not in the table.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn get(&self, table: &str, key: &str) -> Result<Option<Box<str>>, NoSuchTable> {
        Ok(self.find(table)?.current.load().get(key).map(Box::from))
    }

    /// Whether a key is in a table.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn contains(&self, table: &str, key: &str) -> Result<bool, NoSuchTable> {
        Ok(self.find(table)?.current.load().get(key).is_some())
    }

    fn find(&self, table: &str) -> Result<&Named, NoSuchTable> {
        // A handful of names.
        self.0.iter().find(|named| *named.name == *table).ok_or(NoSuchTable)
    }

    /// The names of the tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|named| &*named.name)
    }

    /// Whether there are no tables.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The state of each table.
    pub fn states(&self) -> impl Iterator<Item = TableState> {
        self.0.iter().map(|named| {
            let state = named.source.as_ref().map(|source| source.state.lock());
            TableState {
                name: named.name.to_string(),
                path: named.source.as_ref().map(|source| source.path.clone()),
                form: state.as_ref().map(|state| state.form),
                entries: named.current.load().len(),
                error: state.and_then(|state| state.error.clone()),
            }
        })
    }

    /// Reads the files again that have changed and are now as they were at the previous call, so that
    /// a file is not read while it is being written. Returns those that were read. Blocks; for a
    /// thread that serves nobody.
    pub fn reload_changed(&self) -> Vec<Reload> {
        self.reload_if(FileState::has_settled)
    }

    /// Reads the files again that have changed, and those that could not be used. Returns those that
    /// were read. Blocks; for a thread that serves nobody.
    pub fn reload(&self) -> Vec<Reload> {
        self.reload_if(|state, now| now != state.read || state.error.is_some())
    }

    fn reload_if(&self, is_due: impl Fn(&mut FileState, Stamp) -> bool) -> Vec<Reload> {
        let reload = |named: &Named| {
            let source = named.source.as_ref()?;
            let now = stamp(&source.path);
            let is_due = is_due(&mut source.state.lock(), now);
            is_due.then(|| named.reload(source, now))
        };
        self.0.iter().filter_map(reload).collect()
    }
}

impl FileState {
    fn has_settled(&mut self, now: Stamp) -> bool {
        let changed = (now != self.read).then_some(now);
        let settled = changed.is_some() && self.changed == changed;
        self.changed = changed;
        settled
    }
}

impl Named {
    fn reload(&self, source: &Source, now: Stamp) -> Reload {
        // The state is not locked meanwhile, so that showing it does not wait for a large file.
        let read = file::read(&source.path).map_err(Arc::new);
        let mut state = source.state.lock();
        state.read = now;
        state.changed = None;
        state.error = read.as_ref().err().cloned();
        let result = read.map(|(table, form)| {
            state.form = form;
            let entries = table.len();
            self.current.store(Arc::new(table));
            entries
        });
        Reload { table: self.name.to_string(), path: source.path.clone(), result }
    }
}
