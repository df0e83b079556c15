//! The rules of the article of 2006 on relieving POP3 servers, to the letter: for comparison, not
//! for use. The README says why.
//!
//! A user passes if more than 600 seconds have passed since the policy last let them through, if
//! the weekday has changed since anybody was last let through, or if they are not remembered.
//! Their timer then starts at once, before the mail server has judged the login. If the memory of
//! users exceeds 102,400 bytes, all of them are forgotten.

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy" });
}

use bindings::reprieve::policy::store;
use bindings::reprieve::policy::types::{Claim, Deny, Login, Manner, Outcome, Pass, Verdict};

const WINDOW_S: u64 = 600;
const MEMORY_LIMIT: u64 = 102_400;
/// User names contain no line feed.
const WEEKDAY_KEY: &str = "\nweekday";

struct Article;

impl bindings::Guest for Article {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        match settings.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!(
                "unknown setting `{key}`; the article has none: it is fixed at ten minutes, 100 KB, weekdays"
            )),
        }
    }

    fn decide(login: Login) -> Verdict {
        let key = key(login.claim);
        let today = [login.time.weekday as u8];
        if store::get(WEEKDAY_KEY).as_deref() != Some(&today[..]) || store::usage() > MEMORY_LIMIT {
            store::clear();
            let _ = store::set(WEEKDAY_KEY, &today, None);
        }
        let now_s = login.time.unix_ms / 1000;
        let last_s =
            store::get(&key).and_then(|stamp| <[u8; 8]>::try_from(stamp).ok()).map(u64::from_le_bytes);
        // As in the article, after the clock was set back users wait until it has caught up.
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

/// One key per maildrop: a master user has one for each maildrop that they open. (The article does
/// not mention master users.)
fn key(claim: Claim) -> String {
    match claim.authorization_id {
        // User names contain no NUL.
        Some(acting) => format!("{}\0{acting}", claim.user),
        None => claim.user,
    }
}

bindings::export!(Article with_types_in bindings);
