//! Decides as the setting `pattern` says, which has one letter per decision about a user: `p` passes,
//! `d` denies, and `r` refuses with a text that shows what is known about the maildrop and how the
//! user's last session ended. The last letter holds for all further decisions.

use std::cell::RefCell;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/v0.2", world: "policy-with-sessions" });
}

use bindings::exports::reprieve::policy::handler;
use bindings::exports::reprieve::policy::sessions::{self, Summary};
use bindings::reprieve::policy::types::{Login, Manner, Memory, Outcome, Verdict};
use bindings::reprieve::policy::{answer, claim, maildrop, store};

thread_local! {
    static PATTERN: RefCell<String> = RefCell::default();
}

struct Facts;

impl handler::Guest for Facts {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        match settings.as_slice() {
            [(key, value)] if key == "pattern" && !value.is_empty() => {
                PATTERN.with_borrow_mut(|pattern| pattern.clone_from(value));
                Ok(())
            }
            _ => Err("the only setting is `pattern`".to_owned()),
        }
    }

    fn decide(_: Login, memory: Memory) -> Verdict {
        let letter = PATTERN.with_borrow(|pattern| {
            let at = usize::try_from(memory.first).unwrap_or(usize::MAX);
            pattern.chars().nth(at).or_else(|| pattern.chars().last())
        });
        let deny = match letter {
            Some('d') => Some(Manner::Unchanged),
            Some('r') => {
                answer::text(&known());
                Some(Manner::Refuse)
            }
            _ => None,
        };
        let remember = Some(Memory { first: memory.first.saturating_add(1), ..memory });
        Verdict { deny, retry_after: None, remember }
    }

    fn observe(_: Outcome, _: Memory) -> Option<Memory> {
        None
    }
}

impl sessions::Guest for Facts {
    fn ended(session: Summary, _: Memory) -> Option<Memory> {
        let Summary { upgrade, quit, duration, fetched, deleted, sent_bytes, .. } = session;
        let told = format!(
            "upgrade {upgrade} quit {quit} {duration}s fetched {fetched} deleted {deleted} sent {}",
            sent_bytes > 0
        );
        let _ = store::set(&ended_key(), told.as_bytes(), None);
        None
    }
}

fn ended_key() -> String {
    format!("ended:{}", claim::user_key())
}

fn known() -> String {
    let number = |number: Option<u32>| number.map_or("none".to_owned(), |number| number.to_string());
    let ended = store::get(&ended_key()).map(|told| String::from_utf8_lossy(&told).into_owned());
    format!(
        "{} messages, {} bytes, seen {}, unchanged {}, upgrade {}, open {}; last {}",
        number(maildrop::messages()),
        number(maildrop::total_bytes()),
        number(maildrop::seconds_since_seen()),
        number(maildrop::seconds_unchanged()),
        number(maildrop::seconds_since_upgrade()),
        maildrop::open_sessions(),
        ended.as_deref().unwrap_or("none"),
    )
}

bindings::export!(Facts with_types_in bindings);
