//! A history as text, for debugging.

use std::fmt;

use super::record::{History, Session, What};

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for (number, session) in self.sessions.iter().enumerate() {
            lines.extend(of_session(number, session));
        }
        for message in &self.maildrop.messages {
            lines.push((message.delivered, format!("server: {} is delivered", message.id)));
            match message.removed {
                Some((at, Some(visit))) => {
                    lines.push((at, format!("server: visit {visit} deletes {}", message.id)));
                }
                Some((at, None)) => lines.push((at, format!("server: {} is expunged", message.id))),
                None => {}
            }
        }
        for visit in &self.maildrop.visits {
            lines.push((visit.began, format!("server: visit {} has the right password", visit.number)));
            let shown = visit.opened.as_ref();
            let ids = shown.map(|shown| shown.iter().map(|&index| self.maildrop.messages[index].id.as_str()));
            let ids = ids.map(|ids| ids.collect::<Vec<_>>().join(", "));
            if let Some(ended) = visit.ended {
                lines.push((ended, format!("server: visit {} ends; it was shown {ids:?}", visit.number)));
            }
        }
        lines.sort();
        writeln!(f, "history of {}:", self.user)?;
        for (at, line) in lines {
            writeln!(f, "{at:>8}  {line}")?;
        }
        Ok(())
    }
}

fn of_session(number: usize, session: &Session) -> Vec<(u64, String)> {
    let name = format!("session {number} at proxy {}", session.proxy);
    let mut lines = vec![
        (session.start.0, format!("{name}: sends the password; the clock shows {}", session.start.1)),
        (session.answered.0, format!("{name}: {:?}; the clock shows {}", session.login, session.answered.1)),
        (session.end, format!("{name}: is over")),
    ];
    for event in &session.events {
        let what = match &event.what {
            What::Totals(totals) => format!("STAT: {totals}"),
            What::Sizes(rows) => format!("LIST: {}", rows.join(", ")),
            What::UniqueIds(rows) => format!("UIDL: {}", rows.join(", ")),
            what => format!("{what:?}"),
        };
        lines.push((event.at, format!("{name}: {what}")));
    }
    lines
}
