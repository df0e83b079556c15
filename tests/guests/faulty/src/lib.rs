//! A login passes if the user's last authenticated login was at least ten minutes ago. With a setting
//! `fault`, the rule has a mistake that is easily made.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/v0.2", world: "policy" });
}

use bindings::exports::reprieve::policy::handler::Guest;
use bindings::reprieve::policy::types::{Ending, Freshness, Login, Manner, Memory, Outcome, Verdict};
use bindings::reprieve::policy::{claim, store};

const INTERVAL_S: u32 = 600;
/// Logins after which a user is denied, with the fault that they are never counted anew.
const LOGINS: u32 = 3;
const PASS: Verdict = Verdict { deny: None, retry_after: None, remember: None };

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    OffByOne,
    NoReset,
    SlotTakenByAttempt,
    OwnMemory,
    TrapAtMidnight,
    UnboundedStore,
    NewMailWaits,
}

thread_local! {
    static FAULT: Cell<Fault> = Cell::default();
    /// Last logins, with the fault that they are kept here.
    static LAST: RefCell<HashMap<String, u32>> = RefCell::default();
}

struct Faulty;

impl Guest for Faulty {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in settings {
            let fault = match (key.as_str(), value.as_str()) {
                ("fault", "off-by-one") => Fault::OffByOne,
                ("fault", "no-reset") => Fault::NoReset,
                ("fault", "slot-taken-by-attempt") => Fault::SlotTakenByAttempt,
                ("fault", "own-memory") => Fault::OwnMemory,
                ("fault", "trap-at-midnight") => Fault::TrapAtMidnight,
                ("fault", "unbounded-store") => Fault::UnboundedStore,
                ("fault", "new-mail-waits") => Fault::NewMailWaits,
                _ => return Err(format!("`{key}` cannot be \"{value}\"")),
            };
            FAULT.set(fault);
        }
        Ok(())
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        let (fault, now) = (FAULT.get(), login.time.unix);
        if fault == Fault::TrapAtMidnight {
            // How much of the day is left, compared with what is over.
            let _ = std::hint::black_box(86_400 / login.time.second_of_day);
        }
        if fault == Fault::NoReset && store::get(&blocked_key()).is_some() {
            return Verdict { deny: Some(Manner::Unchanged), ..PASS };
        }
        let last = match fault {
            Fault::OwnMemory => LAST.with_borrow(|last| last.get(&claim::user_key()).copied().unwrap_or(0)),
            _ => memory.first,
        };
        let Some(elapsed) = now.checked_sub(last) else { return PASS };
        let (interval_s, manner) = match (fault, login.freshness) {
            // The longer interval is for the other ones.
            (Fault::NewMailWaits, Freshness::NewMail) => (2 * INTERVAL_S, Manner::Busy),
            _ => (INTERVAL_S, Manner::Unchanged),
        };
        let is_over = match fault {
            Fault::OffByOne => elapsed > interval_s,
            _ => elapsed >= interval_s,
        };
        match (is_over, fault) {
            (true, Fault::SlotTakenByAttempt) => Verdict { remember: Some(at(now)), ..PASS },
            (true, _) => PASS,
            (false, _) => {
                let retry_after = Some(interval_s - elapsed);
                Verdict { deny: Some(manner), retry_after, ..PASS }
            }
        }
    }

    fn observe(outcome: Outcome, memory: Memory) -> Option<Memory> {
        if outcome.ending != Ending::Authenticated {
            return None;
        }
        let now = outcome.time.unix;
        match FAULT.get() {
            Fault::OwnMemory => {
                LAST.with_borrow_mut(|last| last.insert(claim::user_key(), now));
                return None;
            }
            Fault::UnboundedStore => {
                let _ = store::set(&format!("seen:{}", claim::user_key()), b"", None);
            }
            Fault::NoReset if memory.second + 1 >= LOGINS => {
                let _ = store::set(&blocked_key(), b"", None);
            }
            _ => {}
        }
        Some(Memory { second: memory.second.saturating_add(1), ..at(now) })
    }
}

fn blocked_key() -> String {
    format!("blocked:{}", claim::user_key())
}

fn at(unix: u32) -> Memory {
    Memory { first: unix, second: 0, third: 0, fourth: 0 }
}

bindings::export!(Faulty with_types_in bindings);
