//! A dialogue: what a client says in each of several sessions. User names stand for themselves only when
//! it is said, because twins have different ones.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::account::PASSWORD;

/// What a client says in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// This line.
    Line(Vec<u8>),
    /// USER with the name; the keyword in this spelling.
    User(&'static str),
    /// PASS with the right password or a wrong one.
    Pass(bool),
    /// AUTH PLAIN with an initial response of the right password or a wrong one.
    AuthPlain(bool),
    /// The response to an empty challenge, with the right password or a wrong one.
    Response(bool),
}

impl Say {
    /// A line of text.
    pub fn line(text: impl Into<String>) -> Self {
        Self::Line(text.into().into_bytes())
    }

    /// The line without its end, as this user says it.
    pub fn bytes(&self, user: &str) -> Vec<u8> {
        let plain = |right: bool| STANDARD.encode(format!("\0{user}\0{}", password(right)));
        match self {
            Self::Line(line) => line.clone(),
            Self::User(keyword) => format!("{keyword} {user}").into_bytes(),
            Self::Pass(right) => format!("PASS {}", password(*right)).into_bytes(),
            Self::AuthPlain(right) => format!("AUTH PLAIN {}", plain(*right)).into_bytes(),
            Self::Response(right) => plain(*right).into_bytes(),
        }
    }
}

fn password(right: bool) -> &'static str {
    if right { PASSWORD } else { "wrong" }
}

/// What a client sends before it waits for the replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its lines.
    pub says: Vec<Say>,
    /// Whether they end in LF alone.
    pub bare_lf: bool,
    /// Lengths of the pieces in which it is sent, by turns; all at once if there are none.
    pub pieces: Vec<usize>,
}

impl Write {
    /// These lines at once.
    pub fn of(says: Vec<Say>) -> Self {
        Self { says, bare_lf: false, pieces: Vec::new() }
    }

    /// The bytes, as this user sends them.
    pub fn bytes(&self, lines: &[Vec<u8>]) -> Vec<u8> {
        let end: &[u8] = if self.bare_lf { b"\n" } else { b"\r\n" };
        lines.iter().flat_map(|line| [&line[..], end].concat()).collect()
    }
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// With QUIT.
    Quit,
    /// With QUIT; it sends nothing more, and says so to TCP at once.
    QuitAndHalfClose,
    /// With QUIT, without waiting for the reply.
    QuitAndGo,
    /// With QUIT and commands after it in one write, which must have no effect.
    QuitAndMore,
    /// It sends nothing more, says so to TCP, and reads what comes.
    HalfClose,
    /// It closes the connection.
    HangUp,
    /// It closes the connection with a reply on its way.
    HangUpUnread,
}

/// All ways to leave.
pub const LEAVES: [Leave; 7] = [
    Leave::Quit,
    Leave::QuitAndHalfClose,
    Leave::QuitAndGo,
    Leave::QuitAndMore,
    Leave::HalfClose,
    Leave::HangUp,
    Leave::HangUpUnread,
];

impl Leave {
    /// Whether deletions are carried out.
    pub fn quits(self) -> bool {
        matches!(self, Self::Quit | Self::QuitAndHalfClose | Self::QuitAndGo | Self::QuitAndMore)
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Whether the policy's interval is over before it: then its login passes.
    pub interval_over: bool,
    /// What the client sends.
    pub writes: Vec<Write>,
    /// How it leaves.
    pub leave: Leave,
}

/// A whole dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The messages, as files of a maildir.
    pub messages: Vec<Vec<u8>>,
    /// The sessions, one after the other.
    pub sessions: Vec<SessionPlan>,
}

impl Plan {
    /// Dialogues that are smaller by one step, the most radical ones first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let with = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            plan
        };
        for at in 0..self.sessions.len() {
            all.push(with(&|plan| _ = plan.sessions.remove(at)));
        }
        for (at, session) in self.sessions.iter().enumerate() {
            let half = session.writes.len() / 2;
            if half > 1 {
                all.push(with(&|plan| _ = plan.sessions[at].writes.drain(half..)));
            }
            for write in 0..session.writes.len() {
                all.push(with(&|plan| _ = plan.sessions[at].writes.remove(write)));
            }
        }
        for at in 0..self.messages.len() {
            all.push(with(&|plan| _ = plan.messages.remove(at)));
        }
        for (at, session) in self.sessions.iter().enumerate() {
            for (place, write) in session.writes.iter().enumerate() {
                if write.says.len() > 1 {
                    for say in 0..write.says.len() {
                        all.push(with(&|plan| _ = plan.sessions[at].writes[place].says.remove(say)));
                    }
                }
                if write.bare_lf || !write.pieces.is_empty() {
                    all.push(with(&|plan| {
                        let says = std::mem::take(&mut plan.sessions[at].writes[place].says);
                        plan.sessions[at].writes[place] = Write::of(says);
                    }));
                }
            }
            if session.leave != Leave::Quit {
                all.push(with(&|plan| plan.sessions[at].leave = Leave::Quit));
            }
            if session.interval_over {
                all.push(with(&|plan| plan.sessions[at].interval_over = false));
            }
        }
        all
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.messages {
            writeln!(f, "  message \"{}\"", message.escape_ascii())?;
        }
        for (number, session) in self.sessions.iter().enumerate() {
            let after = if session.interval_over { ", after the interval" } else { "" };
            writeln!(f, "  session {number}{after}:")?;
            for write in &session.writes {
                let lines = write.says.iter().map(|say| say.bytes("USER").escape_ascii().to_string());
                let lines = lines.collect::<Vec<_>>().join(" | ");
                let end = if write.bare_lf { ", with LF" } else { "" };
                let pieces = if write.pieces.is_empty() { "" } else { ", in pieces" };
                writeln!(f, "    {lines}{end}{pieces}")?;
            }
            writeln!(f, "    then: {:?}", session.leave)?;
        }
        Ok(())
    }
}
