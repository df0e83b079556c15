//! The rules that every history keeps.

use super::chain;
use super::known::{Known, known, listing};
use super::record::{Event, History, Session, What};

/// A rule of posing, as far as a client can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Never an older maildrop than one that was shown before the login started.
    NeverOlder,
    /// Never a message whose deletion was acknowledged before the login started.
    NeverDeleted,
    /// Rows and totals are byte for byte those of the mail server.
    ByteForByte,
    /// What a session leaves is there when its QUIT is answered: the next login is shown
    /// exactly that.
    Committed,
    /// Only deletions that the client has confirmed are carried out, and all of those that
    /// were acknowledged.
    Confirmed,
    /// A number means the message that it was shown with.
    RightMessage,
}

/// What breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When.
    pub at: u64,
    /// What happened.
    pub what: String,
}

/// Everything in a history that breaks a rule, in the order in which it happened.
pub fn violations(history: &History) -> Vec<Violation> {
    let proxies = history.sessions.iter().map(|session| session.proxy + 1).max().unwrap_or(0);
    let known: Vec<_> = (0..proxies).map(|proxy| known(history, proxy)).collect();
    let mut found = Vec::new();
    for session in &history.sessions {
        check_session(history, &known[session.proxy], session, &mut found);
    }
    check_deletions(history, &mut found);
    chain::check(history, &mut found);
    found.sort_by_key(|violation| violation.at);
    found
}

fn check_session(history: &History, known: &[Known], session: &Session, found: &mut Vec<Violation>) {
    let mut note = |rule, at, what| found.push(Violation { rule, at, what });
    let listing = listing(history, session);
    if let (Some(listing), Some(first)) = (&listing, session.events.iter().find(|event| is_view(event))) {
        check_age(history, known, session, listing, first.at, &mut note);
    }
    for event in &session.events {
        match (&event.what, &listing) {
            (What::UniqueIds(_) | What::Sizes(_) | What::Totals(_), Some(listing)) => {
                check_bytes(history, session, listing, event, &mut note);
            }
            (What::Sizes(rows), None) => {
                check_count(history, known, session, rows.len(), event.at, &mut note)
            }
            (What::Totals(totals), None) => {
                let count =
                    totals.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
                check_count(history, known, session, count, event.at, &mut note);
            }
            (What::Retrieved(number, id), Some(listing)) => {
                let right = listing.get(number - 1).map(|&index| &history.maildrop.messages[index].id);
                if right != Some(id) {
                    note(Rule::RightMessage, event.at, format!("RETR {number} gave {id}, not {right:?}"));
                }
            }
            (What::Refused(command, number), Some(listing)) => {
                let message = listing.get(number - 1).map(|&index| &history.maildrop.messages[index]);
                let is_there = message.is_some_and(|message| !message.is_gone(event.at));
                if is_there && !session.marked(event.at).contains(number) {
                    let what = format!("{command} {number} was refused, and the message is there");
                    note(Rule::RightMessage, event.at, what);
                }
            }
            _ => {}
        }
    }
}

fn is_view(event: &Event) -> bool {
    matches!(event.what, What::Totals(_) | What::Sizes(_) | What::UniqueIds(_))
}

/// A listing that was shown first at `at` in this session is not older than what was known when
/// its login started.
fn check_age(
    history: &History,
    known: &[Known],
    session: &Session,
    listing: &[usize],
    at: u64,
    note: &mut impl FnMut(Rule, u64, String),
) {
    let before = |moment: Option<u64>| moment.filter(|&moment| moment < session.start.0);
    let newest = listing.iter().max().copied().unwrap_or(0);
    for (index, (message, known)) in history.maildrop.messages.iter().zip(known).enumerate() {
        let id = &message.id;
        if listing.contains(&index) {
            if let Some(deleted) = before(known.deleted) {
                note(
                    Rule::NeverDeleted,
                    at,
                    format!("shows {id}, whose deletion was acknowledged at {deleted}"),
                );
            }
            if let Some(gone) = before(known.gone) {
                note(Rule::NeverOlder, at, format!("shows {id} again, which was seen to be gone at {gone}"));
            }
        } else if !message.is_gone(at) {
            if let Some(shown) = before(known.shown) {
                note(Rule::NeverOlder, at, format!("lacks {id}, which was shown at {shown}"));
            } else if index < newest {
                note(Rule::NeverOlder, at, format!("lacks {id}, and shows a newer message"));
            }
        }
    }
}

/// As [`check_age`], if only the number of messages is known.
fn check_count(
    history: &History,
    known: &[Known],
    session: &Session,
    count: usize,
    at: u64,
    note: &mut impl FnMut(Rule, u64, String),
) {
    let before = |moment: Option<u64>| moment.is_some_and(|moment| moment < session.start.0);
    let messages = || history.maildrop.messages.iter().zip(known);
    let least = messages().filter(|(message, known)| before(known.shown) && !message.is_gone(at)).count();
    let there = |message: u64, known: &Known| message < at && !before(known.deleted) && !before(known.gone);
    let most = messages().filter(|(message, known)| there(message.delivered, known)).count();
    if count < least {
        note(Rule::NeverOlder, at, format!("shows {count} messages of {least} that were shown before"));
    }
    if count > most {
        note(Rule::NeverDeleted, at, format!("shows {count} messages where there can be {most}"));
    }
}

/// What is shown is the listing's rows without those that the session has marked.
fn check_bytes(
    history: &History,
    session: &Session,
    listing: &[usize],
    event: &Event,
    note: &mut impl FnMut(Rule, u64, String),
) {
    let marked = session.marked(event.at);
    let unmarked = || listing.iter().zip(1..).filter(|(_, number)| !marked.contains(number));
    let message = |index: &usize| &history.maildrop.messages[*index];
    let (shown, right) = match &event.what {
        What::UniqueIds(rows) => {
            (rows.join(", "), unmarked().map(|(index, number)| format!("{number} {}", message(index).id)))
                .joined()
        }
        What::Sizes(rows) => {
            (rows.join(", "), unmarked().map(|(index, number)| format!("{number} {}", message(index).size)))
                .joined()
        }
        What::Totals(totals) => {
            let bytes: u64 = unmarked().map(|(index, _)| message(index).size).sum();
            (totals.clone(), format!("{} {bytes}", unmarked().count()))
        }
        _ => return,
    };
    if shown != right {
        note(Rule::ByteForByte, event.at, format!("shows \"{shown}\", not \"{right}\""));
    }
}

trait Joined {
    fn joined(self) -> (String, String);
}

impl<I: Iterator<Item = String>> Joined for (String, I) {
    fn joined(self) -> (String, String) {
        (self.0, self.1.collect::<Vec<_>>().join(", "))
    }
}

/// What was deleted was confirmed, and what was acknowledged was deleted.
fn check_deletions(history: &History, found: &mut Vec<Violation>) {
    let mut note = |at, what| found.push(Violation { rule: Rule::Confirmed, at, what });
    let mut confirmed: Vec<(usize, u64)> = Vec::new();
    for session in &history.sessions {
        let sent = session.events.iter().find(|event| event.what == What::QuitSent);
        let (Some(sent), Some(listing)) = (sent, listing(history, session)) else { continue };
        for index in session.marked(sent.at).into_iter().filter_map(|number| listing.get(number - 1)) {
            confirmed.push((*index, sent.at));
            let message = &history.maildrop.messages[*index];
            let answered = session.quit_answered();
            if let Some(at) = answered.filter(|&at| !message.is_gone(at)) {
                note(at, format!("{} is there, whose deletion was acknowledged", message.id));
            }
        }
    }
    for (index, message) in history.maildrop.messages.iter().enumerate() {
        let Some((at, Some(visit))) = message.removed else { continue };
        if !confirmed.iter().any(|&(confirmed, sent)| confirmed == index && sent < at) {
            note(
                at,
                format!("{} was deleted in visit {visit}, and no client has confirmed that", message.id),
            );
        }
    }
}
