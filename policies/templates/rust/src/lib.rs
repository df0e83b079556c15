//! A pause after each login: a user passes if their last login that the mail server accepted was at
//! least `pause` seconds ago.

use std::cell::Cell;

wit_bindgen::generate!({ path: "wit", world: "policy" });

use reprieve::policy::store;
use reprieve::policy::types::{Claim, Deny, Ending, Manner, Pass};

thread_local! {
    static PAUSE: Cell<u32> = const { Cell::new(300) };
}

struct Policy;

impl Guest for Policy {
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

    fn decide(login: Login) -> Verdict {
        // The store forgets the user after `pause` seconds.
        if PAUSE.get() == 0 || store::get(&key(&login.claim)).is_none() {
            return Verdict::Pass(Pass { pool: None, user: None, note: None, delay_ms: 0 });
        }
        Verdict::Deny(Deny {
            manner: Manner::Unchanged,
            code: None,
            retry_after: None,
            reason: "too-soon".to_owned(),
            delay_ms: 0,
        })
    }

    fn observe(outcome: Outcome) {
        if outcome.ending == Ending::Authenticated && PAUSE.get() > 0 {
            // If the name is too long or the store is full, the user passes.
            let _ = store::set(&key(&outcome.claim), b"1", Some(PAUSE.get()));
        }
    }
}

/// The store's key, one per maildrop: a master user has one for each maildrop that they open.
fn key(claim: &Claim) -> String {
    match &claim.authorization_id {
        // User names contain no NUL.
        Some(acting) => format!("user:{}\0{acting}", claim.user),
        None => format!("user:{}", claim.user),
    }
}

export!(Policy);
