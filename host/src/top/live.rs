//! Pictures one after the other, until somebody has seen enough.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use super::frame::Frame;
use super::history::History;
use super::Order;
use crate::admin::{Client, Status};

/// Lines that PageUp and PageDown move by.
const PAGE: u16 = 10;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is to react to.
enum News {
    Key(KeyCode, KeyModifiers),
    /// The terminal has another size.
    Resized,
    Status(Box<Status>),
    /// It cannot be asked.
    Trouble(String),
    /// A signal to end.
    End,
}

/// Draws what `first` and each later look shows, every `interval`, until `q` or a signal ends it.
///
/// # Errors
/// Where the terminal cannot be drawn on.
pub fn run(client: Client, first: Status, interval: Duration, order: Order, unicode: bool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let (tell, news) = channel();
    let keys = tell.clone();
    // Both end with the process: what they wait for cannot be called off.
    std::thread::spawn(move || read_keys(&keys));
    std::thread::spawn(move || ask(&client, interval, &tell));
    let ended = draw_all(&mut terminal, &news, first, order, unicode);
    ratatui::try_restore()?;
    ended
}

fn draw_all(
    terminal: &mut ratatui::DefaultTerminal,
    news: &Receiver<News>,
    first: Status,
    mut order: Order,
    unicode: bool,
) -> io::Result<()> {
    let mut history = History::new();
    history.add(Instant::now(), first);
    let (mut scroll, mut trouble): (u16, Option<String>) = (0, None);
    loop {
        let frame =
            Frame { order, scroll, trouble: trouble.clone(), keys: true, unicode, ..Frame::new(&history) };
        let most = frame.most_scroll(terminal.size()?.height);
        scroll = scroll.min(most);
        terminal.draw(|to| frame.draw(to.area(), to.buffer_mut()))?;
        match news.recv_timeout(Duration::from_secs(3600)) {
            Ok(News::Status(status)) => {
                trouble = None;
                history.add(Instant::now(), *status);
            }
            Ok(News::Trouble(why)) => trouble = Some(why),
            Ok(News::Key(key, modifiers)) => match key {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                KeyCode::Char('s') => order = after(order),
                KeyCode::Up | KeyCode::Char('k') => scroll = scroll.saturating_sub(1),
                KeyCode::Down | KeyCode::Char('j') => scroll = scroll.saturating_add(1).min(most),
                KeyCode::PageUp => scroll = scroll.saturating_sub(PAGE),
                KeyCode::PageDown => scroll = scroll.saturating_add(PAGE).min(most),
                KeyCode::Home => scroll = 0,
                KeyCode::End => scroll = most,
                _ => {}
            },
            Ok(News::Resized) | Err(RecvTimeoutError::Timeout) => {}
            Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
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
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => News::Key(key.code, key.modifiers),
            Ok(Event::Resize(..)) => News::Resized,
            Ok(_) => continue,
            // The terminal has gone.
            Err(_) => News::End,
        };
        let is_end = matches!(news, News::End);
        if tell.send(news).is_err() || is_end {
            return;
        }
    }
}

fn ask(client: &Client, interval: Duration, tell: &Sender<News>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut hang_up)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let look = async {
                ticks.tick().await;
                match tokio::time::timeout(PATIENCE, client.status()).await {
                    Ok(Ok(status)) => News::Status(Box::new(status)),
                    Ok(Err(error)) => News::Trouble(error.to_string()),
                    Err(_) => News::Trouble("it does not answer".to_owned()),
                }
            };
            let news = tokio::select! {
                news = look => news,
                _ = terminate.recv() => News::End,
                _ = hang_up.recv() => News::End,
            };
            if tell.send(news).is_err() {
                return;
            }
        }
    });
}
