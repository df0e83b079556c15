//! Reprieve's default policy. A login passes if the user's last authenticated login was at least
//! `interval` ago or on another day, or if there is new mail; otherwise it is denied. The rule comes from an article of
//! 2006 on relieving POP3 servers. The README describes the settings.

mod rule;
mod settings;

use std::cell::OnceCell;

use settings::{NewMail, Settings, Start, Upgrades};

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/v0.2", world: "policy-with-settings" });
}

use bindings::exports::reprieve::policy::settings::Setting;
use bindings::exports::reprieve::policy::{handler, settings as described};
use bindings::reprieve::policy::types::{Ending, Login, Manner, Memory, Moment, Outcome, Standing, Verdict};
use bindings::reprieve::policy::{answer, log, store};
use rule::{Clock, Decision, Stamp};

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Interval;

impl handler::Guest for Interval {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        SETTINGS.with(|cell| cell.get().map_or(PASS, |settings| decide(settings, login, memory)))
    }

    fn observe(outcome: Outcome, memory: Memory) -> Option<Memory> {
        SETTINGS.with(|cell| cell.get().and_then(|settings| observe(settings, outcome, memory)))
    }
}

impl described::Guest for Interval {
    fn describe() -> Vec<Setting> {
        settings::describe()
    }
}

/// What a user takes in the store at most, unless their name is very long.
const ENTRY_BYTES: u32 = 512;
const PASS: Verdict = Verdict { deny: None, retry_after: None, remember: None };

fn decide(settings: &Settings, login: Login, memory: Memory) -> Verdict {
    if settings.interval_ms == 0 {
        return PASS;
    }
    let now = stamp(&login.time);
    let clock = Clock::from(memory);
    match rule::decide(settings, clock, login.freshness, now, login.time.second_of_day) {
        Decision::Pass if settings.start == Start::Login => {
            limit_memory(settings);
            // Of simultaneous logins, the first to be remembered passes; the others are decided again.
            Verdict { remember: Some(Clock::started(now).into()), ..PASS }
        }
        Decision::Pass => PASS,
        Decision::Deny { retry_after_s } => deny(settings, login.standing, clock, retry_after_s),
    }
}

fn observe(settings: &Settings, outcome: Outcome, memory: Memory) -> Option<Memory> {
    if settings.interval_ms == 0 || outcome.ending != Ending::Authenticated {
        return None;
    }
    let mut clock = Clock::from(memory);
    if outcome.upgrade {
        clock.upgrades = clock.upgrades.saturating_add(1);
    }
    let restarts = match outcome.upgrade {
        true => settings.upgrades == Upgrades::Count,
        false => settings.start == Start::Authenticated,
    };
    if restarts {
        clock.last = Some(stamp(&outcome.time));
    }
    if !outcome.upgrade {
        clock.upgrades = 0;
    }
    limit_memory(settings);
    Some(clock.into())
}

/// The article's rule: above a limit, all users are forgotten. If the store has no room for another
/// user, too.
fn limit_memory(settings: &Settings) {
    let used = store::usage();
    if used > settings.memory_limit {
        log::line(log::Level::Info, "memory-limit reached: every user is forgotten");
        store::clear();
    } else if used > store::quota().saturating_sub(ENTRY_BYTES) {
        log::line(
            log::Level::Warn,
            "the store's quota is nearly reached before memory-limit: every user is forgotten",
        );
        store::clear();
    }
}

fn stamp(moment: &Moment) -> Stamp {
    Stamp {
        unix: moment.unix,
        millisecond: moment.millisecond,
        day: (moment.date.year.unsigned_abs().into(), moment.date.month, moment.date.day),
    }
}

fn deny(settings: &Settings, standing: Standing, clock: Clock, retry_after_s: u32) -> Verdict {
    // The host carries these out whatever the standing. If the password is wrong or new, let the mail
    // server answer, instead of saying how long the user has to wait.
    let is_refusal = matches!(settings.manner, Manner::Refuse | Manner::Disconnect);
    if is_refusal && standing != Standing::Known {
        return PASS;
    }
    let is_busy = settings.busy_after > 0 && clock.upgrades >= settings.busy_after;
    let manner = if is_busy { Manner::Busy } else { settings.manner };
    if settings.new_mail == NewMail::Wait {
        answer::despite_new_mail();
    }
    Verdict { deny: Some(manner), retry_after: Some(retry_after_s), remember: None }
}

// A native library, which tests link, cannot export these names.
#[cfg(target_arch = "wasm32")]
bindings::export!(Interval with_types_in bindings);
