//! A format at work on one log, given or found out.

use super::dovecot::Dovecot;
use super::exchange::Exchange;
use super::repeated::{self, Repeated};
use super::{Format, Told, courier, cyrus, decision_log, nginx, session_log, syslog};
use crate::calendar::Calendar;
use crate::problems::Problems;

/// Reads the lines of one log in one format.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    dovecot: Dovecot,
    exchange: Exchange,
    /// The line before, which the next one may say came again.
    before: String,
}

impl Reader {
    /// A reader of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, dovecot: Dovecot::default(), exchange: Exchange::default(), before: String::new() }
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What a line tells; without its line end.
    pub fn read(&mut self, line: &str, calendar: &mut Calendar) -> Told {
        if !matches!(self.format, Format::Dovecot | Format::Courier | Format::Cyrus) {
            return self.read_one(line, calendar);
        }
        match repeated::read(line) {
            None => {
                self.before.clear();
                self.before.push_str(line);
                self.read_one(line, calendar)
            }
            Some(Repeated::Line(line, times)) => {
                let told = self.read_one(&line, calendar);
                self.before = line;
                multiplied(told, times)
            }
            Some(Repeated::Before(times)) => {
                let before = std::mem::take(&mut self.before);
                let mut told = multiplied(self.read_one(&before, calendar), times);
                self.before = before;
                if let Told::Logins(logins) = &mut told {
                    let Some(at_ms) = syslog::split(line).and_then(|note| note.stamp.resolve(calendar))
                    else {
                        return Told::Malformed("no such date");
                    };
                    logins.iter_mut().for_each(|login| login.at_ms = at_ms);
                }
                told
            }
            Some(Repeated::TooOften) => Told::Malformed("repeated more often than can be believed"),
        }
    }

    fn read_one(&mut self, line: &str, calendar: &mut Calendar) -> Told {
        match self.format {
            Format::DecisionLog => decision_log::read(line),
            Format::SessionLog => session_log::read(line),
            Format::Dovecot => self.dovecot.read(line, calendar),
            Format::Courier => courier::read(line, calendar),
            Format::Cyrus => cyrus::read(line, calendar),
            Format::Exchange => self.exchange.read(line, calendar),
            Format::Nginx => nginx::read(line, calendar),
        }
    }
}

/// The same logins, so many times.
fn multiplied(mut told: Told, times: u32) -> Told {
    if let Told::Logins(logins) = &mut told {
        logins.iter_mut().for_each(|login| login.times = login.times.saturating_mul(times));
        logins.retain(|login| login.times > 0);
        if logins.is_empty() {
            return Told::Nothing;
        }
    }
    told
}

/// Finds out the format of a log: the first in which a line tells of a login.
#[derive(Debug)]
pub(crate) struct Detector(Vec<Candidate>);

/// A format, and what it could not read before it was found.
#[derive(Debug)]
struct Candidate {
    reader: Reader,
    missed: Problems,
}

/// A format that was found.
#[derive(Debug)]
pub(crate) struct Detected {
    pub(crate) reader: Reader,
    /// What the line tells in which it was found.
    pub(crate) told: Told,
    /// What it could not read before.
    pub(crate) missed: Problems,
}

impl Detector {
    pub(crate) fn new() -> Self {
        let candidate = |format| Candidate { reader: Reader::new(format), missed: Problems::default() };
        Self(Format::ALL.map(candidate).into())
    }

    /// Shows it the next line. The format, once that is clear.
    pub(crate) fn read(
        &mut self,
        log: &str,
        number: u64,
        line: &str,
        calendar: &mut Calendar,
    ) -> Option<Detected> {
        for at in 0..self.0.len() {
            // A line that turns out to be another format's must leave no trace.
            let mut own = calendar.clone();
            match self.0[at].reader.read(line, &mut own) {
                told @ Told::Logins(_) => {
                    *calendar = own;
                    let Candidate { reader, missed } = self.0.swap_remove(at);
                    return Some(Detected { reader, told, missed });
                }
                Told::Malformed(why) => self.0[at].missed.malformed(log, number, why, line.as_bytes()),
                Told::Nothing | Told::BadName => {}
            }
        }
        None
    }

    /// What the format could not read that has come nearest to a login. Everything is foreign to
    /// the formats of Reprieve itself.
    pub(crate) fn into_missed(self) -> Problems {
        let others = self.0.into_iter().filter(|candidate| !candidate.reader.format().is_own());
        let most = others.max_by_key(|candidate| candidate.missed.malformed_lines);
        most.map(|candidate| candidate.missed).unwrap_or_default()
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
            let found = lines.iter().find_map(|line| detector.read("mail.log", 1, line, &mut calendar));
            assert_eq!(found.map(|found| found.reader.format()), Some(format));
        }
    }
}
