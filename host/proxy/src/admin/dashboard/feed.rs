//! The event stream of the dashboard. An event is built once per second for all clients together,
//! and only while there are any. A slow client skips to the latest event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::history::{History, LastMinute};
use crate::admin::Status;
use crate::logging::Recent;
use crate::server::View;
use crate::session::Poller;

/// Concurrent streams without a token; the same number is allowed with one.
const MAX_WATCHERS: usize = 32;
/// Time between two events.
const INTERVAL: Duration = Duration::from_secs(1);
/// Number of users in the list of top pollers.
const TOP_POLLERS: usize = 15;

/// One event.
#[derive(Debug, Serialize)]
pub(super) struct Update {
    /// Unix time, in milliseconds.
    now_ms: u64,
    status: Status,
    /// Number of the current minute; 0 is when the server started.
    minute: u64,
    last_minute: Vec<LastMinute>,
    /// Number of the newest warning or error; if it changes, the page requests `/recent`.
    newest_log_line: u64,
    /// Present if `admin.top-pollers` is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_pollers: Option<Vec<TopPoller>>,
}

/// One of the users with the most polls.
#[derive(Debug, Serialize)]
struct TopPoller {
    server: String,
    #[serde(flatten)]
    poller: Poller,
}

/// Distributes the events to all clients.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Feed {
    view: View,
    recent: Recent,
    history: Arc<History>,
    latest: Arc<watch::Sender<Bytes>>,
    anonymous: Arc<Semaphore>,
    authenticated: Arc<Semaphore>,
}

impl Feed {
    pub(in crate::admin) fn new(view: View, recent: Recent) -> Self {
        Self {
            view,
            recent,
            history: Arc::default(),
            latest: Arc::new(watch::Sender::new(Bytes::new())),
            anonymous: Arc::new(Semaphore::new(MAX_WATCHERS)),
            authenticated: Arc::new(Semaphore::new(MAX_WATCHERS)),
        }
    }

    /// Runs until it is aborted.
    pub(in crate::admin) async fn run(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        // After a stall, the counters include what was missed.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.record();
            if self.latest.receiver_count() > 0 {
                self.latest.send_replace(self.event());
            }
        }
    }

    /// Adds what was counted since the last call to the history.
    fn record(&self) {
        let servers = self.view.virtual_servers().map(|server| (server.name, server.counters));
        self.history.record(self.view.uptime().as_secs(), servers);
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn status(&self) -> Status {
        Status::of(&self.view)
    }

    fn event(&self) -> Bytes {
        let (minute, last_minute) = self.history.last_minute();
        let update = Update {
            now_ms: now_ms(),
            status: self.status(),
            minute,
            last_minute,
            newest_log_line: self.recent.newest(),
            top_pollers: self
                .view
                .top_pollers(TOP_POLLERS)
                .map(|all| all.into_iter().map(|(server, poller)| TopPoller { server, poller }).collect()),
        };
        let json = serde_json::to_string(&update).unwrap_or_default();
        Bytes::from(format!("data: {json}\n\n"))
    }

    /// Returns a stream of events as a response body; None if there are too many. Clients with a
    /// token are counted separately.
    pub(super) fn watch(&self, is_authenticated: bool) -> Option<Body> {
        let permits = if is_authenticated { &self.authenticated } else { &self.anonymous };
        let permit = permits.clone().try_acquire_owned().ok()?;
        let is_first = self.latest.receiver_count() == 0;
        let mut updates = self.latest.subscribe();
        if is_first {
            self.record();
            self.latest.send_replace(self.event());
        }
        updates.mark_changed();
        Some(Body::from_stream(stream::unfold((updates, permit), next)))
    }
}

type Watching = (watch::Receiver<Bytes>, OwnedSemaphorePermit);

async fn next((mut updates, permit): Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    updates.changed().await.ok()?;
    let event = updates.borrow_and_update().clone();
    Some((Ok(event), (updates, permit)))
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
