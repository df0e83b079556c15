//! The interactive mode of `reprieve top`.

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
use crate::terminal::{self, LiveDisplay};

/// Lines that PageUp and PageDown move by.
const PAGE: usize = 10;

/// Longest wait for the status.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

enum Event {
    Key(Key),
    /// The terminal's size has changed.
    Resized,
    Status(Box<Status>),
    /// The request failed; the message.
    Error(String),
    /// The terminal is gone, or a signal told the process to exit.
    End,
}

/// The terminal in raw mode on the alternate screen; both are restored when dropped.
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

/// Shows the status and updates it every `interval`, until `q` or a signal.
///
/// # Errors
/// If the terminal cannot be written to.
pub fn run(client: Client, first: Status, interval: Duration, order: Order) -> io::Result<()> {
    let (sender, events) = channel();
    let screen = Screen::open()?;
    let keys = sender.clone();
    // Both threads end with the process, because reading a key cannot be cancelled.
    std::thread::spawn(move || read_keys(&keys));
    std::thread::spawn(move || poll_status(&client, interval, &sender));
    let ended = draw_all(&events, first, order);
    drop(screen);
    ended
}

fn draw_all(events: &Receiver<Event>, first: Status, mut order: Order) -> io::Result<()> {
    let mut history = History::new();
    history.add(Instant::now(), first);
    let (mut scroll, mut error): (usize, Option<String>) = (0, None);
    let bars = terminal::supports_unicode();
    let mut out = Output;
    let mut display = LiveDisplay::new(&mut out, terminal::colours_wanted())?;
    loop {
        let (columns, rows) = terminal::size();
        // Writing to the last line would scroll.
        let rows = rows.saturating_sub(1);
        let bars_to = bars.then_some(columns);
        let frame = Frame { order, error: error.as_deref(), bars_to, ..Frame::new(&history) };
        let most = frame.max_scroll(rows);
        scroll = scroll.min(most);
        display.draw(&frame.fit(rows, scroll))?;
        match events.recv() {
            Ok(Event::Status(status)) => {
                error = None;
                history.add(Instant::now(), *status);
            }
            Ok(Event::Error(why)) => error = Some(why),
            Ok(Event::Key(key)) => match key {
                Key::Char('q') | Key::Escape | Key::CtrlC => return Ok(()),
                Key::Char('s') => order = next_order(order),
                Key::ArrowUp | Key::Char('k') => scroll = scroll.saturating_sub(1),
                Key::ArrowDown | Key::Char('j') => scroll += 1,
                Key::PageUp => scroll = scroll.saturating_sub(PAGE),
                Key::PageDown => scroll += PAGE,
                Key::Home => scroll = 0,
                Key::End => scroll = most,
                _ => {}
            },
            Ok(Event::Resized) => {}
            Ok(Event::End) | Err(RecvError) => return Ok(()),
        }
    }
}

fn next_order(order: Order) -> Order {
    match order {
        Order::Configured => Order::Polls,
        Order::Polls => Order::Relief,
        Order::Relief => Order::Configured,
    }
}

fn read_keys(events: &Sender<Event>) {
    let terminal = Term::stdout();
    // Fails if the terminal is gone.
    while let Ok(key) = terminal.read_key_raw() {
        if events.send(Event::Key(key)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::End);
}

fn poll_status(client: &Client, interval: Duration, events: &Sender<Event>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let signals =
            [SignalKind::terminate(), SignalKind::hangup(), SignalKind::window_change()].map(signal);
        let [Ok(mut terminate), Ok(mut hang_up), Ok(mut resize)] = signals else { return };
        let mut next = tokio::time::Instant::now() + interval;
        loop {
            let request = async {
                tokio::time::sleep_until(next).await;
                match tokio::time::timeout(ANSWER_TIMEOUT, client.status()).await {
                    Ok(Ok(status)) => Event::Status(Box::new(status)),
                    Ok(Err(error)) => Event::Error(error.to_string()),
                    Err(_) => Event::Error("no answer".to_owned()),
                }
            };
            let event = tokio::select! {
                event = request => {
                    next = tokio::time::Instant::now() + interval;
                    event
                }
                _ = resize.recv() => Event::Resized,
                _ = terminate.recv() => Event::End,
                _ = hang_up.recv() => Event::End,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    });
}
