//! The rules of the article of 2006 on relieving POP3 servers, to the letter in what they
//! decide: for comparison, and not for use. The README tells why.
//!
//! A user passes if more than 600 seconds have passed since the policy last let them through, if
//! the weekday has changed since anybody was last let through, or if they are not remembered; then
//! their timer starts at once, whoever they are and whatever the mail server will say. When what is
//! remembered takes more than 102,400 bytes everything is forgotten.

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy" });
}

use bindings::reprieve::policy::store;
use bindings::reprieve::policy::types::{Claim, Deny, Login, Manner, Outcome, Pass, Verdict};

const WINDOW_S: u64 = 600;
const MEMORY: u64 = 102_400;
/// No user name has a line feed in it.
const WEEKDAY: &str = "\nweekday";

struct Article;

impl bindings::Guest for Article {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        match settings.first() {
            None => Ok(()),
            Some((key, _)) => {
                Err(format!("unknown setting `{key}`; the article has none: ten minutes, 100 KB, weekdays"))
            }
        }
    }

    fn decide(login: Login) -> Verdict {
        let key = key(login.claim);
        let today = [login.time.weekday as u8];
        if store::get(WEEKDAY).as_deref() != Some(&today[..]) || store::usage() > MEMORY {
            store::clear();
            let _ = store::set(WEEKDAY, &today, None);
        }
        let now_s = login.time.unix_ms / 1000;
        let last_s =
            store::get(&key).and_then(|stamp| <[u8; 8]>::try_from(stamp).ok()).map(u64::from_le_bytes);
        // The article subtracts: if the clock was set back, users wait until it has caught up.
        let passes =
            last_s.is_none_or(|last_s| now_s.checked_sub(last_s).is_some_and(|waited| waited > WINDOW_S));
        if passes {
            let _ = store::set(&key, &now_s.to_le_bytes(), None);
            return Verdict::Pass(Pass { pool: None, user: None, note: None, delay_ms: 0 });
        }
        Verdict::Deny(Deny {
            manner: Manner::Empty,
            code: None,
            retry_after: None,
            reason: "too-soon".to_owned(),
            delay_ms: 0,
        })
    }

    fn observe(_: Outcome) {}
}

/// The article knows plain user names. A master user is another user for each maildrop that they act
/// for, as everywhere in Reprieve.
fn key(claim: Claim) -> String {
    match claim.authorization_id {
        // No name has a NUL in it.
        Some(acting) => format!("{}\0{acting}", claim.user),
        None => claim.user,
    }
}

bindings::export!(Article with_types_in bindings);
