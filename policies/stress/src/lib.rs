//! Denies only while the pool is stressed: the interval between a user's logins grows with
//! sessions, waiting logins and latency, and is zero on a quiet server.

mod rule;
mod settings;

use std::cell::OnceCell;

use settings::Settings;

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy" });
}

use bindings::reprieve::policy::store;
use bindings::reprieve::policy::types::{Claim, Deny, Ending, Login, Outcome, Pass, Verdict};
use rule::Pool;

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Stress;

impl bindings::Guest for Stress {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login) -> Verdict {
        SETTINGS
            .with(|cell| cell.get().and_then(|settings| deny(settings, login)))
            .map_or(Verdict::Pass(Pass { pool: None, user: None, note: None, delay_ms: 0 }), Verdict::Deny)
    }

    fn observe(outcome: Outcome) {
        let longest_s = SETTINGS.with(|cell| cell.get().map(|settings| settings.interval_s));
        if outcome.ending == Ending::Authenticated
            && let Some(longest_s) = longest_s
        {
            // Also on a quiet server, because stress can come at any time. If the name is too long
            // or the store is full, the user passes.
            let ttl = u32::try_from(longest_s).unwrap_or(u32::MAX);
            let stamp = (outcome.time.unix_ms / 1000).to_le_bytes();
            let _ = store::set(&key(outcome.claim), &stamp, Some(ttl));
        }
    }
}

/// One key per maildrop: a master user has one for each maildrop that they open.
fn key(claim: Claim) -> String {
    match claim.authorization_id {
        // User names contain no NUL.
        Some(acting) => format!("{}\0{acting}", claim.user),
        None => claim.user,
    }
}

/// The denial, if the user's last login is more recent than the stress allows.
fn deny(settings: &Settings, login: Login) -> Option<Deny> {
    let pool = Pool {
        healthy_nodes: login.backend.healthy_nodes,
        sessions: login.backend.sessions,
        waiting: login.backend.waiting,
        latency_ms: login.backend.login_latency_ms,
    };
    let interval_s = rule::interval_s(settings.interval_s, settings.signals.stress(pool));
    if interval_s == 0 {
        return None;
    }
    let stamp: [u8; 8] = store::get(&key(login.claim))?.try_into().ok()?;
    // If the clock was set back, the user passes.
    let elapsed_s = (login.time.unix_ms / 1000).checked_sub(u64::from_le_bytes(stamp))?;
    let left_s = interval_s.checked_sub(elapsed_s).filter(|left| *left > 0)?;
    Some(Deny {
        manner: settings.manner,
        code: None,
        retry_after: Some(u32::try_from(left_s).unwrap_or(u32::MAX)),
        reason: "stressed".to_owned(),
        delay_ms: 0,
    })
}

bindings::export!(Stress with_types_in bindings);
