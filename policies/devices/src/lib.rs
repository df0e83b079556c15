//! A user may log in from a number of addresses per hour; logins from further addresses are denied.
//! The README describes the settings.

mod addresses;
mod settings;

use std::cell::OnceCell;

use addresses::Addresses;
use settings::Settings;

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/v0.2", world: "policy-with-settings" });
}

use bindings::exports::reprieve::policy::settings::Setting;
use bindings::exports::reprieve::policy::{handler, settings as described};
use bindings::reprieve::policy::types::{Ending, Login, Manner, Memory, Outcome, Standing, Verdict};
use bindings::reprieve::policy::{answer, claim, client, store};

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Devices;

impl handler::Guest for Devices {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        let parsed = Settings::parse(&settings)?;
        SETTINGS.with(|cell| cell.set(parsed)).map_err(|_| "configured twice".to_owned())
    }

    fn decide(login: Login, _: Memory) -> Verdict {
        SETTINGS.with(|cell| cell.get().and_then(|settings| deny(settings, &login))).unwrap_or(Verdict {
            deny: None,
            retry_after: None,
            remember: None,
        })
    }

    fn observe(outcome: Outcome, _: Memory) -> Option<Memory> {
        // Another person's attempts, with wrong passwords, must not use up the user's addresses.
        if outcome.ending == Ending::Authenticated {
            SETTINGS.with(|cell| cell.get().map(|settings| remember(settings, outcome.time.unix)));
        }
        None
    }
}

impl described::Guest for Devices {
    fn describe() -> Vec<Setting> {
        settings::describe()
    }
}

/// The denial, if the user's logins have come from as many other addresses as they may.
fn deny(settings: &Settings, login: &Login) -> Option<Verdict> {
    // The host carries these out whatever the standing. If the password is wrong or new, let the mail
    // server answer.
    let is_refusal = matches!(settings.manner, Manner::Refuse | Manner::Disconnect);
    if is_refusal && login.standing != Standing::Known {
        return None;
    }
    let now = login.time.unix;
    let addresses = Addresses::parse(&store::get(&key())?, now, settings.window_s);
    let wait_s = addresses.wait_s(&address(settings), settings.limit, now, settings.window_s)?;
    answer::reason("too-many-addresses");
    answer::code(answer::ResponseCode::InUse);
    // The limit holds for new mail, too.
    answer::despite_new_mail();
    Some(Verdict { deny: Some(settings.manner), retry_after: Some(wait_s), remember: None })
}

/// Gives the client's address a slot, or keeps the one that it has.
fn remember(settings: &Settings, now: u32) {
    let key = key();
    let stored = store::get(&key).unwrap_or_default();
    let mut addresses = Addresses::parse(&stored, now, settings.window_s);
    if addresses.seen(&address(settings), settings.limit, now) {
        // If the user's name is too long for a key, they have no limit.
        let _ = store::set(&key, &addresses.print(), Some(settings.window_s));
    }
}

fn key() -> String {
    // Keys of the store must not begin with a tilde, as a user name can.
    format!("addresses:{}", claim::user_key())
}

/// A client with IPv6 has a whole network of addresses, and changes them.
fn address(settings: &Settings) -> String {
    client::peer_network(32, settings.ipv6_prefix)
}

// A native library, which tests link, cannot export these names.
#[cfg(target_arch = "wasm32")]
bindings::export!(Devices with_types_in bindings);
