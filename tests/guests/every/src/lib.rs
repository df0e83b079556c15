//! Uses everything of the contract: logs each fact of a login, an outcome and a session, uses each
//! function of the store, and adds to its verdict what its settings say.

use std::cell::RefCell;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/v0.2", world: "policy-with-all" });
}

use bindings::exports::reprieve::policy::settings::Setting;
use bindings::exports::reprieve::policy::{handler, sessions, settings};
use bindings::reprieve::policy::answer::ResponseCode;
use bindings::reprieve::policy::types::{Login, Manner, Memory, Outcome, Verdict};
use bindings::reprieve::policy::{
    answer, claim, client, log, lookup, maildrop, outcome_details, pools, session, store,
};

const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];
const CODES: [(&str, ResponseCode); 5] = [
    ("login-delay", ResponseCode::LoginDelay),
    ("in-use", ResponseCode::InUse),
    ("sys-temp", ResponseCode::SysTemp),
    ("sys-perm", ResponseCode::SysPerm),
    ("auth", ResponseCode::Auth),
];
/// Names and types of the settings.
const SETTINGS: [(&str, &str); 11] = [
    ("manner", "unchanged|empty|busy|refuse|disconnect"),
    ("retry-after", "number"),
    ("reason", "text"),
    ("code", "login-delay|in-use|sys-temp|sys-perm|auth"),
    ("text", "text"),
    ("otherwise", "unchanged|empty|busy|refuse|disconnect"),
    ("despite-new-mail", "boolean"),
    ("pool", "text"),
    ("user", "text"),
    ("note", "text"),
    ("delay-ms", "number"),
];

thread_local! {
    static GIVEN: RefCell<Vec<(String, String)>> = RefCell::default();
}

struct Every;

impl settings::Guest for Every {
    fn describe() -> Vec<Setting> {
        let described = SETTINGS.iter().map(|(name, kind)| Setting {
            name: (*name).to_owned(),
            type_: (*kind).to_owned(),
            default: None,
            doc: format!("What the verdict has as {name}."),
        });
        described.map(|setting| Setting { default: Some(String::new()), ..setting }).collect()
    }
}

impl handler::Guest for Every {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        GIVEN.set(settings);
        Ok(())
    }

    fn decide(login: Login, memory: Memory) -> Verdict {
        say(&format!("{login:?} {memory:?}"));
        say_facts();
        use_store();
        answer_as_given();
        let remember =
            Memory { first: memory.first + 1, second: login.time.unix, third: u32::MAX, fourth: 4 };
        Verdict {
            deny: given("manner").and_then(|word| named(&MANNERS, &word)),
            retry_after: number("retry-after"),
            remember: Some(remember),
        }
    }

    fn observe(outcome: Outcome, memory: Memory) -> Option<Memory> {
        say(&format!("{outcome:?} {memory:?}"));
        say(&format!(
            "outcome-details {:?} {:?} {:?} {:?}, {}",
            outcome_details::cause(),
            outcome_details::node(),
            outcome_details::response_code(),
            outcome_details::note(),
            claim::user_key(),
        ));
        Some(Memory { fourth: memory.fourth + 1, ..memory })
    }
}

impl sessions::Guest for Every {
    fn ended(session: sessions::Summary, memory: Memory) -> Option<Memory> {
        say(&format!("{session:?} {memory:?}"));
        Some(Memory { third: session.fetched, ..memory })
    }
}

fn say(text: &str) {
    log::line(log::Level::Info, text);
}

fn say_facts() {
    say(&format!(
        "claim {:?} {:?} {:?} {:?}",
        claim::user(),
        claim::user_key(),
        claim::authorization_id(),
        claim::mechanism_name()
    ));
    say(&format!(
        "client {} {} {} {} {} {:?} {:?} {:?}",
        client::peer(),
        client::peer_port(),
        client::peer_network(24, 64),
        client::local(),
        client::local_port(),
        client::tls_version(),
        client::server_name(),
        client::certificate_subject()
    ));
    say(&format!("session {} {} {}", session::virtual_server(), session::id(), session::earlier_logins()));
    say(&format!(
        "maildrop {:?} {:?} {:?} {:?} {:?} {}",
        maildrop::messages(),
        maildrop::total_bytes(),
        maildrop::seconds_since_seen(),
        maildrop::seconds_unchanged(),
        maildrop::seconds_since_upgrade(),
        maildrop::open_sessions()
    ));
    let pool = pools::default_pool();
    say(&format!(
        "pools {pool} {:?} {} {} {} {} {:?}",
        pools::names(),
        pools::nodes(&pool),
        pools::healthy_nodes(&pool),
        pools::sessions(&pool),
        pools::waiting(&pool),
        pools::login_latency_ms(&pool)
    ));
    for table in lookup::tables() {
        let key = claim::user();
        say(&format!("lookup {table} {:?} {}", lookup::get(&table, &key), lookup::contains(&table, &key)));
    }
}

fn use_store() {
    let too_long = "k".repeat(1025);
    say(&format!(
        "store writes {:?} {:?} {:?} {:?} {:?}",
        store::set("text", b"value", Some(60)),
        store::set_number("number", -7, None),
        store::increment("count", 2, Some(30)),
        store::increment("text", 1, None),
        store::set(&too_long, b"", None)
    ));
    let keys = ["text", "number", "missing"].map(str::to_owned);
    say(&format!(
        "store reads {:?} {:?} {:?} {:?} {:?} {:?}",
        store::get("text"),
        store::get_many(&keys),
        store::get_number("number"),
        store::get_number("count"),
        store::time_to_live("text"),
        store::time_to_live("number")
    ));
    let (used, quota) = (store::usage() > 0, store::quota());
    say(&format!("store {used} {quota} {} {}", store::delete("text"), store::delete("text")));
    if given("note").as_deref() == Some("clear") {
        store::clear();
    }
}

fn answer_as_given() {
    let text = |key: &str, answer: fn(&str)| {
        if let Some(value) = given(key) {
            answer(&value);
        }
    };
    text("reason", answer::reason);
    text("text", answer::text);
    text("pool", answer::pool);
    text("user", answer::user);
    text("note", answer::note);
    if let Some(code) = given("code").and_then(|word| named(&CODES, &word)) {
        answer::code(code);
    }
    if let Some(manner) = given("otherwise").and_then(|word| named(&MANNERS, &word)) {
        answer::otherwise(manner);
    }
    if given("despite-new-mail").as_deref() == Some("true") {
        answer::despite_new_mail();
    }
    if let Some(ms) = number("delay-ms") {
        answer::delay_ms(ms);
    }
}

/// The value of a setting.
fn given(key: &str) -> Option<String> {
    GIVEN.with_borrow(|given| given.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone()))
}

fn number(key: &str) -> Option<u32> {
    given(key).and_then(|value| value.parse().ok())
}

fn named<T: Copy>(all: &[(&str, T)], word: &str) -> Option<T> {
    all.iter().find(|(other, _)| *other == word).map(|(_, meaning)| *meaning)
}

bindings::export!(Every with_types_in bindings);
