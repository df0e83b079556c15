//! Places for connections over TCP, so many that no descriptors run short. Somebody who has shown
//! a token keeps a place. Of all others the oldest makes room for a new one, and first where most
//! come from: so strangers who stay, for events or for nothing, shut nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::net::counted_as;

/// Connections at once without a token; and as many with one.
const MOST: usize = 64;

/// The places of all addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// Connections until now.
    number: u64,
    /// Those who have shown no token, the oldest first: where from, and what ends them.
    strangers: BTreeMap<u64, (IpAddr, CancellationToken)>,
    /// How many have shown one.
    known: usize,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    is_known: AtomicBool,
    ended: CancellationToken,
}

impl Places {
    /// A place for a connection from an address; one who has shown no token may lose theirs for it.
    pub(super) fn take(&self, from: IpAddr) -> Arc<Place> {
        let ended = CancellationToken::new();
        let mut taken = self.0.lock();
        if taken.strangers.len() >= MOST {
            taken.make_room();
        }
        taken.number += 1;
        let number = taken.number;
        taken.strangers.insert(number, (counted_as(from), ended.clone()));
        drop(taken);
        Arc::new(Place { places: self.clone(), number, is_known: AtomicBool::new(false), ended })
    }
}

impl Taken {
    fn make_room(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (from, _) in self.strangers.values() {
            *counts.entry(*from).or_default() += 1;
        }
        let most = counts.values().copied().max();
        let leaves = self.strangers.iter().find(|(_, (from, _))| counts.get(from).copied() == most);
        if let Some((_, ended)) = leaves.map(|(&number, _)| number).and_then(|it| self.strangers.remove(&it))
        {
            ended.cancel();
        }
    }
}

impl Place {
    /// Whoever has it has shown a token.
    pub(super) fn is_known(&self) {
        let mut taken = self.places.0.lock();
        if taken.known < MOST && taken.strangers.remove(&self.number).is_some() {
            taken.known += 1;
            self.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until it goes to somebody else.
    pub(super) async fn lost(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        taken.strangers.remove(&self.number);
        if self.is_known.load(Ordering::Relaxed) {
            taken.known -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_of_where_most_come_from_makes_room() {
        let places = Places::default();
        let (crowd, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = places.take(other);
        let shows_token = places.take(crowd);
        shows_token.is_known();
        let many: Vec<_> = (0..2 * MOST).map(|_| places.take(crowd)).collect();
        let lost = many.iter().filter(|place| place.ended.is_cancelled()).count();
        assert_eq!(lost, MOST + 1, "there is room for so many");
        assert!(many[..lost].iter().all(|place| place.ended.is_cancelled()), "the oldest have gone");
        assert!(!first.ended.is_cancelled() && !shows_token.ended.is_cancelled());
        drop((many, first, shows_token));
        let taken = places.0.lock();
        assert_eq!((taken.strangers.len(), taken.known), (0, 0));
    }

    #[test]
    fn there_is_an_end_to_those_with_a_token_too() {
        let places = Places::default();
        let all: Vec<_> = (0..MOST + 10).map(|_| places.take([192, 0, 2, 1].into())).collect();
        all.iter().for_each(|place| place.is_known());
        assert_eq!(places.0.lock().known, MOST);
    }
}
