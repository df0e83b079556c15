//! Makes a dialogue that shows a difference as small as possible.

use std::time::{Duration, Instant};

/// The longest that it tries.
const LONGEST: Duration = Duration::from_secs(90);

/// The smallest dialogue that still fails, by taking away one part after the other.
pub fn smallest<P: Clone>(
    mut plan: P,
    smaller: impl Fn(&P) -> Vec<P>,
    mut fails: impl FnMut(&P) -> bool,
) -> P {
    let began = Instant::now();
    let mut first = 0;
    loop {
        let candidates = smaller(&plan);
        // Goes on where it was: what could not be taken away before can seldom be now.
        let order = (first..candidates.len()).chain(0..first.min(candidates.len()));
        let mut found = None;
        for at in order {
            if began.elapsed() > LONGEST {
                return plan;
            }
            if fails(&candidates[at]) {
                found = Some(at);
                break;
            }
        }
        let Some(at) = found else { return plan };
        first = at;
        plan = candidates[at].clone();
    }
}

#[test]
fn of_a_dialogue_only_what_shows_the_difference_is_left() {
    let without_one =
        |all: &Vec<u32>| (0..all.len()).map(|at| [&all[..at], &all[at + 1..]].concat()).collect::<Vec<_>>();
    let fails = |all: &Vec<u32>| all.contains(&3) && all.contains(&7);
    assert_eq!(smallest((0..20).collect(), without_one, fails), [3, 7]);
}
