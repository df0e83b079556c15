//! Signals that are read in a log.

use std::io::Write as _;

use super::{Site, poll_until_posed};
use crate::support::{mail_server, until};

#[test]
fn a_delivery_in_the_log_lets_the_next_login_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.log");
    let mut log = std::fs::File::create(&path).unwrap();
    let mail = mail_server(1);
    let position = folder.path().join("position");
    let new_mail = format!(
        "[pool.mail.new-mail]\nlog = {{ path = {path:?}, position = {position:?}, complete = true }}\n"
    );
    let site = Site::with(mail.address(), &new_mail, "");
    poll_until_posed(&site, &mail, "alice");
    for round in 1..=3 {
        mail.deliver("alice", b"Subject: new\r\n\r\nnew\r\n");
        if round == 1 {
            // Later, a line may be read twice, which costs a pass.
            assert_eq!(site.poll("alice"), round, "nothing is logged yet");
        }
        writeln!(
            log,
            "2026-11-30T12:00:00.123456+01:00 mx postfix/lmtp[4711]: 4F2B91A2C3: to=<alice>, \
             relay=mx[private/dovecot-lmtp], delay=0.12, delays=0.05/0.01/0.02/0.04, dsn=2.0.0, \
             status=sent (250 2.0.0 <alice> Saved)"
        )
        .unwrap();
        let logins = mail.logins("alice");
        until("the delivery is read", || {
            let shown = site.poll("alice");
            // A login that was posed meanwhile shows what the user has seen.
            mail.logins("alice") > logins && shown == round + 1
        });
        if round == 2 {
            // The log is rotated.
            std::fs::rename(&path, folder.path().join("mail.log.1")).unwrap();
            log = std::fs::File::create(&path).unwrap();
        }
    }
}
