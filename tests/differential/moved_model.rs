//! The model: what a client may be shown. It knows the maildrop, and what the user's clients last saw.

use std::collections::{BTreeMap, BTreeSet};

/// A message by the number of its delivery.
pub type Delivery = usize;

/// What the session shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The mail server's own maildrop, as it was when the session opened it.
    Passed,
    /// What the user's clients saw last.
    Posed,
    /// The same, but now the mail server answers. These are gone from it since they were last seen.
    Upgraded(BTreeSet<Delivery>),
}

/// A session under way.
#[derive(Clone, Debug)]
pub struct Open {
    /// What it shows.
    pub view: View,
    /// The messages by its numbers.
    pub listing: Vec<Delivery>,
    /// Numbers that are marked as deleted.
    pub marked: BTreeSet<usize>,
    /// Removed by others since the mail server opened the maildrop: how it answers commands about them is
    /// its own business.
    pub removed_meanwhile: BTreeSet<Delivery>,
}

/// What a reply must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `+OK` with this text.
    Text(String),
    /// `+OK` with any text and these lines.
    Lines(Vec<u8>),
    /// `+OK` with any text.
    Ok,
    /// `-ERR` with any text.
    Refused,
    /// This, or a refusal, or the end of the connection: the message was removed under the session.
    Perhaps(Box<Expected>),
}

/// Maildrop and user.
#[derive(Default)]
pub struct Model {
    texts: BTreeMap<Delivery, String>,
    /// The maildrop.
    pub present: Vec<Delivery>,
    /// What the user's clients last saw, if Reprieve knows that.
    left: Option<Vec<Delivery>>,
    interval_over: bool,
    /// An upgrade has found messages that no client was shown.
    has_news: bool,
    wrong_passwords: u32,
    /// The session under way.
    pub open: Option<Open>,
}

impl Model {
    /// A message is delivered.
    pub fn deliver(&mut self, text: String) -> Delivery {
        let number = self.texts.len();
        self.texts.insert(number, text);
        self.present.push(number);
        number
    }

    /// Somebody removes the message at this place.
    pub fn remove(&mut self, place: usize) -> Delivery {
        let gone = self.present.remove(place);
        if let Some(open) = &mut self.open
            && open.view != View::Posed
        {
            open.removed_meanwhile.insert(gone);
        }
        gone
    }

    /// The policy's interval is over.
    pub fn let_the_interval_pass(&mut self) {
        self.interval_over = true;
    }

    /// A wrong password was refused.
    pub fn refuse(&mut self) {
        self.wrong_passwords += 1;
    }

    /// Whether the next login must pass, and not be posed.
    pub fn must_pass(&self) -> bool {
        self.left.is_none() || self.interval_over || self.has_news
    }

    /// Whether it must be posed. After wrong passwords it may pass.
    pub fn must_be_posed(&self) -> bool {
        !self.must_pass() && self.wrong_passwords <= 1
    }

    /// A login was accepted.
    pub fn log_in(&mut self, posed: bool) {
        self.wrong_passwords = 0;
        let (view, listing) = if posed {
            (View::Posed, self.left.clone().unwrap_or_default())
        } else {
            (self.interval_over, self.has_news, self.left) = (false, false, None);
            (View::Passed, self.present.clone())
        };
        self.open = Some(Open { view, listing, marked: BTreeSet::new(), removed_meanwhile: BTreeSet::new() });
    }

    /// The session is over. `quit`: whether QUIT was answered with `+OK`; deletions are carried out.
    pub fn end(&mut self, quit: bool) {
        let Some(open) = self.open.take() else { return };
        let marked = if quit { open.marked.clone() } else { BTreeSet::new() };
        let kept = |gone: &BTreeSet<Delivery>| {
            let kept = open
                .listing
                .iter()
                .zip(1..)
                .filter(|(message, number)| !marked.contains(number) && !gone.contains(*message));
            kept.map(|(&message, _)| message).collect::<Vec<_>>()
        };
        match &open.view {
            View::Posed => {}
            View::Passed => self.left = Some(kept(&BTreeSet::new())),
            View::Upgraded(gone) => self.left = Some(kept(gone)),
        }
        let deleted = open.listing.iter().zip(1..).filter(|(_, number)| marked.contains(number));
        let deleted: Vec<_> = deleted.map(|(message, _)| *message).collect();
        self.present.retain(|message| !deleted.contains(message));
    }

    /// The connection was lost although the client stayed: nothing is known of the user.
    pub fn lose(&mut self) {
        self.open = None;
        self.left = None;
    }

    fn open(&self) -> &Open {
        self.open.as_ref().expect("a session is open")
    }

    fn rows(&self) -> impl Iterator<Item = (usize, Delivery)> {
        let open = self.open();
        let all = open.listing.iter().zip(1..).filter(move |(_, number)| !open.marked.contains(number));
        all.map(|(&message, number)| (number, message))
    }

    fn size(&self, message: Delivery) -> usize {
        self.texts[&message].len()
    }

    /// STAT.
    pub fn totals(&self) -> Expected {
        let bytes: usize = self.rows().map(|(_, message)| self.size(message)).sum();
        Expected::Text(format!("{} {bytes}", self.rows().count()))
    }

    /// LIST or UIDL, with a number or without.
    pub fn rows_of(&self, wanted: Option<usize>, id: impl Fn(Delivery) -> String) -> Expected {
        let row = |(number, message): (usize, Delivery)| format!("{number} {}", id(message));
        match wanted {
            None => {
                let rows = self.rows().map(row).map(|row| row + "\r\n");
                Expected::Lines(rows.collect::<String>().into_bytes())
            }
            Some(wanted) => match self.rows().find(|(number, _)| *number == wanted) {
                Some(found) => Expected::Text(row(found)),
                None => Expected::Refused,
            },
        }
    }

    /// The size of a message as a row has it.
    pub fn size_row(&self, message: Delivery) -> String {
        self.size(message).to_string()
    }

    /// A command about one message that only the mail server can answer: upgrades a posed session.
    pub fn about(&mut self, number: usize, reply: impl Fn(&str) -> Expected) -> Expected {
        let Some((_, message)) = self.rows().find(|(shown, _)| *shown == number) else {
            return Expected::Refused;
        };
        self.upgrade();
        let expected = reply(&self.texts[&message]);
        let open = self.open();
        match &open.view {
            View::Upgraded(gone) if gone.contains(&message) => Expected::Refused,
            _ if open.removed_meanwhile.contains(&message) => Expected::Perhaps(Box::new(expected)),
            _ => expected,
        }
    }

    /// Whether the session is posed and such a command would upgrade it.
    fn upgrade(&mut self) {
        let open = self.open.as_mut().expect("a session is open");
        if open.view != View::Posed {
            return;
        }
        let is_gone = |message: &&Delivery| !self.present.contains(message);
        let gone = open.listing.iter().filter(is_gone).copied().collect();
        self.has_news |= self.present.iter().any(|message| !open.listing.contains(message));
        open.view = View::Upgraded(gone);
    }

    /// DELE was acknowledged.
    pub fn mark(&mut self, number: usize) {
        self.open.as_mut().expect("a session is open").marked.insert(number);
    }

    /// RSET was acknowledged.
    pub fn reset(&mut self) {
        self.open.as_mut().expect("a session is open").marked.clear();
    }

    /// Whether others have removed a message under the session.
    pub fn is_disturbed(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.removed_meanwhile.is_empty())
    }
}

/// The beginning of a message as TOP shows it: the header, and so many lines.
pub fn top(text: &str, lines: usize) -> String {
    let end = text.find("\r\n\r\n").map_or(text.len(), |at| at + 4);
    let (header, body) = text.split_at(end);
    header.to_owned() + &body.split_inclusive("\r\n").take(lines).collect::<String>()
}

/// Lines as they are sent: those that begin with a dot get another one.
pub fn stuffed(text: &str) -> Vec<u8> {
    let lines = text.split_inclusive("\r\n");
    lines
        .map(|line| if line.starts_with('.') { format!(".{line}") } else { line.to_owned() })
        .collect::<String>()
        .into_bytes()
}
