//! OpenTelemetry traces: a span a session, with spans of its parts, sent by OTLP over HTTP. They
//! are made and sent by a thread of their own; sessions only hand over what they know, as they
//! do to the decision log. User names are in no trace.

mod collector;
mod otlp;
mod spans;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::TracesConfig;
use crate::decision_log::{Session, Story};
use collector::Collector;
use spans::{Whole, spans};

/// What the sample is a part of.
const MILLION: u32 = 1_000_000;
/// Sessions that may wait for being sent.
const MOST_WAITING: usize = 8192;
/// Sessions in one request.
const MOST_AT_ONCE: usize = 512;
/// How long sessions are gathered for a request.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// How long none may have been dropped before the trouble counts as over.
const CALM: Duration = Duration::from_secs(10);

/// Why there can be no traces: one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
#[error("{location}: `traces`: {why}")]
pub struct TracesError {
    location: String,
    why: String,
}

/// All that sending traces needs, read by somebody who may.
#[derive(Debug)]
pub struct Opened {
    config: TracesConfig,
    collector: Collector,
}

impl Opened {
    /// Reads what the configuration names. The collector is not asked.
    ///
    /// # Errors
    /// What is wrong, with its place in the configuration.
    pub fn open(config: &TracesConfig) -> Result<Self, TracesError> {
        let fail = |why: String| TracesError { location: config.location.to_string(), why };
        Ok(Self { config: config.clone(), collector: Collector::load(config).map_err(fail)? })
    }

    /// Begins to send.
    ///
    /// # Errors
    /// Where there is no thread for it.
    pub fn start(self) -> Result<Arc<Traces>, TracesError> {
        let Self { config, collector } = self;
        let fail =
            |error: std::io::Error| TracesError { location: config.location.to_string(), why: error.to_string() };
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let (done, ended) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let traces = Arc::new(Traces {
            sample: config.sample,
            sender: Mutex::new(Some(sender)),
            ended: Mutex::new(ended),
            dropped: AtomicU64::new(0),
            dropping: AtomicBool::new(false),
        });
        let sending = Sending {
            receiver,
            collector,
            runtime,
            endpoint: config.endpoint.to_string(),
            traces: traces.clone(),
            out_of_reach: false,
            dropped: 0,
            dropped_at: Instant::now(),
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                sending.run();
                drop(done);
            })
            .map_err(fail)?;
        Ok(traces)
    }
}

/// Traces that are sent.
#[derive(Debug)]
pub struct Traces {
    /// Of a million.
    sample: u32,
    sender: Mutex<Option<SyncSender<Whole>>>,
    /// Hangs up when all was sent.
    ended: Mutex<Receiver<()>>,
    dropped: AtomicU64,
    dropping: AtomicBool,
}

impl Traces {
    /// Whether a session is among those that are traced: the same answer each time.
    #[must_use]
    pub fn wants(&self, session: &str) -> bool {
        if self.sample >= MILLION {
            return true;
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(session);
        hash % u64::from(MILLION) < u64::from(self.sample)
    }

    /// Has a session sent, if there is room for it. It does not wait.
    pub fn tell(&self, session: &Session<'_>, story: Option<Box<Story>>) {
        let whole = Whole::new(session, story);
        let sent = match &*self.sender.lock() {
            Some(sender) => sender.try_send(whole),
            None => return,
        };
        if let Err(TrySendError::Full(_)) = sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if !self.dropping.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "traces",
                    "traces of sessions are dropped: they come faster than the collector takes them"
                );
            }
        }
    }

    /// Has all that waits sent, and ends; it waits for that, for so long at the most.
    pub fn close(&self, within: Duration) {
        drop(self.sender.lock().take());
        let _ = self.ended.lock().recv_timeout(within);
    }

    /// Sessions whose traces were dropped until now, because there was no room for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The thread that sends.
struct Sending {
    receiver: Receiver<Whole>,
    collector: Collector,
    runtime: tokio::runtime::Runtime,
    endpoint: String,
    traces: Arc<Traces>,
    /// Whether the log was told so.
    out_of_reach: bool,
    /// How many had been dropped when somebody looked, and when that was more than before.
    dropped: u64,
    dropped_at: Instant,
}

impl Sending {
    fn run(mut self) {
        loop {
            let Ok(first) = self.receiver.recv() else { return };
            let mut all = Vec::new();
            spans(first, &mut all);
            let until = Instant::now() + GATHERED_FOR;
            for _ in 1..MOST_AT_ONCE {
                match self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(next) => spans(next, &mut all),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            let result = self.runtime.block_on(self.collector.send(otlp::request(all)));
            self.tell(result);
        }
    }

    /// Each outage is told once, and its end.
    fn tell(&mut self, result: Result<(), String>) {
        match (result, self.out_of_reach) {
            (Err(why), false) => {
                self.out_of_reach = true;
                tracing::warn!(
                    target: "traces",
                    endpoint = self.endpoint,
                    "the collector does not take traces, which are dropped until it does: {why}"
                );
            }
            (Ok(()), true) => {
                self.out_of_reach = false;
                tracing::info!(target: "traces", endpoint = self.endpoint, "the collector takes traces again");
            }
            _ => {}
        }
        let dropped = self.traces.dropped();
        if dropped != self.dropped {
            (self.dropped, self.dropped_at) = (dropped, Instant::now());
        } else if self.dropped_at.elapsed() > CALM && self.traces.dropping.swap(false, Ordering::Relaxed) {
            tracing::info!(
                target: "traces",
                dropped,
                "traces go on; those of {dropped} sessions were dropped since the start"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_should_be_and_the_same_each_time() {
        for (sample, least, most) in [(0, 0, 0), (250_000, 2200, 2800), (MILLION, 10_000, 10_000)] {
            let (sender, ended) = (sync_channel(1).0, sync_channel(1).1);
            let traces = Traces {
                sample,
                sender: Mutex::new(Some(sender)),
                ended: Mutex::new(ended),
                dropped: AtomicU64::new(0),
                dropping: AtomicBool::new(false),
            };
            let traced: Vec<_> =
                (0..10_000).filter(|number| traces.wants(&format!("a1b2c3d4{number:08x}"))).collect();
            assert!((least..=most).contains(&traced.len()), "{sample}: {}", traced.len());
            assert!(traced.iter().all(|number| traces.wants(&format!("a1b2c3d4{number:08x}"))));
        }
    }
}
