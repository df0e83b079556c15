//! The users who poll most, found among any number of users in a fixed amount of memory (the
//! space-saving sketch; Metwally, Agrawal and El Abbadi, 2005). A user with more than a thousandth
//! of a shard's polls is always in it. A new user replaces the one with the fewest polls and
//! inherits that count, which is the possible error.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use parking_lot::Mutex;
use serde::Serialize;

/// Shards, so that threads rarely wait for each other.
const SHARDS: usize = 8;
/// Users per shard.
const PLACES: usize = 1024;
/// How long a sketch is filled; reports cover the current one and the previous one.
const FILLED_FOR: Duration = Duration::from_secs(3600);
/// Bytes of a user name that are kept; longer names are cut.
const NAME: usize = 128;

/// A user with their number of polls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Poller {
    /// User name, as the client sends it.
    pub user: String,
    /// Upper bound of their logins.
    pub polls: u64,
    /// By how much `polls` may be too high.
    pub too_high_by: u64,
    /// Lower bound of the logins that the policy denied.
    pub denied: u64,
}

#[derive(Clone, Debug)]
struct Place {
    hash: u64,
    user: Box<str>,
    polls: u64,
    too_high_by: u64,
    denied: u64,
}

/// A binary min-heap by polls, with an index from user to position.
#[derive(Debug, Default)]
struct Sketch {
    places: Vec<Place>,
    found: HashTable<usize>,
}

impl Sketch {
    fn count(&mut self, hash: u64, user: &str, denied: bool) {
        let places = &self.places;
        let is_same_user = |&at: &usize| {
            let place = &places[at];
            place.hash == hash && &*place.user == user
        };
        let at = match self.found.find(hash, is_same_user) {
            Some(&at) => at,
            None if self.places.len() < PLACES => self.newcomer(hash, user),
            None => self.instead_of_the_least(hash, user),
        };
        let place = &mut self.places[at];
        place.polls += 1;
        place.denied += u64::from(denied);
        self.sink(at);
    }

    fn newcomer(&mut self, hash: u64, user: &str) -> usize {
        let place = Place { hash, user: user.into(), polls: 0, too_high_by: 0, denied: 0 };
        self.places.push(place);
        let places = &self.places;
        let at = places.len() - 1;
        self.found.insert_unique(hash, at, |&at| places[at].hash);
        self.rise(at)
    }

    fn instead_of_the_least(&mut self, hash: u64, user: &str) -> usize {
        let least = &mut self.places[0];
        if let Ok(entry) = self.found.find_entry(least.hash, |&at| at == 0) {
            entry.remove();
        }
        least.hash = hash;
        least.user = user.into();
        least.too_high_by = least.polls;
        least.denied = 0;
        let places = &self.places;
        self.found.insert_unique(hash, 0, |&at| places[at].hash);
        0
    }

    fn swap(&mut self, one: usize, other: usize) {
        let hashes = (self.places[one].hash, self.places[other].hash);
        // Both positions are looked up before either changes: the hashes may be equal.
        for (hash, from, to) in
            [(hashes.0, one, usize::MAX), (hashes.1, other, one), (hashes.0, usize::MAX, other)]
        {
            if let Some(at) = self.found.find_mut(hash, |&at| at == from) {
                *at = to;
            }
        }
        self.places.swap(one, other);
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 && self.places[(at - 1) / 2].polls > self.places[at].polls {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2].into_iter().filter(|&child| child < self.places.len());
            let Some(least) = children.min_by_key(|&child| self.places[child].polls) else { return };
            if self.places[least].polls >= self.places[at].polls {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }
}

#[derive(Debug)]
struct Shard {
    since: Instant,
    present: Sketch,
    before: Vec<Place>,
}

/// The top pollers of a virtual server.
#[derive(Debug)]
pub struct Pollers {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Pollers {
    fn default() -> Self {
        let shard =
            |_| Mutex::new(Shard { since: Instant::now(), present: Sketch::default(), before: Vec::new() });
        Self { hasher: RandomState::new(), shards: std::array::from_fn(shard) }
    }
}

impl Pollers {
    /// Counts a login that got a verdict.
    pub(super) fn count(&self, user: &str, denied: bool) {
        let end = (0..=user.len().min(NAME)).rev().find(|&end| user.is_char_boundary(end)).unwrap_or(0);
        let user = &user[..end];
        let hash = self.hasher.hash_one(user);
        let mut shard = self.shards[usize::try_from(hash >> 48).unwrap_or(0) % SHARDS].lock();
        shard.turn();
        shard.present.count(hash, user, denied);
    }

    /// The users with the most polls in the last one to two hours, most polls first.
    #[must_use]
    pub fn worst(&self, count: usize) -> Vec<Poller> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.turn();
            let present = &shard.present;
            all.extend(present.places.iter().map(Poller::of));
            let first = all.len() - present.places.len();
            for place in &shard.before {
                let same = |&at: &usize| {
                    let other = &present.places[at];
                    other.hash == place.hash && other.user == place.user
                };
                match present.found.find(place.hash, same) {
                    Some(&at) => all[first + at].add(place),
                    None => all.push(Poller::of(place)),
                }
            }
        }
        if all.len() > count {
            all.select_nth_unstable_by_key(count, |poller| poller.order());
            all.truncate(count);
        }
        all.sort_by(|one, other| one.order().cmp(&other.order()).then_with(|| one.user.cmp(&other.user)));
        all
    }
}

impl Shard {
    /// Starts a new sketch if the current one is old enough.
    fn turn(&mut self) {
        let age = self.since.elapsed();
        if age >= FILLED_FOR {
            let full = std::mem::take(&mut self.present);
            self.before = if age < 2 * FILLED_FOR { full.places } else { Vec::new() };
            self.since = Instant::now();
        }
    }
}

impl Poller {
    /// Orders by the lower bound of the polls.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.polls - self.too_high_by, self.polls))
    }

    fn of(place: &Place) -> Self {
        Self {
            user: place.user.to_string(),
            polls: place.polls,
            too_high_by: place.too_high_by,
            denied: place.denied,
        }
    }

    fn add(&mut self, place: &Place) {
        self.polls += place.polls;
        self.too_high_by += place.too_high_by;
        self.denied += place.denied;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_users_are_counted_exactly() {
        let pollers = Pollers::default();
        for number in 1..=100_u32 {
            for poll in 0..number {
                pollers.count(&format!("user{number}"), poll % 2 == 1);
            }
        }
        let worst = pollers.worst(3);
        let told: Vec<_> =
            worst.iter().map(|one| (&*one.user, one.polls, one.denied, one.too_high_by)).collect();
        assert_eq!(told, [("user100", 100, 50, 0), ("user99", 99, 49, 0), ("user98", 98, 49, 0)]);
    }

    #[test]
    fn top_pollers_are_found_among_many_names_and_never_counted_too_low() {
        let pollers = Pollers::default();
        for round in 0..200_u32 {
            for heavy in 0..5 {
                for _ in 0..=heavy {
                    pollers.count(&format!("heavy{heavy}"), true);
                }
            }
            for other in 0..1000 {
                pollers.count(&format!("{round}-{other}"), false);
            }
        }
        let worst = pollers.worst(5);
        let names: Vec<_> = worst.iter().map(|one| &*one.user).collect();
        assert_eq!(names, ["heavy4", "heavy3", "heavy2", "heavy1", "heavy0"]);
        for (one, truth) in worst.iter().zip([1000, 800, 600, 400, 200]) {
            assert!((one.polls - one.too_high_by..=one.polls).contains(&truth), "{one:?} {truth}");
            assert!(one.denied <= truth, "{one:?}");
        }
    }

    #[test]
    fn the_heap_and_the_table_agree() {
        let mut sketch = Sketch::default();
        let mut number = 12345_u64;
        for _ in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let user = (number >> 33) % 3000;
            // Hashes that collide often.
            sketch.count(user % 50, &user.to_string(), false);
        }
        assert_eq!((sketch.places.len(), sketch.found.len()), (PLACES, PLACES));
        for (at, place) in sketch.places.iter().enumerate() {
            assert!(sketch.found.find(place.hash, |&other| other == at).is_some());
            assert!(at == 0 || sketch.places[(at - 1) / 2].polls <= place.polls);
        }
        let total: u64 = sketch.places.iter().map(|place| place.polls).sum();
        assert_eq!(total, 20_000, "each poll is in exactly one place");
    }
}
