//! Reprieve's default policy. A login passes if the user's last authenticated login was at least
//! `interval` ago or on another day; otherwise it is denied. The rule comes from an article of
//! 2006 on relieving POP3 servers. The README describes the settings.

mod rule;
mod settings;

use std::cell::OnceCell;

use settings::{Settings, Start};

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy" });
}

use bindings::reprieve::policy::types::{
    Claim, Deny, Ending, Login, Manner, Moment, Outcome, Pass, Standing, Verdict,
};
use bindings::reprieve::policy::{log, store};
use rule::{Decision, Stamp};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: reprieve_policy_allocator::BumpAllocator = reprieve_policy_allocator::BumpAllocator::new();

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Interval;

impl bindings::Guest for Interval {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login) -> Verdict {
        SETTINGS.with(|cell| match cell.get() {
            Some(settings) => decide(settings, login),
            None => pass(),
        })
    }

    fn observe(outcome: Outcome) {
        SETTINGS.with(|cell| match cell.get() {
            Some(settings)
                if settings.start == Start::Authenticated && outcome.ending == Ending::Authenticated =>
            {
                remember(settings, outcome.claim, stamp(&outcome.time));
            }
            _ => {}
        });
    }
}

fn decide(settings: &Settings, login: Login) -> Verdict {
    if settings.interval_ms == 0 {
        return pass();
    }
    if store::usage() > settings.memory_limit {
        log::line(log::Level::Info, "memory-limit reached: every user is forgotten");
        store::clear();
    }
    let now = stamp(&login.time);
    let standing = login.claim.standing;
    let key = key_of(login.claim);
    let found = store::get(&key);
    let decision = rule::decide(
        settings.interval_ms,
        settings.daily_reset,
        found.as_deref().and_then(Stamp::from_bytes),
        now,
        login.time.second_of_day,
    );
    match decision {
        Decision::Pass if settings.start == Start::Login => {
            // Of simultaneous logins, the first to write passes.
            let written = match &found {
                Some(before) => {
                    store::compare_and_set(&key, before, &now.to_bytes(), settings.time_to_live())
                }
                None => store::add(&key, &now.to_bytes(), settings.time_to_live()),
            };
            match written {
                Ok(false) => deny(settings, standing, settings.interval_ms.div_ceil(1000)),
                Ok(true) => pass(),
                Err(_) => {
                    write(settings, &key, now);
                    pass()
                }
            }
        }
        Decision::Pass => pass(),
        Decision::Deny { retry_after_s } => deny(settings, standing, retry_after_s),
    }
}

fn key_of(claim: Claim) -> String {
    settings::key(claim.user, claim.authorization_id.as_deref())
}

fn remember(settings: &Settings, claim: Claim, stamp: Stamp) {
    if settings.interval_ms > 0 {
        write(settings, &key_of(claim), stamp);
    }
}

fn write(settings: &Settings, key: &str, stamp: Stamp) {
    let ttl = settings.time_to_live();
    match store::set(key, &stamp.to_bytes(), ttl) {
        Ok(()) => {}
        Err(store::Refused::Quota) => {
            log::line(
                log::Level::Warn,
                "the store's quota is reached before memory-limit: every user is forgotten",
            );
            store::clear();
            let _ = store::set(key, &stamp.to_bytes(), ttl);
        }
        // A user whose name is too long for the store always passes.
        Err(_) => {}
    }
}

fn stamp(moment: &Moment) -> Stamp {
    Stamp {
        unix_ms: moment.unix_ms,
        day: (i32::from(moment.date.year) * 16 + i32::from(moment.date.month)) * 32
            + i32::from(moment.date.day),
    }
}

fn pass() -> Verdict {
    Verdict::Pass(Pass { pool: None, user: None, note: None, delay_ms: 0 })
}

fn deny(settings: &Settings, standing: Standing, retry_after_s: u64) -> Verdict {
    // The host carries these out whatever the standing. If the password is wrong or new, let the mail
    // server answer, instead of saying how long the user has to wait.
    let is_refusal = matches!(settings.manner, Manner::Refuse | Manner::Disconnect);
    if is_refusal && standing != Standing::Known {
        return pass();
    }
    Verdict::Deny(Deny {
        manner: settings.manner,
        code: None,
        retry_after: Some(u32::try_from(retry_after_s).unwrap_or(u32::MAX)),
        reason: "too-soon".to_owned(),
        delay_ms: 0,
    })
}

bindings::export!(Interval with_types_in bindings);
