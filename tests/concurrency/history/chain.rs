//! Sessions that nothing disturbs: what one leaves is exactly what the next one is shown.

use super::checker::{Rule, Violation};
use super::known::{listing, opened};
use super::record::{History, Login, Session, What};

/// What a session has left, alone with the maildrop.
struct Left {
    /// When the first of the sessions started that nothing has disturbed since.
    since: (u64, u64),
    messages: Vec<usize>,
    proxy: usize,
    /// Visits since then that are those sessions' own.
    visits: usize,
    refusals: usize,
    /// Whether the mail server had messages that its client was not shown: they are new mail.
    unseen: bool,
}

/// More wrong passwords than this in a row may end a user's relief.
const REFUSALS: usize = 2;

/// Looks at each login that comes alone after a session that was alone.
pub fn check(history: &History, found: &mut Vec<Violation>) {
    let mut left: Option<Left> = None;
    let mut last_end = 0;
    let mut hung_up = 0;
    for (place, session) in history.sessions.iter().enumerate() {
        let next = history.sessions.get(place + 1).map_or(u64::MAX, |next| next.start.0);
        // What a session does at the proxy after its client has hung up may take until then.
        let is_settled = hung_up == 0 || (hung_up..session.start.0).contains(&history.settled);
        let is_alone = is_settled && last_end < session.start.0 && session.end < next;
        if session.login != Login::Refused && session.quit_answered().is_none() {
            hung_up = hung_up.max(session.end);
        }
        last_end = last_end.max(session.end);
        if let Some(left) = &left
            && is_alone
            && is_undisturbed(history, left, session)
        {
            check_next(history, left, session, found);
        }
        left = if is_alone { leaves(history, left, session) } else { None };
    }
}

/// Whether no other visit falls between what was left and this login.
fn is_undisturbed(history: &History, left: &Left, session: &Session) -> bool {
    let falls_between = history.maildrop.visits.iter().filter(|visit| {
        visit.began < session.start.0 && visit.ended.is_none_or(|ended| ended > left.since.0)
    });
    falls_between.count() == left.visits
}

fn check_next(history: &History, left: &Left, session: &Session, found: &mut Vec<Violation>) {
    let mut note = |at, what| found.push(Violation { rule: Rule::Committed, at, what });
    match session.login {
        // The proxy that could not say what it had left may not have removed yet what was left before.
        Login::Posed if !is_removed(history, left, session) => {}
        Login::Posed if left.unseen => {
            note(session.answered.0, "is posed, although an upgrade has found new mail".to_owned());
        }
        Login::Posed => {
            let shown = listing(history, session);
            if let Some(shown) = shown.filter(|shown| *shown != left.messages) {
                let id = |index: &usize| &history.maildrop.messages[*index].id;
                let shown: Vec<_> = shown.iter().map(id).collect();
                let right: Vec<_> = left.messages.iter().map(id).collect();
                note(session.answered.0, format!("shows {shown:?} where the session before left {right:?}"));
            }
        }
        Login::Passed(visit) => {
            let is_denied = session.answered.1 - left.since.1 < history.interval_ms;
            let is_known = history.shares_snapshots || left.proxy == session.proxy;
            let is_kept = !history
                .outages
                .iter()
                .any(|outage| outage.from < session.answered.0 && left.since.0 < outage.to);
            if is_denied && is_known && is_kept && !left.unseen && left.refusals <= REFUSALS {
                let what = format!("passes in visit {visit}, although the session before left a snapshot");
                note(session.answered.0, what);
            }
        }
        Login::Unanswered | Login::Refused => {}
    }
}

/// Whether what was left at a proxy without the store is known at the others by now.
fn is_removed(history: &History, left: &Left, session: &Session) -> bool {
    let mut outages = history.outages.iter().filter(|outage| outage.proxy == left.proxy);
    session.proxy == left.proxy
        || !outages.any(|outage| left.since.0 < outage.to && session.start.0 < outage.to)
}

/// What a session leaves that was alone; None if that is not known.
fn leaves(history: &History, before: Option<Left>, session: &Session) -> Option<Left> {
    let is_refused = session.events.iter().any(|event| matches!(event.what, What::Refused(..)));
    let upgrades =
        session.events.iter().any(|event| matches!(event.what, What::Retrieved(..) | What::Deleted(_)));
    let kept = |listing: &[usize], quit: u64| {
        let marked = session.marked(quit);
        let kept = listing.iter().zip(1..).filter(|(_, number)| !marked.contains(number));
        kept.map(|(&index, _)| index).collect()
    };
    match session.login {
        Login::Refused => {
            let before = before?;
            Some(Left { refusals: before.refusals + 1, ..before })
        }
        Login::Unanswered => None,
        Login::Passed(_) => {
            let (quit, opened) = (session.quit_answered()?, opened(history, session)?);
            let messages = kept(opened, quit);
            Some(Left {
                since: session.start,
                messages,
                proxy: session.proxy,
                visits: 1,
                refusals: 0,
                unseen: false,
            })
        }
        Login::Posed if is_refused => None,
        Login::Posed => {
            let before = before?;
            if !upgrades {
                return Some(before);
            }
            let quit = session.quit_answered()?;
            // What was gone when the mail server opened the maildrop is known to be gone.
            let mut visits = history.maildrop.visits.iter();
            let visit = visits.find(|visit| session.start.0 < visit.began && visit.began < quit)?;
            let opened = visit.opened.as_ref()?;
            let listed = listing(history, session)?;
            let unseen = opened.iter().any(|index| !listed.contains(index));
            let mut messages: Vec<usize> = kept(&listed, quit);
            messages.retain(|index| opened.contains(index));
            Some(Left { messages, unseen, visits: before.visits + 1, proxy: session.proxy, ..before })
        }
    }
}
