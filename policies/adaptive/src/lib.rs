//! The interval between a user's logins grows with the time that their maildrop has been unchanged:
//! relief without any source of new mail. With one, new mail passes at once. The README describes the settings.

mod rule;
mod settings;

use std::cell::OnceCell;

use settings::Settings;

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/v0.2", world: "policy-with-settings" });
}

use bindings::exports::reprieve::policy::settings::Setting;
use bindings::exports::reprieve::policy::{handler, settings as described};
use bindings::reprieve::policy::maildrop;
use bindings::reprieve::policy::types::{
    Ending, Freshness, Login, Manner, Memory, Outcome, Standing, Verdict,
};
use rule::{History, Listing};

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Adaptive;

impl handler::Guest for Adaptive {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        SETTINGS.with(|cell| cell.get().map_or(PASS, |settings| decide(settings, &login, memory)))
    }

    fn observe(outcome: Outcome, memory: Memory) -> Option<Memory> {
        SETTINGS.with(|cell| cell.get().and_then(|settings| observe(settings, &outcome, memory)))
    }
}

impl described::Guest for Adaptive {
    fn describe() -> Vec<Setting> {
        settings::describe()
    }
}

const PASS: Verdict = Verdict { deny: None, retry_after: None, remember: None };

fn decide(settings: &Settings, login: &Login, memory: Memory) -> Verdict {
    let history = History::from(memory);
    let Some(elapsed_s) = history.elapsed_s(login.time.unix) else { return PASS };
    if elapsed_s >= settings.interval.longest_s {
        return PASS;
    }
    let interval_s = match login.freshness {
        Freshness::NewMail => return PASS,
        Freshness::Unchanged => settings.interval.longest_s,
        Freshness::Unknown => settings.interval.after(unchanged_s(history, elapsed_s)),
    };
    let left_s = interval_s.saturating_sub(elapsed_s);
    if left_s == 0 {
        return PASS;
    }
    // The host carries these out whatever the standing. If the password is wrong or new, let the mail
    // server answer, instead of saying how long the user has to wait.
    let is_refusal = matches!(settings.manner, Manner::Refuse | Manner::Disconnect);
    if is_refusal && login.standing != Standing::Known {
        return PASS;
    }
    Verdict { deny: Some(settings.manner), retry_after: Some(left_s), remember: None }
}

/// Seconds that the maildrop had been unchanged at the last login. Not until now, so that the interval
/// does not grow while the user waits for its end.
fn unchanged_s(history: History, elapsed_s: u32) -> u32 {
    match maildrop::seconds_unchanged() {
        Some(unchanged_s) => unchanged_s.saturating_sub(elapsed_s),
        None => history.noticing(listing()).unchanged_s(),
    }
}

fn observe(settings: &Settings, outcome: &Outcome, memory: Memory) -> Option<Memory> {
    let counts = !outcome.upgrade || settings.counts_upgrades;
    if outcome.ending != Ending::Authenticated || !counts {
        return None;
    }
    Some(History::from(memory).noticing(listing()).logged_in(outcome.time.unix).into())
}

/// The maildrop as the user's last session left it.
fn listing() -> Listing {
    maildrop::messages().zip(maildrop::total_bytes())
}

// A native library, which tests link, cannot export these names.
#[cfg(target_arch = "wasm32")]
bindings::export!(Adaptive with_types_in bindings);
