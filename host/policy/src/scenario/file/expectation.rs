//! Reads expectations of verdicts, counts and the store.

use super::{stored, texts};
use crate::scenario::expectation::{Counts, Expectation, StoreExpectation, VerdictKind, verdict_names};
use crate::{Failure, MANNERS, RESPONSE_CODES};
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
    if let Some(value) = section.get("manner") {
        expected.manner = Some(value.choice(&MANNERS)?);
    }
    if let Some(value) = section.get("code") {
        expected.code = Some(value.choice(&RESPONSE_CODES)?);
    }
    for (key, field) in [("retry-after", &mut expected.retry_after), ("delay-ms", &mut expected.delay_ms)] {
        if let Some(value) = section.get(key) {
            *field = Some(u32::try_from(value.count(0, u64::from(u32::MAX))?).unwrap_or(u32::MAX));
        }
    }
    for (key, field) in [
        ("reason", &mut expected.reason),
        ("pool", &mut expected.pool),
        ("user", &mut expected.user),
        ("note", &mut expected.note),
    ] {
        if let Some(value) = section.get(key) {
            *field = Some(value.text()?.to_owned());
        }
    }
    section.finish()?;
    if expected == Expectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    if let Some(why) = expected.contradiction() {
        return Err(value.error(why));
    }
    Ok(expected)
}

pub(super) fn counts(value: &Value<'_, '_>) -> Result<Counts, Error> {
    let names = Counts::names();
    let mut counts = Counts::default();
    for (key, value) in value.section()?.entries() {
        if !names.contains(&key) {
            return Err(value.error(format!("is unknown; use one of: {}", names.join(", "))));
        }
        counts.0.push((key.to_owned(), value.count(0, u64::from(u32::MAX))?));
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
    expected.usage_at_most = section.get("usage-at-most").map(|value| value.size()).transpose()?;
    expected.empty = section.get("empty").map(|value| value.boolean()).transpose()?;
    section.finish()?;
    if expected == StoreExpectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    Ok(expected)
}
