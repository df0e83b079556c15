//! Random dialogues with twin maildrops: one client goes straight to a real mail server, the other one
//! through Reprieve, and both must get the same replies and leave the same messages. In a second mode
//! the maildrop moves between the commands, and a model says what Reprieve may show.
//!
//! [README.md](README.md) has the differences that are allowed, and how to run this for hours.

mod allowed;
mod compare;
mod figures;
mod generate;
mod maildrops;
mod moved;
mod moved_model;
mod moved_plan;
mod plan;
mod shrink;
mod site;
mod twins;
mod wire;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use figures::Figures;
use maildrops::Make;
use plan::Plan;
use site::Site;

/// Seconds of each mode, if nobody asks for more.
const FEW_SECONDS: u64 = 11;
/// Dialogues of each worker at Dovecot, however slow the machine is.
const LEAST_DIALOGUES: u64 = 25;
/// Dialogues at the same time.
const WORKERS: u64 = 2;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What a mode finds out with one seed.
trait Mode: Sync {
    /// Its name in the table.
    const NAME: &'static str;

    /// Runs the dialogue of a seed; the error is a report with a minimal dialogue.
    fn run(site: &mut Site, seed: u64, figures: &mut Figures) -> Result<(), String>;
}

/// Twin maildrops that only their own clients change.
struct Twins;

impl Mode for Twins {
    const NAME: &'static str = "twin maildrops";

    fn run(site: &mut Site, seed: u64, figures: &mut Figures) -> Result<(), String> {
        let plan = generate::plan(seed);
        let Some(difference) = twins::run(site, &plan, figures) else { return Ok(()) };
        figures.differences += 1;
        let plan = shrink::smallest(plan, Plan::smaller, |smaller| {
            twins::run(site, smaller, &mut Figures::default()).is_some()
        });
        let smallest = twins::run(site, &plan, &mut Figures::default());
        Err(report(seed, &plan, &difference, smallest.as_deref()))
    }
}

/// A maildrop that others change as well.
struct Moved;

impl Mode for Moved {
    const NAME: &'static str = "a maildrop that moves";

    fn run(site: &mut Site, seed: u64, figures: &mut Figures) -> Result<(), String> {
        let plan = moved_plan::plan(seed);
        let Some(difference) = moved::run(site, &plan, figures) else { return Ok(()) };
        figures.differences += 1;
        let plan = shrink::smallest(plan, moved_plan::MovedPlan::smaller, |smaller| {
            moved::run(site, smaller, &mut Figures::default()).is_some()
        });
        let smallest = moved::run(site, &plan, &mut Figures::default());
        Err(report(seed, &plan, &difference, smallest.as_deref()))
    }
}

fn report(seed: u64, plan: &impl std::fmt::Display, first: &str, smallest: Option<&str>) -> String {
    let smallest = smallest.unwrap_or("(this time there was no difference: it depends on timing)");
    format!(
        "seed {seed}; repeat it with: tests/differential/run 1 {seed}\n{first}\n\
         the smallest dialogue that was found:\n{plan}\nits difference:\n{smallest}"
    )
}

/// Waits for all workers in the end: a mail server ends with the thread that has started it, and the others may
/// still use it.
struct EndTogether<'a>(&'a Barrier);

impl Drop for EndTogether<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// Runs dialogues of consecutive seeds until the time is up, and prints the figures.
fn run<M: Mode>(make: Make) {
    let (seconds, seed) = (number("REPRIEVE_SECONDS", FEW_SECONDS), number("REPRIEVE_SEED", 1));
    let least = if make == Make::Dovecot { LEAST_DIALOGUES } else { 0 };
    let began = Instant::now();
    let server = maildrops::Servers::new(make);
    let together = Barrier::new(usize::try_from(WORKERS).expect("a small number"));
    let worker = |place: u64| {
        let _end = EndTogether(&together);
        let (mut figures, mut reports) = (Figures::default(), Vec::new());
        let mut site = Site::new(&server);
        for seed in (0..).map(|turn| seed + place + turn * WORKERS) {
            reports.extend(M::run(&mut site, seed, &mut figures).err());
            let is_enough = seconds < FEW_SECONDS || figures.dialogues >= least;
            let is_over = is_enough && began.elapsed() >= Duration::from_secs(seconds);
            if is_over || reports.len() >= 5 {
                break;
            }
        }
        (figures, reports)
    };
    let (mut figures, mut reports) = (Figures::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|place| scope.spawn(move || worker(place))).collect();
        for worker in workers {
            let (more, reported) = worker.join().expect("a worker");
            figures += more;
            reports.extend(reported);
        }
    });
    println!("{make:?}, {}, from seed {seed}, {:.0?}:\n{figures}", M::NAME, began.elapsed());
    assert!(reports.is_empty(), "{} differences:\n{}", figures.differences, reports.join("\n\n"));
    if figures.dialogues >= LEAST_DIALOGUES {
        figures.has_something_of_everything();
    }
}

#[test]
fn through_reprieve_each_reply_and_each_message_is_as_at_dovecot_itself() {
    run::<Twins>(Make::Dovecot);
}

#[test]
fn of_a_maildrop_that_moves_clients_are_shown_what_the_model_allows() {
    run::<Moved>(Make::Dovecot);
}

/// By the script only: Cyrus takes long for each session.
#[test]
#[ignore = "tests/differential/run SECONDS SEED cyrus"]
fn through_reprieve_each_reply_and_each_message_is_as_at_cyrus_itself() {
    run::<Twins>(Make::Cyrus);
}
