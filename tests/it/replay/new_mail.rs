//! How long new mail would have waited, from the deliveries in the same log.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{json as report_of, replay, said, write};

/// Minutes of deliveries to alice, each at 30 seconds: her next poll is half a minute later, and the
/// policy lets her pass every ten minutes.
const DELIVERIES: [u32; 10] = [3, 9, 13, 19, 23, 29, 33, 39, 49, 50];

/// Two hours in which alice polls every minute. Postfix and Dovecot both log each delivery.
fn log(with_deliveries: bool) -> String {
    let mut log = String::new();
    for minute in 0..120 {
        let time = format!("Nov 26 {:02}:{:02}", minute / 60, minute % 60);
        writeln!(log, "{time}:05 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, session=<x>").unwrap();
        let mut deliver = |user: &str| {
            writeln!(log, "{time}:30 mx dovecot: lmtp({user})<812><CVN5B>: msgid=<{minute}@x>: saved mail to INBOX\n\
                 {time}:30 mx postfix/lmtp[812]: 6BEA81CDC0AB: to=<{user}@example.org>, relay=mx[private/dovecot-lmtp], delay=0.03, delays=0.02/0/0/0.01, dsn=2.0.0, status=sent (250 2.0.0 <{user}@example.org> CVN5B Saved)").unwrap();
        };
        if with_deliveries && DELIVERIES.contains(&minute) {
            deliver("alice");
        }
        if with_deliveries && minute == 60 {
            deliver("carol");
        }
    }
    log
}

fn waits(new_mail: &Value, which: &str) -> [f64; 3] {
    ["median_s", "p90_s", "worst_s"].map(|key| new_mail[which][key].as_f64().unwrap())
}

#[test]
fn relief_and_delay_are_shown_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let mail_log = write(folder.path(), "mail.log", &log(true));
    let page = folder.path().join("report.html");
    let common = ["--year", "2026", "--set", "interval=10m", "--report", page.to_str().unwrap()];
    let report = report_of(&[&[&*mail_log][..], &common, &["--against-set", "interval=5m"]].concat());
    let new_mail = &report["new_mail"];
    assert_eq!((&new_mail["deliveries"], &new_mail["unfetched"]), (&json!(11), &json!(1)));
    // At 9, 19, … the first poll passes; at 3, 13, … it is denied for six minutes; at 50 for nine.
    assert_eq!(waits(new_mail, "without_signals"), [0.0, 360.0, 540.0]);
    assert_eq!(new_mail["without_signals"]["delayed"], 5);
    assert_eq!(new_mail["without_signals"]["relieved"], report["totals"]["relieved"]);
    assert_eq!(waits(new_mail, "with_signals"), [0.0; 3]);
    let other = &report["comparison"]["new_mail"];
    assert_eq!(waits(other, "without_signals"), [0.0, 60.0, 240.0]);
    assert_eq!(waits(other, "with_signals"), [0.0; 3]);

    let table = said(&replay(&[&[&*mail_log][..], &common].concat()));
    for expected in [
        "delay of new mail               relief        median          90 %       longest",
        "without signals                 90.0 %           0 s     6 min 0 s     9 min 0 s",
        "with a signal per delivery",
        "11 deliveries, 1 of them not fetched: the user did not log in after it",
    ] {
        assert!(table.contains(expected), "{expected:?} is not in:\n{table}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<td>6 min 0 s</td><td>9 min 0 s</td>"), "{page}");

    // Deliveries may be in a log of their own, and are selected with their users.
    let (logins, deliveries) = (write(folder.path(), "logins", &log(false)), log(true));
    let deliveries = deliveries.lines().filter(|line| !line.contains("pop3-login"));
    let deliveries = write(folder.path(), "exim", &deliveries.collect::<Vec<_>>().join("\n"));
    let apart = report_of(&[&logins, &deliveries, "--year", "2026", "--user", "alice"]);
    assert_eq!((&apart["new_mail"]["deliveries"], &apart["new_mail"]["unfetched"]), (&json!(10), &json!(0)));
    assert_eq!(waits(&apart["new_mail"], "without_signals"), [0.0, 360.0, 540.0]);
    assert_eq!(apart["logs"]["problems"]["without_logins"], json!([]));
}

#[test]
fn without_deliveries_the_report_says_that_the_delay_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let mail_log = write(folder.path(), "mail.log", &log(false));
    assert_eq!(report_of(&[&mail_log, "--year", "2026"])["new_mail"], Value::Null);
    let table = said(&replay(&[&mail_log, "--year", "2026"]));
    assert!(
        table.contains("The logs have no deliveries, so the delay of new mail is unknown.")
            && !table.contains("signal"),
        "{table}"
    );
}
