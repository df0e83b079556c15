//! Records of any content, sealed with the right key, for fuzz targets.

use std::sync::Arc;

use super::seal::Seal;
use super::tag::UserKey;
use super::user::User;
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
}

#[cfg(test)]
mod tests {
    use super::super::tag::Tag;
    use super::super::user::DatedSnapshot;
    use super::*;
    use reprieve_pop3::snapshot::Row;

    #[test]
    fn a_record_that_was_closed_opens_and_bytes_that_are_none_do_not() {
        let seal = SealedBytes::new().unwrap();
        let snapshot = Snapshot::pack([Row { size: 1, unique_id: b"x" }]).unwrap().shared();
        let dated =
            DatedSnapshot { snapshot: snapshot.clone(), times: Default::default(), is_up_to_date: true };
        let mut user = User { snapshot: Some(dated), ..User::default() };
        user.accept(Some(Tag::from_bytes([1; 12])), 5_000);
        let record = OpenedRecord(user);
        let opened = seal.open(&seal.close(&record, 3).unwrap(), 3).unwrap();
        assert_eq!(opened, record);
        assert_eq!(opened.snapshot(), Some(&snapshot));

        let sealed = seal.seal(b"no record").unwrap();
        assert!(sealed.len() > b"no record".len());
        assert_eq!(seal.open(&sealed, 3), None);
    }
}
