//! User names in the log: hashed, or escaped.

use super::{Log, text_of};
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::Setup;

#[test]
fn hashed_names_are_stable_across_restarts_and_proxies() {
    let (mail, key) = (mail_server(1), tempfile::NamedTempFile::new().unwrap());
    crate::support::write_secret(key.path(), "PNMmnYO2pgJhVPDRpcfJfuGmkoDq\nwhat follows does not count\n");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let log = Log::new();
        let more = format!(", users = \"hashed\", hash-key-file = {:?}", key.path());
        let reprieve = Setup { top: &log.section(&more), ..Setup::default() }.in_front_of(&[mail.address()]);
        Dialogue::log_in(&reprieve.account("alice")).quit();
        let line = log.lines(1).remove(0);
        assert!(!line.to_string().contains("alice"), "{line}");
        seen.push(line["logins"][0]["user_hash"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() == 32 && seen[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{seen:?}");
}

#[test]
fn line_breaks_and_direction_marks_in_names_are_escaped() {
    let (mail, log) = (mail_server(0), Log::new());
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.in_front_of(&[mail.address()]);
    let names =
        ["a\u{202e}b", "a\u{2028}b", "a\u{2029}b", "a\u{200f}b", "a\u{2066}b", "a\u{61c}b", "a\u{feff}b"];
    for name in names {
        let mut session = Dialogue::open(reprieve.address());
        session.ok(&format!("USER {name}"));
        session.err("PASS wrong");
        session.quit();
    }
    let lines = log.lines(names.len());
    let read: Vec<_> = lines.iter().map(|line| line["logins"][0]["user"].as_str().unwrap()).collect();
    assert_eq!(read, names);
    let text = text_of(&log.path());
    assert!(text.is_ascii(), "{text}");
}
