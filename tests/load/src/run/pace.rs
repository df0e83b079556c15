//! When sessions start: as soon as another one has ended, or at a rate.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Returns the numbers of sessions in order, each when it is due.
pub(crate) struct Pace {
    started: Instant,
    next: Cell<u64>,
    /// Total number.
    sessions: u64,
    /// Time after which no session starts.
    duration: Option<Duration>,
    /// Sessions per second; `None`: as fast as they end.
    rate: Option<f64>,
    stop: watch::Receiver<bool>,
}

/// A session to start now.
pub(crate) struct Turn {
    pub(crate) session: u64,
    /// Start of its latency. If all connections were busy, this is when it was due: otherwise each
    /// stall of the server would count only once, not for every client that it keeps waiting.
    pub(crate) since: Instant,
}

impl Pace {
    pub(crate) fn new(
        sessions: u64,
        duration: Option<Duration>,
        rate: Option<f64>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { started: Instant::now(), next: Cell::new(0), sessions, duration, rate, stop }
    }

    /// Waits until the next session is due; `None` after the last one.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        let session = self.next.get();
        let mut stop = self.stop.clone();
        if session >= self.sessions || *stop.borrow() {
            return None;
        }
        self.next.set(session + 1);
        let now = Instant::now();
        let due = match self.rate {
            Some(rate) => self.started + Duration::from_secs_f64(session as f64 / rate),
            None => now,
        };
        if self.duration.is_some_and(|duration| due.max(now) - self.started >= duration) {
            return None;
        }
        if due <= now {
            return Some(Turn { session, since: due });
        }
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = stop.changed() => return None,
        }
        // Timers are up to a millisecond late, which is not the server's fault.
        Some(Turn { session, since: Instant::now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_its_own<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn the_given_number_of_sessions_starts() {
        let (_keep, stop) = watch::channel(false);
        on_its_own(async {
            let pace = Pace::new(3, None, None, stop);
            let mut sessions = Vec::new();
            while let Some(turn) = pace.turn().await {
                sessions.push(turn.session);
            }
            assert_eq!(sessions, [0, 1, 2]);
        });
    }

    #[test]
    fn the_latency_of_a_session_that_waited_starts_when_it_was_due() {
        let (_keep, stop) = watch::channel(false);
        on_its_own(async {
            let mut pace = Pace::new(2, None, Some(10.0), stop);
            // As after a second in which all connections were busy.
            pace.started -= Duration::from_secs(1);
            let first = pace.turn().await.unwrap();
            let second = pace.turn().await.unwrap();
            assert_eq!(first.since, pace.started);
            assert_eq!(second.since, pace.started + Duration::from_millis(100));
        });
    }

    #[test]
    fn no_session_starts_after_the_duration_or_after_a_stop() {
        let (stopper, stop) = watch::channel(false);
        on_its_own(async {
            let pace = Pace::new(9, Some(Duration::ZERO), None, stop.clone());
            assert!(pace.turn().await.is_none());
            let pace = Pace::new(9, None, Some(0.001), stop);
            assert!(pace.turn().await.is_some());
            let (turn, _) = tokio::join!(pace.turn(), async { stopper.send(true) });
            assert!(turn.is_none(), "the next session was due in 17 minutes");
        });
    }
}
