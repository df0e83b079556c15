//! When sessions begin: each as soon as another has ended, or at a rate.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Hands out the numbers of sessions, in order, when they are due.
pub(crate) struct Pace {
    begun: Instant,
    next: Cell<u64>,
    /// How many there are to be.
    sessions: u64,
    /// After which none begins.
    duration: Option<Duration>,
    /// Sessions a second; without it, as fast as they end.
    rate: Option<f64>,
    stop: watch::Receiver<bool>,
}

/// A session that is due.
pub(crate) struct Turn {
    pub(crate) session: u64,
    /// From when its duration counts. Where all connections were busy that is when it should have
    /// begun: else a server that stalls would have each stall counted once, however many clients it
    /// would have kept waiting.
    pub(crate) since: Instant,
}

impl Pace {
    pub(crate) fn new(
        sessions: u64,
        duration: Option<Duration>,
        rate: Option<f64>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { begun: Instant::now(), next: Cell::new(0), sessions, duration, rate, stop }
    }

    /// Waits for the next session; nothing when there is none any more.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        let session = self.next.get();
        let mut stop = self.stop.clone();
        if session >= self.sessions || *stop.borrow() {
            return None;
        }
        self.next.set(session + 1);
        let now = Instant::now();
        let due = match self.rate {
            Some(rate) => self.begun + Duration::from_secs_f64(session as f64 / rate),
            None => now,
        };
        if self.duration.is_some_and(|duration| due.max(now) - self.begun >= duration) {
            return None;
        }
        if due <= now {
            return Some(Turn { session, since: due });
        }
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            _ = stop.changed() => return None,
        }
        // Timers are late by up to a millisecond: that is not the server's doing.
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
    fn as_many_sessions_begin_as_there_are_to_be() {
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
    fn a_session_that_had_to_wait_counts_from_when_it_was_due() {
        let (_keep, stop) = watch::channel(false);
        on_its_own(async {
            let mut pace = Pace::new(2, None, Some(10.0), stop);
            // As if all connections had been busy for a second.
            pace.begun -= Duration::from_secs(1);
            let first = pace.turn().await.unwrap();
            let second = pace.turn().await.unwrap();
            assert_eq!(first.since, pace.begun);
            assert_eq!(second.since, pace.begun + Duration::from_millis(100));
        });
    }

    #[test]
    fn none_begins_after_the_duration_nor_after_a_stop() {
        let (stopper, stop) = watch::channel(false);
        on_its_own(async {
            let pace = Pace::new(9, Some(Duration::ZERO), None, stop.clone());
            assert!(pace.turn().await.is_none());
            let pace = Pace::new(9, None, Some(0.001), stop);
            assert!(pace.turn().await.is_some());
            let (turn, _) = tokio::join!(pace.turn(), async { stopper.send(true) });
            assert!(turn.is_none(), "a session was due in a quarter of an hour");
        });
    }
}
