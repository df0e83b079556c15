//! Throws generated logins at a policy in virtual time, and checks what should hold for any policy. A
//! violation becomes a small scenario that shows it. For `reprieve policy fuzz`.

mod check;
mod expected;
mod generate;
mod growth;
mod history;
mod invariant;
mod player;
mod scenario_file;
mod shrink;

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub use invariant::Invariant;

use crate::Prepared;
use crate::harness::HarnessBuilder;
use crate::scenario::Scenario;
use check::check;
use player::Player;

/// 2026-03-10T12:00:00Z: when the week starts in which the store must stop growing.
const WEEK_START_MS: u64 = 1_773_144_000_000;

/// What to throw at a policy.
#[derive(Clone, Debug)]
pub struct Fuzz {
    /// The policy with its settings and its pools.
    pub builder: HarnessBuilder,
    /// Seed of the generated logins.
    pub seed: u64,
    /// Number of histories to generate.
    pub runs: u64,
    /// Stop after this long, even if there are runs left.
    pub time: Option<Duration>,
    /// Invariants that are not checked.
    pub without: Vec<Invariant>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct FuzzReport {
    /// Number of histories that were generated.
    pub runs: u64,
    /// Number of logins that were played.
    pub logins: u64,
    /// Number of violations that did not happen again when their scenario was played.
    pub unconfirmed: u64,
    /// The first violation; None if there is none.
    pub counterexample: Option<Counterexample>,
}

/// A violated invariant.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What does not hold.
    pub invariant: Invariant,
    /// What was expected at the end of the scenario.
    pub expected: String,
    /// What happened.
    pub got: String,
    /// A scenario file that fails.
    pub scenario: String,
}

impl Fuzz {
    /// Generates histories until one violates an invariant, or until all runs or the time are over.
    ///
    /// # Errors
    /// The policy cannot be loaded or rejects its settings ([`crate::LoadError`]).
    pub fn run(&self) -> anyhow::Result<FuzzReport> {
        let began = Instant::now();
        let prepared = self.builder.prepare()?;
        let mut player = Player::new(&self.builder, &prepared);
        let mut report = FuzzReport { runs: 0, logins: 0, unconfirmed: 0, counterexample: None };
        if self.checks(Invariant::Store)
            && let Some(found) = self.check_store(&mut player)?
        {
            self.confirm(found, &prepared, &mut report)?;
        }
        let is_over = || self.time.is_some_and(|time| began.elapsed() >= time);
        let mut rng = StdRng::seed_from_u64(self.seed);
        while report.counterexample.is_none() && report.runs < self.runs && !is_over() {
            report.runs += 1;
            if let Some(found) = self.check_history(&mut player, &mut rng)? {
                self.confirm(found, &prepared, &mut report)?;
            }
        }
        report.logins = player.logins;
        Ok(report)
    }

    fn checks(&self, invariant: Invariant) -> bool {
        !self.without.contains(&invariant)
    }

    fn check_store(&self, player: &mut Player<'_>) -> anyhow::Result<Option<Counterexample>> {
        let growth = growth::find(player, WEEK_START_MS)?;
        Ok(growth.map(|growth| Counterexample {
            invariant: Invariant::Store,
            expected: format!("at most {} bytes in the store after a week", growth.limit_bytes),
            got: format!("{} bytes", growth.got_bytes),
            scenario: scenario_file::of_growth(&growth, &self.builder, WEEK_START_MS),
        }))
    }

    /// Generates a history and checks all invariants in it.
    fn check_history(
        &self,
        player: &mut Player<'_>,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Counterexample>> {
        let mut history = generate::history(rng);
        // After a failure, other invariants are violated only because of it.
        let decisions = player.play(&history, player::Variation::None)?;
        let fails = decisions.iter().position(|decision| decision.failure().is_some());
        if let Some(index) = fails {
            history = history.up_to(index);
        }
        for (_, invariant) in Invariant::ALL {
            if fails.is_some() && invariant != Invariant::Failure {
                break;
            }
            let Some(prepared) = generate::prepare(invariant, &history, rng) else { continue };
            if !self.checks(invariant) {
                continue;
            }
            if let Some(finding) = check(invariant, player, &prepared)? {
                let finding = shrink::shrink(invariant, player, prepared, finding)?;
                return Ok(Some(Counterexample {
                    invariant,
                    expected: finding.expected.describe(),
                    got: finding.got_text.clone(),
                    scenario: scenario_file::of_finding(invariant, &finding, &self.builder),
                }));
            }
        }
        Ok(None)
    }

    /// Keeps a counterexample if its scenario fails.
    fn confirm(
        &self,
        found: Counterexample,
        prepared: &Prepared,
        report: &mut FuzzReport,
    ) -> anyhow::Result<()> {
        let name = found.invariant.name();
        let scenarios = Scenario::parse(&found.scenario, name, self.builder.component())?;
        for scenario in scenarios {
            if scenario.play_prepared(prepared)?.succeeded() {
                report.unconfirmed += 1;
                return Ok(());
            }
        }
        report.counterexample = Some(found);
        Ok(())
    }
}
