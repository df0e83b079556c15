//! Reloads the certificates for clients when their files change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::file_watch::{Stamp, stamp};
use crate::net::TlsAcceptor;

/// State of the certificates' files at the last reload.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    seen: Mutex<HashMap<PathBuf, Stamp>>,
    /// Certificates that do not belong to virtual servers, such as that of the admin interface.
    more: Mutex<ActiveCertificates>,
}

/// Certificates in use, with the names of their virtual servers.
pub(super) type ActiveCertificates = Vec<(String, Arc<TlsAcceptor>)>;

impl Certificates {
    /// Adds certificates that do not belong to a virtual server.
    pub(super) fn add(&self, name: &str, acceptor: Arc<TlsAcceptor>) {
        self.seen.lock().extend(acceptor.files().map(|file| (file.to_owned(), stamp(file))));
        self.more.lock().push((name.to_owned(), acceptor));
    }

    /// Remembers the current state of all files.
    pub(super) fn remember(&self, in_use: &ActiveCertificates) {
        let more = self.more.lock();
        let files = in_use.iter().chain(&*more).flat_map(|(_, acceptor)| acceptor.files());
        *self.seen.lock() = files.map(|file| (file.to_owned(), stamp(file))).collect();
    }

    /// Reloads all certificates. Returns an error message for each that cannot be read; that one
    /// stays in use.
    pub(super) fn reload(&self, in_use: &ActiveCertificates) -> Vec<String> {
        let mut wrong = Vec::new();
        let more = self.more.lock().clone();
        for (server, acceptor) in in_use.iter().chain(&more) {
            let files: Vec<_> = acceptor.files().map(|file| (file.to_owned(), stamp(file))).collect();
            match acceptor.reload() {
                Ok(()) => tracing::info!(server, "certificates reloaded"),
                Err(error) => {
                    tracing::error!(server, "certificates not reloaded, the old ones stay in use: {error}");
                    wrong.push(format!(
                        "virtual server {server}: certificates not reloaded, the old ones stay in use: {error}"
                    ));
                }
            }
            // Also after an error, so that it is logged once and not at each check.
            self.seen.lock().extend(files);
        }
        wrong
    }

    /// Reloads all certificates if a file has changed.
    pub(super) fn reload_if_changed(&self, in_use: &ActiveCertificates) {
        let has_changed = self.seen.lock().iter().any(|(file, seen)| stamp(file) != *seen);
        if has_changed {
            self.reload(in_use);
        }
    }
}
