//! The rule itself, free of the host: what is remembered of a login, and what follows.

/// When a user's clock was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// The civil day, as a number that differs from day to day.
    pub(crate) day: i32,
}

impl Stamp {
    pub(crate) fn to_octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        octets[..8].copy_from_slice(&self.unix_ms.to_le_bytes());
        octets[8..].copy_from_slice(&self.day.to_le_bytes());
        octets
    }

    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; 12] = octets.try_into().ok()?;
        let (ms, day) = octets.split_at(8);
        Some(Self {
            unix_ms: u64::from_le_bytes(ms.try_into().ok()?),
            day: i32::from_le_bytes(day.try_into().ok()?),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Pass,
    Deny { retry_after_s: u64 },
}

/// Judges a login at `now` by the stamp of the user's last one.
pub(crate) fn judge(
    interval_ms: u64,
    daily_reset: bool,
    last: Option<Stamp>,
    now: Stamp,
    second_of_day: u32,
) -> Judgement {
    let Some(last) = last else { return Judgement::Pass };
    if daily_reset && last.day != now.day {
        return Judgement::Pass;
    }
    // A clock that was set back must not keep anybody out.
    let Some(elapsed) = now.unix_ms.checked_sub(last.unix_ms) else { return Judgement::Pass };
    if elapsed >= interval_ms {
        return Judgement::Pass;
    }
    let mut retry_after_s = (interval_ms - elapsed).div_ceil(1000);
    if daily_reset {
        retry_after_s = retry_after_s.min(u64::from(86_400_u32.saturating_sub(second_of_day)));
    }
    Judgement::Deny { retry_after_s }
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
        assert_eq!(judge(10 * MINUTE, true, None, at(0, 1), 0), Judgement::Pass);
    }

    #[test]
    fn within_the_interval_a_login_is_denied_with_the_time_left() {
        let denied = judge(10 * MINUTE, true, Some(at(0, 1)), at(MINUTE, 1), 3600);
        assert_eq!(denied, Judgement::Deny { retry_after_s: 540 });
    }

    #[test]
    fn at_the_very_end_of_the_interval_a_login_passes() {
        let last = Some(at(5, 1));
        assert_eq!(judge(MINUTE, true, last, at(MINUTE + 4, 1), 0), Judgement::Deny { retry_after_s: 1 });
        assert_eq!(judge(MINUTE, true, last, at(MINUTE + 5, 1), 0), Judgement::Pass);
    }

    #[test]
    fn another_day_passes_unless_the_reset_is_off() {
        let last = Some(at(0, 1));
        assert_eq!(judge(10 * MINUTE, true, last, at(1000, 2), 0), Judgement::Pass);
        assert!(matches!(judge(10 * MINUTE, false, last, at(1000, 2), 0), Judgement::Deny { .. }));
    }

    #[test]
    fn with_the_daily_reset_nobody_waits_longer_than_until_midnight() {
        let denied = judge(10 * MINUTE, true, Some(at(0, 1)), at(1000, 1), 86_390);
        assert_eq!(denied, Judgement::Deny { retry_after_s: 10 });
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_out() {
        assert_eq!(judge(10 * MINUTE, false, Some(at(MINUTE, 1)), at(0, 1), 0), Judgement::Pass);
    }

    #[test]
    fn a_stamp_survives_being_stored() {
        let stamp = at(1_790_000_000_123, -7);
        assert_eq!(Stamp::from_octets(&stamp.to_octets()), Some(stamp));
        assert_eq!(Stamp::from_octets(b"short"), None);
    }
}
