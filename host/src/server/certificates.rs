//! Certificates that change while they are used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::net::TlsAcceptor;

/// What tells that a file has changed, without reading it.
type Stamp = Option<(SystemTime, u64)>;

/// The certificates of all virtual servers.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    acceptors: Vec<(String, Arc<TlsAcceptor>)>,
    seen: Mutex<HashMap<PathBuf, Stamp>>,
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl Certificates {
    pub(super) fn new(acceptors: Vec<(String, Arc<TlsAcceptor>)>) -> Self {
        let files = acceptors.iter().flat_map(|(_, acceptor)| acceptor.files());
        let seen = files.map(|file| (file.to_owned(), stamp(file))).collect();
        Self { acceptors, seen: Mutex::new(seen) }
    }

    /// Reads all of them again. Those that cannot be read stay as they are.
    pub(super) fn reload(&self) -> bool {
        let mut all_right = true;
        for (server, acceptor) in &self.acceptors {
            let files: Vec<_> = acceptor.files().map(|file| (file.to_owned(), stamp(file))).collect();
            match acceptor.reload() {
                Ok(()) => tracing::info!(server, "certificates read again"),
                Err(error) => {
                    all_right = false;
                    tracing::error!(server, "the certificates in use stay: {error}");
                }
            }
            // One that is wrong is complained of once, not at each look.
            self.seen.lock().extend(files);
        }
        all_right
    }

    /// Reads them again where a file has changed.
    pub(super) fn look(&self) {
        let has_changed = self.seen.lock().iter().any(|(file, seen)| stamp(file) != *seen);
        if has_changed {
            self.reload();
        }
    }
}
