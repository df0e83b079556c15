//! The rule, without host calls: what is stored about a login, and how the next one is decided.

/// The start of a user's clock, as the store keeps it: 12 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// The date packed into a number: only its equality matters.
    pub(crate) day: i32,
}

impl Stamp {
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.unix_ms.to_le_bytes());
        bytes[8..].copy_from_slice(&self.day.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 12] = bytes.try_into().ok()?;
        let (ms, day) = bytes.split_at(8);
        Some(Self {
            unix_ms: u64::from_le_bytes(ms.try_into().ok()?),
            day: i32::from_le_bytes(day.try_into().ok()?),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pass,
    Deny { retry_after_s: u64 },
}

/// Decides about a login at `now`. `last`: the stamp of the user's last login, if there is one.
pub(crate) fn decide(
    interval_ms: u64,
    daily_reset: bool,
    last: Option<Stamp>,
    now: Stamp,
    second_of_day: u32,
) -> Decision {
    let Some(last) = last else { return Decision::Pass };
    if daily_reset && last.day != now.day {
        return Decision::Pass;
    }
    // If the clock was set back, the user passes.
    let Some(elapsed) = now.unix_ms.checked_sub(last.unix_ms) else { return Decision::Pass };
    if elapsed >= interval_ms {
        return Decision::Pass;
    }
    let mut retry_after_s = (interval_ms - elapsed).div_ceil(1000);
    if daily_reset {
        retry_after_s = retry_after_s.min(u64::from(86_400_u32.saturating_sub(second_of_day)));
    }
    Decision::Deny { retry_after_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(unix_ms: u64, day: i32) -> Stamp {
        Stamp { unix_ms, day }
    }

    #[test]
    fn a_user_who_is_not_remembered_passes() {
        assert_eq!(decide(10 * MINUTE, true, None, at(0, 1), 0), Decision::Pass);
    }

    #[test]
    fn within_the_interval_a_login_is_denied_with_the_time_left() {
        let denied = decide(10 * MINUTE, true, Some(at(0, 1)), at(MINUTE, 1), 3600);
        assert_eq!(denied, Decision::Deny { retry_after_s: 540 });
    }

    #[test]
    fn at_the_end_of_the_interval_a_login_passes() {
        let last = Some(at(5, 1));
        assert_eq!(decide(MINUTE, true, last, at(MINUTE + 4, 1), 0), Decision::Deny { retry_after_s: 1 });
        assert_eq!(decide(MINUTE, true, last, at(MINUTE + 5, 1), 0), Decision::Pass);
    }

    #[test]
    fn a_login_on_another_day_passes_unless_the_reset_is_off() {
        let last = Some(at(0, 1));
        assert_eq!(decide(10 * MINUTE, true, last, at(1000, 2), 0), Decision::Pass);
        assert!(matches!(decide(10 * MINUTE, false, last, at(1000, 2), 0), Decision::Deny { .. }));
    }

    #[test]
    fn with_the_daily_reset_the_wait_ends_at_midnight() {
        let denied = decide(10 * MINUTE, true, Some(at(0, 1)), at(1000, 1), 86_390);
        assert_eq!(denied, Decision::Deny { retry_after_s: 10 });
    }

    #[test]
    fn after_the_clock_was_set_back_a_login_passes() {
        assert_eq!(decide(10 * MINUTE, false, Some(at(MINUTE, 1)), at(0, 1), 0), Decision::Pass);
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = at(1_790_000_000_123, -7);
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), Some(stamp));
        assert_eq!(Stamp::from_bytes(b"short"), None);
    }
}
