//! Reads a step: its time, repetition and action.

use std::time::Duration;

use super::{expectation, login, memory_key, numbers, stored, texts};
use crate::contract::v0_2::memory::entry;
use crate::harness::{InjectedFault, LoginFacts, TimeSpec};
use crate::scenario::step::{Change, LoginStep, Repeat, Step, StepAction, Users, When};
use reprieve_settings::{Error, Section, Value};

/// `pools`: names of the scenario's pools.
pub(super) fn step(value: &Value<'_, '_>, pools: &[String]) -> Result<Step, Error> {
    let mut section = value.section()?;
    let when = when(&mut section)?;
    let repeat = match section.get("repeat") {
        Some(value) => repeat(&value)?,
        None => Repeat { times: 1, every: Duration::ZERO },
    };
    let store = section.get("store").map(|value| expectation::store(&value)).transpose()?;
    let group = section.get("steps");
    let (write, remember, forget) = (section.get("write"), section.get("remember"), section.get("forget"));
    let new_mail = section.get("new-mail").map(|value| texts(&value)).transpose()?;
    let (user, users) = (section.get("login"), section.get("users"));
    let changes = write.is_some() || remember.is_some() || forget.is_some() || new_mail.is_some();
    let kinds = [group.is_some(), changes, user.is_some() || users.is_some()];
    if kinds.iter().filter(|is| **is).count() > 1 {
        return Err(value
            .error("has keys of several kinds of steps; a step is a login, a group (`steps`), or a change (`write`, `remember`, `forget`, `new-mail`)"));
    }
    let action = if let Some(group) = group {
        StepAction::Group(group.list()?.iter().map(|value| step(value, pools)).collect::<Result<_, _>>()?)
    } else if user.is_some() || users.is_some() {
        StepAction::Login(Box::new(login_step(&mut section, user.as_ref(), users.as_ref(), pools)?))
    } else if changes || store.is_some() {
        let mut written = Vec::new();
        if let Some(write) = write {
            for (key, value) in write.section()?.entries() {
                written.push((key.to_owned(), stored(&value)?));
            }
        }
        let mut forget = forget.map(|value| texts(&value)).transpose()?.unwrap_or_default();
        if let Some(remember) = remember {
            for (user, value) in remember.section()?.entries() {
                match entry(numbers(&value)?) {
                    Some(bytes) => written.push((memory_key(user), bytes)),
                    None => forget.push(memory_key(user)),
                }
            }
        }
        StepAction::Change(Change { write: written, forget, new_mail: new_mail.unwrap_or_default() })
    } else {
        // A misspelt key is more likely than a step without an action.
        section.finish()?;
        return Err(value.error(
            "does nothing; give it `login`, `users`, `steps`, `store`, `write`, `remember`, `forget` or `new-mail`",
        ));
    };
    section.finish()?;
    Ok(Step { line: value.line(), when, repeat, action, store })
}

fn when(section: &mut Section<'_, '_>) -> Result<When, Error> {
    let (at, after, set_back) = (section.get("at"), section.get("after"), section.get("set-back"));
    match (at, after, set_back) {
        (Some(at), Some(_), _) => Err(at.error("and `after` exclude each other")),
        (Some(other), _, Some(_)) | (_, Some(other), Some(_)) => {
            Err(other.error("and `set-back` exclude each other"))
        }
        (Some(at), ..) => Ok(When::At(TimeSpec::parse(&at.datetime()?).map_err(|why| at.error(why))?)),
        (_, Some(after), _) => Ok(When::After(after.duration()?)),
        (.., Some(set_back)) => Ok(When::SetBack(set_back.duration()?)),
        (None, None, None) => Ok(When::Now),
    }
}

fn repeat(value: &Value<'_, '_>) -> Result<Repeat, Error> {
    if !value.is_table() {
        return Ok(Repeat { times: value.count(1, 1_000_000)?, every: Duration::ZERO });
    }
    let mut section = value.section()?;
    let times = section.required("times", "60")?.count(1, 1_000_000)?;
    let every = section.get("every").map(|value| value.duration()).transpose()?.unwrap_or_default();
    section.finish()?;
    Ok(Repeat { times, every })
}

fn login_step(
    section: &mut Section<'_, '_>,
    user: Option<&Value<'_, '_>>,
    users: Option<&Value<'_, '_>>,
    pools: &[String],
) -> Result<LoginStep, Error> {
    let mut parsed = LoginStep {
        facts: LoginFacts::new("alice"),
        standing_is_given: false,
        pool: None,
        users: Users::Single,
        outcome: section.get("outcome").map(|value| login::outcome(&value)).transpose()?,
        other_pools: Vec::new(),
        fault: None,
        upgrade: section.get("upgrade").map_or(Ok(false), |value| value.boolean())?,
        session: section.get("session").map(|value| login::session(&value)).transpose()?,
        expect: section.get("expect").map(|value| expectation::verdict(&value)).transpose()?,
        disposition: section.get("disposition").map(|value| expectation::disposition(&value)).transpose()?,
        log: section.get("log").map(|value| texts(&value)).transpose()?.unwrap_or_default(),
        count: section.get("count").map(|value| expectation::counts(&value)).transpose()?,
    };
    if let Some(value) = section.get("inject") {
        parsed.fault = Some(value.choice(&[
            ("store-unavailable", InjectedFault::StoreUnavailable),
            ("store-full", InjectedFault::StoreFull),
            ("time", InjectedFault::Time),
        ])?);
    }
    if let Some(value) = user {
        if value.is_table() {
            login::claim(value, &mut parsed, users.is_none())?;
        } else if users.is_some() {
            return Err(value.error("and `users` exclude each other"));
        } else {
            value.text()?.clone_into(&mut parsed.facts.user);
        }
    }
    if let Some(value) = users {
        parsed.users = read_users(value)?;
    }
    if let Some(value) = section.get("backend") {
        login::backend(&value, &mut parsed)?;
    }
    if let Some(value) = section.get("pools") {
        let own = parsed.pool.as_ref().or(pools.first());
        let others: Vec<_> = pools.iter().filter(|&name| Some(name) != own).collect();
        parsed.other_pools = login::other_pools(&value, &others)?;
    }
    if let Some(value) = section.get("maildrop") {
        login::maildrop(&value, &mut parsed)?;
    }
    Ok(parsed)
}

fn read_users(value: &Value<'_, '_>) -> Result<Users, Error> {
    if !value.is_table() {
        let names = texts(value)?;
        if names.is_empty() {
            return Err(value.error("is empty; name at least one user"));
        }
        return Ok(Users::Listed(names));
    }
    let mut section = value.section()?;
    let count = section.required("count", "1000")?.count(1, 10_000_000)?;
    let name = section.required("name", "\"user-{}\"")?;
    let text = name.text()?;
    if !text.contains("{}") {
        return Err(name.error("must contain {}, which is replaced by the number, such as \"user-{}\""));
    }
    section.finish()?;
    Ok(Users::Numbered { count, name: text.to_owned() })
}
