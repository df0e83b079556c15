//! Connection limits: in total and per client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Locks among which addresses are spread.
const SHARDS: usize = 16;

/// Counts connections and enforces the limits `max-connections` and
/// `max-connections-per-address`.
#[derive(Debug)]
pub struct Admission {
    total: Arc<AtomicU32>,
    max_total: AtomicU32,
    max_per_address: AtomicU32,
    addresses: Box<[Mutex<HashMap<IpAddr, u32>>]>,
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
    /// `total` is the number of connections of all virtual servers of the process.
    #[must_use]
    pub fn new(total: Arc<AtomicU32>, max_total: u32, max_per_address: u32) -> Arc<Self> {
        let addresses = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (max_total, max_per_address) = (max_total.into(), max_per_address.into());
        Arc::new(Self { total, max_total, max_per_address, addresses })
    }

    /// Changes the limits for new connections.
    pub fn set_limits(&self, max_total: u32, max_per_address: u32) {
        self.max_total.store(max_total, Ordering::Relaxed);
        self.max_per_address.store(max_per_address, Ordering::Relaxed);
    }

    /// Admits a connection whose client address is not known yet.
    ///
    /// # Errors
    /// If the total limit is reached.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, LimitReached> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.max_total.load(Ordering::Relaxed) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitReached::Total);
        }
        Ok(Admitted { admission: self.clone(), address: None })
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
}

impl Admitted {
    /// Counts the connection towards its client's address.
    ///
    /// # Errors
    /// If the limit per address is reached.
    pub fn from(mut self, address: IpAddr) -> Result<Self, LimitReached> {
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
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut addresses = self.admission.shard(address).lock();
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        }
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_total_and_per_address() {
        let total = Arc::new(AtomicU32::new(0));
        let admission = Admission::new(total.clone(), 3, 2);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let admit = |address| admission.admit().and_then(|admitted| admitted.from(address));
        let first = admit(a).unwrap();
        let _second = admit(a).unwrap();
        assert_eq!(admit(a).unwrap_err(), LimitReached::PerAddress);
        let _third = admit(b).unwrap();
        assert_eq!(admit(b).unwrap_err(), LimitReached::Total);
        drop(first);
        assert!(admit(a).is_ok());
        assert_eq!(total.load(Ordering::Relaxed), 2);
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
            let admit = |address: &str| admission.admit().unwrap().from(address.parse().unwrap());
            let first = admit(one).unwrap();
            assert_eq!(admit(other).is_err(), is_same, "{one} and {other}");
            drop(first);
            assert!(admission.addresses.iter().all(|shard| shard.lock().len() <= 1), "{one}");
            assert!(admit(other).is_ok(), "{one} and {other}: the count is decremented");
            assert!(admission.addresses.iter().all(|shard| shard.lock().is_empty()), "{one}");
        }
    }
}
