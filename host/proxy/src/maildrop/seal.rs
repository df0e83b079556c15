//! The record of a user in a store: packed, compressed, encrypted and authenticated with a key that
//! only the proxies of the site have. Those who can read the store learn neither names nor secrets
//! nor listings, and what they write to it is ignored.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use super::no_snapshot::NoSnapshot;
use super::tag::{Hash, Tag, UserKey};
use super::user::{Accepted, DatedSnapshot, MAX_SECRETS, Route, SnapshotTimes, User};
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_pop3::snapshot::Snapshot;

/// Size of the largest snapshot that a record may have, in bytes; larger ones are left out.
const MAX_SNAPSHOT_BYTES: usize = 16 << 20;
/// Bytes of a record besides its snapshot, at most.
const MAX_OTHER_BYTES: usize = 1 << 16;
/// Compression level of zstd: the fastest one, which for listings is not much worse than others.
const COMPRESSION_LEVEL: i32 = 1;

/// Seals records and opens them.
pub(super) struct Seal(LessSafeKey);

/// The layout of a record; the order of the fields is part of it.
#[derive(Serialize, Deserialize)]
struct Packed {
    latest: u64,
    accepted: Vec<(Hash, u64)>,
    rejections: u8,
    no_snapshot: NoSnapshot,
    route: Option<(Option<String>, Option<String>)>,
    /// Epoch of the store in which the snapshot was written, number of messages, sum of their sizes,
    /// and the rows.
    snapshot: Option<(u64, u32, u64, Vec<u8>)>,
    /// [`SnapshotTimes`], in the order of its fields. At the end, so that a record of a version
    /// without them is not valid instead of misread.
    times: (u32, u32, u32),
    /// [`User::heard`], [`User::heard_s`], and whether the snapshot is up to date.
    heard: (u64, u32, bool),
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// Seals with this key.
    ///
    /// # Errors
    /// Never for a key of this length.
    pub fn new(key: &[u8; 32]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new).map(Self)
    }

    /// Seals a user's record. `epoch`: of the store. None if the system has no
    /// randomness.
    pub fn close(&self, of: UserKey, user: &User, epoch: u64) -> Option<Vec<u8>> {
        let dated = user.snapshot.as_ref().filter(|dated| dated.snapshot.footprint() < MAX_SNAPSHOT_BYTES);
        let snapshot = dated.map(|dated| &dated.snapshot);
        let SnapshotTimes { seen_s, changed_s, upgraded_s } =
            dated.map_or_else(SnapshotTimes::default, |dated| dated.times);
        let packed = Packed {
            latest: user.latest,
            accepted: user.accepted.iter().map(|accepted| (accepted.tag.bytes(), accepted.at_s)).collect(),
            rejections: user.rejections,
            no_snapshot: user.no_snapshot,
            route: user.route.as_ref().map(|route| (route.pool.clone(), route.user.clone())),
            snapshot: snapshot
                .map(|snapshot| (epoch, snapshot.count(), snapshot.bytes(), snapshot.packed().to_vec())),
            times: (seen_s, changed_s, upgraded_s),
            heard: (user.heard, user.heard_s, dated.is_some_and(|dated| dated.is_up_to_date)),
        };
        let packed = postcard::to_allocvec(&packed).ok()?;
        self.encrypt(of, zstd::bulk::compress(&packed, COMPRESSION_LEVEL).ok()?)
    }

    /// Seals a compressed record.
    pub fn encrypt(&self, of: UserKey, mut text: Vec<u8>) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let aad = Aad::from(of.0);
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).ok()?;
        Some([&nonce[..], &text].concat())
    }

    /// Opens a user's record. None if it was not sealed for this user with this key. A snapshot that
    /// was written in another epoch of the store is left out: a newer session may have been lost.
    pub fn open(&self, of: UserKey, sealed: &[u8], epoch: u64) -> Option<User> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let aad = Aad::from(of.0);
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text).ok()?;
        let packed = zstd::bulk::decompress(opened, MAX_SNAPSHOT_BYTES + MAX_OTHER_BYTES).ok()?;
        let packed: Packed = postcard::from_bytes(&packed).ok()?;
        #[cfg(test)]
        let epoch = match &packed.snapshot {
            Some((written_in, ..)) if planted(Fault::RollbackUnnoticed) => *written_in,
            _ => epoch,
        };
        let (seen_s, changed_s, upgraded_s) = packed.times;
        let (heard, heard_s, is_up_to_date) = packed.heard;
        let times = SnapshotTimes { seen_s, changed_s, upgraded_s };
        let accepted =
            packed.accepted.into_iter().map(|(tag, at_s)| Accepted { tag: Tag::from_bytes(tag), at_s });
        Some(User {
            // Another version of Reprieve may remember more of them.
            accepted: accepted.take(MAX_SECRETS).collect(),
            snapshot: packed
                .snapshot
                .filter(|(written_in, ..)| *written_in == epoch)
                .and_then(|(_, count, bytes, rows)| Snapshot::from_packed(rows.into(), count, bytes))
                .map(|snapshot| DatedSnapshot { snapshot: snapshot.shared(), times, is_up_to_date }),
            route: packed.route.map(|(pool, user)| Arc::new(Route { pool, user })),
            latest: packed.latest,
            heard,
            heard_s,
            posed_s: 0,
            rejections: packed.rejections,
            no_snapshot: packed.no_snapshot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprieve_pop3::snapshot::Row;

    fn user() -> User {
        let ids: Vec<_> = (0..20).map(|number| format!("{number:08x}5f3a2b1c")).collect();
        let rows = ids.iter().map(|id| Row { size: 20_000, unique_id: id.as_bytes() });
        let mut user = User::default();
        user.accept(Some(Tag::from_bytes([1; 12])), 5_000);
        assert!(user.begin(7, Some(0)).is_undisturbed);
        user.route = Some(Arc::new(Route { pool: Some("other".to_owned()), user: None }));
        let times = SnapshotTimes { seen_s: 3, changed_s: 2, upgraded_s: 1 };
        let snapshot = Snapshot::pack(rows).unwrap().shared();
        let left = DatedSnapshot { snapshot, times, is_up_to_date: true };
        assert!(user.commit((7, Some(0)), 8, Ok(left), false));
        user
    }

    #[test]
    fn a_record_opens_only_for_its_user_and_with_its_key() {
        let (seal, other) = (Seal::new(&[1; 32]).unwrap(), Seal::new(&[2; 32]).unwrap());
        let sealed = seal.close(UserKey::numbered(1), &user(), 0).unwrap();
        assert_eq!(seal.open(UserKey::numbered(1), &sealed, 0), Some(user()));
        assert_eq!(seal.open(UserKey::numbered(2), &sealed, 0), None);
        assert_eq!(other.open(UserKey::numbered(1), &sealed, 0), None);
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert_eq!(seal.open(UserKey::numbered(1), &damaged, 0), None);
            assert_eq!(seal.open(UserKey::numbered(1), &sealed[..index], 0), None);
        }
    }

    #[test]
    fn after_a_crash_snapshots_are_ignored_and_secrets_are_kept() {
        let seal = Seal::new(&[1; 32]).unwrap();
        let sealed = seal.close(UserKey::numbered(1), &user(), 3).unwrap();
        let opened = seal.open(UserKey::numbered(1), &sealed, 4).unwrap();
        assert_eq!((opened.snapshot, opened.accepted), (None, user().accepted));
    }

    #[test]
    fn a_record_is_small_and_its_listing_cannot_be_read() {
        let seal = Seal::new(&[1; 32]).unwrap();
        let sealed = seal.close(UserKey::numbered(1), &user(), 0).unwrap();
        assert!(sealed.len() < 300, "{}", sealed.len());
        assert!(!sealed.windows(8).any(|part| part == b"5f3a2b1c"));
    }

    /// A user with the largest snapshot that is kept, or one that is larger by a byte.
    fn with_large_snapshot(excess: usize) -> User {
        // A row has two bytes besides its unique-id.
        let room = MAX_SNAPSHOT_BYTES - 1 - size_of::<Snapshot>() + excess;
        let (long, rest) = ([b'x'; 62], room % 64);
        let last = &long[..rest.max(3) - 2];
        assert!(rest >= 3, "the last row must have a unique-id");
        let ids = std::iter::repeat_n(&long[..], room / 64).chain([last]);
        let snapshot = Snapshot::pack(ids.map(|unique_id| Row { size: 1, unique_id })).unwrap().shared();
        assert_eq!(snapshot.footprint(), MAX_SNAPSHOT_BYTES - 1 + excess);
        let dated = DatedSnapshot { snapshot, times: SnapshotTimes::default(), is_up_to_date: true };
        let name = Some("x".repeat(MAX_OTHER_BYTES - 1000));
        User {
            snapshot: Some(dated),
            route: Some(Arc::new(Route { pool: name, user: None })),
            ..User::default()
        }
    }

    #[test]
    fn the_largest_record_can_be_opened_and_a_larger_snapshot_is_left_out() {
        let (seal, key) = (Seal::new(&[1; 32]).unwrap(), UserKey::numbered(1));
        let open = |user: &User| seal.open(key, &seal.close(key, user, 0).unwrap(), 0).unwrap();
        let largest = with_large_snapshot(0);
        assert!(open(&largest) == largest);
        let larger = with_large_snapshot(1);
        assert!(open(&larger) == User { snapshot: None, ..larger });
    }

    #[test]
    fn a_record_that_is_longer_than_any_is_not_opened() {
        let (seal, key) = (Seal::new(&[1; 32]).unwrap(), UserKey::numbered(1));
        let sealed = seal.close(key, &user(), 0).unwrap();
        let opened = |length: usize| {
            let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().unwrap();
            let (nonce, mut text) = (Nonce::assume_unique_for_key(*nonce), text.to_vec());
            let compressed = seal.0.open_in_place(nonce, Aad::from(key.0), &mut text).unwrap();
            let mut packed = zstd::bulk::decompress(compressed, MAX_SNAPSHOT_BYTES).unwrap();
            packed.resize(length, 0);
            let padded = zstd::bulk::compress(&packed, COMPRESSION_LEVEL).unwrap();
            seal.open(key, &seal.encrypt(key, padded).unwrap(), 0)
        };
        assert_eq!(opened(MAX_SNAPSHOT_BYTES + MAX_OTHER_BYTES), Some(user()));
        assert_eq!(opened(MAX_SNAPSHOT_BYTES + MAX_OTHER_BYTES + 1), None);
    }

    #[test]
    fn no_key_shows_in_debug_output() {
        assert_eq!(format!("{:?}", Seal::new(&[1; 32]).unwrap()), "Seal");
    }
}
