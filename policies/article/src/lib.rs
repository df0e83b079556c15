//! The rules of the article of 2006 on relieving POP3 servers, to the letter: for comparison, not
//! for use. The README says why.
//!
//! A user passes if more than 600 seconds have passed since the policy last let them through, if
//! the weekday has changed since anybody was last let through, or if they are not remembered.
//! Their timer then starts at once, before the mail server has judged the login. If the memory of
//! users exceeds 102,400 bytes, all of them are forgotten.

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/v0.2", world: "policy" });
}

use bindings::exports::reprieve::policy::handler;
use bindings::reprieve::policy::store;
use bindings::reprieve::policy::types::{Login, Manner, Memory, Outcome, Verdict};

const WINDOW_S: u32 = 600;
const MEMORY_LIMIT: u32 = 102_400;
const WEEKDAY_KEY: &str = "weekday";

struct Article;

impl handler::Guest for Article {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        match settings.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!(
                "unknown setting `{key}`; the article has none: it is fixed at ten minutes, 100 KB, weekdays"
            )),
        }
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        let today = login.time.weekday as i32;
        let forgets = store::get_number(WEEKDAY_KEY) != Some(today) || store::usage() > MEMORY_LIMIT;
        if forgets {
            store::clear();
            let _ = store::set_number(WEEKDAY_KEY, today, None);
        }
        let now = login.time.unix;
        // The first number is when the policy last let the user through; 0 if it has not.
        // As in the article, after the clock was set back users wait until it has caught up.
        let passes = forgets || memory.first == 0 || now.saturating_sub(memory.first) > WINDOW_S;
        if passes {
            let remember = Memory { first: now, second: 0, third: 0, fourth: 0 };
            return Verdict { deny: None, retry_after: None, remember: Some(remember) };
        }
        let retry_after = memory.first.saturating_add(WINDOW_S + 1).saturating_sub(now);
        Verdict { deny: Some(Manner::Empty), retry_after: Some(retry_after), remember: None }
    }

    fn observe(_: Outcome, _: Memory) -> Option<Memory> {
        None
    }
}

// A native library, which tests link, cannot export these names.
#[cfg(target_arch = "wasm32")]
bindings::export!(Article with_types_in bindings);
