//! Pictures one after the other, until somebody has seen enough.

use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::time::{Duration, Instant};

use console::{Key, Term};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::Order;
use super::frame::Frame;
use super::history::History;
use crate::admin::{Client, Status};
use crate::output::Output;
use crate::terminal::{self, Picture};

/// Lines that PageUp and PageDown move by.
const PAGE: usize = 10;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is to react to.
enum News {
    Key(Key),
    /// The terminal has another size.
    Resized,
    Status(Box<Status>),
    /// It cannot be asked.
    Trouble(String),
    /// A signal to end.
    End,
}

/// A terminal that tells each key at once and shows none, and a screen of its own; what was there
/// comes back whatever ends this.
struct Screen {
    before: Termios,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes = before.output_modes;
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self { before };
        Output.write_all(b"\x1b[?1049h\x1b[H")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Output.write_all(b"\x1b[?1049l");
        let _ = Output.flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Draws what `first` and each later look shows, every `interval`, until `q` or a signal ends it.
///
/// # Errors
/// Where the terminal cannot be drawn on.
pub fn run(client: Client, first: Status, interval: Duration, order: Order) -> io::Result<()> {
    let (tell, news) = channel();
    let screen = Screen::open()?;
    let keys = tell.clone();
    // Both end with the process: what they wait for cannot be called off.
    std::thread::spawn(move || read_keys(&keys));
    std::thread::spawn(move || ask(&client, interval, &tell));
    let ended = draw_all(&news, first, order);
    drop(screen);
    ended
}

fn draw_all(news: &Receiver<News>, first: Status, mut order: Order) -> io::Result<()> {
    let mut history = History::new();
    history.add(Instant::now(), first);
    let (mut scroll, mut trouble): (usize, Option<String>) = (0, None);
    let bars = terminal::speaks_unicode();
    let mut out = Output;
    let mut picture = Picture::new(&mut out, terminal::colours_wanted())?;
    loop {
        let (columns, rows) = terminal::size();
        // The last line stays free, so that nothing scrolls.
        let rows = rows.saturating_sub(1);
        let bars_to = bars.then_some(columns);
        let frame = Frame { order, trouble: trouble.as_deref(), bars_to, ..Frame::new(&history) };
        let most = frame.most_scroll(rows);
        scroll = scroll.min(most);
        picture.draw(&frame.fitted(rows, scroll))?;
        match news.recv() {
            Ok(News::Status(status)) => {
                trouble = None;
                history.add(Instant::now(), *status);
            }
            Ok(News::Trouble(why)) => trouble = Some(why),
            Ok(News::Key(key)) => match key {
                Key::Char('q') | Key::Escape | Key::CtrlC => return Ok(()),
                Key::Char('s') => order = after(order),
                Key::ArrowUp | Key::Char('k') => scroll = scroll.saturating_sub(1),
                Key::ArrowDown | Key::Char('j') => scroll += 1,
                Key::PageUp => scroll = scroll.saturating_sub(PAGE),
                Key::PageDown => scroll += PAGE,
                Key::Home => scroll = 0,
                Key::End => scroll = most,
                _ => {}
            },
            Ok(News::Resized) => {}
            Ok(News::End) | Err(RecvError) => return Ok(()),
        }
    }
}

fn after(order: Order) -> Order {
    match order {
        Order::Configured => Order::Polls,
        Order::Polls => Order::Relief,
        Order::Relief => Order::Configured,
    }
}

fn read_keys(tell: &Sender<News>) {
    let terminal = Term::stdout();
    // An error: the terminal has gone.
    while let Ok(key) = terminal.read_key_raw() {
        if tell.send(News::Key(key)).is_err() {
            return;
        }
    }
    let _ = tell.send(News::End);
}

fn ask(client: &Client, interval: Duration, tell: &Sender<News>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let signals =
            [SignalKind::terminate(), SignalKind::hangup(), SignalKind::window_change()].map(signal);
        let [Ok(mut terminate), Ok(mut hang_up), Ok(mut resize)] = signals else { return };
        let mut next = tokio::time::Instant::now() + interval;
        loop {
            let look = async {
                tokio::time::sleep_until(next).await;
                match tokio::time::timeout(PATIENCE, client.status()).await {
                    Ok(Ok(status)) => News::Status(Box::new(status)),
                    Ok(Err(error)) => News::Trouble(error.to_string()),
                    Err(_) => News::Trouble("it does not answer".to_owned()),
                }
            };
            let news = tokio::select! {
                news = look => {
                    next = tokio::time::Instant::now() + interval;
                    news
                }
                _ = resize.recv() => News::Resized,
                _ = terminate.recv() => News::End,
                _ = hang_up.recv() => News::End,
            };
            if tell.send(news).is_err() {
                return;
            }
        }
    });
}
