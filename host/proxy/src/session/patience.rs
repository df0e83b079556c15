//! How long a session waits for its client: until a deadline, and not beyond the server's end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::link::LinkEnd;

pin_project! {
    /// Made once for many waits: a command that comes in time costs neither a timer nor a place
    /// among those who are told of the server's end.
    pub(super) struct Patience<'a> {
        #[pin]
        timer: Sleep,
        #[pin]
        drained: WaitForCancellationFuture<'a>,
    }
}

/// Patience until a deadline, which each wait may put off. `drain` is cancelled when the server
/// ends.
pub(super) fn patience(deadline: Instant, drain: &CancellationToken) -> Patience<'_> {
    Patience { timer: sleep_until(deadline), drained: drain.cancelled() }
}

impl Patience<'_> {
    /// The deadline, where no wait has put it off.
    pub(super) fn deadline(&self) -> Instant {
        self.timer.deadline()
    }

    /// Ready when it is over: why.
    pub(super) fn poll_over(
        self: Pin<&mut Self>,
        deadline: Instant,
        task: &mut TaskContext<'_>,
    ) -> Poll<LinkEnd> {
        let this = self.project();
        if this.drained.poll(task).is_ready() {
            return Poll::Ready(LinkEnd::Drained);
        }
        let mut timer = this.timer;
        // The timer goes off where the deadline was when it was set; it is set anew only then.
        while timer.as_mut().poll(task).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(LinkEnd::Idle);
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
    fn it_lasts_to_the_latest_deadline_and_no_longer() {
        runtime().block_on(async {
            let drain = CancellationToken::new();
            let (began, step) = (Instant::now(), Duration::from_millis(20));
            let mut patience = pin!(patience(began + 2 * step, &drain));
            let early = poll_fn(|task| patience.as_mut().poll_over(began + 2 * step, task));
            assert!(tokio::time::timeout(step, early).await.is_err());
            // A command has come meanwhile: the time begins anew.
            let end = poll_fn(|task| patience.as_mut().poll_over(began + 4 * step, task)).await;
            assert_eq!(end, LinkEnd::Idle);
            assert!(began.elapsed() >= 4 * step);
        });
    }

    #[test]
    fn it_ends_with_the_server() {
        runtime().block_on(async {
            let drain = CancellationToken::new();
            let deadline = Instant::now() + Duration::from_secs(600);
            let mut patience = pin!(patience(deadline, &drain));
            let waiting = poll_fn(|task| patience.as_mut().poll_over(deadline, task));
            let ends = async { drain.cancel() };
            let (end, ()) = tokio::join!(waiting, ends);
            assert_eq!(end, LinkEnd::Drained);
        });
    }
}
