//! Checks one invariant in one history. The last login is the one that the invariant is about, so that
//! a history that violates it can be made smaller and checked again.

use super::expected::Expected;
use super::history::{Event, History};
use super::invariant::Invariant;
use super::player::{Player, Variation};
use crate::harness::Decision;
use crate::{Action, Failure, Freshness, Standing};

/// Time without logins after which a user passes: two days, of which one may be longer than 24 hours.
pub(super) const TWO_DAYS_MS: u64 = 49 * 3_600_000;
/// Longest `retry-after` that is tried, in seconds: a year.
const LONGEST_WAIT_S: u32 = 366 * 86_400;

/// A history that violates an invariant.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// What is to be played, including what the invariant adds.
    pub(super) history: History,
    /// What is expected of the last login.
    pub(super) expected: Expected,
    /// The decision about it.
    pub(super) got: Decision,
    /// The decision for people, if it is not `got` itself.
    pub(super) got_text: String,
}

impl Finding {
    fn new(history: &History, expected: Expected, got: Decision) -> Self {
        let got_text = format!("{} → {}", got.describe_verdict(), got.action().name());
        Self { history: history.clone(), expected, got, got_text }
    }
}

/// How a history violates an invariant; None if it does not.
pub(super) fn check(
    invariant: Invariant,
    player: &mut Player<'_>,
    history: &History,
) -> anyhow::Result<Option<Finding>> {
    let Some(last) = history.events.last() else { return Ok(None) };
    match invariant {
        Invariant::Failure => failure(player, history),
        Invariant::OwnMemory => own_memory(player, history),
        Invariant::RetryAfter => retry_after(player, history, last),
        Invariant::Reset => reset(player, history, last),
        Invariant::WrongPassword if last.is_guess => Ok(None),
        Invariant::WrongPassword => without(player, history, |event| !event.is_guess),
        Invariant::OtherUsers => without(player, history, |event| event.is_of_same_user(last)),
        Invariant::Unknown => unknown(player, history, last),
        Invariant::NewMail => new_mail(player, history, last),
        Invariant::Store => Ok(None),
    }
}

fn failure(player: &mut Player<'_>, history: &History) -> anyhow::Result<Option<Finding>> {
    let Some(got) = player.last(history, Variation::None)? else { return Ok(None) };
    let text = got.failure().map(|failure| format!("failure {}: {failure}", failure.kind()));
    Ok(text.map(|got_text| Finding { got_text, ..Finding::new(history, Expected::Nothing, got) }))
}

fn own_memory(player: &mut Player<'_>, history: &History) -> anyhow::Result<Option<Finding>> {
    let reused = player.last(history, Variation::None)?;
    let fresh = player.last(history, Variation::FreshInstances)?;
    let (Some(reused), Some(fresh)) = (reused, fresh) else { return Ok(None) };
    if is_too_slow(&reused) || is_too_slow(&fresh) || is_same(&reused, &fresh) {
        return Ok(None);
    }
    if depends_on_the_seed(player, history, &reused)? {
        return Ok(None);
    }
    let got_text = format!(
        "{} with a reused instance, {} with a fresh one",
        reused.describe_verdict(),
        fresh.describe_verdict()
    );
    Ok(Some(Finding { got_text, ..Finding::new(history, Expected::Nothing, reused) }))
}

fn retry_after(player: &mut Player<'_>, history: &History, last: &Event) -> anyhow::Result<Option<Finding>> {
    let Some(denied) = player.last(history, Variation::None)? else { return Ok(None) };
    let seconds =
        denied.deny().and_then(|deny| deny.retry_after).filter(|_| denied.action() != Action::Passed);
    let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST_WAIT_S).contains(seconds)) else {
        return Ok(None);
    };
    let early = (seconds > 2).then(|| (seconds - 2, Expected::Deny));
    for (wait_s, expected) in [Some((seconds, Expected::Pass)), early].into_iter().flatten() {
        let at_ms = denied.at_ms + u64::from(wait_s) * 1000;
        let longer = history.followed_by(Event { at_ms, standing: Some(denied.standing), ..last.clone() });
        if let Some(got) = unmet(player, &longer, &expected)? {
            return Ok(Some(Finding::new(&longer, expected, got)));
        }
    }
    Ok(None)
}

fn reset(player: &mut Player<'_>, history: &History, last: &Event) -> anyhow::Result<Option<Finding>> {
    let before = History { events: history.events[..history.events.len() - 1].to_vec(), ..history.clone() };
    if last.standing != Some(Standing::Known) || last.at_ms < before.latest_ms() + TWO_DAYS_MS {
        return Ok(None);
    }
    // A rule about the time or the network may deny the login in any case.
    let alone = History { events: vec![last.clone()], ..history.clone() };
    if unmet(player, &alone, &Expected::Pass)?.is_some() {
        return Ok(None);
    }
    let got = unmet(player, history, &Expected::Pass)?;
    Ok(got.map(|got| Finding::new(history, Expected::Pass, got)))
}

/// Whether the last login is decided otherwise if the events that are not to be kept are left out.
fn without(
    player: &mut Player<'_>,
    history: &History,
    keep: impl Fn(&Event) -> bool,
) -> anyhow::Result<Option<Finding>> {
    let fewer = history.only(keep);
    if fewer.events.len() == history.events.len() {
        return Ok(None);
    }
    let Some(decision) = player.last(&fewer, Variation::None)? else { return Ok(None) };
    let Ok(verdict) = decision.verdict.clone() else { return Ok(None) };
    let expected = Expected::Verdict(verdict);
    let Some(got) = unmet(player, history, &expected)? else { return Ok(None) };
    if depends_on_the_seed(player, &fewer, &decision)? {
        return Ok(None);
    }
    Ok(Some(Finding::new(history, expected, got)))
}

fn unknown(player: &mut Player<'_>, history: &History, last: &Event) -> anyhow::Result<Option<Finding>> {
    if last.standing != Some(Standing::Unknown) {
        return Ok(None);
    }
    let Some(got) = player.last(history, Variation::None)? else { return Ok(None) };
    if got.deny().is_none() || got.action() == Action::Passed {
        return Ok(None);
    }
    let mut known = history.clone();
    if let Some(last) = known.events.last_mut() {
        last.standing = Some(Standing::Known);
    }
    let passes = player.last(&known, Variation::None)?.is_some_and(|decision| decision.pass().is_some());
    Ok(passes.then(|| Finding::new(history, Expected::Passed, got)))
}

fn new_mail(player: &mut Player<'_>, history: &History, last: &Event) -> anyhow::Result<Option<Finding>> {
    if last.details.maildrop.freshness != Freshness::NewMail {
        return Ok(None);
    }
    let expected = Expected::Passed;
    let Some(got) = unmet(player, history, &expected)? else { return Ok(None) };
    let mut without_news = history.clone();
    if let Some(last) = without_news.events.last_mut() {
        last.details.maildrop.freshness = Freshness::Unknown;
    }
    let passes = player.last(&without_news, Variation::None)?.is_some_and(|other| expected.is_met(&other));
    if !passes || depends_on_the_seed(player, history, &got)? {
        return Ok(None);
    }
    Ok(Some(Finding::new(history, expected, got)))
}

/// The decision about the last login if it is not as expected, and no failure.
fn unmet(
    player: &mut Player<'_>,
    history: &History,
    expected: &Expected,
) -> anyhow::Result<Option<Decision>> {
    let last = player.last(history, Variation::None)?;
    Ok(last.filter(|decision| decision.failure().is_none() && !expected.is_met(decision)))
}

/// Whether the policy decides at random.
fn depends_on_the_seed(
    player: &mut Player<'_>,
    history: &History,
    decision: &Decision,
) -> anyhow::Result<bool> {
    let other = player.last(history, Variation::AnotherSeed)?;
    Ok(other.is_none_or(|other| !is_same(&other, decision)))
}

fn is_same(one: &Decision, other: &Decision) -> bool {
    one.describe_verdict() == other.describe_verdict() && one.action() == other.action()
}

/// Whether a call was too slow. That depends on the machine and on caches.
fn is_too_slow(decision: &Decision) -> bool {
    matches!(decision.failure(), Some(Failure::Time(_) | Failure::StartTime(_) | Failure::Wait(_)))
}
