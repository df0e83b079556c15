//! Renders the status as lines of text.

use super::Order;
use super::history::{History, Rates, polls, total};
use crate::admin::{NodeStatus, Status, VirtualServerStatus};
use crate::config::NodeMode;
use crate::terminal::{Line, Style};
use reprieve_store::Health;

/// Columns to the left of the sparkline of polls.
const FIGURE_COLUMNS: usize = 50;
/// Fewest columns for a sparkline.
const MIN_SPARKLINE: usize = 8;
/// Bars of the sparkline, from zero to the maximum.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One frame of the display.
pub(super) struct Frame<'a> {
    pub(super) history: &'a History,
    pub(super) order: Order,
    /// Error of the last request.
    pub(super) error: Option<&'a str>,
    /// Columns of the terminal, if it can show the sparkline.
    pub(super) bars_to: Option<usize>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Self { history, order: Order::default(), error: None, bars_to: None }
    }

    /// All lines.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = self.head();
        lines.extend(self.body());
        lines
    }

    /// As many lines as fit into `rows`, with a footer. `scroll`: number of lines below the header to
    /// skip.
    pub(super) fn fit(&self, rows: usize, scroll: usize) -> Vec<Line> {
        let mut lines = self.head();
        let body = self.body();
        let room = rows.saturating_sub(lines.len() + 1);
        let most = body.len().saturating_sub(room);
        lines.extend(body.into_iter().skip(scroll.min(most)).take(room));
        lines.resize_with(rows.saturating_sub(1), Line::default);
        lines.push(self.foot(most > 0));
        lines
    }

    /// Number of lines that do not fit into `rows`.
    pub(super) fn max_scroll(&self, rows: usize) -> usize {
        (self.lines().len() + 1).saturating_sub(rows)
    }

    fn head(&self) -> Vec<Line> {
        let Some(status) = self.history.last() else { return Vec::new() };
        let mut title = Line::of(Style::Title, format!(" reprieve {}", status.version))
            .and(Style::Plain, format!("  up {}", duration(status.uptime_s)));
        if let Some(why) = &self.error {
            title = title.and(Style::Bad, format!("  {why}"));
        }
        let now = self.history.rates(None);
        let all = total(status);
        let since = (polls(&all) > 0).then(|| all.relieved as f64 / polls(&all) as f64);
        let relief = Line::of(Style::Title, " relief ")
            .and(Style::Good, format!("{:>8}", share(now.and_then(|rates| rates.relief()))))
            .and(Style::Plain, " now   ")
            .and(Style::Good, format!("{:>8}", share(since)))
            .and(Style::Plain, " since the start");
        let figures = format!(
            " polls  {:>8} per second; {} of {} relieved",
            rate(now.map(|rates| rates.polls)),
            all.relieved,
            polls(&all)
        );
        let polls =
            Line::of(Style::Plain, format!("{figures:<FIGURE_COLUMNS$} ")).and(Style::News, self.sparkline());
        vec![title, relief, polls, Line::default()]
    }

    /// Sparkline of polls per second; empty if there is no room for it.
    fn sparkline(&self) -> String {
        let room = self.bars_to.unwrap_or_default().saturating_sub(FIGURE_COLUMNS + 2);
        if room < MIN_SPARKLINE {
            return String::new();
        }
        let all_rates: Vec<_> = self.history.sparkline().rev().take(room).map(|rates| rates.polls).collect();
        let most = all_rates.iter().copied().fold(0.0, f64::max);
        let steps = (BARS.len() - 1) as f64;
        let bar =
            |polls: f64| if polls > 0.0 { BARS[(polls / most * steps).ceil() as usize] } else { BARS[0] };
        let bars: String = all_rates.into_iter().rev().map(bar).collect();
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
        lines.extend(self.servers(status).into_iter().map(|(server, rates)| virtual_server(server, rates)));
        lines.extend(status.virtual_servers.iter().filter_map(shadow));
        let names = status.pools.iter().flat_map(|pool| &pool.nodes).map(|node| node.name.chars().count());
        let width = names.max().unwrap_or_default().clamp(21, 40);
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{:<width$} {:<9}{:>8}", "POOL", "NODE", "STATE", "SESSIONS")));
        for pool in &status.pools {
            lines.extend(pool.nodes.iter().map(|node| self::node(&pool.name, node, width)));
            let login = pool.login_latency_ms.map(|ms| format!("login latency {ms} ms"));
            let queue = (pool.queued > 0).then(|| format!("{} queued", pool.queued));
            let both: Vec<_> = queue.into_iter().chain(login).collect();
            if !both.is_empty() {
                lines.push(Line::of(Style::Dim, format!(" {:<12}{}", cut(&pool.name, 11), both.join(", "))));
            }
            if pool.new_mail.is_known() {
                lines.push(Line::of(Style::Dim, format!(" {:<12}{}", cut(&pool.name, 11), pool.new_mail)));
            }
        }
        lines.push(Line::default());
        lines.push(heading(format!(" {:<12}{}", "STORE", "HEALTH")));
        for store in &status.stores {
            let (style, health) = match &store.health {
                Health::Healthy => (Style::Good, "healthy".to_owned()),
                Health::Unreachable { reason } => (Style::Bad, format!("unreachable: {reason}")),
                Health::MemoryOnly { reason } => (Style::Bad, format!("in memory only: {reason}")),
            };
            let location =
                store.location.as_ref().map(|location| format!("  {location}")).unwrap_or_default();
            let line = Line::of(Style::Plain, format!(" {:<12}", store.backend));
            lines.push(line.and(style, health).and(Style::Dim, location));
        }
        let problems = self.problems(status);
        if !problems.is_empty() {
            lines.push(Line::default());
            lines.push(heading(" PROBLEMS".to_owned()));
            lines.extend(problems.into_iter().map(|why| Line::of(Style::Bad, why)));
        }
        lines
    }

    /// Virtual servers with their current rates, in the selected order.
    fn servers<'s>(&self, status: &'s Status) -> Vec<(&'s VirtualServerStatus, Option<Rates>)> {
        let servers = status.virtual_servers.iter();
        let mut servers: Vec<_> =
            servers.map(|server| (server, self.history.rates(Some(&server.name)))).collect();
        let of = |rates: &Option<Rates>, figure: fn(&Rates) -> f64| rates.as_ref().map_or(0.0, figure);
        match self.order {
            Order::Configured => {}
            Order::Polls => servers.sort_by(|(_, one), (_, other)| {
                of(other, |rates| rates.polls).total_cmp(&of(one, |rates| rates.polls))
            }),
            Order::Relief => servers.sort_by(|(_, one), (_, other)| {
                // Virtual servers without polls go last.
                let relief = |rates: &Rates| rates.relief().unwrap_or(f64::INFINITY);
                of(one, relief).total_cmp(&of(other, relief))
            }),
        }
        servers
    }

    /// Problems that need attention.
    fn problems(&self, status: &Status) -> Vec<String> {
        let mut problems = Vec::new();
        for server in &status.virtual_servers {
            if server.policy.paused {
                problems.push(format!(
                    " {}: the policy is paused after failures; on-failure decides logins",
                    server.name
                ));
            }
            let Some(rates) = self.history.rates(Some(&server.name)) else { continue };
            for (figure, what) in [
                (rates.failures, "policy failures per second"),
                (rates.lost, "logins or connections per second could not be served"),
            ] {
                if figure > 0.0 {
                    problems.push(format!(" {}: {} {what}", server.name, rate(Some(figure))));
                }
            }
        }
        problems
    }
}

fn heading(text: String) -> Line {
    Line::of(Style::Title, text)
}

fn virtual_server(server: &VirtualServerStatus, rates: Option<Rates>) -> Line {
    let component = server.policy.component.rsplit('/').next().unwrap_or_default();
    let (style, policy) = match (server.policy.paused, server.policy.failures) {
        (true, _) => (Style::Bad, format!("{component} PAUSED")),
        (false, 0) => (Style::Plain, component.to_owned()),
        (false, failures) => (Style::Costly, format!("{component}, {failures} failures")),
    };
    let figures = format!(
        " {:<18}{:>9}{:>9}{:>9}",
        cut(&server.name, 17),
        rate(rates.map(|rates| rates.polls)),
        rate(rates.map(|rates| rates.passed)),
        rate(rates.map(|rates| rates.denied))
    );
    Line::of(Style::Plain, figures)
        .and(Style::Good, format!("{:>9}", share(rates.and_then(|rates| rates.relief()))))
        .and(Style::Plain, format!("{:>9}  ", rate(rates.map(|rates| rates.upgrades))))
        .and(style, policy)
}

/// Totals of a shadow policy.
fn shadow(server: &VirtualServerStatus) -> Option<Line> {
    let shadow = server.shadow.as_ref()?;
    let differs: u64 = shadow.differences.values().sum();
    let component = shadow.policy.component.rsplit('/').next().unwrap_or_default();
    Some(Line::of(
        Style::Dim,
        format!(
            "   shadow policy of {}: {component}, would pass {}, deny {}; {differs} differences, {} failures",
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

/// Formats a rate with three digits.
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

/// Formats a duration in its two largest units.
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
                new_mail: Default::default(),
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
    fn a_frame_of_80_by_24_shows_relief_servers_nodes_and_errors() {
        let history = seen();
        let frame = Frame::new(&history);
        let text = drawn(&frame.fit(24, 0), 80);
        for part in [
            "reprieve 1.0.0  up 1 d 1 h",
            "relief   80.0 % now     77.5 % since the start",
            "100 per second; 620 of 800 relieved",
            "busy                    100     20.0     80.0   80.0 %     0.00  interval",
            "quiet                  0.00     0.00     0.00        -     0.00  interval",
            "mail        10.0.0.5:110          up              7",
            "mail        10.0.0.6:110          DOWN            7  refused",
            "2 queued, login latency 12 ms",
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
    fn the_sparkline_is_shown_if_there_is_room_for_it() {
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
    fn lines_that_do_not_fit_can_be_scrolled_to() {
        let history = seen();
        let frame = Frame::new(&history);
        let top = drawn(&frame.fit(10, 0), 80);
        assert!(!top.contains("STORE") && top.contains("up/down: more"), "{top}");
        let most = frame.max_scroll(10);
        assert!(drawn(&frame.fit(10, most), 80).contains("STORE"));
        assert_eq!(drawn(&frame.fit(10, most + 100), 80), drawn(&frame.fit(10, most), 80));
        assert_eq!(frame.max_scroll(80), 0);
        for rows in 0..6 {
            // Must not panic on a tiny terminal.
            frame.fit(rows, 3);
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
