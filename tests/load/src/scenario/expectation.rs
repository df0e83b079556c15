//! What a session must be shown: the mail server's maildrop, or the denial of it.

use std::rc::Rc;

use super::listing::Stat;
use crate::client::{Kind, Reply};
use crate::mailbox::Mailbox;

/// Which of the two is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Expected {
    /// The mail server's maildrop, posed or passed
    Real,
    /// No maildrop: an empty one, or -ERR with [LOGIN-DELAY] or [SYS/TEMP]
    Denied,
    /// Both are right, and counted apart
    Either,
}

/// What a session was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Real,
    Denied,
}

/// What answers are held against.
#[derive(Clone)]
pub(crate) struct Expectation {
    pub(crate) expected: Expected,
    /// What is in each maildrop, where that is known.
    pub(crate) mailbox: Option<Rc<Mailbox>>,
}

impl Expectation {
    /// Whether a refusal with this text denies the maildrop as expected.
    pub(crate) fn is_denial(&self, text: &str) -> bool {
        self.expected != Expected::Real
            && ["[LOGIN-DELAY]", "[SYS/TEMP]"].iter().any(|code| text.starts_with(code))
    }

    /// Judges the answer to STAT. Without numbers there is a denial that answers nothing.
    pub(crate) fn judge(&self, reply: &Reply) -> Result<(Shown, Option<Stat>), (Kind, String)> {
        let text = match reply {
            Reply::Err(text) if self.is_denial(text) => return Ok((Shown::Denied, None)),
            Reply::Err(text) => return Err((Kind::Refused, text.clone())),
            Reply::Ok(text) => text,
        };
        let Some(stat) = Stat::parse(text) else {
            return Err((Kind::Malformed, format!("`{text}` is not two numbers")));
        };
        let real = match &self.mailbox {
            Some(mailbox) => {
                stat.messages == u64::from(mailbox.messages()) && stat.octets == mailbox.octets()
            }
            // Of a maildrop that nobody knows an empty one is a denial only where that may be.
            None => self.expected == Expected::Real || stat.messages > 0,
        };
        let empty = stat == Stat { messages: 0, octets: 0 };
        match self.expected {
            Expected::Real | Expected::Either if real => Ok((Shown::Real, Some(stat))),
            Expected::Denied | Expected::Either if empty => Ok((Shown::Denied, Some(stat))),
            _ => Err((Kind::Wrong, format!("`{text}` instead of {}", self.due()))),
        }
    }

    fn due(&self) -> String {
        let real = match &self.mailbox {
            Some(mailbox) => format!("`{} {}`", mailbox.messages(), mailbox.octets()),
            None => "some mail".to_string(),
        };
        match self.expected {
            Expected::Real => real,
            Expected::Denied => "`0 0`".to_string(),
            Expected::Either => format!("{real} or `0 0`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(expected: Expected, mailbox: Option<(u32, u32)>, reply: &str) -> Result<Shown, Kind> {
        let mailbox = mailbox.map(|(messages, size)| Rc::new(Mailbox::new(messages, size)));
        let reply = match reply.strip_prefix("-ERR ") {
            Some(text) => Reply::Err(text.to_string()),
            None => Reply::Ok(reply.to_string()),
        };
        let judged = Expectation { expected, mailbox }.judge(&reply);
        judged.map(|(shown, _)| shown).map_err(|(kind, _)| kind)
    }

    #[test]
    fn a_known_maildrop_must_be_shown_as_it_is() {
        let known = Some((2, 100));
        assert_eq!(judged(Expected::Real, known, "2 200"), Ok(Shown::Real));
        assert_eq!(judged(Expected::Real, known, "2 201"), Err(Kind::Wrong));
        assert_eq!(judged(Expected::Real, known, "0 0"), Err(Kind::Wrong));
        assert_eq!(judged(Expected::Real, known, "-ERR [SYS/TEMP] later"), Err(Kind::Refused));
        assert_eq!(judged(Expected::Real, Some((0, 100)), "0 0"), Ok(Shown::Real));
    }

    #[test]
    fn a_denial_shows_nothing() {
        let known = Some((2, 100));
        assert_eq!(judged(Expected::Denied, known, "0 0"), Ok(Shown::Denied));
        assert_eq!(judged(Expected::Denied, known, "2 200"), Err(Kind::Wrong));
        assert_eq!(judged(Expected::Denied, known, "-ERR [SYS/TEMP] later"), Ok(Shown::Denied));
        assert_eq!(judged(Expected::Denied, known, "-ERR no"), Err(Kind::Refused));
        assert_eq!(judged(Expected::Either, known, "0 0"), Ok(Shown::Denied));
        assert_eq!(judged(Expected::Either, known, "2 200"), Ok(Shown::Real));
        assert_eq!(judged(Expected::Either, known, "1 100"), Err(Kind::Wrong));
    }

    #[test]
    fn of_an_unknown_maildrop_the_form_is_all() {
        assert_eq!(judged(Expected::Real, None, "7 4711"), Ok(Shown::Real));
        assert_eq!(judged(Expected::Real, None, "0 0"), Ok(Shown::Real));
        assert_eq!(judged(Expected::Real, None, "many"), Err(Kind::Malformed));
        assert_eq!(judged(Expected::Either, None, "0 0"), Ok(Shown::Denied));
    }
}
