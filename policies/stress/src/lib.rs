//! Denies only while the pool is stressed: the interval between a user's logins grows with
//! sessions, waiting logins and latency, and is zero on a quiet server.

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
use bindings::reprieve::policy::types::{Ending, Freshness, Login, Memory, Outcome, Verdict};
use bindings::reprieve::policy::{answer, pools};
use rule::Pool;

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Stress;

impl handler::Guest for Stress {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        SETTINGS
            .with(|cell| cell.get().and_then(|settings| deny(settings, &login, memory)))
            .unwrap_or(Verdict { deny: None, retry_after: None, remember: None })
    }

    fn observe(outcome: Outcome, _: Memory) -> Option<Memory> {
        let counts = |settings: &Settings| !outcome.upgrade || settings.counts_upgrades;
        let counts = SETTINGS.with(|cell| cell.get().is_some_and(counts));
        // Also on a quiet server, because stress can come at any time.
        let last_login = Memory { first: outcome.time.unix, second: 0, third: 0, fourth: 0 };
        (counts && outcome.ending == Ending::Authenticated).then_some(last_login)
    }
}

impl described::Guest for Stress {
    fn describe() -> Vec<Setting> {
        settings::describe()
    }
}

/// The denial, if the user's last login is more recent than the stress allows.
fn deny(settings: &Settings, login: &Login, memory: Memory) -> Option<Verdict> {
    if memory.first == 0 || login.freshness == Freshness::NewMail {
        return None;
    }
    // If the clock was set back, the user passes.
    let elapsed_s = login.time.unix.checked_sub(memory.first)?;
    if elapsed_s >= settings.interval_s {
        return None;
    }
    let interval_s = match settings.signals.stress(pool()) {
        0 => return None,
        // These logins are the first ones that the mail server can do without.
        _ if login.freshness == Freshness::Unchanged => settings.interval_s,
        stress => rule::interval_s(settings.interval_s, stress),
    };
    let left_s = interval_s.checked_sub(elapsed_s).filter(|left| *left > 0)?;
    answer::reason("stressed");
    Some(Verdict { deny: Some(settings.manner), retry_after: Some(left_s), remember: None })
}

fn pool() -> Pool {
    let name = pools::default_pool();
    Pool {
        healthy_nodes: pools::healthy_nodes(&name),
        sessions: pools::sessions(&name),
        waiting: pools::waiting(&name),
        latency_ms: pools::login_latency_ms(&name),
    }
}

// A native library, which tests link, cannot export these names.
#[cfg(target_arch = "wasm32")]
bindings::export!(Stress with_types_in bindings);
