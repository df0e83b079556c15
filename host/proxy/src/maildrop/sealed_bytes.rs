//! Records of any content, sealed with the right key, for fuzz targets.

use std::sync::Arc;

use super::seal::Seal;
use super::tag::UserKey;
use super::user::{MAX_SECRETS, User};
use reprieve_pop3::snapshot::Snapshot;

/// Seals bytes and opens them as records of one user.
#[derive(Debug)]
pub struct SealedBytes {
    seal: Seal,
    user: UserKey,
}

/// A record that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRecord(User);

impl SealedBytes {
    /// Seals with a key that is always the same, for a user who is always the same.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self { seal: Seal::new(&[7; 32]).ok()?, user: UserKey([1; 12]) })
    }

    /// Seals what is taken for a compressed record.
    #[must_use]
    pub fn seal(&self, compressed: &[u8]) -> Option<Vec<u8>> {
        self.seal.encrypt(self.user, compressed.to_vec())
    }

    /// Opens a record.
    #[must_use]
    pub fn open(&self, sealed: &[u8], epoch: u64) -> Option<OpenedRecord> {
        self.seal.open(self.user, sealed, epoch).map(OpenedRecord)
    }

    /// Seals a record.
    #[must_use]
    pub fn close(&self, record: &OpenedRecord, epoch: u64) -> Option<Vec<u8>> {
        self.seal.close(self.user, &record.0, epoch)
    }
}

impl OpenedRecord {
    /// Its snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.0.snapshot.as_ref().map(|dated| &dated.snapshot)
    }

    /// Whether it has no more secrets than a user may have.
    #[must_use]
    pub fn has_few_secrets(&self) -> bool {
        self.0.accepted.len() <= MAX_SECRETS
    }
}
