//! Runs a model in many orders.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// Schedules per model and scheduler without `SCHEDULES`: enough for the planted faults.
const SCHEDULES: u64 = 300;
/// Preemptions at certain places that PCT combines at most.
const PREEMPTIONS: usize = 3;

/// Runs a model under two schedulers: one that chooses the next thread at random at each step, and one
/// (PCT) that preempts threads seldom, which finds what needs long runs of single threads.
///
/// Environment: `SCHEDULES`, how many per scheduler; `SCHEDULES_SEED`, 0 if not set; `SCHEDULE`, the one
/// that a failure has printed, instead of all others.
///
/// # Panics
/// If the model does, or if all of its threads wait for each other.
pub fn explore(model: fn()) {
    if let Ok(schedule) = std::env::var("SCHEDULE") {
        shuttle::replay(model, schedule.trim());
        return;
    }
    let seed = number("SCHEDULES_SEED", 0);
    let count = usize::try_from(number("SCHEDULES", SCHEDULES)).expect("a number of schedules");
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::Print;
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(seed, count), config.clone()).run(model);
    Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, count), config).run(model);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: no number")))
}
