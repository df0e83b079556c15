//! The addresses that have a slot, and when each was last seen. In the store they are lines such as
//! `192.0.2.7/32 1790000000`, so that an administrator can read them.

/// Addresses that were seen within the time that they keep their slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<(String, u32)>);

impl Addresses {
    /// Leaves out those that were last seen more than `window_s` ago or, because the clock was set
    /// back, in the future, and lines that this policy has not written.
    pub(crate) fn parse(stored: &[u8], now: u32, window_s: u32) -> Self {
        let lines = std::str::from_utf8(stored).unwrap_or_default().lines();
        let parsed = lines.filter_map(|line| {
            let (address, last_seen) = line.split_once(' ')?;
            Some((address.to_owned(), last_seen.parse().ok()?))
        });
        let is_current = |last_seen: u32| now.checked_sub(last_seen).is_some_and(|age_s| age_s < window_s);
        Self(parsed.filter(|(_, last_seen)| is_current(*last_seen)).collect())
    }

    pub(crate) fn print(&self) -> Vec<u8> {
        let lines = self.0.iter().map(|(address, last_seen)| format!("{address} {last_seen}\n"));
        lines.collect::<String>().into_bytes()
    }

    /// Seconds until a slot becomes free for this address; None if it has one, or one is free.
    pub(crate) fn wait_s(&self, address: &str, limit: u32, now: u32, window_s: u32) -> Option<u32> {
        let has_slot = self.0.iter().any(|(known, _)| known == address);
        // More than the limit, if it was lowered.
        let above = self.0.len().checked_sub(usize::try_from(limit).ok()?)?;
        if has_slot {
            return None;
        }
        let mut last_seen: Vec<u32> = self.0.iter().map(|(_, last_seen)| *last_seen).collect();
        last_seen.sort_unstable();
        let free_at = last_seen.get(above)?.saturating_add(window_s);
        Some(free_at.saturating_sub(now))
    }

    /// Records a login from this address, if it has a slot or one is free. Returns whether it does.
    pub(crate) fn seen(&mut self, address: &str, limit: u32, now: u32) -> bool {
        if let Some((_, last_seen)) = self.0.iter_mut().find(|(known, _)| known == address) {
            *last_seen = now;
            return true;
        }
        let is_free = usize::try_from(limit).is_ok_and(|limit| self.0.len() < limit);
        if is_free {
            self.0.push((address.to_owned(), now));
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;

    #[test]
    fn an_address_keeps_its_slot_for_the_window_after_its_last_login() {
        let mut addresses = Addresses::default();
        assert!(addresses.seen("a", 2, 1000) && addresses.seen("b", 2, 1600));
        assert!(!addresses.seen("c", 2, 1700));
        assert_eq!(addresses.wait_s("a", 2, 1700, HOUR), None);
        assert_eq!(addresses.wait_s("c", 2, 1700, HOUR), Some(2900));
        assert_eq!(addresses.wait_s("c", 3, 1700, HOUR), None);
        // Another login of a: now b is the first to lose its slot.
        assert!(addresses.seen("a", 2, 2000));
        assert_eq!(addresses.wait_s("c", 2, 2000, HOUR), Some(3200));
        let later = Addresses::parse(&addresses.print(), 1600 + HOUR, HOUR);
        assert_eq!(later, Addresses(vec![("a".to_owned(), 2000)]));
    }

    #[test]
    fn after_the_limit_was_lowered_enough_slots_must_become_free() {
        let addresses = Addresses::parse(b"a 1000\nb 1100\nc 1200\n", 1300, HOUR);
        assert_eq!(addresses.wait_s("d", 1, 1300, HOUR), Some(1200 + HOUR - 1300));
        assert_eq!(addresses.wait_s("b", 1, 1300, HOUR), None);
    }

    #[test]
    fn lines_of_another_kind_and_from_the_future_are_left_out() {
        let addresses = Addresses::parse(b"a 1000\nb\nc soon\nd 2001\n\n", 2000, HOUR);
        assert_eq!(addresses.print(), b"a 1000\n");
        assert_eq!(Addresses::parse(&[0xFF], 2000, HOUR), Addresses::default());
    }
}
