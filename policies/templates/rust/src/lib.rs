//! A policy for Reprieve: a user's login passes if the last one that the mail server accepted
//! is at least `pause` seconds ago.

use std::cell::Cell;

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "policy" });
}

use bindings::reprieve::policy::store;
use bindings::reprieve::policy::types::{Deny, Ending, Login, Manner, Outcome, Pass, Verdict};

/// Seconds, where the settings name none.
const DEFAULT_PAUSE: u32 = 300;

thread_local! {
    // The one thing to keep in memory: each instance is given the same settings at its start.
    // What the policy learns belongs in the store.
    static PAUSE: Cell<u32> = const { Cell::new(DEFAULT_PAUSE) };
}

struct Policy;

impl bindings::Guest for Policy {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        PAUSE.set(read_pause(&settings)?);
        Ok(())
    }

    fn decide(login: Login) -> Verdict {
        if PAUSE.get() > 0 && store::get(&key(&login.claim.user)).is_some() {
            return Verdict::Deny(Deny {
                manner: Manner::Unchanged,
                code: None,
                retry_after: None,
                reason: "too-soon".to_owned(),
                delay_ms: 0,
            });
        }
        Verdict::Pass(Pass {
            pool: None,
            user: None,
            note: None,
            delay_ms: 0,
        })
    }

    fn observe(outcome: Outcome) {
        let pause = PAUSE.get();
        if pause > 0 && outcome.ending == Ending::Authenticated {
            // The store forgets by itself. Where it is full, or the name is too long for a
            // key, nothing is written and the user passes.
            let _ = store::set(&key(&outcome.claim.user), b"1", Some(pause));
        }
    }
}

/// Two names that most mail servers take for one share a key.
fn key(user: &str) -> String {
    format!("user:{}", user.to_ascii_lowercase())
}

fn read_pause(settings: &[(String, String)]) -> Result<u32, String> {
    let mut pause = DEFAULT_PAUSE;
    for (key, value) in settings {
        if key != "pause" {
            return Err(format!("unknown setting `{key}`; known is pause"));
        }
        pause = Some(value)
            .filter(|value| value.bytes().all(|octet| octet.is_ascii_digit()))
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| {
                format!("`pause` is \"{value}\"; it is a number of whole seconds, such as 300, up to {}", u32::MAX)
            })?;
    }
    Ok(pause)
}

bindings::export!(Policy with_types_in bindings);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<u32, String> {
        read_pause(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_pause_is_five_minutes_unless_it_is_set() {
        assert_eq!(read_pause(&[]), Ok(300));
        assert_eq!(read("pause", "60"), Ok(60));
        assert_eq!(read("pause", "0"), Ok(0));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for value in ["", "5m", "-1", "+1", "1.5", "4294967296"] {
            let error = read("pause", value).unwrap_err();
            assert!(error.contains("whole seconds"), "{error}");
        }
        assert!(read("puase", "60").unwrap_err().contains("`puase`"));
    }
}
