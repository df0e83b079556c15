//! Counts the relayed sessions of each user.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::tag::UserKey;

/// Users with a relayed session, and how many they have.
#[derive(Debug, Default)]
pub(super) struct OpenSessions {
    counts: HashTable<(UserKey, u32)>,
}

impl OpenSessions {
    pub fn count(&self, user: UserKey) -> u32 {
        if self.counts.is_empty() {
            return 0;
        }
        self.counts.find(user.table_hash(), |(of, _)| *of == user).map_or(0, |(_, count)| *count)
    }

    #[cfg(test)]
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub fn opened(&mut self, user: UserKey) {
        self.counts
            .entry(user.table_hash(), |(of, _)| *of == user, |(of, _)| of.table_hash())
            .and_modify(|(_, count)| *count += 1)
            .or_insert((user, 1));
    }

    pub fn closed(&mut self, user: UserKey) {
        let hash = user.table_hash();
        let entry = self.counts.entry(hash, |(of, _)| *of == user, |(of, _)| of.table_hash());
        if let Entry::Occupied(mut entry) = entry {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_per_user() {
        let [one, other] = [UserKey::numbered(1), UserKey::numbered(2)];
        let mut sessions = OpenSessions::default();
        for user in [one, one, other] {
            sessions.opened(user);
        }
        assert_eq!((sessions.count(one), sessions.count(other)), (2, 1));
        sessions.closed(one);
        sessions.closed(other);
        assert_eq!((sessions.count(one), sessions.count(other)), (1, 0));
        sessions.closed(one);
        assert!(sessions.counts.is_empty());
    }
}
