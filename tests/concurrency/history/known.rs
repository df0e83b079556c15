//! From when on something is known to a user's clients.

use super::record::{History, Login, Session, What};

/// What the clients of a user know of one message, and since when. A login that starts later
/// may not fall back behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A client was shown it.
    pub shown: Option<u64>,
    /// A client was shown a maildrop from which it was gone.
    pub gone: Option<u64>,
    /// A client was told that it is deleted: by the answer to its QUIT.
    pub deleted: Option<u64>,
}

/// What is known of each message of a history to a proxy that shares its users with the others.
pub fn known(history: &History, proxy: usize) -> Vec<Known> {
    let mut known = vec![Known::default(); history.maildrop.messages.len()];
    for session in &history.sessions {
        let since = |at| if session.proxy == proxy { at } else { history.known_elsewhere(session.proxy, at) };
        note_shown(history, session, since, &mut known);
        note_deleted(history, session, since, &mut known);
    }
    known
}

fn note(known: &mut Option<u64>, at: u64) {
    *known = Some(known.map_or(at, |before| before.min(at)));
}

fn note_shown(history: &History, session: &Session, since: impl Fn(u64) -> u64, known: &mut [Known]) {
    let messages = &history.maildrop.messages;
    let opened = opened(history, session);
    let listing = listing(history, session);
    for event in &session.events {
        let shown: Vec<usize> = match (&event.what, opened) {
            (What::UniqueIds(rows), _) => messages_of(history, rows),
            // A client that sees totals or sizes has seen all messages that its session opened.
            (What::Totals(_) | What::Sizes(_), Some(opened)) => opened.to_vec(),
            _ => continue,
        };
        for &index in &shown {
            note(&mut known[index].shown, since(event.at));
        }
        let newest = shown.iter().max().copied();
        let marked = session.marked(event.at);
        for (index, message) in messages.iter().enumerate() {
            let was_listed = listing.as_ref().and_then(|all| all.iter().position(|&one| one == index));
            let is_marked = was_listed.is_some_and(|at| marked.contains(&(at + 1)));
            let would_show = newest.is_some_and(|newest| index < newest)
                || opened.is_some() && message.delivered < session.start.0;
            if would_show && !is_marked && !shown.contains(&index) && message.is_gone(event.at) {
                note(&mut known[index].gone, since(event.at));
            }
        }
    }
}

fn note_deleted(history: &History, session: &Session, since: impl Fn(u64) -> u64, known: &mut [Known]) {
    let (Some(at), Some(listing)) = (session.quit_answered(), listing(history, session)) else { return };
    for number in session.marked(at) {
        if let Some(&index) = listing.get(number - 1) {
            note(&mut known[index].deleted, since(at));
        }
    }
}

/// The messages that the mail server opened for a session that passed.
pub fn opened<'a>(history: &'a History, session: &Session) -> Option<&'a [usize]> {
    let Login::Passed(visit) = session.login else { return None };
    history.maildrop.visit(visit)?.opened.as_deref()
}

/// The messages of a session by its numbers, if it was shown them.
pub fn listing(history: &History, session: &Session) -> Option<Vec<usize>> {
    if let Some(opened) = opened(history, session) {
        return Some(opened.to_vec());
    }
    let first = session.events.iter().find_map(|event| match &event.what {
        What::UniqueIds(rows) if session.marked(event.at).is_empty() => Some(rows),
        _ => None,
    })?;
    Some(messages_of(history, first))
}

/// The messages of a UIDL; what is no row of this user's is the checker's business.
pub fn messages_of(history: &History, rows: &[String]) -> Vec<usize> {
    rows.iter().filter_map(|row| history.maildrop.index(row.split(' ').nth(1)?)).collect()
}
