//! A pause after each login: a user passes if their last login that the mail server accepted was at
//! least `pause` seconds ago.

use std::cell::Cell;

wit_bindgen::generate!({ path: "wit", world: "policy-with-settings" });

use exports::reprieve::policy::settings::Setting;
use exports::reprieve::policy::{handler, settings};
use reprieve::policy::types::{Ending, Login, Manner, Memory, Outcome, Verdict};

thread_local! {
    static PAUSE: Cell<u32> = const { Cell::new(300) };
}

struct Policy;

impl handler::Guest for Policy {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in settings {
            match key.as_str() {
                "pause" => {
                    let seconds = value
                        .parse()
                        .map_err(|_| format!("`pause` is \"{value}\"; it must be a whole number of seconds"))?;
                    PAUSE.set(seconds);
                }
                _ => return Err(format!("unknown setting `{key}`; known settings: pause")),
            }
        }
        Ok(())
    }

    /// `memory.first` is when the mail server accepted the user's last login; 0 if it is not known.
    fn decide(login: Login, memory: Memory) -> Verdict {
        let elapsed = login.time.unix.saturating_sub(memory.first);
        let left = PAUSE.get().saturating_sub(elapsed);
        // If the clock was set back, the user passes.
        if left == 0 || memory.first == 0 || memory.first > login.time.unix {
            return Verdict { deny: None, retry_after: None, remember: None };
        }
        Verdict { deny: Some(Manner::Unchanged), retry_after: Some(left), remember: None }
    }

    fn observe(outcome: Outcome, memory: Memory) -> Option<Memory> {
        let is_login = outcome.ending == Ending::Authenticated && PAUSE.get() > 0;
        is_login.then(|| Memory { first: outcome.time.unix, ..memory })
    }
}

impl settings::Guest for Policy {
    fn describe() -> Vec<Setting> {
        vec![Setting {
            name: "pause".to_owned(),
            type_: "number".to_owned(),
            default: Some("300".to_owned()),
            doc: "Seconds between two logins that reach the mail server; with 0 every login passes.".to_owned(),
        }]
    }
}

export!(Policy);
