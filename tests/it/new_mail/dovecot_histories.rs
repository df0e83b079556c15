//! The same with a real Dovecot, to which mail is delivered by LMTP, and with real mail programs: each
//! message arrives at the first login that starts after its signal was answered, and once.
//!
//! `tests/new-mail-histories` runs what takes long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::history::dovecot::{DovecotSystem, Source};
use super::history::sessions::Sessions;
use super::history::{History, Pace, Scale, SiteSettings, quantiles};
use crate::support::redis::{Make, Redis};
use crate::support::until;

/// A poll of a real program takes about 0.2 seconds of CPU time.
fn pace(scale: Scale) -> Pace {
    Pace { poll: Duration::from_millis(750) * scale.users as u32, delivery: Duration::from_millis(500) }
}

/// How long after a delivery each proxy that serves has read about it in the log, also after it was started
/// again. A follower that could not write a signal pauses for up to five seconds before it tries again, and
/// each program of a busy machine takes its time.
const LOG_LAG: Duration = Duration::from_secs(15);

type Disturb = fn(&History, usize);

/// Who gets the signals of the script in Dovecot.
enum Signals {
    /// The proxies, in turn.
    Accepted,
    /// Nobody: each message must be shown after this time.
    Lost(Duration),
}

fn one_proxy(system: &DovecotSystem) -> SiteSettings {
    SiteSettings { clients_stay: true, ..SiteSettings::in_front_of(system.dovecot.address()) }
}

fn two_proxies(system: &DovecotSystem, store: Redis) -> SiteSettings {
    SiteSettings { proxies: 2, store: Some(store), ..one_proxy(system) }
}

/// Runs a history with signals by the script in Dovecot.
fn by_script(
    seed: u64,
    scale: Scale,
    settings: impl FnOnce(&DovecotSystem) -> SiteSettings,
    signals: &Signals,
    disturb: Disturb,
) -> Sessions {
    let system = DovecotSystem::start(Source::Script, scale);
    let history = History::new(settings(&system), scale, pace(scale));
    let bound = match signals {
        Signals::Accepted => {
            system.signal_to(&history);
            None
        }
        Signals::Lost(bound) => {
            system.signal_to_nobody();
            Some(*bound)
        }
    };
    let deliver = |history: &History, user, number| system.deliver(history, user, number);
    let programs = history.run(seed, DovecotSystem::programs(scale), deliver, disturb);
    history.report();
    history.finish(programs);
    let lost = system.except_lost_signals(&history, bound);
    println!("{lost} of {} signals were not accepted", scale.deliveries);
    history.checker.check();
    assert_eq!(lost == scale.deliveries, bound.is_some(), "{lost} signals were not accepted");
    system.sessions(&history)
}

/// Runs a history with the log as source, which each proxy follows. None: without accidents.
fn by_log(
    seed: u64,
    scale: Scale,
    settings: impl FnOnce(&DovecotSystem) -> SiteSettings,
    disturb: Option<Disturb>,
) -> Sessions {
    let system = DovecotSystem::start(Source::Log, scale);
    let settings = SiteSettings { new_mail: system.log_table(), ..settings(&system) };
    let history = History::new(settings, scale, pace(scale));
    // How many deliveries a proxy had read at which time.
    let read = Mutex::new(Vec::new());
    let look = || {
        let signals = |proxy| history.proxies.metric(proxy, "reprieve_new_mail_signals", "source=\"log\"");
        let most = (0..history.proxies.count()).filter_map(signals).fold(0.0, f64::max) as usize;
        read.lock().push((Instant::now(), most));
        most
    };
    let is_over = AtomicBool::new(false);
    let programs = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                look();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let deliver = |history: &History, user, number| system.deliver(history, user, number);
        let accidents = disturb.unwrap_or(|_, _| {});
        let programs = history.run(seed, DovecotSystem::programs(scale), deliver, accidents);
        is_over.store(true, Ordering::Relaxed);
        programs
    });
    if disturb.is_none() {
        until("all deliveries have been read", || look() >= scale.deliveries);
    }
    history.report();
    history.finish(programs);
    if disturb.is_none() {
        let lags = system.set_read(&history, &read.lock());
        println!("from a delivery until it has been read in the log: {}", quantiles(&lags));
    } else {
        history.checker.set_due(|_, delivered| Some(delivered + LOG_LAG));
    }
    history.checker.check();
    system.sessions(&history)
}

/// Without accidents: at most 2 % of the polls are vain. Beside other tests a login takes seconds, and a
/// message that comes meanwhile is fetched before its signal, which then lets another login pass.
#[track_caller]
fn check_vain(sessions: &Sessions) {
    let most = if std::env::var_os("DELIVERIES").is_some() { 0.02 } else { 0.2 };
    assert!(sessions.vain as f64 <= 2.0 + sessions.polls as f64 * most, "{sessions:?}");
}

fn valkey() -> Redis {
    Redis::start(Make::Valkey)
}

/// Kills a proxy, and starts it again: the first and the second in turn.
fn kill_a_proxy(history: &History, number: usize) {
    match number % 40 {
        10 => history.proxies.kill(number / 40 % 2),
        25 => history.proxies.start_again(number / 40 % 2),
        _ => {}
    }
}

fn kill_the_store(history: &History, number: usize) {
    match number % 40 {
        10 => history.proxies.kill_store(),
        20 => history.proxies.resume_store(),
        _ => {}
    }
}

fn take_over(history: &History, number: usize) {
    if number % 40 == 15 {
        history.proxies.take_over(number / 40 % history.proxies.count());
    }
}

/// Without persistence, and with it.
const PERSISTENCE: [&[&str]; 2] = [&["--save", ""], &["--appendonly", "yes", "--appendfsync", "everysec"]];

#[test]
fn each_message_that_dovecot_signals_arrives_at_the_next_login() {
    let scale = Scale::usually(8, 30);
    check_vain(&by_script(11, scale, one_proxy, &Signals::Accepted, |_, _| {}));
}

#[test]
fn each_message_that_dovecot_logs_arrives_once_it_has_been_read() {
    check_vain(&by_log(21, Scale::usually(5, 12), one_proxy, None));
}

/// While signals should come and none does, a user waits `longest-interval` at most.
#[test]
fn mail_without_a_signal_arrives_within_the_longest_interval() {
    let policy = "interval = \"2s\", longest-interval = \"6s\", reset = \"never\"";
    let settings = |system: &DovecotSystem| SiteSettings { policy, ..one_proxy(system) };
    // The policy's clock has seconds.
    let bound = Duration::from_secs(7);
    by_script(31, Scale::usually(5, 12), settings, &Signals::Lost(bound), |_, _| {});
}

/// The source is not called complete, so that a user without a signal waits `interval`.
#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn mail_without_a_signal_arrives_within_the_interval() {
    let settings = |system: &DovecotSystem| SiteSettings {
        policy: "interval = \"2s\", longest-interval = \"1h\", reset = \"never\"",
        new_mail: "[pool.mail.new-mail]\nnotifications = { complete = false }\n".to_owned(),
        ..one_proxy(system)
    };
    let bound = Duration::from_secs(3);
    by_script(32, Scale::usually(8, 40), settings, &Signals::Lost(bound), |_, _| {});
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn dovecot_signals_to_two_proxies_with_a_store() {
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    check_vain(&by_script(12, Scale::usually(8, 60), settings, &Signals::Accepted, |_, _| {}));
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn dovecot_signals_while_a_proxy_is_killed() {
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    by_script(13, Scale::usually(8, 80), settings, &Signals::Accepted, kill_a_proxy);
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn dovecot_signals_while_the_store_is_killed() {
    for persistence in PERSISTENCE {
        let settings = |system: &DovecotSystem| two_proxies(system, Redis::with(Make::Valkey, persistence));
        by_script(14, Scale::usually(8, 80), settings, &Signals::Accepted, kill_the_store);
    }
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn dovecot_signals_during_a_takeover() {
    by_script(15, Scale::usually(8, 80), one_proxy, &Signals::Accepted, take_over);
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    by_script(16, Scale::usually(8, 80), settings, &Signals::Accepted, take_over);
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn two_proxies_with_a_store_follow_dovecots_log() {
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    check_vain(&by_log(22, Scale::usually(8, 60), settings, None));
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn the_log_is_followed_while_a_proxy_is_killed() {
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    by_log(23, Scale::usually(8, 80), settings, Some(kill_a_proxy));
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn the_log_is_followed_while_the_store_is_killed() {
    for persistence in PERSISTENCE {
        let settings = |system: &DovecotSystem| two_proxies(system, Redis::with(Make::Valkey, persistence));
        by_log(24, Scale::usually(8, 80), settings, Some(kill_the_store));
    }
}

#[test]
#[ignore = "takes long: tests/new-mail-histories"]
fn the_log_is_followed_during_a_takeover() {
    by_log(25, Scale::usually(8, 80), one_proxy, Some(take_over));
    let settings = |system: &DovecotSystem| two_proxies(system, valkey());
    by_log(26, Scale::usually(8, 80), settings, Some(take_over));
}
