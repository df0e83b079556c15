//! One picture of what was seen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, Widget as _};

use super::Order;
use super::history::{Flow, History, polls, total};
use crate::admin::{NodeStatus, Status, VirtualServerStatus};
use crate::config::NodeMode;
use crate::store::Health;

/// Lines above what can be scrolled: title, relief, polls, a free one.
const HEAD: u16 = 4;
/// The line of keys.
const FOOT: u16 = 1;
/// Columns of the strip of polls: what is left beside the figures on a narrow terminal.
const STRIP: u16 = 30;

/// What is to be seen.
pub(super) struct Frame<'a> {
    history: &'a History,
    pub(super) order: Order,
    /// Lines that are scrolled away.
    pub(super) scroll: u16,
    /// Why it cannot be asked any more.
    pub(super) trouble: Option<String>,
    /// Which keys there are, where somebody can press them.
    pub(super) keys: bool,
    /// Whether the terminal has more than ASCII.
    pub(super) unicode: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Self { history, order: Order::default(), scroll: 0, trouble: None, keys: false, unicode: false }
    }

    /// Lines that it takes to show everything.
    pub(super) fn rows(&self) -> u16 {
        let body = u16::try_from(self.body().len()).unwrap_or(u16::MAX - HEAD - FOOT);
        HEAD + body + if self.keys { FOOT } else { 0 }
    }

    /// Lines that can be scrolled away on a terminal of so many rows.
    pub(super) fn most_scroll(&self, rows: u16) -> u16 {
        self.rows().saturating_sub(rows)
    }

    pub(super) fn draw(&self, area: Rect, to: &mut Buffer) {
        let Some(status) = self.history.last() else { return };
        let row = |at: u16, rows: u16| {
            Rect { y: area.y + at, height: rows.min(area.height.saturating_sub(at)), ..area }.intersection(area)
        };
        Paragraph::new(self.head(status)).render(row(0, HEAD), to);
        self.strip(row(1, 2), to);
        let foot = if self.keys { FOOT } else { 0 };
        let body = row(HEAD, area.height.saturating_sub(HEAD + foot));
        let scroll = self.scroll.min(self.most_scroll(area.height));
        Paragraph::new(self.body()).scroll((scroll, 0)).render(body, to);
        if self.keys && area.height > HEAD {
            Paragraph::new(self.foot(area.height)).render(row(area.height - FOOT, FOOT), to);
        }
    }

    fn head(&self, status: &Status) -> Vec<Line<'static>> {
        let title = Line::from(vec![
            format!(" reprieve {}", status.version).bold(),
            format!("  up {}", duration(status.uptime_s)).into(),
            match &self.trouble {
                Some(why) => format!("  {why}").red().bold(),
                None => Span::raw(""),
            },
        ]);
        let now = self.history.flow(None);
        let all = total(status);
        let since = (polls(&all) > 0).then(|| all.relieved as f64 / polls(&all) as f64);
        let relief = Line::from(vec![
            " relief ".bold(),
            format!("{:>8}", share(now.and_then(|flow| flow.relief()))).green().bold(),
            " now   ".into(),
            format!("{:>8}", share(since)).green(),
            " since the start".into(),
        ]);
        let polls = Line::from(format!(
            " polls  {:>8} a second {:>8} of {} relieved",
            rate(now.map(|flow| flow.polls)),
            all.relieved,
            polls(&all)
        ));
        vec![title, relief, polls, Line::default()]
    }

    /// Polls a second, up to now, beside the figures.
    fn strip(&self, area: Rect, to: &mut Buffer) {
        let used = area.width.min(50);
        let area = Rect { x: area.x + used, width: (area.width - used).saturating_sub(1), ..area };
        if !self.unicode || area.width < STRIP.min(10) {
            return;
        }
        // Bars grow with polls, in thousandths so that a few a second are seen too.
        let flows = self.history.strip().rev().take(usize::from(area.width));
        let mut bars: Vec<u64> = flows.map(|flow| (flow.polls * 1000.0) as u64).collect();
        bars.resize(usize::from(area.width), 0);
        bars.reverse();
        Sparkline::default().data(bars).style(Style::new().cyan()).render(area, to);
    }

    fn foot(&self, rows: u16) -> Line<'static> {
        let order = match self.order {
            Order::Configured => "as configured",
            Order::Polls => "by polls",
            Order::Relief => "by relief",
        };
        let more = if self.most_scroll(rows) > 0 { "   up/down: more" } else { "" };
        Line::from(format!(" q: quit   s: sorted {order}{more}")).reversed()
    }

    fn body(&self) -> Vec<Line<'static>> {
        let Some(status) = self.history.last() else { return Vec::new() };
        let mut lines = vec![heading(format!(
            " {:<18}{:>9}{:>9}{:>9}{:>9}{:>9}  {}",
            "VIRTUAL SERVER", "POLLS/s", "PASS/s", "DENY/s", "RELIEF", "UPGR/s", "POLICY"
        ))];
        lines.extend(self.servers(status).into_iter().map(|(server, flow)| virtual_server(server, flow)));
        let width = status.pools.iter().flat_map(|pool| &pool.nodes).map(|node| node.name.len()).max();
        let width = width.unwrap_or_default().clamp(21, 40);
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{:<width$} {:<9}{:>9}", "POOL", "NODE", "STATE", "SESSIONS")));
        for pool in &status.pools {
            lines.extend(pool.nodes.iter().map(|node| self::node(&pool.name, node, width)));
            let login = pool.login_latency_ms.map_or_else(String::new, |ms| format!("a login takes {ms} ms"));
            let queue = if pool.queued > 0 { format!("{} logins wait", pool.queued) } else { String::new() };
            let both = [queue, login].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
            if !both.is_empty() {
                lines.push(Line::from(format!(" {:<12}{}", pool.name, both.join(", "))).dim());
            }
        }
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{}", "STORE", "HEALTH")));
        for store in &status.stores {
            let health = match &store.health {
                Health::Well => "well".green(),
                Health::OutOfReach { why } => format!("out of reach: {why}").red().bold(),
                Health::InMemory { why } => format!("in memory only: {why}").red().bold(),
            };
            let place = store.place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
            lines.push(Line::from(vec![format!(" {:<12}", store.home).into(), health, place.dim()]));
        }
        let worst = self.worst(status);
        if !worst.is_empty() {
            lines.push(Line::default());
            lines.push(heading(" WORST NOW".to_owned()));
            lines.extend(worst);
        }
        lines
    }

    /// Virtual servers with what happens there, in the order that is wanted.
    fn servers<'s>(&self, status: &'s Status) -> Vec<(&'s VirtualServerStatus, Option<Flow>)> {
        let mut servers: Vec<_> = status
            .virtual_servers
            .iter()
            .map(|server| (server, self.history.flow(Some(&server.name))))
            .collect();
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

    /// What somebody should look at, worst first.
    fn worst(&self, status: &Status) -> Vec<Line<'static>> {
        let mut worst = Vec::new();
        for server in &status.virtual_servers {
            if server.policy.paused {
                let why = format!(" {}: its policy fails and is paused; logins go by on-failure", server.name);
                worst.push(Line::from(why).red().bold());
            }
            let Some(flow) = self.history.flow(Some(&server.name)) else { continue };
            for (figure, what) in [
                (flow.failures, "logins a second that its policy failed to judge"),
                (flow.lost, "logins or connections a second that could not be served"),
            ] {
                if figure > 0.0 {
                    worst.push(Line::from(format!(" {}: {} {what}", server.name, rate(Some(figure)))).red());
                }
            }
        }
        worst
    }
}

fn heading(text: String) -> Line<'static> {
    Line::from(text).bold().underlined()
}

fn virtual_server(server: &VirtualServerStatus, flow: Option<Flow>) -> Line<'static> {
    let policy = match (server.policy.paused, server.policy.failures) {
        (true, _) => format!("{} PAUSED", server.policy.component).red().bold(),
        (false, 0) => Span::raw(server.policy.component.clone()),
        (false, failures) => format!("{}, {failures} failures", server.policy.component).yellow(),
    };
    Line::from(vec![
        format!(
            " {:<18}{:>9}{:>9}{:>9}",
            cut(&server.name, 17),
            rate(flow.map(|flow| flow.polls)),
            rate(flow.map(|flow| flow.passed)),
            rate(flow.map(|flow| flow.denied))
        )
        .into(),
        format!("{:>9}", share(flow.and_then(|flow| flow.relief()))).green(),
        format!("{:>9}  ", rate(flow.map(|flow| flow.upgrades))).into(),
        policy,
    ])
}

fn node(pool: &str, node: &NodeStatus, width: usize) -> Line<'static> {
    let state = match (node.healthy, node.mode) {
        (false, _) => format!("{:<9}", "DOWN").red().bold(),
        (true, NodeMode::Enabled) if node.backup => format!("{:<9}", "backup").into(),
        (true, NodeMode::Enabled) => format!("{:<9}", "up").green(),
        (true, mode) => format!("{:<9}", mode.name()).yellow(),
    };
    let why = node.last_error.as_ref().map(|why| format!("  {why}")).unwrap_or_default();
    Line::from(vec![
        format!(" {:<12}{:<width$} ", cut(pool, 11), cut(&node.name, width)).into(),
        state,
        format!("{:>9}", node.sessions).into(),
        why.red(),
    ])
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

fn duration(seconds: u64) -> String {
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
    use super::super::text_of;
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
                nodes: vec![node("10.0.0.5:110", None), node("10.0.0.6:110", Some("refused\u{1b}[2J"))],
            }];
            history.add(start + Duration::from_secs(second), status);
        }
        history
    }

    fn drawn(frame: &Frame<'_>, columns: u16, rows: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
        frame.draw(buffer.area, &mut buffer);
        text_of(&buffer)
    }

    #[test]
    fn a_picture_of_80_by_24_has_relief_servers_nodes_and_what_is_down() {
        let history = seen();
        let frame = Frame { keys: true, ..Frame::new(&history) };
        let text = drawn(&frame, 80, 24);
        for part in [
            "reprieve 1.0.0  up 1 d 1 h",
            "relief   80.0 % now     77.5 % since the start",
            "620 of 800 relieved",
            "busy                   100     20.0     80.0   80.0 %     0.00  interval",
            "quiet                 0.00     0.00     0.00        -     0.00  interval",
            "mail        10.0.0.5:110          up               7",
            "mail        10.0.0.6:110          DOWN             7  refused",
            "2 logins wait, a login takes 12 ms",
            " q: quit   s: sorted as configured",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "what others say moves no cursor");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(text.find("quiet") < text.find("busy"));
        let by_polls = drawn(&Frame { order: Order::Polls, ..Frame::new(&history) }, 80, 24);
        assert!(by_polls.find("busy") < by_polls.find("quiet"), "{by_polls}");
    }

    #[test]
    fn what_does_not_fit_can_be_scrolled_to() {
        let history = seen();
        let mut frame = Frame { keys: true, ..Frame::new(&history) };
        assert!(!drawn(&frame, 80, 10).contains("STORE"));
        assert!(drawn(&frame, 80, 10).contains("up/down: more"));
        frame.scroll = frame.most_scroll(10);
        assert!(drawn(&frame, 80, 10).contains("STORE"));
        assert_eq!(frame.most_scroll(80), 0);
        // Nothing is too small to be drawn on.
        for (columns, rows) in [(1, 1), (5, 3), (200, 2), (3, 100)] {
            drawn(&Frame { unicode: true, ..Frame::new(&history) }, columns, rows);
        }
    }

    #[test]
    fn rates_have_three_digits_and_times_two_units() {
        for (figure, shown) in [(0.0, "0.00"), (9.99, "9.99"), (12.34, "12.3"), (123.4, "123"), (99.96, "100")] {
            assert_eq!(rate(Some(figure)), shown);
        }
        for (seconds, shown) in [(5, "5 s"), (65, "1 min"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
