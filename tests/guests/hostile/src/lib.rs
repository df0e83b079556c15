//! Misbehaves at the call that the setting `at` names (`configure`, `decide` or `observe`), in
//! the way that `how` names. Otherwise it passes everybody, or denies with the manner of the
//! setting `deny`.

use std::cell::RefCell;
use std::hint::black_box;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "policy" });
}

use bindings::reprieve::policy::types::{Deny, Login, Manner, Outcome, Pass, Verdict};
use bindings::reprieve::policy::{log, store};

#[derive(Default)]
struct Settings {
    at: String,
    how: String,
}

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Hostile;

impl bindings::Guest for Hostile {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in settings {
            SETTINGS.with_borrow_mut(|own| match key.as_str() {
                "at" => own.at = value,
                "how" => own.how = value,
                _ => {}
            });
        }
        misbehave("configure").map(drop)
    }

    fn decide(_: Login) -> Verdict {
        misbehave("decide").ok().flatten().unwrap_or_else(|| pass(None, None))
    }

    fn observe(_: Outcome) {
        let _ = misbehave("observe");
    }
}

fn misbehave(call: &str) -> Result<Option<Verdict>, String> {
    let how = SETTINGS.with_borrow(|settings| (settings.at == call).then(|| settings.how.clone()));
    Ok(Some(match how.as_deref() {
        None => return Ok(None),
        Some("refuse-settings") => return Err("the setting `at` is not to my liking".to_owned()),
        Some("trap") => panic!("as I was told"),
        Some("spin") => loop {
            black_box(0);
        },
        Some("memory") => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        Some("recurse") => {
            black_box(recurse(black_box(1)));
            return Ok(None);
        }
        Some("sleep") => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            return Ok(None);
        }
        Some("long-note") => pass(None, Some("x".repeat(100_000))),
        Some("giant-note") => pass(None, Some("x".repeat(8 << 20))),
        Some("random-note") => {
            // The seed of a new hasher is the only randomness that the standard library shows.
            let hasher = std::hash::BuildHasher::build_hasher(&std::hash::RandomState::new());
            pass(None, Some(std::hash::Hasher::finish(&hasher).to_string()))
        }
        Some("unknown-pool") => pass(Some("nowhere".to_owned()), None),
        Some("smuggling-user") => Verdict::Pass(Pass {
            pool: None,
            user: Some("alice\r\nDELE 1".to_owned()),
            note: None,
            delay_ms: 0,
        }),
        Some("forged-reason") => Verdict::Deny(Deny {
            manner: Manner::Refuse,
            code: None,
            retry_after: None,
            reason: "x\nuser=\"root\"".to_owned(),
            delay_ms: 0,
        }),
        Some("fill-store") => {
            let mut index = 0_u64;
            while store::set(&index.to_string(), &[0; 60_000], None).is_ok() {
                index += 1;
            }
            return Ok(None);
        }
        Some("reroute-once-then-deny") => match store::increment("logins", 1, None) {
            Ok(1) => Verdict::Pass(Pass {
                pool: None,
                user: Some("alice@home".to_owned()),
                note: None,
                delay_ms: 0,
            }),
            _ => Verdict::Deny(Deny {
                manner: Manner::Unchanged,
                code: None,
                retry_after: None,
                reason: "later".to_owned(),
                delay_ms: 0,
            }),
        },
        Some("flood-log") => {
            for _ in 0..100_000 {
                log::line(log::Level::Error, "forged\r\nline \u{1b}[2J");
            }
            return Ok(None);
        }
        Some(other) => return Err(format!("I do not know how to {other}")),
    }))
}

fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { black_box(recurse(black_box(depth + 1))) + 1 }
}

fn pass(pool: Option<String>, note: Option<String>) -> Verdict {
    Verdict::Pass(Pass { pool, user: None, note, delay_ms: 0 })
}

bindings::export!(Hostile with_types_in bindings);
