//! Connections that have not logged in. If `max-connections` is reached, one of them is closed for a
//! new connection (it is *shed*): the oldest one of the network that has the most. A network that
//! opens connections without end therefore takes places from itself, not from others.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Time that a connection has for its login even if its network has as many connections as others:
/// without it, clients that arrive at the same time would close each other's connections.
const GRACE: Duration = Duration::from_secs(5);
/// Networks that are compared to find the one with the most connections. With more networks than that
/// the attack does not come from one of them, and comparing them all would take too long.
const MAX_COMPARED: usize = 1024;
/// Places in a queue that may have been left, in addition to as many as are taken.
const SPARE: usize = 16;

/// [`Place::since`] of a connection that does not wait.
const LEFT: u64 = 0;
/// [`Place::since`] of a connection that was shed.
const SHED: u64 = u64::MAX;

/// A network of clients: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address. One
/// customer of a provider seldom has more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(u64);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits() >> 8)),
            // The bit makes it differ from any IPv4 network.
            IpAddr::V6(address) => Self(1 << 48 | u64::try_from(address.to_bits() >> 80).unwrap_or_default()),
        }
    }
}

/// All connections of the process that have not logged in.
#[derive(Debug)]
pub(super) struct Waiting {
    started: Instant,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    /// The last value of `since`, which is unique.
    latest: u64,
    networks: HashMap<Network, Queue>,
}

/// The connections of one network, oldest first. Some have left.
#[derive(Debug, Default)]
struct Queue {
    /// With the value of `since` for which they are valid.
    places: VecDeque<(u64, Arc<Place>)>,
    /// Number of connections that have not left.
    waiting: usize,
}

/// The place of one connection.
#[derive(Debug, Default)]
pub struct Place {
    /// Since when it waits, in nanoseconds since the start; or [`LEFT`] or [`SHED`].
    since: AtomicU64,
    waker: AtomicWaker,
    /// Whether a login is in progress, which ends before the connection does.
    logs_in: AtomicBool,
}

/// A connection among those that have not logged in, until it is dropped.
#[derive(Debug)]
pub(super) struct Waits {
    place: Arc<Place>,
    network: Network,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { started: Instant::now(), queues: Mutex::default() }
    }
}

impl Waiting {
    /// Adds a connection.
    pub(super) fn enter(&self, address: IpAddr) -> Waits {
        self.enter_at(address, self.started.elapsed())
    }

    fn enter_at(&self, address: IpAddr, now: Duration) -> Waits {
        let (place, network) = (Arc::<Place>::default(), Network::of(address));
        let mut queues = self.queues.lock();
        let since = queues.next(now);
        place.since.store(since, Ordering::Relaxed);
        queues.networks.entry(network).or_default().push(since, place.clone());
        Waits { place, network }
    }

    /// Moves a connection to the network of an address that a load balancer has told.
    pub(super) fn moves(&self, waits: &mut Waits, address: IpAddr) {
        let network = Network::of(address);
        if network == waits.network {
            return;
        }
        let mut queues = self.queues.lock();
        let since = waits.place.since.load(Ordering::Relaxed);
        if since == SHED {
            return;
        }
        queues.one_less(waits.network);
        // Its entry in the old queue is no longer valid.
        let since = queues.next(self.started.elapsed());
        waits.place.since.store(since, Ordering::Relaxed);
        queues.networks.entry(network).or_default().push(since, waits.place.clone());
        waits.network = network;
    }

    /// Removes a connection that has logged in or ends. False if it was shed.
    pub(super) fn leave(&self, waits: &Waits) -> bool {
        let mut queues = self.queues.lock();
        if waits.place.since.swap(LEFT, Ordering::Relaxed) == SHED {
            return false;
        }
        queues.one_less(waits.network);
        true
    }

    /// Sheds a connection for a new one. False if there is none that may be shed.
    pub(super) fn shed_for(&self, address: IpAddr) -> bool {
        self.shed_at(address, self.started.elapsed())
    }

    fn shed_at(&self, address: IpAddr, now: Duration) -> bool {
        let mut queues = self.queues.lock();
        let Some(network) = queues.choose(Network::of(address), nanoseconds(now.saturating_sub(GRACE)))
        else {
            return false;
        };
        let Some(place) = queues.networks.get_mut(&network).and_then(Queue::oldest) else { return false };
        place.since.store(SHED, Ordering::Relaxed);
        queues.one_less(network);
        drop(queues);
        place.waker.wake();
        true
    }
}

impl Queues {
    /// The network that loses its oldest connection for one of `newcomer`: the one with the most, if it
    /// has more than `newcomer` will have; otherwise the one with the oldest connection, if that has
    /// waited since `long_ago` or before.
    fn choose(&mut self, newcomer: Network, long_ago: u64) -> Option<Network> {
        let own = self.networks.get(&newcomer).map_or(0, |queue| queue.waiting);
        let compared = self.networks.iter_mut().take(MAX_COMPARED).filter_map(|(network, queue)| {
            let since = queue.since()?;
            Some((*network, queue.waiting, since))
        });
        let (mut most, mut oldest) = (None, None);
        for one @ (_, waiting, since) in compared {
            if most.is_none_or(|(_, count, _)| waiting > count) {
                most = Some(one);
            }
            if oldest.is_none_or(|(_, _, before)| since < before) {
                oldest = Some(one);
            }
        }
        let most = most.filter(|(_, waiting, _)| *waiting > own + 1);
        let oldest = oldest.filter(|(_, _, since)| *since <= long_ago);
        most.or(oldest).map(|(network, ..)| network)
    }

    /// A new value of `since`.
    fn next(&mut self, now: Duration) -> u64 {
        self.latest = nanoseconds(now).max(self.latest + 1);
        self.latest
    }

    fn one_less(&mut self, network: Network) {
        if let Some(queue) = self.networks.get_mut(&network) {
            queue.waiting -= 1;
            if queue.waiting == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, since: u64, place: Arc<Place>) {
        if self.places.len() >= 2 * self.waiting + SPARE {
            self.places.retain(|(since, place)| place.waits_since(*since));
        }
        self.places.push_back((since, place));
        self.waiting += 1;
    }

    /// The oldest connection that has not left.
    fn oldest(&mut self) -> Option<Arc<Place>> {
        self.since()?;
        self.places.front().map(|(_, place)| place.clone())
    }

    /// Since when the oldest connection waits.
    fn since(&mut self) -> Option<u64> {
        while let Some((since, place)) = self.places.front() {
            if place.waits_since(*since) {
                return Some(*since);
            }
            self.places.pop_front();
        }
        None
    }
}

impl Place {
    fn waits_since(&self, since: u64) -> bool {
        self.since.load(Ordering::Relaxed) == since
    }

    /// Whether another connection has its place now, so that it must end.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        self.since.load(Ordering::Relaxed) == SHED
    }

    /// A login begins or has ended. A login in progress is not cut off, so that its outcome is counted;
    /// it must look at [`Place::is_shed`] whenever it is polled.
    pub fn set_logs_in(&self, logs_in: bool) {
        self.logs_in.store(logs_in, Ordering::Relaxed);
    }

    /// Completes the future, or drops it and returns None if the connection is shed.
    pub async fn unless_shed<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(move |task| {
            // Registered first, so that no wake-up is missed.
            self.waker.register(task.waker());
            if self.is_shed() && !self.logs_in.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            future.as_mut().poll(task).map(Some)
        })
        .await
    }
}

impl Waits {
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(SHED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: [u8; 4] = [192, 0, 2, 1];

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn shed(all: &[Waits]) -> Vec<usize> {
        (0..all.len()).filter(|&index| all[index].place.is_shed()).collect()
    }

    #[test]
    fn a_network_loses_its_oldest_connections_to_others() {
        let waiting = Waiting::default();
        let neighbours = (0..10_u8).map(|host| waiting.enter_at([192, 0, 2, host].into(), seconds(1)));
        let neighbours: Vec<_> = neighbours.collect();
        let mut others = Vec::new();
        for number in 0..7_u8 {
            let address = [198, 51, 100 + number % 3, number].into();
            assert!(waiting.shed_at(address, seconds(1)), "{number}");
            others.push(waiting.enter_at(address, seconds(1)));
        }
        // Three are left, and the other networks have three, two and two.
        assert_eq!((shed(&neighbours), shed(&others)), ((0..7).collect(), Vec::new()));
        assert!(!waiting.shed_at([198, 51, 101, 7].into(), seconds(1)), "all have about the same");
    }

    #[test]
    fn connections_have_time_to_log_in_if_no_network_has_more_than_others() {
        let waiting = Waiting::default();
        let (one, other) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        let first = waiting.enter_at(one, seconds(10));
        assert!(!waiting.shed_at(other, seconds(14)) && !waiting.shed_at(one, seconds(14)));
        assert!(waiting.shed_at(other, seconds(15)));
        assert!(first.place.is_shed() && !waiting.leave(&first));
        assert!(!waiting.shed_at(other, seconds(100)), "nobody is left");
    }

    #[test]
    fn who_has_logged_in_is_not_shed() {
        let waiting = Waiting::default();
        let all: Vec<_> = (0..4).map(|_| waiting.enter_at(CROWD.into(), seconds(1))).collect();
        assert!(waiting.leave(&all[0]) && waiting.leave(&all[2]));
        for _ in 0..2 {
            assert!(waiting.shed_at([198, 51, 100, 1].into(), seconds(60)));
        }
        assert!(!waiting.shed_at([198, 51, 100, 1].into(), seconds(60)));
        assert_eq!(shed(&all), [1, 3]);
        assert!(waiting.queues.lock().networks.is_empty());
    }

    #[test]
    fn places_that_were_left_take_no_memory_for_long() {
        let waiting = Waiting::default();
        let _stays = waiting.enter_at(CROWD.into(), seconds(1));
        for _ in 0..10_000 {
            let comes_and_goes = waiting.enter_at(CROWD.into(), seconds(1));
            assert!(waiting.leave(&comes_and_goes));
        }
        let queues = waiting.queues.lock();
        let places: usize = queues.networks.values().map(|queue| queue.places.len()).sum();
        assert!(places <= SPARE + 4, "{places}");
    }

    #[test]
    fn networks_have_24_bits_of_ipv4_and_48_of_ipv6() {
        for (one, other, is_same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("::ffff:192.0.2.1", "192.0.2.2", true),
            ("2001:db8:1:2::1", "2001:db8:1:ffff::2", true),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            let of = |address: &str| Network::of(address.parse().unwrap());
            assert_eq!(of(one) == of(other), is_same, "{one} and {other}");
        }
    }

    #[tokio::test]
    async fn a_shed_connection_is_woken_up() {
        let waiting = Arc::new(Waiting::default());
        let waits = waiting.enter_at(CROWD.into(), seconds(1));
        let place = waits.place().clone();
        let ends =
            tokio::spawn(
                async move { place.unless_shed(std::pin::pin!(std::future::pending::<()>())).await },
            );
        tokio::task::yield_now().await;
        assert!(waiting.shed_at(CROWD.into(), seconds(60)));
        assert_eq!(ends.await.unwrap(), None);
    }
}
