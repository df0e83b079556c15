//! Into which of several tables a thing goes. The tables are not of one size: each doubles when
//! it is full, and equal ones would all do so at once, which takes long, and leaves all of them
//! half empty afterwards.

/// Tables.
pub const SHARDS: usize = 64;

/// What the first table has a share of; each has one more than the one before, so that the last
/// has nearly twice as much.
const LEAST: u64 = SHARDS as u64;
/// All shares.
const WHOLE: u64 = before(SHARDS);

/// How many shares the tables before this one have.
const fn before(shard: usize) -> u64 {
    let shard = shard as u64;
    LEAST * shard + shard * shard.saturating_sub(1) / 2
}

/// The first share of each table.
const FIRST: [u64; SHARDS] = {
    let mut first = [0; SHARDS];
    let mut shard = 0;
    while shard < SHARDS {
        first[shard] = before(shard);
        shard += 1;
    }
    first
};

/// The table, by 32 bits of a hash that the table itself does not look at.
pub fn shard(bits: u32) -> usize {
    let share = (u64::from(bits) * WHOLE) >> 32;
    FIRST.partition_point(|&first| first <= share) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which part of a whole is a table's.
    fn part_of(whole: u64, shard: usize) -> u64 {
        let shares = u128::from(LEAST + shard as u64);
        u64::try_from(u128::from(whole) * shares / u128::from(WHOLE)).unwrap_or(u64::MAX)
    }

    #[test]
    fn each_table_gets_as_much_as_is_its_part() {
        let mut counts = [0_u64; SHARDS];
        let step = 1_009;
        for bits in (0..=u32::MAX).step_by(step) {
            counts[shard(bits)] += 1;
        }
        let all = counts.iter().sum();
        for (shard, &count) in counts.iter().enumerate() {
            assert!(count.abs_diff(part_of(all, shard)) <= 1 + all / 10_000, "{shard}: {count}");
        }
        assert_eq!((shard(0), shard(u32::MAX)), (0, SHARDS - 1));
        assert!(counts[SHARDS - 1] > counts[0] * 19 / 10);
        let parts: u64 = (0..SHARDS).map(|shard| part_of(u64::MAX, shard)).sum();
        assert!(u64::MAX - parts <= SHARDS as u64);
    }

    #[test]
    fn few_tables_double_at_a_time() {
        let places = |things: u64| {
            let places = |shard| (part_of(things, shard) * 8 / 7).next_power_of_two();
            (0..SHARDS).map(places).sum::<u64>()
        };
        for things in (100_000..1_000_000_u64).step_by(10_000) {
            let (before, after) = (places(things), places(things + 10_000));
            assert!(after - before <= before / 4, "{things}: {before}, then {after}");
            assert!(before < things * 2, "{things}: {before}");
        }
    }
}
