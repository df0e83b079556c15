//! What is told to all who watch, once a second: made once, however many they are, and not at
//! all while there are none. Who is slow is told the latest and never what he has missed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::day::{Day, Pace};
use crate::admin::Status;
use crate::logging::Recent;
use crate::server::View;
use crate::session::Poller;

/// How many may watch at once without a token; and as many with one.
const WATCHERS: usize = 32;
/// How often they are told.
const EVERY: Duration = Duration::from_secs(1);
/// Of those who poll most, how many are told of.
const WORST: usize = 15;

/// One moment, as the page gets it.
#[derive(Debug, Serialize)]
pub(super) struct Moment {
    /// Unix milliseconds.
    now_ms: u64,
    status: Status,
    /// Number of the present minute.
    minute: u64,
    pace: Vec<Pace>,
    /// Number of the newest line of trouble.
    trouble: u64,
    /// Where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_pollers: Option<Vec<Worst>>,
}

/// Who polls most, and where.
#[derive(Debug, Serialize)]
struct Worst {
    server: String,
    #[serde(flatten)]
    poller: Poller,
}

/// Tells those who watch.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Feed {
    view: View,
    recent: Recent,
    day: Arc<Day>,
    latest: Arc<watch::Sender<Bytes>>,
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
}

impl Feed {
    pub(in crate::admin) fn new(view: View, recent: Recent) -> Self {
        Self {
            view,
            recent,
            day: Arc::default(),
            latest: Arc::new(watch::Sender::new(Bytes::new())),
            strangers: Arc::new(Semaphore::new(WATCHERS)),
            known: Arc::new(Semaphore::new(WATCHERS)),
        }
    }

    /// Goes on for ever.
    pub(in crate::admin) async fn run(self) {
        let mut ticks = tokio::time::interval(EVERY);
        // After a stall the counters tell what was missed.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.look();
            if self.latest.receiver_count() > 0 {
                self.latest.send_replace(self.event());
            }
        }
    }

    /// Counts what has happened since the last look.
    fn look(&self) {
        let servers = self.view.virtual_servers().map(|server| (server.name, server.counters));
        self.day.look(self.view.uptime().as_secs(), servers);
    }

    pub(super) fn day(&self) -> &Day {
        &self.day
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn status(&self) -> Status {
        Status::of(&self.view)
    }

    fn event(&self) -> Bytes {
        let (minute, pace) = self.day.pace();
        let moment = Moment {
            now_ms: now_ms(),
            status: self.status(),
            minute,
            pace,
            trouble: self.recent.newest(),
            worst_pollers: self
                .view
                .worst_pollers(WORST)
                .map(|all| all.into_iter().map(|(server, poller)| Worst { server, poller }).collect()),
        };
        let json = serde_json::to_string(&moment).unwrap_or_default();
        Bytes::from(format!("data: {json}\n\n"))
    }

    /// What somebody who watches is told, for as long as they do; None if too many do. Those who
    /// have shown a token are counted apart.
    pub(super) fn watch(&self, is_known: bool) -> Option<Body> {
        let places = if is_known { &self.known } else { &self.strangers };
        let place = places.clone().try_acquire_owned().ok()?;
        let is_first = self.latest.receiver_count() == 0;
        let mut updates = self.latest.subscribe();
        if is_first {
            self.look();
            self.latest.send_replace(self.event());
        }
        updates.mark_changed();
        Some(Body::from_stream(stream::unfold((updates, place), next)))
    }
}

type Watching = (watch::Receiver<Bytes>, OwnedSemaphorePermit);

async fn next((mut updates, place): Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    updates.changed().await.ok()?;
    let event = updates.borrow_and_update().clone();
    Some((Ok(event), (updates, place)))
}

/// The machine's time, in Unix milliseconds.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
