//! How long a session waits for its client: until a deadline or the server's shutdown.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::client_io::Disconnect;
use crate::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// Created once and reused, so that a command that arrives in time costs neither a timer nor a
    /// registration for the shutdown.
    pub(super) struct DeadlineOrDrain<'a> {
        #[pin]
        timer: Sleep,
        #[pin]
        drained: WaitForCancellationFuture<'a>,
    }
}

/// Waits until a deadline, which each wait may move. `drain` is cancelled when the server shuts
/// down.
pub(super) fn deadline_or_drain(deadline: Instant, drain: &CancellationToken) -> DeadlineOrDrain<'_> {
    DeadlineOrDrain { timer: sleep_until(deadline), drained: drain.cancelled() }
}

impl DeadlineOrDrain<'_> {
    /// The deadline of the first wait.
    pub(super) fn deadline(&self) -> Instant {
        self.timer.deadline()
    }

    /// Ready when the wait is over, with the cause.
    pub(super) fn poll_over(
        self: Pin<&mut Self>,
        deadline: Instant,
        task: &mut TaskContext<'_>,
    ) -> Poll<Disconnect> {
        let this = self.project();
        if this.drained.poll(task).is_ready() {
            return Poll::Ready(Disconnect::Drained);
        }
        let mut timer = this.timer;
        // The timer fires at an earlier deadline if the deadline has moved; it is reset only then.
        while timer.as_mut().poll(task).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Disconnect::Idle);
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn it_waits_for_the_latest_deadline() {
        runtime().block_on(async {
            let drain = CancellationToken::new();
            let (began, step) = (Instant::now(), Duration::from_millis(20));
            let mut wait_limit = pin!(deadline_or_drain(began + 2 * step, &drain));
            let early = poll_fn(|task| wait_limit.as_mut().poll_over(began + 2 * step, task));
            assert!(tokio::time::timeout(step, early).await.is_err());
            // A command has arrived meanwhile, so the deadline has moved.
            let end = poll_fn(|task| wait_limit.as_mut().poll_over(began + 4 * step, task)).await;
            assert_eq!(end, Disconnect::Idle);
            assert!(began.elapsed() >= 4 * step);
        });
    }

    #[test]
    fn it_ends_when_the_server_shuts_down() {
        runtime().block_on(async {
            let drain = CancellationToken::new();
            let deadline = Instant::now() + Duration::from_secs(600);
            let mut wait_limit = pin!(deadline_or_drain(deadline, &drain));
            let waiting = poll_fn(|task| wait_limit.as_mut().poll_over(deadline, task));
            let ends = async { drain.cancel() };
            let (end, ()) = tokio::join!(waiting, ends);
            assert_eq!(end, Disconnect::Drained);
        });
    }
}
