//! Time in unit tests: tokio's, unless the thread simulates a world. Then time passes only when nothing
//! else is left to do, and at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::Add;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

thread_local! {
    static TIME: RefCell<Option<VirtualTime>> = const { RefCell::new(None) };
}

/// The clock and the timers of a simulation.
#[derive(Debug)]
struct VirtualTime {
    base: std::time::Instant,
    now: Duration,
    /// By the time at which they fire, in the order in which they were set.
    timers: BTreeMap<(Duration, u64), Waker>,
    last: u64,
}

/// Virtual time on this thread, until this is dropped.
pub(in crate::simulation) struct Virtual;

impl Virtual {
    pub(in crate::simulation) fn begin() -> Self {
        let base = std::time::Instant::now();
        let time = VirtualTime { base, now: Duration::ZERO, timers: BTreeMap::new(), last: 0 };
        TIME.set(Some(time));
        Self
    }
}

impl Drop for Virtual {
    fn drop(&mut self) {
        TIME.set(None);
    }
}

/// Nothing is left to do: it is the time of the next timer. The runtime calls this before it waits.
pub(in crate::simulation) fn pass() {
    let waker = TIME.with_borrow_mut(|time| {
        let time = time.as_mut()?;
        let ((at, _), waker) = time.timers.pop_first()?;
        time.now = time.now.max(at);
        Some(waker)
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// How much virtual time has passed. None if time is real.
pub(crate) fn passed() -> Option<Duration> {
    TIME.with_borrow(|time| time.as_ref().map(|time| time.now))
}

/// As tokio's, in whole milliseconds if it is virtual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(std::time::Instant);

impl Instant {
    pub(crate) fn now() -> Self {
        let virtual_now = TIME.with_borrow(|time| time.as_ref().map(|time| time.base + time.now));
        Self(virtual_now.unwrap_or_else(std::time::Instant::now))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

/// Waits until a time.
#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Instant,
    /// None in virtual time.
    real: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The timer that is set, in virtual time.
    timer: Option<(Duration, u64)>,
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    let is_virtual = TIME.with_borrow(Option::is_some);
    let real = (!is_virtual).then(|| Box::pin(tokio::time::sleep_until(deadline.0.into())));
    Sleep { deadline, real, timer: None }
}

pub(crate) fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

impl Sleep {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn reset(self: Pin<&mut Self>, deadline: Instant) {
        let this = self.get_mut();
        this.unset();
        this.deadline = deadline;
        if let Some(real) = &mut this.real {
            real.as_mut().reset(deadline.0.into());
        }
    }

    fn unset(&mut self) {
        if let Some(timer) = self.timer.take() {
            TIME.with_borrow_mut(|time| time.as_mut().map(|time| time.timers.remove(&timer)));
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unset();
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(real) = &mut this.real {
            return real.as_mut().poll(task);
        }
        this.unset();
        TIME.with_borrow_mut(|time| {
            // The world has ended.
            let Some(time) = time else { return Poll::Pending };
            let at = this.deadline.0.saturating_duration_since(time.base);
            // Timers have a resolution of a millisecond, as tokio's.
            let at =
                Duration::from_millis(u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
            if at <= time.now {
                return Poll::Ready(());
            }
            time.last += 1;
            let timer = (at, time.last);
            time.timers.insert(timer, task.waker().clone());
            this.timer = Some(timer);
            Poll::Pending
        })
    }
}

/// The time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> Self {
        io::ErrorKind::TimedOut.into()
    }
}

pin_project! {
    /// A future with a time limit.
    pub(crate) struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

pub(crate) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

pub(crate) fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    timeout_at(Instant::now() + duration, future)
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(task) {
            return Poll::Ready(Ok(result));
        }
        this.sleep.poll(task).map(|()| Err(Elapsed))
    }
}
