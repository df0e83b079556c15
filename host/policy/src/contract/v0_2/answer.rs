//! The interface `answer`: details of a verdict.

use wasmtime::Result;

use super::bindings::reprieve::policy::answer::{Host, ResponseCode};
use super::types;
use crate::instance::State;
use crate::{Deny, Manner, Pass, Verdict};

/// What a call has said besides its verdict.
#[derive(Debug, Default)]
pub(super) struct Answer {
    said: bool,
    reason: Option<String>,
    code: Option<ResponseCode>,
    text: Option<String>,
    otherwise: Option<Manner>,
    despite_new_mail: bool,
    pool: Option<String>,
    user: Option<String>,
    note: Option<String>,
    delay_ms: u32,
}

impl Answer {
    /// Most calls say nothing, and cost nothing here.
    pub(super) fn clear(&mut self) {
        if self.said {
            *self = Self::default();
        }
    }

    /// The verdict with these details.
    pub(super) fn verdict(&mut self, verdict: types::Verdict) -> Verdict {
        let types::Verdict { deny, retry_after, remember: _ } = verdict;
        let usual = if retry_after.is_some() { "too-soon" } else { "denied" };
        if !self.said {
            return match deny {
                Some(manner) => Verdict::Deny(Deny { retry_after, ..Deny::new(manner, usual) }),
                None => Verdict::Pass(Pass::default()),
            };
        }
        let Self { reason, code, text, otherwise, despite_new_mail, pool, user, note, delay_ms, said: _ } =
            std::mem::take(self);
        match deny {
            None => Verdict::Pass(Pass { pool, user, note, reason: reason.unwrap_or_default(), delay_ms }),
            Some(manner) => Verdict::Deny(Deny {
                manner,
                otherwise,
                despite_new_mail,
                code,
                text,
                retry_after,
                reason: reason.map_or(usual.into(), Into::into),
                note,
                delay_ms,
            }),
        }
    }
}

impl State {
    fn say(&mut self, say: impl FnOnce(&mut Answer)) -> Result<()> {
        self.call.login("answer")?;
        self.call.answer.said = true;
        say(&mut self.call.answer);
        Ok(())
    }
}

impl Host for State {
    fn reason(&mut self, reason: String) -> Result<()> {
        self.say(|answer| answer.reason = Some(reason))
    }

    fn code(&mut self, code: ResponseCode) -> Result<()> {
        self.say(|answer| answer.code = Some(code))
    }

    fn text(&mut self, text: String) -> Result<()> {
        self.say(|answer| answer.text = Some(text))
    }

    fn otherwise(&mut self, manner: Manner) -> Result<()> {
        self.say(|answer| answer.otherwise = Some(manner))
    }

    fn despite_new_mail(&mut self) -> Result<()> {
        self.say(|answer| answer.despite_new_mail = true)
    }

    fn pool(&mut self, name: String) -> Result<()> {
        self.say(|answer| answer.pool = Some(name))
    }

    fn user(&mut self, name: String) -> Result<()> {
        self.say(|answer| answer.user = Some(name))
    }

    fn note(&mut self, note: String) -> Result<()> {
        self.say(|answer| answer.note = Some(note))
    }

    fn delay_ms(&mut self, ms: u32) -> Result<()> {
        self.say(|answer| answer.delay_ms = ms)
    }
}
