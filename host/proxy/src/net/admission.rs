//! Connection limits: in total and per client address. At the total limit, a new connection takes the
//! place of one that has not logged in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::waiting::{Place, Waiting, Waits};
use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicU32, Ordering};

/// Locks among which addresses are spread.
const SHARDS: usize = 16;

/// Counts connections and enforces the limits `max-connections` and
/// `max-connections-per-address`.
#[derive(Debug)]
pub struct Admission {
    all: Arc<AllConnections>,
    max_total: AtomicU32,
    max_per_address: AtomicU32,
    addresses: Box<[Mutex<HashMap<IpAddr, u32>>]>,
}

/// The connections of all virtual servers of the process.
#[derive(Debug, Default)]
pub struct AllConnections {
    open: AtomicU32,
    /// Those that have not logged in.
    waiting: Waiting,
}

impl AllConnections {
    /// Number of open connections.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// The limit that a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// `max-connections`.
    Total,
    /// `max-connections-per-address`.
    PerAddress,
}

impl Admission {
    /// `all`: the connections of all virtual servers of the process.
    #[must_use]
    pub fn new(all: Arc<AllConnections>, max_total: u32, max_per_address: u32) -> Arc<Self> {
        let addresses = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (max_total, max_per_address) = (max_total.into(), max_per_address.into());
        Arc::new(Self { all, max_total, max_per_address, addresses })
    }

    /// Changes the limits for new connections.
    pub fn set_limits(&self, max_total: u32, max_per_address: u32) {
        self.max_total.store(max_total, Ordering::Relaxed);
        self.max_per_address.store(max_per_address, Ordering::Relaxed);
    }

    /// Admits a connection from an address, which may be that of a load balancer. If the total limit is
    /// reached, another connection is shed, which ends soon.
    ///
    /// # Errors
    /// If the total limit is reached and no connection may be shed.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admitted, LimitReached> {
        let AllConnections { open, waiting } = &*self.all;
        if open.fetch_add(1, Ordering::Relaxed) >= self.max_total.load(Ordering::Relaxed)
            && !waiting.shed_for(peer)
        {
            open.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitReached::Total);
        }
        Ok(Admitted { admission: self.clone(), address: None, waits: Some(waiting.enter(peer)) })
    }

    /// The shard of an address that [`counted_as`] has returned.
    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let low_byte = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[5] ^ address.octets()[7],
        };
        &self.addresses[usize::from(low_byte) % SHARDS]
    }
}

/// The address by which a client is counted. IPv6 addresses are reduced to their /64 network,
/// because one client usually controls all of it; IPv4-mapped addresses count as IPv4.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// An admitted connection, counted until dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    /// Until it has logged in.
    waits: Option<Waits>,
}

impl Admitted {
    /// Counts the connection towards its client's address.
    ///
    /// # Errors
    /// If the limit per address is reached.
    pub fn from(mut self, address: IpAddr) -> Result<Self, LimitReached> {
        if let Some(waits) = self.waits.as_mut() {
            self.admission.all.waiting.moves(waits, address);
        }
        let address = counted_as(address);
        let mut addresses = self.admission.shard(address).lock();
        let count = addresses.entry(address).or_default();
        if *count >= self.admission.max_per_address.load(Ordering::Relaxed) {
            return Err(LimitReached::PerAddress);
        }
        *count += 1;
        drop(addresses);
        self.address = Some(address);
        Ok(self)
    }

    /// Its place among the connections that have not logged in.
    #[must_use]
    pub fn place(&self) -> Option<Arc<Place>> {
        self.waits.as_ref().map(|waits| waits.place().clone())
    }

    /// The client has logged in: the connection is not shed any more. False if it was shed already.
    pub fn logs_in(&mut self) -> bool {
        self.waits.take().is_none_or(|waits| self.admission.all.waiting.leave(&waits))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.logs_in();
        if let Some(address) = self.address {
            let mut addresses = self.admission.shard(address).lock();
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        }
        self.admission.all.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_total_and_per_address() {
        let all = Arc::<AllConnections>::default();
        let admission = Admission::new(all.clone(), 3, 2);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let admit = |address| admission.admit(address).and_then(|admitted| admitted.from(address));
        let first = admit(a).unwrap();
        let _second = admit(a).unwrap();
        assert_eq!(admit(a).unwrap_err(), LimitReached::PerAddress);
        let _third = admit(b).unwrap();
        assert_eq!(admit(b).unwrap_err(), LimitReached::Total);
        drop(first);
        assert!(admit(a).is_ok());
        assert_eq!(all.open(), 2);
    }

    #[test]
    fn at_the_limit_a_connection_that_has_not_logged_in_gives_way() {
        let all = Arc::<AllConnections>::default();
        let admission = Admission::new(all.clone(), 4, 10);
        let admit = |address: [u8; 4]| {
            let address = address.into();
            admission.admit(address).and_then(|admitted| admitted.from(address))
        };
        let mut crowd: Vec<_> = (0..4).map(|host| admit([192, 0, 2, host]).unwrap()).collect();
        assert!(crowd[0].logs_in());
        let other = admit([198, 51, 100, 1]).unwrap();
        let places: Vec<_> =
            crowd.iter().map(|admitted| admitted.place().is_some_and(|place| place.is_shed())).collect();
        assert_eq!(places, [false, true, false, false]);
        assert!(!crowd[1].logs_in(), "it was too late");
        assert_eq!(
            admit([198, 51, 100, 2]).unwrap_err(),
            LimitReached::Total,
            "all networks have about the same"
        );
        drop((crowd, other));
        assert_eq!(all.open(), 0);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        for (one, other, is_same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("::1", "::1", true),
        ] {
            let admission = Admission::new(Arc::default(), 10, 1);
            let admit = |address: &str| {
                let address = address.parse().unwrap();
                admission.admit(address).unwrap().from(address)
            };
            let first = admit(one).unwrap();
            assert_eq!(admit(other).is_err(), is_same, "{one} and {other}");
            drop(first);
            assert!(admission.addresses.iter().all(|shard| shard.lock().len() <= 1), "{one}");
            assert!(admit(other).is_ok(), "{one} and {other}: the count is decremented");
            assert!(admission.addresses.iter().all(|shard| shard.lock().is_empty()), "{one}");
        }
    }
}
