//! Reads expectations of verdicts, counts and the store.

use super::{memory_key, numbers, stored, texts};
use crate::contract::v0_2::memory::entry;
use crate::scenario::condition::Condition;
use crate::scenario::expectation::{
    Counts, Expectation, ExpectedCounts, StoreExpectation, VerdictKind, verdict_names,
};
use crate::{Action, Failure, MANNERS, RESPONSE_CODES};
use reprieve_settings::{Error, Value};

pub(super) fn verdict(value: &Value<'_, '_>) -> Result<Expectation, Error> {
    if !value.is_table() {
        return Expectation::of(value.text()?)
            .ok_or_else(|| value.expected(&format!("one of {}, or a table", verdict_names())));
    }
    let mut section = value.section()?;
    let mut expected = Expectation::default();
    if let Some(value) = section.get("verdict") {
        expected.verdict = Some(value.choice(&VerdictKind::NAMES)?);
    }
    if let Some(value) = section.get("failure") {
        let kinds = Failure::KINDS.map(|kind| (kind, kind));
        expected.failure = Some(value.choice(&kinds)?.to_owned());
        if expected.verdict.is_some_and(|kind| kind != VerdictKind::Failure) {
            return Err(value.error("cannot be combined with this `verdict`: a failed call has no verdict"));
        }
        expected.verdict = Some(VerdictKind::Failure);
    }
    let word = |value: &Value<'_, '_>, words: &[(&'static str, &'static str)]| value.choice(words);
    for (key, field) in [("manner", &mut expected.manner), ("otherwise", &mut expected.otherwise)] {
        if let Some(value) = section.get(key) {
            let words = MANNERS.map(|(name, _)| (name, name));
            *field = Some(Condition::read(&value, |value| word(value, &words))?);
        }
    }
    expected.despite_new_mail = section.get("despite-new-mail").map(|value| value.boolean()).transpose()?;
    if let Some(value) = section.get("code") {
        let words = RESPONSE_CODES.map(|(name, _)| (name, name));
        expected.code = Some(Condition::read(&value, |value| word(value, &words))?);
    }
    if let Some(value) = section.get("retry-after") {
        expected.retry_after = Some(Condition::read_number(&value, seconds)?);
    }
    if let Some(value) = section.get("delay-ms") {
        expected.delay_ms = Some(Condition::read_number(&value, |value| value.count_u32(0, u32::MAX))?);
    }
    for (key, field) in [
        ("text", &mut expected.text),
        ("reason", &mut expected.reason),
        ("pool", &mut expected.pool),
        ("user", &mut expected.user),
        ("note", &mut expected.note),
    ] {
        if let Some(value) = section.get(key) {
            *field = Some(Condition::read(&value, |value| value.text().map(str::to_owned))?);
        }
    }
    section.finish()?;
    if expected == Expectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    if let Some(why) = expected.contradiction() {
        return Err(value.error(why));
    }
    Ok(expected.with_implied_verdict())
}

/// A number of seconds, or a duration of whole seconds.
fn seconds(value: &Value<'_, '_>) -> Result<u32, Error> {
    let expected = || value.expected("a number of seconds such as 540, or a duration such as \"9m\"");
    let duration = match value.duration() {
        Ok(duration) => duration,
        Err(_) => return value.count_u32(0, u32::MAX).map_err(|_| expected()),
    };
    u32::try_from(duration.as_secs()).ok().filter(|_| duration.subsec_nanos() == 0).ok_or_else(expected)
}

pub(super) fn disposition(value: &Value<'_, '_>) -> Result<Condition<&'static str>, Error> {
    let words = Action::ALL.map(|action| (action.name(), action.name()));
    Condition::read(value, |value| value.choice(&words))
}

pub(super) fn counts(value: &Value<'_, '_>) -> Result<ExpectedCounts, Error> {
    let names = Counts::names();
    let mut counts = ExpectedCounts::new();
    for (key, value) in value.section()?.entries() {
        if !names.contains(&key) {
            return Err(value.error(format!("is unknown; use one of: {}", names.join(", "))));
        }
        let number = |value: &Value<'_, '_>| value.count(0, u64::from(u32::MAX));
        counts.push((key.to_owned(), Condition::read_number(&value, number)?));
    }
    Ok(counts)
}

pub(super) fn store(value: &Value<'_, '_>) -> Result<StoreExpectation, Error> {
    let mut section = value.section()?;
    let mut expected = StoreExpectation::default();
    for (key, field) in [("has", &mut expected.has), ("lacks", &mut expected.lacks)] {
        if let Some(value) = section.get(key) {
            *field = texts(&value)?;
        }
    }
    if let Some(value) = section.get("values") {
        for (key, value) in value.section()?.entries() {
            expected.values.push((key.to_owned(), stored(&value)?));
        }
    }
    let memory_keys =
        |value: &Value<'_, '_>| Ok(texts(value)?.iter().map(|user| memory_key(user)).collect::<Vec<_>>());
    if let Some(value) = section.get("remembers") {
        expected.has.extend(memory_keys(&value)?);
    }
    if let Some(value) = section.get("forgot") {
        expected.lacks.extend(memory_keys(&value)?);
    }
    if let Some(value) = section.get("memory") {
        for (user, value) in value.section()?.entries() {
            match entry(numbers(&value)?) {
                Some(bytes) => expected.values.push((memory_key(user), bytes)),
                None => expected.lacks.push(memory_key(user)),
            }
        }
    }
    expected.usage_at_most = section.get("usage-at-most").map(|value| value.size()).transpose()?;
    expected.empty = section.get("empty").map(|value| value.boolean()).transpose()?;
    section.finish()?;
    if expected == StoreExpectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    Ok(expected)
}
