//! Keeps the process alive if a mapped file is truncated by another program.
//!
//! Reading a mapped page that its file no longer has raises SIGBUS, which ends the process. An
//! administrator truncates a table in use by copying a new one over it (`cp new.tbl users.tbl`), and
//! should not lose all sessions by that. So the handler puts a page of zeros in the place of the
//! missing one and marks the table, which then has no entries until the next reload reads the new file.
//!
//! Only addresses of tables are treated like this. All other faults go to the handler that was there
//! before, or end the process as they should.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Maximum number of tables that are mapped at a time.
const MOST: usize = 256;

/// The addresses of a mapped table. Both are 0 if the place is free.
#[derive(Debug)]
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    is_torn: AtomicBool,
}

static PLACES: [Place; MOST] = [const {
    Place { start: AtomicUsize::new(0), end: AtomicUsize::new(0), is_torn: AtomicBool::new(false) }
}; MOST];

/// What handled the signal before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Protects a mapping until it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(&'static Place);

impl Guard {
    /// Protects these addresses; `None` if too many are protected already.
    pub(crate) fn new(addresses: &Range<*const u8>) -> Option<Self> {
        install();
        let start = addresses.start as usize;
        let end = (addresses.end as usize).next_multiple_of(page_size());
        let claims = |place: &&Place| {
            place.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = PLACES.iter().find(claims)?;
        place.is_torn.store(false, Ordering::Relaxed);
        place.end.store(end, Ordering::Release);
        Some(Self(place))
    }

    /// Whether a page was missing, so that zeros were read in its place.
    pub(crate) fn is_torn(&self) -> bool {
        self.0.is_torn.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Release);
        self.0.start.store(0, Ordering::Release);
    }
}

fn page_size() -> usize {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Installs the handler, once per process.
fn install() {
    PREVIOUS.get_or_init(|| {
        // SAFETY: both structures are plain data for which zeros are valid, and outlive the calls.
        // `PREVIOUS` is empty until this returns; the handler then does as if there were no other.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut previous: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous);
            previous
        }
    });
}

/// Handles SIGBUS. Calls only what a signal handler may call.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid structure, and this signal has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let is_here = |place: &&Place| {
        let (start, end) = (place.start.load(Ordering::Acquire), place.end.load(Ordering::Acquire));
        start != 0 && (start..end).contains(&address)
    };
    if let Some(place) = PLACES.iter().find(is_here)
        && put_zeros(address)
    {
        place.is_torn.store(true, Ordering::Release);
        return;
    }
    forward(signal, info, context);
}

/// Maps a page of zeros at the page of `address`.
fn put_zeros(address: usize) -> bool {
    let size = page_size();
    let page = (address - address % size) as *mut c_void;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page belongs to a table's mapping, which is only read and whose owner unmaps the
    // whole range of addresses.
    let mapped = unsafe { libc::mmap(page, size, libc::PROT_READ, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Does what would have been done without this handler.
fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get().filter(|previous| {
        previous.sa_flags & libc::SA_SIGINFO != 0 && previous.sa_sigaction != libc::SIG_DFL
    });
    match previous {
        // SAFETY: with SA_SIGINFO, the address is that of a function with these parameters.
        Some(previous) => unsafe {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(previous.sa_sigaction);
            handler(signal, info, context);
        },
        // The faulting instruction is repeated, and ends the process.
        None => {
            // SAFETY: restores the default.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}
