//! What a session must see: the mail server's maildrop, or a denial.

use std::rc::Rc;

use super::listing::Stat;
use crate::client::{FaultKind, Reply};
use crate::mailbox::Mailbox;

/// Which of the two counts as right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Expected {
    /// The mail server's maildrop, relayed or posed unchanged
    Real,
    /// No maildrop: an empty one, or -ERR with [LOGIN-DELAY] or [SYS/TEMP]
    Denied,
    /// Either of them, counted separately
    Either,
}

/// What a session saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Real,
    Denied,
}

/// What replies are compared with.
#[derive(Clone)]
pub(crate) struct Expectation {
    pub(crate) expected: Expected,
    /// The messages of each maildrop, if known.
    pub(crate) mailbox: Option<Rc<Mailbox>>,
}

impl Expectation {
    /// Whether an -ERR with this text is an expected denial.
    pub(crate) fn is_denial(&self, text: &str) -> bool {
        self.expected != Expected::Real
            && ["[LOGIN-DELAY]", "[SYS/TEMP]"].iter().any(|code| text.starts_with(code))
    }

    /// Checks the reply to STAT. A denial by -ERR has no numbers.
    pub(crate) fn check_stat(&self, reply: &Reply) -> Result<(Shown, Option<Stat>), (FaultKind, String)> {
        let text = match reply {
            Reply::Err(text) if self.is_denial(text) => return Ok((Shown::Denied, None)),
            Reply::Err(text) => return Err((FaultKind::Refused, text.clone())),
            Reply::Ok(text) => text,
        };
        let Some(stat) = Stat::parse(text) else {
            return Err((FaultKind::Malformed, format!("`{text}` is not two numbers")));
        };
        let real = match &self.mailbox {
            Some(mailbox) => stat.messages == u64::from(mailbox.messages()) && stat.bytes == mailbox.bytes(),
            // An empty maildrop whose messages are not known is a denial if one is expected.
            None => self.expected == Expected::Real || stat.messages > 0,
        };
        let empty = stat == Stat { messages: 0, bytes: 0 };
        match self.expected {
            Expected::Real | Expected::Either if real => Ok((Shown::Real, Some(stat))),
            Expected::Denied | Expected::Either if empty => Ok((Shown::Denied, Some(stat))),
            _ => Err((FaultKind::Wrong, format!("`{text}` instead of {}", self.wanted()))),
        }
    }

    fn wanted(&self) -> String {
        let real = match &self.mailbox {
            Some(mailbox) => format!("`{} {}`", mailbox.messages(), mailbox.bytes()),
            None => "at least one message".to_string(),
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

    fn checked(expected: Expected, mailbox: Option<(u32, u32)>, reply: &str) -> Result<Shown, FaultKind> {
        let mailbox = mailbox.map(|(messages, size)| Rc::new(Mailbox::new(messages, size)));
        let reply = match reply.strip_prefix("-ERR ") {
            Some(text) => Reply::Err(text.to_string()),
            None => Reply::Ok(reply.to_string()),
        };
        let checked = Expectation { expected, mailbox }.check_stat(&reply);
        checked.map(|(shown, _)| shown).map_err(|(kind, _)| kind)
    }

    #[test]
    fn a_known_maildrop_must_have_its_messages() {
        let known = Some((2, 100));
        assert_eq!(checked(Expected::Real, known, "2 200"), Ok(Shown::Real));
        assert_eq!(checked(Expected::Real, known, "2 201"), Err(FaultKind::Wrong));
        assert_eq!(checked(Expected::Real, known, "0 0"), Err(FaultKind::Wrong));
        assert_eq!(checked(Expected::Real, known, "-ERR [SYS/TEMP] later"), Err(FaultKind::Refused));
        assert_eq!(checked(Expected::Real, Some((0, 100)), "0 0"), Ok(Shown::Real));
    }

    #[test]
    fn a_denial_is_an_empty_maildrop_or_a_temporary_error() {
        let known = Some((2, 100));
        assert_eq!(checked(Expected::Denied, known, "0 0"), Ok(Shown::Denied));
        assert_eq!(checked(Expected::Denied, known, "2 200"), Err(FaultKind::Wrong));
        assert_eq!(checked(Expected::Denied, known, "-ERR [SYS/TEMP] later"), Ok(Shown::Denied));
        assert_eq!(checked(Expected::Denied, known, "-ERR no"), Err(FaultKind::Refused));
        assert_eq!(checked(Expected::Either, known, "0 0"), Ok(Shown::Denied));
        assert_eq!(checked(Expected::Either, known, "2 200"), Ok(Shown::Real));
        assert_eq!(checked(Expected::Either, known, "1 100"), Err(FaultKind::Wrong));
    }

    #[test]
    fn only_the_form_of_an_unknown_maildrop_is_checked() {
        assert_eq!(checked(Expected::Real, None, "7 4711"), Ok(Shown::Real));
        assert_eq!(checked(Expected::Real, None, "0 0"), Ok(Shown::Real));
        assert_eq!(checked(Expected::Real, None, "many"), Err(FaultKind::Malformed));
        assert_eq!(checked(Expected::Either, None, "0 0"), Ok(Shown::Denied));
    }
}
