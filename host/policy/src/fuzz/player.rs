//! Plays histories, each with a policy that remembers nothing.

use super::history::History;
use crate::Prepared;
use crate::harness::{Decision, Harness, HarnessBuilder};

/// A variation of how a history is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variation {
    None,
    /// Each call gets a fresh instance.
    FreshInstances,
    /// The policy gets other random numbers.
    AnotherSeed,
}

pub(super) struct Player<'a> {
    builder: &'a HarnessBuilder,
    prepared: &'a Prepared,
    /// Number of logins that were played.
    pub(super) logins: u64,
}

impl<'a> Player<'a> {
    pub(super) fn new(builder: &'a HarnessBuilder, prepared: &'a Prepared) -> Self {
        Self { builder, prepared, logins: 0 }
    }

    /// A policy that remembers nothing, at this time.
    pub(super) fn harness(&self, zone: &str, now_ms: u64, variation: Variation) -> anyhow::Result<Harness> {
        let mut builder = self.builder.clone().time_zone(zone)?;
        if variation == Variation::AnotherSeed {
            builder = builder.another_seed();
        }
        let mut harness = builder.build_prepared(self.prepared, &mut Vec::new())?;
        harness.use_fresh_instances(variation == Variation::FreshInstances);
        harness.set_now_ms(now_ms);
        Ok(harness)
    }

    /// Decisions about all logins of a history.
    pub(super) fn play(&mut self, history: &History, variation: Variation) -> anyhow::Result<Vec<Decision>> {
        let start_ms = history.events.first().map_or(0, |event| event.at_ms);
        let mut harness = self.harness(history.zone, start_ms, variation)?;
        let mut previous_ms = start_ms;
        let mut decisions = Vec::with_capacity(history.events.len());
        for event in &history.events {
            let is_set_back = event.at_ms < previous_ms;
            // A delay may have moved the clock beyond the next login.
            let now_ms = if is_set_back { event.at_ms } else { event.at_ms.max(harness.now_ms()) };
            harness.set_now_ms(now_ms);
            previous_ms = event.at_ms;
            decisions.push(harness.login(event.login()));
            self.logins += 1;
        }
        Ok(decisions)
    }

    /// The decision about the last login of a history; None if there is none.
    pub(super) fn last(
        &mut self,
        history: &History,
        variation: Variation,
    ) -> anyhow::Result<Option<Decision>> {
        Ok(self.play(history, variation)?.pop())
    }
}
