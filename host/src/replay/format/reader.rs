//! A format at work on one log, given or found out.

use super::exchange::Exchange;
use super::{Format, Told, courier, cyrus, decision_log, dovecot, nginx, session_log};
use crate::replay::calendar::Calendar;

/// Reads the lines of one log in one format.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    exchange: Exchange,
}

impl Reader {
    /// A reader of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, exchange: Exchange::default() }
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What a line tells; without its line end.
    pub fn read(&mut self, line: &str, calendar: &mut Calendar) -> Told {
        match self.format {
            Format::DecisionLog => decision_log::read(line),
            Format::SessionLog => session_log::read(line),
            Format::Dovecot => dovecot::read(line, calendar),
            Format::Courier => courier::read(line, calendar),
            Format::Cyrus => cyrus::read(line, calendar),
            Format::Exchange => self.exchange.read(line, calendar),
            Format::Nginx => nginx::read(line, calendar),
        }
    }
}

/// Finds out the format of a log: the first in which a line tells of a login.
#[derive(Debug)]
pub(in crate::replay) struct Detector(Vec<Reader>);

impl Detector {
    pub(in crate::replay) fn new() -> Self {
        Self(Format::ALL.map(Reader::new).into())
    }

    /// Shows it the next line. The reader and what the line tells, once that is clear.
    pub(in crate::replay) fn read(&mut self, line: &str, calendar: &mut Calendar) -> Option<(Reader, Told)> {
        for at in 0..self.0.len() {
            // A line that turns out to be another format's must leave no trace.
            let mut own = calendar.clone();
            let told = self.0[at].read(line, &mut own);
            if matches!(told, Told::Logins(_)) {
                *calendar = own;
                return Some((self.0.swap_remove(at), told));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::calendar;
    use super::*;

    #[test]
    fn the_first_login_tells_the_format() {
        for (lines, format) in [
            (
                &[
                    "Nov 27 22:11:25 mx postfix/smtpd[1]: connect",
                    "Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1",
                ][..],
                Format::Dovecot,
            ),
            (&["Nov 27 22:11:26 mx pop3d: LOGIN, user=alice, ip=[::ffff:192.0.2.7]"], Format::Courier),
            (
                &["Nov 27 22:11:26 mx cyrus/pop3[1]: login: [192.0.2.7] alice plaintext User logged in"],
                Format::Cyrus,
            ),
            (
                &[
                    "#Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context",
                    "2026-11-27T22:11:26.250Z,1,2,10.0.0.1:995,192.0.2.7:50312,alice,102,10,66,pass,*****,R=ok",
                ],
                Format::Exchange,
            ),
            (
                &[
                    "2026/11/27 22:11:26 [info] 1#1: *5 client logged in, client: 192.0.2.7, server: 0.0.0.0:110, login: \"alice\", upstream: x",
                ],
                Format::Nginx,
            ),
            (&[r#"{"v":1,"logins":[{"at":1000,"user":"alice","verdict":"pass"}]}"#], Format::DecisionLog),
            (
                &[
                    r#"{"timestamp":"2026-11-27T22:11:26Z","target":"session","user":"alice","verdict":"pass"}"#,
                ],
                Format::SessionLog,
            ),
        ] {
            let (mut detector, mut calendar) = (Detector::new(), calendar());
            let found = lines.iter().find_map(|line| detector.read(line, &mut calendar));
            assert_eq!(found.map(|(reader, _)| reader.format()), Some(format));
        }
    }
}
