//! Certificates that change while they are used.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::net::TlsAcceptor;
use crate::watch::{Stamp, stamp};

/// What is known of the certificates' files.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    seen: Mutex<HashMap<PathBuf, Stamp>>,
    /// Those of others than virtual servers.
    more: Mutex<InUse>,
}

/// Certificates in use, with the virtual servers' names.
pub(super) type InUse = Vec<(String, Arc<TlsAcceptor>)>;

impl Certificates {
    /// Looks after those of somebody else too.
    pub(super) fn add(&self, name: &str, acceptor: Arc<TlsAcceptor>) {
        self.seen.lock().extend(acceptor.files().map(|file| (file.to_owned(), stamp(file))));
        self.more.lock().push((name.to_owned(), acceptor));
    }

    /// Remembers the files as they are.
    pub(super) fn note(&self, in_use: &InUse) {
        let more = self.more.lock();
        let files = in_use.iter().chain(&*more).flat_map(|(_, acceptor)| acceptor.files());
        *self.seen.lock() = files.map(|file| (file.to_owned(), stamp(file))).collect();
    }

    /// Reads all of them again. Those that cannot be read stay as they are; why.
    pub(super) fn reload(&self, in_use: &InUse) -> Vec<String> {
        let mut wrong = Vec::new();
        let more = self.more.lock().clone();
        for (server, acceptor) in in_use.iter().chain(&more) {
            let files: Vec<_> = acceptor.files().map(|file| (file.to_owned(), stamp(file))).collect();
            match acceptor.reload() {
                Ok(()) => tracing::info!(server, "certificates read again"),
                Err(error) => {
                    tracing::error!(server, "the certificates in use stay: {error}");
                    wrong.push(format!("virtual server {server}: the certificates in use stay: {error}"));
                }
            }
            // One that is wrong is complained of once, not at each look.
            self.seen.lock().extend(files);
        }
        wrong
    }

    /// Reads them again where a file has changed.
    pub(super) fn look(&self, in_use: &InUse) {
        let has_changed = self.seen.lock().iter().any(|(file, seen)| stamp(file) != *seen);
        if has_changed {
            self.reload(in_use);
        }
    }
}
