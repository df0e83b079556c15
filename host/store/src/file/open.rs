//! Opening the file: creating it, replacing a damaged one, and reading which namespaces it has.

use std::collections::HashMap;

use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadableTable as _, StorageError};

use super::damage::{EngineError, catch_panics};
use super::{Shared, format};

/// Maximum number of damaged files that a process sets aside. If a disk damages one after the other, the store
/// stays in memory.
const MAX_SET_ASIDE: u32 = 3;
/// Files larger than this are compacted if they are mostly empty, in bytes.
const COMPACT_FROM_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Why a file cannot be used.
pub(super) enum OpenFailure {
    /// The configuration names something that is not a usable file.
    Misconfigured(String),
    /// The disk does not read or write; that may pass.
    Disk(String),
    /// The content of the file is not what was written.
    Damaged(String),
}

impl Shared {
    /// Opens the file. A damaged file is set aside, and a new one created. One that could not be set aside
    /// is not opened again: whatever is not damaged in it would come back with the rest.
    pub(super) fn open_or_replace(&self) -> Result<(), OpenFailure> {
        let left = self.damage.lock().left.clone();
        if let Some(error) = left {
            self.set_aside(&error)?;
        }
        match self.open() {
            Err(OpenFailure::Damaged(error)) => {
                self.set_aside(&error)?;
                self.open()
            }
            other => other,
        }
    }

    fn open(&self) -> Result<(), OpenFailure> {
        self.create_file()?;
        let database = self.open_database()?;
        match catch_panics(|| self.load_namespaces(&database)) {
            Ok(format::VERSION) => {
                *self.database.write() = Some(database);
                Ok(())
            }
            Ok(version) => {
                drop_database(database);
                Err(OpenFailure::Misconfigured(format!(
                    "{} has format {version}, of another version of Reprieve; this one reads format {}. Move the file away, or set `path` to another one",
                    self.path().display(),
                    format::VERSION
                )))
            }
            Err(error) => {
                drop_database(database);
                Err(self.open_failure(error))
            }
        }
    }

    /// Creates the file if it does not exist, readable by its user only.
    fn create_file(&self) -> Result<(), OpenFailure> {
        let name = self.path().display();
        match self.disk.create() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(OpenFailure::Misconfigured(format!(
                    "cannot create {name}: its directory does not exist; create it, owned by the user that Reprieve runs as"
                )))
            }
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                Err(OpenFailure::Misconfigured(format!("{name} is a directory; `path` must name a file")))
            }
            Err(error) => Err(OpenFailure::Disk(format!("cannot use {name}: {error}"))),
        }
    }

    fn open_database(&self) -> Result<Database, OpenFailure> {
        let name = self.path().display();
        let opened = catch_panics(|| {
            Ok(match self.disk.open(redb::Builder::new().set_cache_size(self.engine_cache)) {
                Ok(database) => Ok(database),
                Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                    Err(OpenFailure::Misconfigured(format!(
                        "{name} is in use by another process; each Reprieve needs a file of its own (to share a store between several, use Redis or Valkey)"
                    )))
                }
                Err(DatabaseError::Storage(StorageError::Io(error)))
                    if error.kind() == std::io::ErrorKind::InvalidData && !self.disk.looks_like_a_store() =>
                {
                    Err(OpenFailure::Misconfigured(format!(
                        "{name} is not a store of Reprieve; move it away, or set `path` to another file"
                    )))
                }
                Err(error) => return Err(error.into()),
            })
        });
        let mut database = opened.map_err(|error| self.open_failure(error))??;
        let checked = catch_panics(|| {
            // At some damage the engine panics while a panic of its own unwinds, which nothing survives, so
            // all pages are compared with their checksums first. Later, `PageSums` notices changes.
            database.check_integrity()?;
            self.compact_if_sparse(&mut database)
        });
        match checked {
            Ok(()) => Ok(database),
            Err(error) => {
                drop_database(database);
                Err(self.open_failure(error))
            }
        }
    }

    fn open_failure(&self, error: EngineError) -> OpenFailure {
        match error {
            EngineError::Disk(error) => {
                OpenFailure::Disk(format!("cannot use {}: {error}", self.path().display()))
            }
            EngineError::Damaged(error) => OpenFailure::Damaged(error),
        }
    }

    /// Shrinks the file if it is large and mostly empty.
    pub(super) fn compact_if_sparse(&self, database: &mut Database) -> Result<(), redb::Error> {
        let size = self.disk.size();
        if size <= COMPACT_FROM_BYTES {
            return Ok(());
        }
        let write = database.begin_write()?;
        let stored = write.stats()?.stored_bytes();
        write.abort()?;
        if stored < size / 4 {
            database.compact()?;
        }
        Ok(())
    }

    /// Reads which namespaces the file has, and marks it as open. Returns the version of its format; if
    /// that is another one, nothing else is read or written.
    fn load_namespaces(&self, database: &Database) -> Result<u64, redb::Error> {
        let mut namespaces = self.namespaces.lock();
        let mut unopened = HashMap::new();
        let write = database.begin_write()?;
        {
            let mut about = write.open_table(format::ABOUT)?;
            let version = about.get("format")?.map(|version| version.value());
            if let Some(version) = version.filter(|version| *version != format::VERSION) {
                return Ok(version);
            }
            let is_new = version.is_none();
            let was_closed = about.get("closed")?.is_some_and(|closed| closed.value() == 1);
            let before = about.get("crashes")?.map_or(0, |crashes| crashes.value());
            // Reopening in the same process is no crash.
            let is_reopened = !namespaces.open.is_empty();
            let crashes = before.saturating_add((!is_new && !was_closed && !is_reopened).into());
            namespaces.crashes = namespaces.crashes.max(crashes);
            about.insert("format", format::VERSION)?;
            about.insert("closed", 0)?;
            about.insert("crashes", crashes)?;
            for row in write.open_table(format::NAMESPACES)?.iter()? {
                let (name, value) = row?;
                if !namespaces.open.contains_key(name.value()) {
                    unopened.insert(name.value().to_owned(), value.value());
                }
            }
            write.open_table(format::ENTRIES)?;
        }
        write.commit()?;
        namespaces.unopened = unopened;
        Ok(format::VERSION)
    }

    /// Records that the open file is damaged, so that it is no longer used.
    pub(super) fn mark_damaged(&self, error: String) {
        self.monitor.fail(&error);
        self.damage.lock().error.get_or_insert(error);
    }

    /// The error of [`Shared::mark_damaged`], once.
    pub(super) fn take_damage(&self) -> Option<String> {
        self.damage.lock().error.take()
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damage.lock().error.is_some()
    }

    /// Closes the file, if it is open. The engine writes when it closes, and panics at some damage then.
    pub(super) fn close_database(&self) {
        let database = self.database.write().take();
        drop_database(database);
    }

    /// Renames a damaged file. Cached entries are written to the file that replaces it.
    pub(super) fn set_aside(&self, error: &str) -> Result<(), OpenFailure> {
        self.close_database();
        let name = self.path().display();
        let mut damage = self.damage.lock();
        if !self.disk.exists() {
            // Somebody has moved it away.
            damage.left = None;
            drop(damage);
            self.forget_file();
            return Ok(());
        }
        let renamed = if damage.set_aside < MAX_SET_ASIDE {
            self.disk.set_aside().map_err(|error| format!("it cannot be renamed: {error}"))
        } else {
            Err(format!("{MAX_SET_ASIDE} damaged files were renamed before it, so the disk may be failing"))
        };
        match renamed {
            Ok(renamed_to) => {
                damage.set_aside += 1;
                damage.logged = false;
                damage.left = None;
                drop(damage);
                self.forget_file();
                tracing::error!(
                    file = %self.path().display(),
                    renamed_to = %renamed_to.display(),
                    error,
                    "the store's file is damaged and was renamed; a new one starts with the entries in memory, so the \
                     next login of other users passes. Check the disk, and delete the damaged file when you no longer \
                     need it"
                );
                Ok(())
            }
            Err(obstacle) => {
                let text = format!("{name} is damaged ({error}), and {obstacle}; move it away");
                if !std::mem::replace(&mut damage.logged, true) {
                    tracing::error!(
                        "{text}: until then the store is kept in memory only, and lost if the process ends"
                    );
                }
                damage.left = Some(error.to_owned());
                self.monitor.fail(&text);
                Err(OpenFailure::Disk(text))
            }
        }
    }

    /// After the file was lost: only the cached entries are left, and none of them is saved.
    fn forget_file(&self) {
        let mut namespaces = self.namespaces.lock();
        namespaces.unopened.clear();
        // All shards at once, so that no change is counted in between.
        let mut shards: Vec<_> = self.shards.iter().map(Mutex::lock).collect();
        let mut used: HashMap<u64, u64> = HashMap::new();
        for shard in &mut shards {
            shard.forget_saved();
            for (key, cached) in shard.iter() {
                if let Some((number, name)) = format::split(key) {
                    *used.entry(number).or_default() += cached.footprint(name.len());
                }
            }
        }
        for namespace in namespaces.open.values() {
            let generation = namespace.current.load();
            generation.set_used(used.get(&generation.number).copied().unwrap_or_default());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close_database();
    }
}

/// Drops a database that may panic because its file is damaged.
fn drop_database<T>(database: T) {
    let _ = catch_panics(|| {
        drop(database);
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase as _;

    use super::*;
    use crate::FileSettings;
    use crate::clock::ManualClock;
    use crate::file::File;

    #[tokio::test]
    async fn a_file_of_another_format_is_neither_read_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(format::ABOUT).unwrap().insert("format", format::VERSION + 1).unwrap();
        write.commit().unwrap();
        drop(database);
        let error = File::open(&FileSettings::at(path.clone()), ManualClock::new(0)).unwrap_err().to_string();
        assert!(error.contains("has format 2, of another version of Reprieve"), "{error}");
        let database = Database::open(&path).unwrap();
        let about = database.begin_read().unwrap().open_table(format::ABOUT).unwrap();
        let rows: Vec<_> = about.iter().unwrap().map(|row| row.unwrap().1.value()).collect();
        assert_eq!(rows, [format::VERSION + 1]);
    }

    #[tokio::test]
    async fn a_file_may_count_any_number_of_crashes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let mut about = write.open_table(format::ABOUT).unwrap();
        for (key, value) in [("format", format::VERSION), ("closed", 0), ("crashes", u64::MAX)] {
            about.insert(key, value).unwrap();
        }
        drop(about);
        write.commit().unwrap();
        drop(database);
        let file = File::open(&FileSettings::at(path), ManualClock::new(0)).unwrap();
        assert_eq!(file.crashes(), u64::MAX);
    }
}
