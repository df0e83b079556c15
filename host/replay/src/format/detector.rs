//! Finds the format of a log: the first format in which a line is a login.

use super::{Format, ParsedLine, Reader};
use crate::calendar::Calendar;
use crate::problems::Problems;

/// Tries all formats on the lines of a log.
#[derive(Debug)]
pub(crate) struct Detector(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    reader: Reader,
    /// Lines that are malformed in this format.
    malformed: Problems,
}

/// The format of a log, found.
#[derive(Debug)]
pub(crate) struct Detected {
    pub(crate) reader: Reader,
    /// The line in which it was found.
    pub(crate) parsed: ParsedLine,
    /// Earlier lines that are malformed in this format.
    pub(crate) malformed: Problems,
}

impl Detector {
    pub(crate) fn new() -> Self {
        let candidate = |format| Candidate { reader: Reader::new(format), malformed: Problems::default() };
        Self(Format::all().map(candidate).collect())
    }

    /// Tries the next line. Returns the format if the line is a login in it.
    pub(crate) fn parse(
        &mut self,
        log: &str,
        number: u64,
        line: &str,
        calendar: &mut Calendar,
    ) -> Option<Detected> {
        for at in 0..self.0.len() {
            // The other formats must not change the log's calendar.
            let mut own_calendar = calendar.clone();
            match self.0[at].reader.parse(line, &mut own_calendar) {
                parsed @ ParsedLine::Logins(_) => {
                    *calendar = own_calendar;
                    let Candidate { reader, malformed } = self.0.swap_remove(at);
                    return Some(Detected { reader, parsed, malformed });
                }
                ParsedLine::Malformed(why) => {
                    self.0[at].malformed.add_malformed(log, number, why, line.as_bytes());
                }
                ParsedLine::NoLogin | ParsedLine::InvalidUserName => {}
            }
        }
        None
    }

    /// For a log in which no login was found: the malformed lines of the format that has most of
    /// them. Reprieve's own formats do not count, because every line of another log is malformed
    /// in them.
    pub(crate) fn into_malformed(self) -> Problems {
        let others = self.0.into_iter().filter(|candidate| !candidate.reader.format().is_own());
        let most = others.max_by_key(|candidate| candidate.malformed.malformed_lines);
        most.map(|candidate| candidate.malformed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::calendar;
    use super::*;

    #[test]
    fn the_first_login_determines_the_format() {
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
            (&[r#"{"v":1,"logins":[{"at_ms":1000,"user":"alice","verdict":"pass"}]}"#], Format::DecisionLog),
            (
                &[
                    r#"{"timestamp":"2026-11-27T22:11:26Z","target":"session","user":"alice","verdict":"pass"}"#,
                ],
                Format::SessionLog,
            ),
        ] {
            let (mut detector, mut calendar) = (Detector::new(), calendar());
            let found = lines.iter().find_map(|line| detector.parse("mail.log", 1, line, &mut calendar));
            assert_eq!(found.map(|found| found.reader.format()), Some(format));
        }
    }
}
