//! Limits concurrent TCP connections to the admin interface. A connection that has presented a
//! valid token keeps its slot. Of all others, a new connection evicts the oldest one of the address
//! that has the most, so clients without a token cannot lock anybody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::net::counted_as;

/// Concurrent connections without a token; the same number is allowed with one.
const MAX_CONNECTIONS: usize = 64;

/// Concurrent connections that have presented the token for signals of new mail: each process of a mail
/// server that delivers may keep one.
const MAX_SENDERS: usize = 1_024;

/// The slots of all connections.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionSlots(Arc<Mutex<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    /// Number of connections so far.
    number: u64,
    /// Connections without a token, oldest first: client address, and the token that closes them.
    anonymous: BTreeMap<u64, (IpAddr, CancellationToken)>,
    /// Number of connections with a valid token, except those for signals.
    authenticated: usize,
    /// Number of connections with the token for signals.
    senders: usize,
}

/// Whose connection has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// An administrator, or a program in their name.
    Administrator,
    /// A sender of signals of new mail.
    Sender,
}

/// A connection's slot, released when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: ConnectionSlots,
    number: u64,
    /// Set if it is kept from eviction.
    holder: OnceLock<Holder>,
    ended: CancellationToken,
}

impl ConnectionSlots {
    /// Takes a slot for a connection, evicting another if necessary.
    pub(super) fn take(&self, from: IpAddr) -> Arc<Slot> {
        let ended = CancellationToken::new();
        let mut slots = self.0.lock();
        if slots.anonymous.len() >= MAX_CONNECTIONS {
            slots.evict_one();
        }
        slots.number += 1;
        let number = slots.number;
        slots.anonymous.insert(number, (counted_as(from), ended.clone()));
        drop(slots);
        Arc::new(Slot { slots: self.clone(), number, holder: OnceLock::new(), ended })
    }
}

impl Slots {
    /// The number of connections with a valid token, and its limit.
    fn count(&mut self, of: Holder) -> (&mut usize, usize) {
        match of {
            Holder::Administrator => (&mut self.authenticated, MAX_CONNECTIONS),
            Holder::Sender => (&mut self.senders, MAX_SENDERS),
        }
    }

    fn evict_one(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (from, _) in self.anonymous.values() {
            *counts.entry(*from).or_default() += 1;
        }
        let most = counts.values().copied().max();
        let evicted = self.anonymous.iter().find(|(_, (from, _))| counts.get(from).copied() == most);
        if let Some((_, ended)) = evicted.map(|(&number, _)| number).and_then(|it| self.anonymous.remove(&it))
        {
            ended.cancel();
        }
    }
}

impl Slot {
    /// Keeps the slot from eviction, because its client has presented a valid token.
    pub(super) fn mark_authenticated(&self, holder: Holder) {
        let mut slots = self.slots.0.lock();
        let (count, limit) = slots.count(holder);
        if *count < limit && slots.anonymous.remove(&self.number).is_some() {
            *slots.count(holder).0 += 1;
            let _ = self.holder.set(holder);
        }
    }

    /// Completes when the slot is given to another connection.
    pub(super) async fn evicted(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.slots.0.lock();
        slots.anonymous.remove(&self.number);
        if let Some(holder) = self.holder.get() {
            *slots.count(*holder).0 -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connection_of_the_busiest_address_is_evicted() {
        let slots = ConnectionSlots::default();
        let (crowd, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = slots.take(other);
        let shows_token = slots.take(crowd);
        shows_token.mark_authenticated(Holder::Administrator);
        let many: Vec<_> = (0..2 * MAX_CONNECTIONS).map(|_| slots.take(crowd)).collect();
        let lost = many.iter().filter(|slot| slot.ended.is_cancelled()).count();
        assert_eq!(lost, MAX_CONNECTIONS + 1, "one more than do not fit: the first address has a slot, too");
        assert!(many[..lost].iter().all(|slot| slot.ended.is_cancelled()), "the oldest are evicted");
        assert!(!first.ended.is_cancelled() && !shows_token.ended.is_cancelled());
        drop((many, first, shows_token));
        let slots = slots.0.lock();
        assert_eq!((slots.anonymous.len(), slots.authenticated), (0, 0));
    }

    #[test]
    fn connections_with_a_token_are_limited_too() {
        let slots = ConnectionSlots::default();
        let all: Vec<_> = (0..MAX_CONNECTIONS + 10).map(|_| slots.take([192, 0, 2, 1].into())).collect();
        all.iter().for_each(|slot| slot.mark_authenticated(Holder::Administrator));
        assert_eq!(slots.0.lock().authenticated, MAX_CONNECTIONS);
        let senders: Vec<_> = (0..10).map(|_| slots.take([192, 0, 2, 1].into())).collect();
        senders.iter().for_each(|slot| slot.mark_authenticated(Holder::Sender));
        assert_eq!(slots.0.lock().senders, 10, "senders do not need the slots of administrators");
        drop(senders);
        assert_eq!(slots.0.lock().senders, 0);
    }
}
