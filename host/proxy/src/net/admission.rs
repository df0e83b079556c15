//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

const SHARDS: usize = 16;

/// Counts the connections of a process, or of one virtual server.
#[derive(Debug)]
pub struct Admission {
    total: Arc<AtomicU32>,
    most: AtomicU32,
    most_per_address: AtomicU32,
    addresses: Box<[Mutex<HashMap<IpAddr, u32>>]>,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as may be.
    Full,
    /// There are as many from this address as may be.
    AddressFull,
}

impl Admission {
    /// `total` is shared by all virtual servers of a process.
    #[must_use]
    pub fn new(total: Arc<AtomicU32>, most: u32, most_per_address: u32) -> Arc<Self> {
        let addresses = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (most, most_per_address) = (most.into(), most_per_address.into());
        Arc::new(Self { total, most, most_per_address, addresses })
    }

    /// Other limits, for connections from now on.
    pub fn limit(&self, most: u32, most_per_address: u32) {
        self.most.store(most, Ordering::Relaxed);
        self.most_per_address.store(most_per_address, Ordering::Relaxed);
    }

    /// Admits a connection whose client's address is not known yet.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, Refused> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        Ok(Admitted { admission: self.clone(), address: None })
    }

    /// The part of the table that an address is in, which is [`counted_as`] itself.
    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let octet = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[5] ^ address.octets()[7],
        };
        &self.addresses[usize::from(octet) % SHARDS]
    }
}

/// The address that a client's connections count towards: of IPv6 its network of 64 bits, because
/// a client has all of its addresses to choose from. An address of IPv4 in IPv6 is one of IPv4.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// An admitted connection: counted while this lives.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admitted {
    /// Counts it as one of a client's address.
    ///
    /// # Errors
    /// If there are too many from there.
    pub fn from(mut self, address: IpAddr) -> Result<Self, Refused> {
        let address = counted_as(address);
        let mut addresses = self.admission.shard(address).lock();
        let count = addresses.entry(address).or_default();
        if *count >= self.admission.most_per_address.load(Ordering::Relaxed) {
            return Err(Refused::AddressFull);
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
    fn connections_are_counted_in_all_and_for_each_address() {
        let total = Arc::new(AtomicU32::new(0));
        let admission = Admission::new(total.clone(), 3, 2);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let admit = |address| admission.admit().and_then(|admitted| admitted.from(address));
        let first = admit(a).unwrap();
        let _second = admit(a).unwrap();
        assert_eq!(admit(a).unwrap_err(), Refused::AddressFull);
        let _third = admit(b).unwrap();
        assert_eq!(admit(b).unwrap_err(), Refused::Full);
        drop(first);
        assert!(admit(a).is_ok());
        assert_eq!(total.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_network_of_ipv6_that_one_client_can_have_counts_as_one_address() {
        for (one, other, are_one) in [
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
            assert_eq!(admit(other).is_err(), are_one, "{one} and {other}");
            drop(first);
            assert!(admission.addresses.iter().all(|shard| shard.lock().len() <= 1), "{one}");
            assert!(admit(other).is_ok(), "{one} and {other}: it is counted down again");
            assert!(admission.addresses.iter().all(|shard| shard.lock().is_empty()), "{one}");
        }
    }
}
