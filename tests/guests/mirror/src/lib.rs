//! Logs all of its arguments and returns the verdict in its settings: a denial with `manner`; a denial
//! of challenge-response logins if `digests = "denied"`; otherwise a pass with `note`, to `pool`, as
//! `user`. Every verdict has `delay-ms`.

use std::cell::RefCell;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "policy" });
}

use bindings::reprieve::policy::log;
use bindings::reprieve::policy::types::{Deny, Login, Manner, Mechanism, Outcome, Pass, Verdict};

#[derive(Default)]
struct Settings {
    manner: Option<Manner>,
    note: Option<String>,
    pool: Option<String>,
    user: Option<String>,
    delay_ms: u32,
    denies_digests: bool,
}

thread_local! {
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Mirror;

impl bindings::Guest for Mirror {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in settings {
            SETTINGS.with_borrow_mut(|own| {
                match key.as_str() {
                    "note" => own.note = Some(value),
                    "pool" => own.pool = Some(value),
                    "user" => own.user = Some(value),
                    "digests" => own.denies_digests = value == "denied",
                    "delay-ms" => own.delay_ms = value.parse().map_err(|_| "`delay-ms` is not a number")?,
                    "manner" => {
                        own.manner = Some(match value.as_str() {
                            "unchanged" => Manner::Unchanged,
                            "empty" => Manner::Empty,
                            "busy" => Manner::Busy,
                            "refuse" => Manner::Refuse,
                            "disconnect" => Manner::Disconnect,
                            _ => return Err("`manner` is unknown"),
                        });
                    }
                    _ => return Err("known settings: manner, digests, note, pool, user, delay-ms"),
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn decide(login: Login) -> Verdict {
        log::line(log::Level::Debug, &format!("{login:?}"));
        let mechanism = &login.claim.mechanism;
        let is_digest = matches!(mechanism, Mechanism::Apop | Mechanism::CramMd5 | Mechanism::ScramSha256);
        let digest = |own: &Settings| (own.denies_digests && is_digest).then_some(Manner::Unchanged);
        SETTINGS.with_borrow(|own| match own.manner.or_else(|| digest(own)) {
            Some(manner) => Verdict::Deny(Deny {
                manner,
                code: None,
                retry_after: None,
                reason: "as-set".to_owned(),
                delay_ms: own.delay_ms,
            }),
            None => {
                let (pool, user, note) = (own.pool.clone(), own.user.clone(), own.note.clone());
                Verdict::Pass(Pass { pool, user, note, delay_ms: own.delay_ms })
            }
        })
    }

    fn observe(outcome: Outcome) {
        log::line(log::Level::Info, &format!("{outcome:?}"));
    }
}

bindings::export!(Mirror with_types_in bindings);
