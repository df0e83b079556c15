//! Shows the progress of the demo: a live display on a terminal, otherwise a line now and then.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::deliveries::DeliveryTotals;
use super::phase::{Phase, Route};
use super::simulation::Simulation;
use super::stats::{DemoStats, Figures, Mark, Reading};
use super::table::{percent, row, row_of, time};
use crate::terminal::{self, Line, LiveDisplay, Style};

/// Width of the client names before the strips of polls.
const NAME_WIDTH: usize = 22;

/// Description of a client in the view.
#[derive(Clone, Debug)]
pub(crate) struct ClientLabel {
    pub(crate) user: String,
    pub(crate) program: &'static str,
    pub(crate) deletes: bool,
}

/// The data of one frame, read at one moment.
struct Frame {
    phase: Phase,
    ended: bool,
    figures: [Option<Figures>; Route::ALL.len()],
    totals: DeliveryTotals,
    replies: u64,
    faults: u64,
    strips: Vec<VecDeque<Mark>>,
}

impl Frame {
    fn read(simulation: &Simulation, ended: bool) -> Self {
        simulation.view_cpu.publish();
        let reading = Reading::take(&simulation.server, &simulation.clients_cpu, &simulation.view_cpu);
        let totals = simulation.deliveries.lock().totals();
        let stats: &DemoStats = &simulation.stats.lock();
        Self {
            phase: stats.phase,
            ended,
            figures: Route::ALL.map(|route| stats.figures(route, &reading)),
            totals,
            replies: stats.replies,
            faults: stats.fault_count,
            strips: stats.strips.clone(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.figures.iter().flatten().map(|figures| figures.elapsed).sum()
    }
}

/// Redraws the live display until the demo has ended.
pub(crate) fn draw_live(
    simulation: &Simulation,
    labels: &[ClientLabel],
    interval: &str,
    out: &mut impl Write,
    ended: impl Fn() -> bool,
) -> io::Result<()> {
    let mut display = LiveDisplay::new(out, terminal::colours_wanted())?;
    let marks = Marks::new(terminal::supports_unicode());
    loop {
        let frame = Frame::read(simulation, ended());
        let (columns, rows) = terminal::size();
        let mut lines = heading(&frame, simulation, interval);
        if !frame.ended {
            lines.extend(comparison(&frame));
            lines.push(Line::default());
        }
        let footer = [marks.legend(), messages(&frame)];
        let room = rows.saturating_sub(lines.len() + footer.len() + 2);
        lines.extend(strips(&frame, labels, &marks, columns.saturating_sub(NAME_WIDTH + 2), room));
        lines.extend([Line::default()]);
        lines.extend(footer);
        display.draw(&lines)?;
        simulation.view_cpu.publish();
        if frame.ended {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
}

/// Writes a progress line about ten times until the demo has ended.
pub(crate) fn write_progress(
    simulation: &Simulation,
    interval: &str,
    out: &mut impl Write,
    ended: impl Fn() -> bool,
) -> io::Result<()> {
    // About ten lines, at most one per second.
    let line_interval = (simulation.schedule.total() / 10).max(Duration::from_secs(1));
    let mut next = Instant::now() + line_interval;
    for line in heading(&Frame::read(simulation, false), simulation, interval) {
        write_plain(&line, out)?;
    }
    while !ended() {
        sleep(Duration::from_millis(50));
        simulation.view_cpu.publish();
        if Instant::now() < next {
            continue;
        }
        next += line_interval;
        let frame = Frame::read(simulation, false);
        let latest = Route::ALL.into_iter().zip(&frame.figures).rev();
        let Some((route, figures)) =
            latest.into_iter().find_map(|(route, figures)| Some((route.heading(), figures.as_ref()?)))
        else {
            continue;
        };
        let text = format!(
            "{:>5.1} s  {route:<16}  {:>5} polls, {:>5} reached the server, relief {:>6}, {} server CPU per poll, {} of {} messages fetched",
            frame.elapsed().as_secs_f64(),
            figures.polls,
            figures.server.logins,
            percent(current_relief(figures)),
            time(figures.server_cpu_per_poll()),
            frame.totals.fetched,
            frame.totals.expected,
        );
        writeln!(out, "{text}")?;
        out.flush()?;
    }
    Ok(())
}

/// The relief so far. Not negative, although the server may have counted a poll in progress.
fn current_relief(figures: &Figures) -> f64 {
    figures.relief().max(0.0)
}

fn write_plain(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let mut text = String::new();
    line.render(usize::MAX, false, &mut text);
    writeln!(out, "{}", text.trim_end())
}

fn heading(frame: &Frame, simulation: &Simulation, interval: &str) -> Vec<Line> {
    let total = simulation.schedule.total().as_secs_f64();
    let now = match frame.phase {
        Phase::WarmUp => Line::of(Style::Dim, "the mail programs poll for the first time"),
        Phase::Measured(Route::Direct) => {
            Line::of(Style::Costly, "the mail programs poll the mail server directly")
        }
        Phase::Measured(Route::Interval) => Line::of(
            Style::Good,
            format!("the same through Reprieve: policy interval, interval = {interval}"),
        ),
        Phase::Measured(Route::Signals) => {
            Line::of(Style::Good, "the same, and the mail server tells Reprieve about new mail")
        }
        Phase::FinalCheck if frame.ended => {
            Line::of(Style::Dim, "done: all maildrops were compared with the fetched messages")
        }
        Phase::FinalCheck => {
            Line::of(Style::Dim, "the time is up: comparing all maildrops with the fetched messages")
        }
    };
    let clients = frame.strips.len();
    let programs = if clients == 1 { "mail program checks" } else { "mail programs check" };
    let title = format!("Reprieve demo: {clients} {programs} for mail");
    vec![
        Line::of(Style::Title, format!(" {title:<55}"))
            .and(Style::Dim, format!("{:>7.1} of {total:.0} s", frame.elapsed().as_secs_f64())),
        Line::of(Style::Plain, " ").and_line(now),
        Line::default(),
    ]
}

fn comparison(frame: &Frame) -> Vec<Line> {
    let figures = &frame.figures;
    let relief = |figures: &Figures| percent(current_relief(figures));
    vec![
        Line::of(Style::Dim, row("", Route::ALL.map(|route| route.heading().to_owned()))),
        Line::of(Style::Plain, row_of("polls", figures, |figures| figures.polls.to_string())),
        Line::of(
            Style::Plain,
            row_of("reached the mail server", figures, |figures| figures.server.logins.to_string()),
        ),
        Line::of(
            Style::Plain,
            row_of("mail server CPU time per poll", figures, |figures| time(figures.server_cpu_per_poll())),
        ),
        Line::of(Style::Good, row_of("relief", figures, relief)),
    ]
}

fn strips(frame: &Frame, labels: &[ClientLabel], marks: &Marks, columns: usize, room: usize) -> Vec<Line> {
    // The last line has the number of clients that are not shown.
    let shown = if labels.len() > room { room.saturating_sub(1) } else { labels.len() };
    let mut lines: Vec<Line> = labels
        .iter()
        .zip(&frame.strips)
        .take(shown)
        .map(|(label, strip)| {
            let deletes = if label.deletes { " -" } else { "" };
            let name = format!("{} {}{deletes}", label.user, label.program);
            let line = Line::of(Style::Plain, format!(" {name:<NAME_WIDTH$}"));
            marks.strip(line, strip.iter().skip(strip.len().saturating_sub(columns)))
        })
        .collect();
    if shown < labels.len() {
        lines.push(Line::of(Style::Dim, format!(" and {} more", labels.len() - shown)));
    }
    lines
}

fn messages(frame: &Frame) -> Line {
    let DeliveryTotals { delivered, expected, fetched, duplicated, .. } = frame.totals;
    let mail = format!(" {delivered} messages: {fetched} of {expected} fetched, ");
    let replies = format!("; {} replies checked, ", frame.replies);
    let style = |count: u64| if count == 0 { Style::Good } else { Style::Bad };
    Line::of(Style::Plain, mail)
        .and(style(duplicated), format!("{duplicated} duplicated"))
        .and(Style::Plain, replies)
        .and(style(frame.faults), format!("{} wrong", frame.faults))
}

/// Characters that represent polls.
struct Marks {
    reached: char,
    relieved: char,
    fetched: char,
    locked: char,
    fault: char,
    change: char,
}

impl Marks {
    fn new(unicode: bool) -> Self {
        if unicode {
            Self { reached: '█', relieved: '·', fetched: '▼', locked: '░', fault: '!', change: '│' }
        } else {
            Self { reached: '#', relieved: '.', fetched: 'v', locked: '-', fault: '!', change: '|' }
        }
    }

    fn appearance(&self, mark: Mark) -> (Style, char) {
        match mark {
            Mark::Reached => (Style::Costly, self.reached),
            Mark::Relieved => (Style::Good, self.relieved),
            Mark::Fetched => (Style::News, self.fetched),
            Mark::Locked => (Style::Dim, self.locked),
            Mark::Fault => (Style::Bad, self.fault),
            Mark::Switch => (Style::Plain, self.change),
        }
    }

    fn strip<'a>(&self, mut line: Line, marks: impl Iterator<Item = &'a Mark>) -> Line {
        let mut run: Option<(Style, String)> = None;
        for mark in marks {
            let (style, character) = self.appearance(*mark);
            match &mut run {
                Some((before, text)) if *before == style => text.push(character),
                _ => {
                    if let Some((style, text)) = run.replace((style, character.to_string())) {
                        line = line.and(style, text);
                    }
                }
            }
        }
        match run {
            Some((style, text)) => line.and(style, text),
            None => line,
        }
    }

    fn legend(&self) -> Line {
        let known = [
            (Mark::Reached, "reached the mail server"),
            (Mark::Relieved, "answered by Reprieve"),
            (Mark::Fetched, "fetched new mail"),
        ];
        known.into_iter().fold(Line::of(Style::Plain, ""), |line, (mark, meaning)| {
            let (style, character) = self.appearance(mark);
            line.and(style, format!(" {character}")).and(Style::Dim, format!(" {meaning}  "))
        })
    }
}
