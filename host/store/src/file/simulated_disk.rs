//! A disk in memory, for tests: each of its calls can fail, and what was written is recorded, so that
//! a power cut can be simulated at any moment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend};

use super::disk::Disk;
use super::page_guard::PageGuard;

/// A call of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Open,
    Length,
    Read,
    SetLength,
    Sync,
    Write,
    Close,
    Rename,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// EIO: the device does not answer.
    Device,
    /// ENOSPC. Only for calls that need space.
    Full,
    /// Half of the bytes are read or written, then EIO.
    Short,
    /// Half of the bytes are written, which is reported as success.
    Torn,
    /// Nothing is written, which is reported as success.
    Lost,
}

impl Failure {
    /// Whether a call can fail in this way.
    pub(super) fn applies_to(self, call: Call) -> bool {
        match self {
            Self::Device => true,
            Self::Full => matches!(call, Call::Create | Call::SetLength | Call::Sync | Call::Write),
            Self::Short => matches!(call, Call::Read | Call::Write),
            Self::Torn | Self::Lost => call == Call::Write,
        }
    }
}

/// The calls that fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Number of the first one, counted from 1.
    pub from: u64,
    /// Number of calls.
    pub count: u64,
    pub how: Failure,
}

/// A change of the file.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLength(usize),
    /// Everything before it is on the disk.
    Synced,
    /// A remark of the test.
    Mark(usize),
}

/// A file that handles may still have open after it was renamed.
#[derive(Debug, Default)]
struct File {
    bytes: Mutex<Vec<u8>>,
    is_open: Mutex<bool>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    calls: u64,
    /// Kinds of all calls, in order.
    made: Vec<Call>,
    fault: Option<Fault>,
    events: Vec<Event>,
    /// Damaged files that were renamed.
    set_aside: usize,
    /// Whether the file cannot be renamed.
    is_fixed: bool,
    /// Whether a call has failed.
    has_failed: bool,
}

/// A disk with one file.
#[derive(Debug)]
pub(super) struct SimulatedDisk {
    path: PathBuf,
    state: Mutex<State>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub(super) fn new() -> Arc<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { path: format!("/simulated/{number}/store").into(), state: Mutex::default() })
    }

    /// A disk with a file of this content.
    pub(super) fn with_file(bytes: Vec<u8>) -> Arc<Self> {
        let disk = Self::new();
        disk.state().file = Some(Arc::new(File { bytes: bytes.into(), is_open: false.into() }));
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.state().made.clone()
    }

    /// Makes calls fail.
    pub(super) fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Ends all failures.
    pub(super) fn repair(&self) {
        self.state().fault = None;
    }

    /// Whether a call has ever failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Number of damaged files that were renamed.
    pub(super) fn set_aside(&self) -> usize {
        self.state().set_aside
    }

    /// Whether renaming the file fails.
    pub(super) fn fail_renaming(&self, fails: bool) {
        self.state().is_fixed = fails;
    }

    /// Deletes the file.
    pub(super) fn remove(&self) {
        self.state().file = None;
    }

    /// Adds a remark to the events.
    pub(super) fn mark(&self, number: usize) {
        self.state().events.push(Event::Mark(number));
    }

    /// The changes of the file so far.
    pub(super) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Changes the file behind the engine's back.
    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = &self.state().file {
            change(&mut file.bytes.lock().unwrap());
        }
    }

    /// Counts a call, and returns how it fails.
    fn call(&self, call: Call) -> Option<Failure> {
        let mut state = self.state();
        state.calls += 1;
        state.made.push(call);
        let number = state.calls;
        let Fault { from, count, how } = state.fault?;
        let fails = how.applies_to(call) && number >= from && number - from < count;
        state.has_failed |= fails;
        fails.then_some(how)
    }

    /// Counts a call that moves no bytes.
    fn attempt(&self, call: Call) -> io::Result<()> {
        self.call(call).map_or(Ok(()), |how| Err(error(how)))
    }
}

fn error(how: Failure) -> io::Error {
    io::Error::from_raw_os_error(if how == Failure::Full { libc_errors::ENOSPC } else { libc_errors::EIO })
}

/// Numbers of errors, which the crate needs nowhere else.
mod libc_errors {
    pub(super) const EIO: i32 = 5;
    pub(super) const ENOSPC: i32 = 28;
}

/// Applies a change to the bytes of a file.
pub(super) fn apply(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { offset, bytes: written } => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
        Event::SetLength(length) => bytes.resize(*length, 0),
        Event::Synced | Event::Mark(_) => {}
    }
}

/// What the simulated disk needs to be shared for: a handle of it.
#[derive(Clone, Debug)]
pub(super) struct DiskHandle(pub Arc<SimulatedDisk>);

impl Disk for DiskHandle {
    fn path(&self) -> &Path {
        &self.0.path
    }

    fn create(&self) -> io::Result<()> {
        self.0.attempt(Call::Create)?;
        self.0.state().file.get_or_insert_default();
        Ok(())
    }

    fn open(&self, engine: &Builder) -> Result<Database, DatabaseError> {
        self.0.attempt(Call::Open)?;
        let file = self.0.state().file.clone().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if std::mem::replace(&mut *file.is_open.lock().unwrap(), true) {
            return Err(DatabaseError::DatabaseAlreadyOpen);
        }
        engine.create_with_backend(PageGuard::new(OpenFile { disk: self.0.clone(), file }))
    }

    fn exists(&self) -> bool {
        self.0.state().file.is_some()
    }

    fn size(&self) -> u64 {
        self.0.state().file.as_ref().map_or(0, |file| file.bytes.lock().unwrap().len() as u64)
    }

    fn looks_like_a_store(&self) -> bool {
        true
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        self.0.attempt(Call::Rename)?;
        let mut state = self.0.state();
        if state.is_fixed {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.file.take().ok_or(io::ErrorKind::NotFound)?;
        state.set_aside += 1;
        Ok(self.0.path.with_extension("damaged"))
    }
}

/// The file as the engine has it open. Dropping it unlocks the file.
#[derive(Debug)]
struct OpenFile {
    disk: Arc<SimulatedDisk>,
    file: Arc<File>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        *self.file.is_open.lock().unwrap() = false;
    }
}

impl OpenFile {
    fn change(&self, event: Event) {
        apply(&mut self.file.bytes.lock().unwrap(), &event);
        self.disk.state().events.push(event);
    }
}

impl StorageBackend for OpenFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.attempt(Call::Length)?;
        Ok(self.file.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let failure = self.disk.call(Call::Read);
        let bytes = self.file.bytes.lock().unwrap();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let there = bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let count = if failure.is_some() { out.len() / 2 } else { out.len() };
        out[..count].copy_from_slice(&there[..count]);
        failure.map_or(Ok(()), |how| Err(error(how)))
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.disk.attempt(Call::SetLength)?;
        self.change(Event::SetLength(usize::try_from(length).map_err(io::Error::other)?));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.attempt(Call::Sync)?;
        self.disk.state().events.push(Event::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let failure = self.disk.call(Call::Write);
        let written = match failure {
            None => data.len(),
            Some(Failure::Short | Failure::Torn) => data.len() / 2,
            Some(Failure::Device | Failure::Full | Failure::Lost) => 0,
        };
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if written > 0 {
            self.change(Event::Write { offset, bytes: data[..written].to_vec() });
        }
        match failure {
            None | Some(Failure::Torn | Failure::Lost) => Ok(()),
            Some(how) => Err(error(how)),
        }
    }

    fn close(&self) -> Result<(), io::Error> {
        self.disk.attempt(Call::Close)
    }

    fn try_lock_range(&self, _: std::ops::Bound<u64>, _: std::ops::Bound<u64>) -> Result<bool, BackendError> {
        Err(BackendError::Unsupported)
    }
}
