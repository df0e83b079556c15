//! One picture of what was seen.

use super::Order;
use super::history::{Flow, History, polls, total};
use crate::admin::{NodeStatus, Status, VirtualServerStatus};
use crate::config::NodeMode;
use crate::terminal::{Line, Style};
use reprieve_store::Health;

/// Columns before the strip of polls.
const FIGURES: usize = 50;
/// Narrower than this, a strip says nothing.
const LEAST_STRIP: usize = 8;
/// Polls a second, from none to the most that is seen.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is to be seen.
pub(super) struct Frame<'a> {
    pub(super) history: &'a History,
    pub(super) order: Order,
    /// Why it cannot be asked any more.
    pub(super) trouble: Option<&'a str>,
    /// Columns of the terminal, where it has bars to draw.
    pub(super) bars_to: Option<usize>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Self { history, order: Order::default(), trouble: None, bars_to: None }
    }

    /// All of it.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = self.head();
        lines.extend(self.body());
        lines
    }

    /// As much of it as a terminal has room for, with the keys below: `scroll` lines of what is
    /// below the head are left out. `rows`: lines that it may have.
    pub(super) fn fitted(&self, rows: usize, scroll: usize) -> Vec<Line> {
        let mut lines = self.head();
        let body = self.body();
        let room = rows.saturating_sub(lines.len() + 1);
        let most = body.len().saturating_sub(room);
        lines.extend(body.into_iter().skip(scroll.min(most)).take(room));
        lines.resize_with(rows.saturating_sub(1), Line::default);
        lines.push(self.foot(most > 0));
        lines
    }

    /// Lines below the head that do not fit into so many rows.
    pub(super) fn most_scroll(&self, rows: usize) -> usize {
        (self.lines().len() + 1).saturating_sub(rows)
    }

    fn head(&self) -> Vec<Line> {
        let Some(status) = self.history.last() else { return Vec::new() };
        let mut title = Line::of(Style::Title, format!(" reprieve {}", status.version))
            .and(Style::Plain, format!("  up {}", duration(status.uptime_s)));
        if let Some(why) = &self.trouble {
            title = title.and(Style::Bad, format!("  {why}"));
        }
        let now = self.history.flow(None);
        let all = total(status);
        let since = (polls(&all) > 0).then(|| all.relieved as f64 / polls(&all) as f64);
        let relief = Line::of(Style::Title, " relief ")
            .and(Style::Good, format!("{:>8}", share(now.and_then(|flow| flow.relief()))))
            .and(Style::Plain, " now   ")
            .and(Style::Good, format!("{:>8}", share(since)))
            .and(Style::Plain, " since the start");
        let figures = format!(
            " polls  {:>8} a second; {} of {} relieved",
            rate(now.map(|flow| flow.polls)),
            all.relieved,
            polls(&all)
        );
        let polls = Line::of(Style::Plain, format!("{figures:<FIGURES$} ")).and(Style::News, self.strip());
        vec![title, relief, polls, Line::default()]
    }

    /// Polls a second from one look to the next, up to now.
    fn strip(&self) -> String {
        let room = self.bars_to.unwrap_or_default().saturating_sub(FIGURES + 2);
        if room < LEAST_STRIP {
            return String::new();
        }
        let flows: Vec<_> = self.history.strip().rev().take(room).map(|flow| flow.polls).collect();
        let most = flows.iter().copied().fold(0.0, f64::max);
        let steps = (BARS.len() - 1) as f64;
        let bar =
            |polls: f64| if polls > 0.0 { BARS[(polls / most * steps).ceil() as usize] } else { BARS[0] };
        let bars: String = flows.into_iter().rev().map(bar).collect();
        format!("{bars:>room$}")
    }

    fn foot(&self, is_more: bool) -> Line {
        let order = match self.order {
            Order::Configured => "as configured",
            Order::Polls => "by polls",
            Order::Relief => "by relief",
        };
        let more = if is_more { "   up/down: more" } else { "" };
        Line::of(Style::Dim, format!(" q: quit   s: sorted {order}{more}"))
    }

    fn body(&self) -> Vec<Line> {
        let Some(status) = self.history.last() else { return Vec::new() };
        let mut lines = vec![heading(format!(
            " {:<18}{:>9}{:>9}{:>9}{:>9}{:>9}  {}",
            "VIRTUAL SERVER", "POLLS/s", "PASS/s", "DENY/s", "RELIEF", "UPGR/s", "POLICY"
        ))];
        lines.extend(self.servers(status).into_iter().map(|(server, flow)| virtual_server(server, flow)));
        lines.extend(status.virtual_servers.iter().filter_map(shadow));
        let names = status.pools.iter().flat_map(|pool| &pool.nodes).map(|node| node.name.chars().count());
        let width = names.max().unwrap_or_default().clamp(21, 40);
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{:<width$} {:<9}{:>8}", "POOL", "NODE", "STATE", "SESSIONS")));
        for pool in &status.pools {
            lines.extend(pool.nodes.iter().map(|node| self::node(&pool.name, node, width)));
            let login = pool.login_latency_ms.map(|ms| format!("a login takes {ms} ms"));
            let queue = (pool.queued > 0).then(|| format!("{} logins wait", pool.queued));
            let both: Vec<_> = queue.into_iter().chain(login).collect();
            if !both.is_empty() {
                lines.push(Line::of(Style::Dim, format!(" {:<12}{}", cut(&pool.name, 11), both.join(", "))));
            }
        }
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{}", "STORE", "HEALTH")));
        for store in &status.stores {
            let (style, health) = match &store.health {
                Health::Well => (Style::Good, "well".to_owned()),
                Health::OutOfReach { why } => (Style::Bad, format!("out of reach: {why}")),
                Health::InMemory { why } => (Style::Bad, format!("in memory only: {why}")),
            };
            let place = store.place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
            let line = Line::of(Style::Plain, format!(" {:<12}", store.home));
            lines.push(line.and(style, health).and(Style::Dim, place));
        }
        let worst = self.worst(status);
        if !worst.is_empty() {
            lines.push(Line::default());
            lines.push(heading(" WORST NOW".to_owned()));
            lines.extend(worst.into_iter().map(|why| Line::of(Style::Bad, why)));
        }
        lines
    }

    /// Virtual servers with what happens there, in the order that is wanted.
    fn servers<'s>(&self, status: &'s Status) -> Vec<(&'s VirtualServerStatus, Option<Flow>)> {
        let servers = status.virtual_servers.iter();
        let mut servers: Vec<_> =
            servers.map(|server| (server, self.history.flow(Some(&server.name)))).collect();
        let of = |flow: &Option<Flow>, figure: fn(&Flow) -> f64| flow.as_ref().map_or(0.0, figure);
        match self.order {
            Order::Configured => {}
            Order::Polls => servers.sort_by(|(_, one), (_, other)| {
                of(other, |flow| flow.polls).total_cmp(&of(one, |flow| flow.polls))
            }),
            Order::Relief => servers.sort_by(|(_, one), (_, other)| {
                // Who is not polled has nothing to be relieved of.
                let relief = |flow: &Flow| flow.relief().unwrap_or(f64::INFINITY);
                of(one, relief).total_cmp(&of(other, relief))
            }),
        }
        servers
    }

    /// What somebody should look at.
    fn worst(&self, status: &Status) -> Vec<String> {
        let mut worst = Vec::new();
        for server in &status.virtual_servers {
            if server.policy.paused {
                worst.push(format!(
                    " {}: its policy fails and is paused; logins go by on-failure",
                    server.name
                ));
            }
            let Some(flow) = self.history.flow(Some(&server.name)) else { continue };
            for (figure, what) in [
                (flow.failures, "logins a second that its policy did not judge"),
                (flow.lost, "logins or connections a second that could not be served"),
            ] {
                if figure > 0.0 {
                    worst.push(format!(" {}: {} {what}", server.name, rate(Some(figure))));
                }
            }
        }
        worst
    }
}

fn heading(text: String) -> Line {
    Line::of(Style::Title, text)
}

fn virtual_server(server: &VirtualServerStatus, flow: Option<Flow>) -> Line {
    let component = server.policy.component.rsplit('/').next().unwrap_or_default();
    let (style, policy) = match (server.policy.paused, server.policy.failures) {
        (true, _) => (Style::Bad, format!("{component} PAUSED")),
        (false, 0) => (Style::Plain, component.to_owned()),
        (false, failures) => (Style::Costly, format!("{component}, {failures} failures")),
    };
    let figures = format!(
        " {:<18}{:>9}{:>9}{:>9}",
        cut(&server.name, 17),
        rate(flow.map(|flow| flow.polls)),
        rate(flow.map(|flow| flow.passed)),
        rate(flow.map(|flow| flow.denied))
    );
    Line::of(Style::Plain, figures)
        .and(Style::Good, format!("{:>9}", share(flow.and_then(|flow| flow.relief()))))
        .and(Style::Plain, format!("{:>9}  ", rate(flow.map(|flow| flow.upgrades))))
        .and(style, policy)
}

/// What a policy in the shadow would have done, since it is there.
fn shadow(server: &VirtualServerStatus) -> Option<Line> {
    let shadow = server.shadow.as_ref()?;
    let differs: u64 = shadow.differences.values().sum();
    let component = shadow.policy.component.rsplit('/').next().unwrap_or_default();
    Some(Line::of(
        Style::Dim,
        format!(
            "   in the shadow of {}: {component}, would pass {}, deny {}; differs {differs}, failed {}",
            server.name, shadow.would_pass, shadow.would_deny, shadow.failures
        ),
    ))
}

fn node(pool: &str, node: &NodeStatus, width: usize) -> Line {
    let (style, state) = match (node.healthy, node.mode) {
        (false, _) => (Style::Bad, "DOWN"),
        (true, NodeMode::Enabled) if node.backup => (Style::Plain, "backup"),
        (true, NodeMode::Enabled) => (Style::Good, "up"),
        (true, mode) => (Style::Costly, mode.name()),
    };
    let why = node.last_error.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
    Line::of(Style::Plain, format!(" {:<12}{:<width$} ", cut(pool, 11), cut(&node.name, width)))
        .and(style, format!("{state:<9}"))
        .and(Style::Plain, format!("{:>8}", node.sessions))
        .and(Style::Costly, why)
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['~']).collect()
}

/// What happens a second, to three digits.
fn rate(figure: Option<f64>) -> String {
    match figure {
        None => "-".to_owned(),
        Some(figure) if figure >= 99.95 => format!("{figure:.0}"),
        Some(figure) if figure >= 9.995 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// How long something has lasted, in the two units that matter.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::history::tests::status;
    use super::*;
    use crate::admin::PoolStatus;

    fn seen() -> History {
        let mut history = History::new();
        let start = Instant::now();
        for second in 0..5 {
            let mut status = status(90_000 + second, 100 + second * 20, 300 + second * 80);
            let node = |name: &str, why: Option<&str>| NodeStatus {
                name: name.to_owned(),
                healthy: why.is_none(),
                mode: NodeMode::Enabled,
                backup: false,
                sessions: 7,
                last_error: why.map(str::to_owned),
            };
            status.pools = vec![PoolStatus {
                name: "mail".to_owned(),
                queued: 2,
                login_latency_ms: Some(12),
                nodes: vec![node("10.0.0.5:110", None), node("10.0.0.6:110", Some("refused"))],
            }];
            history.add(start + Duration::from_secs(second), status);
        }
        history
    }

    fn drawn(lines: &[Line], columns: usize) -> String {
        let mut text = String::new();
        for line in lines {
            line.render(columns, false, &mut text);
            text.push('\n');
        }
        text
    }

    #[test]
    fn a_picture_of_80_by_24_has_relief_servers_nodes_and_what_is_down() {
        let history = seen();
        let frame = Frame::new(&history);
        let text = drawn(&frame.fitted(24, 0), 80);
        for part in [
            "reprieve 1.0.0  up 1 d 1 h",
            "relief   80.0 % now     77.5 % since the start",
            "100 a second; 620 of 800 relieved",
            "busy                    100     20.0     80.0   80.0 %     0.00  interval",
            "quiet                  0.00     0.00     0.00        -     0.00  interval",
            "mail        10.0.0.5:110          up              7",
            "mail        10.0.0.6:110          DOWN            7  refused",
            "2 logins wait, a login takes 12 ms",
            " q: quit   s: sorted as configured",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert_eq!(text.lines().count(), 24);
        assert!(text.find("quiet") < text.find("busy"));
        let by_polls = drawn(&Frame { order: Order::Polls, ..frame }.lines(), 80);
        assert!(by_polls.find("busy") < by_polls.find("quiet"), "{by_polls}");
    }

    #[test]
    fn bars_show_how_polls_went_where_there_is_room_for_them() {
        let mut history = History::new();
        let start = Instant::now();
        for (second, polls) in [0, 0, 10, 90].into_iter().enumerate() {
            let second = second as u64;
            history.add(start + Duration::from_secs(second), status(second, polls, 0));
        }
        let frame = Frame { bars_to: Some(80), ..Frame::new(&history) };
        let text = drawn(&frame.lines(), 80);
        assert!(text.contains("relieved") && text.contains(" ▁█\n"), "{text}");
        let narrow = drawn(&Frame { bars_to: Some(55), ..frame }.lines(), 55);
        assert!(!narrow.contains('█'), "{narrow}");
    }

    #[test]
    fn what_does_not_fit_can_be_scrolled_to() {
        let history = seen();
        let frame = Frame::new(&history);
        let top = drawn(&frame.fitted(10, 0), 80);
        assert!(!top.contains("STORE") && top.contains("up/down: more"), "{top}");
        let most = frame.most_scroll(10);
        assert!(drawn(&frame.fitted(10, most), 80).contains("STORE"));
        assert_eq!(drawn(&frame.fitted(10, most + 100), 80), drawn(&frame.fitted(10, most), 80));
        assert_eq!(frame.most_scroll(80), 0);
        for rows in 0..6 {
            // Nothing is too small to be drawn on.
            frame.fitted(rows, 3);
        }
    }

    #[test]
    fn rates_have_three_digits_and_times_two_units() {
        for (figure, shown) in
            [(0.0, "0.00"), (9.99, "9.99"), (12.34, "12.3"), (123.4, "123"), (99.96, "100")]
        {
            assert_eq!(rate(Some(figure)), shown);
        }
        for (seconds, shown) in [(5, "5 s"), (65, "1 min"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
