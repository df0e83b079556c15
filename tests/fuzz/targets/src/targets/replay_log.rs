//! Logs of mail servers, line by line. The first bytes choose the format, the time zone and the year.
//!
//! Every line is parsed, each time to the same result. A login has a user name that a mail server could
//! accept, at least one repetition, and a date; no text of it is longer than a log may make it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reprieve_replay::delivery::{parse_line, parse_message};
use reprieve_replay::fuzzing::{Calendar, Entry, FirstYear, ParsedLine, Reader, delivered_ms, formats};

use crate::input::Input;

/// The longest text that is kept of a login, in bytes.
const LONGEST: usize = 512;

/// See the head of this file.
pub fn replay_log(data: &[u8]) {
    let mut input = Input::new(data);
    let formats: Vec<_> = formats().collect();
    let format = input.choice(&formats);
    let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][input.below(4)];
    let zone = TimeZone::get(zone).expect("a time zone");
    let year = match input.byte() {
        0 => FirstYear::Is(2026),
        1 => FirstYear::Is(9999),
        2 => FirstYear::Is(-9999),
        3 => FirstYear::LeapNotAfter(1_795_817_243_123),
        choice => FirstYear::NotAfter(u64::from(choice) << 33),
    };
    let mut reader = Reader::new(format);
    let mut other = Reader::new(format);
    let (mut calendar, mut other_calendar) =
        (Calendar::new(zone.clone(), year), Calendar::new(zone.clone(), year));
    let mut deliveries = Calendar::new(zone, year);
    for line in input.rest().split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let parsed = reader.parse(&line, &mut calendar);
        if let ParsedLine::Logins(logins) = &parsed {
            assert!(!logins.is_empty());
            logins.iter().for_each(check);
        }
        let again = other.parse(&line, &mut other_calendar);
        assert_eq!(format!("{again:?}"), format!("{parsed:?}"));
        delivery(&line, &mut deliveries);
    }
}

fn is_user_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.contains('\0')
}

fn check(login: &Entry) {
    assert!(is_user_name(&login.user), "{:?}", login.user);
    assert!(login.times > 0);
    let ms = i64::try_from(login.at_ms).expect("a time");
    assert!(Timestamp::from_millisecond(ms).is_ok(), "{ms}");
    let recorded = login.recorded.as_deref();
    let texts = [
        login.authorization_id.as_deref(),
        login.tls.as_ref().map(|tls| &*tls.version),
        login.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
        recorded.map(|recorded| &*recorded.id),
        recorded.map(|recorded| &*recorded.virtual_server),
        recorded.and_then(|recorded| recorded.node.as_deref()),
        recorded.and_then(|recorded| recorded.policy.as_ref()).map(|policy| &*policy.component),
    ];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= LONGEST), "{login:?}");
}

fn delivery(line: &str, calendar: &mut Calendar) {
    let (program, message) = line.split_once(' ').unwrap_or((line, ""));
    for delivery in [parse_line(line), parse_message(program, message)].into_iter().flatten().flatten() {
        assert!(!delivery.users.is_empty());
        assert!(delivery.users.iter().all(|user| is_user_name(user)), "{:?}", delivery.users);
        let resolved = delivered_ms(&delivery, calendar);
        if let Some(at_ms) = delivery.at_ms() {
            assert_eq!(resolved, Some(at_ms), "a complete date needs no calendar");
        }
    }
}
