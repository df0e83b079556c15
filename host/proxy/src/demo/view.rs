//! The demo as it goes on: a picture on a terminal, a line now and then in a pipe.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::board::{Board, Figures, Mark, Reading};
use super::ledger::Tally;
use super::phase::Phase;
use super::stage::Stage;
use super::table::{percent, row, row_of, time};
use crate::terminal::{self, Line, Picture, Style};

/// Columns before the strips of polls.
const NAMES: usize = 22;

/// What the view shows of a client.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) user: String,
    pub(crate) program: &'static str,
    pub(crate) deletes: bool,
}

/// Everything that one picture shows, read at one moment.
struct Scene {
    phase: Phase,
    ended: bool,
    direct: Option<Figures>,
    relieved: Option<Figures>,
    tally: Tally,
    replies: u64,
    faults: u64,
    strips: Vec<VecDeque<Mark>>,
}

impl Scene {
    fn read(stage: &Stage, ended: bool) -> Self {
        stage.view_cpu.publish();
        let reading = Reading::take(&stage.server, &stage.clients_cpu, &stage.view_cpu);
        let tally = stage.ledger.lock().tally();
        let board: &Board = &stage.board.lock();
        Self {
            phase: board.phase,
            ended,
            direct: board.figures(Phase::Direct, &reading),
            relieved: board.figures(Phase::Relieved, &reading),
            tally,
            replies: board.replies,
            faults: board.fault_count,
            strips: board.strips.clone(),
        }
    }

    fn elapsed(&self) -> Duration {
        let phases = [&self.direct, &self.relieved];
        phases.into_iter().flatten().map(|figures| figures.elapsed).sum()
    }
}

/// Draws until the demo has ended.
pub(crate) fn picture(
    stage: &Stage,
    cast: &[Actor],
    interval: &str,
    out: &mut impl Write,
    ended: impl Fn() -> bool,
) -> io::Result<()> {
    let mut picture = Picture::new(out, terminal::colours_wanted())?;
    let marks = Marks::new(terminal::speaks_unicode());
    loop {
        let scene = Scene::read(stage, ended());
        let (columns, rows) = terminal::size();
        let mut lines = heading(&scene, stage, interval);
        if !scene.ended {
            lines.extend(comparison(&scene));
            lines.push(Line::default());
        }
        let footing = [marks.legend(), messages(&scene)];
        let room = rows.saturating_sub(lines.len() + footing.len() + 2);
        lines.extend(strips(&scene, cast, &marks, columns.saturating_sub(NAMES + 2), room));
        lines.extend([Line::default()]);
        lines.extend(footing);
        picture.draw(&lines)?;
        stage.view_cpu.publish();
        if scene.ended {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
}

/// Writes a line now and then until the demo has ended.
pub(crate) fn progress(
    stage: &Stage,
    interval: &str,
    out: &mut impl Write,
    ended: impl Fn() -> bool,
) -> io::Result<()> {
    // Ten lines or so, but no flood on a long run and no silence on a short one.
    let every = (stage.plan.total() / 10).max(Duration::from_secs(1));
    let mut next = Instant::now() + every;
    for line in heading(&Scene::read(stage, false), stage, interval) {
        write_plain(&line, out)?;
    }
    while !ended() {
        sleep(Duration::from_millis(50));
        stage.view_cpu.publish();
        if Instant::now() < next {
            continue;
        }
        next += every;
        let scene = Scene::read(stage, false);
        let (place, figures) = match (&scene.direct, &scene.relieved) {
            (_, Some(figures)) => ("through Reprieve", figures),
            (Some(figures), None) => ("straight", figures),
            (None, None) => continue,
        };
        let text = format!(
            "{:>5.1} s  {place:<16}  {:>5} polls, {:>5} reached the server, relief {:>6}, {} server CPU a poll, {} of {} messages fetched",
            scene.elapsed().as_secs_f64(),
            figures.polls,
            figures.server.logins,
            percent(so_far(figures)),
            time(figures.server_cpu_a_poll()),
            scene.tally.fetched,
            scene.tally.expected,
        );
        writeln!(out, "{text}")?;
        out.flush()?;
    }
    Ok(())
}

/// The relief so far. A poll under way may have been seen by the server and not yet counted.
fn so_far(figures: &Figures) -> f64 {
    figures.relief().max(0.0)
}

fn write_plain(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let mut text = String::new();
    line.render(usize::MAX, false, &mut text);
    writeln!(out, "{}", text.trim_end())
}

fn heading(scene: &Scene, stage: &Stage, interval: &str) -> Vec<Line> {
    let total = stage.plan.total().as_secs_f64();
    let now = match scene.phase {
        Phase::Arrival => Line::of(Style::Dim, "the mail programs download what lies in their maildrops"),
        Phase::Direct => Line::of(Style::Costly, "the mail programs poll the mail server itself"),
        Phase::Relieved => Line::of(
            Style::Good,
            format!("the same through Reprieve: policy interval, interval = {interval}"),
        ),
        Phase::Closing if scene.ended => {
            Line::of(Style::Dim, "done: every maildrop was compared with what was fetched")
        }
        Phase::Closing => {
            Line::of(Style::Dim, "the time is up; every maildrop is compared with what was fetched")
        }
    };
    let clients = scene.strips.len();
    let programs = if clients == 1 { "mail program checks" } else { "mail programs check" };
    let title = format!("Reprieve demo: {clients} {programs} for mail");
    vec![
        Line::of(Style::Title, format!(" {title:<55}"))
            .and(Style::Dim, format!("{:>7.1} of {total:.0} s", scene.elapsed().as_secs_f64())),
        Line::of(Style::Plain, " ").and_line(now),
        Line::default(),
    ]
}

fn comparison(scene: &Scene) -> Vec<Line> {
    let (direct, relieved) = (scene.direct.as_ref(), scene.relieved.as_ref());
    let relief = relieved.map(|figures| percent(so_far(figures))).unwrap_or_default();
    vec![
        Line::of(Style::Dim, row("", "straight", "through Reprieve")),
        Line::of(Style::Plain, row_of("polls", direct, relieved, |figures| figures.polls.to_string())),
        Line::of(
            Style::Plain,
            row_of("reached the mail server", direct, relieved, |figures| figures.server.logins.to_string()),
        ),
        Line::of(
            Style::Plain,
            row_of("CPU time of the mail server, a poll", direct, relieved, |figures| {
                time(figures.server_cpu_a_poll())
            }),
        ),
        Line::of(Style::Good, row("relief", "", &relief)),
    ]
}

fn strips(scene: &Scene, cast: &[Actor], marks: &Marks, columns: usize, room: usize) -> Vec<Line> {
    // One line is kept for saying that there are more.
    let shown = if cast.len() > room { room.saturating_sub(1) } else { cast.len() };
    let mut lines: Vec<Line> = cast
        .iter()
        .zip(&scene.strips)
        .take(shown)
        .map(|(actor, strip)| {
            let deletes = if actor.deletes { " -" } else { "" };
            let name = format!("{} {}{deletes}", actor.user, actor.program);
            let line = Line::of(Style::Plain, format!(" {name:<NAMES$}"));
            marks.strip(line, strip.iter().skip(strip.len().saturating_sub(columns)))
        })
        .collect();
    if shown < cast.len() {
        lines.push(Line::of(Style::Dim, format!(" and {} more", cast.len() - shown)));
    }
    lines
}

fn messages(scene: &Scene) -> Line {
    let Tally { delivered, expected, fetched, doubled, .. } = scene.tally;
    let mail = format!(" {delivered} messages: {fetched} of {expected} fetches done, ");
    let answers = format!("; {} answers checked, ", scene.replies);
    let judged = |count: u64| if count == 0 { Style::Good } else { Style::Bad };
    Line::of(Style::Plain, mail)
        .and(judged(doubled), format!("{doubled} doubled"))
        .and(Style::Plain, answers)
        .and(judged(scene.faults), format!("{} wrong", scene.faults))
}

/// How polls are drawn.
struct Marks {
    reached: char,
    relieved: char,
    fetched: char,
    put_off: char,
    fault: char,
    change: char,
}

impl Marks {
    fn new(unicode: bool) -> Self {
        if unicode {
            Self { reached: '█', relieved: '·', fetched: '▼', put_off: '░', fault: '!', change: '│' }
        } else {
            Self { reached: '#', relieved: '.', fetched: 'v', put_off: '-', fault: '!', change: '|' }
        }
    }

    fn look(&self, mark: Mark) -> (Style, char) {
        match mark {
            Mark::Reached => (Style::Costly, self.reached),
            Mark::Relieved => (Style::Good, self.relieved),
            Mark::Fetched => (Style::News, self.fetched),
            Mark::PutOff => (Style::Dim, self.put_off),
            Mark::Fault => (Style::Bad, self.fault),
            Mark::Change => (Style::Plain, self.change),
        }
    }

    fn strip<'a>(&self, mut line: Line, marks: impl Iterator<Item = &'a Mark>) -> Line {
        let mut run: Option<(Style, String)> = None;
        for mark in marks {
            let (style, character) = self.look(*mark);
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
            let (style, character) = self.look(mark);
            line.and(style, format!(" {character}")).and(Style::Dim, format!(" {meaning}  "))
        })
    }
}
