//! OpenTelemetry traces: a span per session with spans of its parts, exported with OTLP over HTTP. A
//! separate thread builds and sends them; sessions only hand over their data, as for the decision
//! log. Traces contain no user names.

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
use crate::decision_log::{EndedSession, SessionEvents};
use collector::Collector;
use spans::{FinishedSession, spans};

/// The sample is a number of sessions per million.
const MILLION: u32 = 1_000_000;
/// How many sessions may wait for the exporter.
const MAX_WAITING: usize = 8192;
/// How many sessions are sent in one request.
const MAX_SESSIONS_PER_REQUEST: usize = 512;
/// How long sessions are collected for one request.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// How long no trace must have been dropped before the log says that traces are complete again.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("{location}: `traces`: {why}")]
pub struct TracesError {
    location: String,
    why: String,
}

/// The exporter, ready to start. Its files were read, which may need root privileges.
#[derive(Debug)]
pub struct PreparedTraces {
    config: TracesConfig,
    collector: Collector,
}

impl PreparedTraces {
    /// Reads the files in the configuration. It does not connect to the collector.
    ///
    /// # Errors
    /// If a file cannot be read, with the location in the configuration.
    pub fn open(config: &TracesConfig) -> Result<Self, TracesError> {
        let fail = |why: String| TracesError { location: config.location.to_string(), why };
        Ok(Self { config: config.clone(), collector: Collector::load(config).map_err(fail)? })
    }

    /// Starts the exporter thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(self) -> Result<Arc<Traces>, TracesError> {
        let Self { config, collector } = self;
        let fail = |error: std::io::Error| TracesError {
            location: config.location.to_string(),
            why: error.to_string(),
        };
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let (running, finished) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let traces = Arc::new(Traces {
            sample: config.sample,
            sender: Mutex::new(Some(sender)),
            finished: Mutex::new(finished),
            dropped: AtomicU64::new(0),
            dropping: AtomicBool::new(false),
        });
        let exporter = Exporter {
            receiver,
            collector,
            runtime,
            endpoint: config.endpoint.to_string(),
            traces: traces.clone(),
            is_failing: false,
            dropped: 0,
            dropped_at: Instant::now(),
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                exporter.run();
                drop(running);
            })
            .map_err(fail)?;
        Ok(traces)
    }
}

/// The running export of traces.
#[derive(Debug)]
pub struct Traces {
    /// Sessions per million.
    sample: u32,
    sender: Mutex<Option<SyncSender<FinishedSession>>>,
    /// Disconnected when the last traces were sent.
    finished: Mutex<Receiver<()>>,
    dropped: AtomicU64,
    dropping: AtomicBool,
}

impl Traces {
    /// Whether a session is in the sample. The result is always the same for a session id.
    #[must_use]
    pub fn is_sampled(&self, session: &str) -> bool {
        if self.sample >= MILLION {
            return true;
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(session);
        hash % u64::from(MILLION) < u64::from(self.sample)
    }

    /// Queues the trace of a session, without blocking. It is dropped if the queue is full.
    pub fn record(&self, session: &EndedSession<'_>, events: Option<Box<SessionEvents>>) {
        let whole = FinishedSession::new(session, events);
        let sent = match &*self.sender.lock() {
            Some(sender) => sender.try_send(whole),
            None => return,
        };
        if let Err(TrySendError::Full(_)) = sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if !self.dropping.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "traces",
                    "traces are dropped because the collector does not keep up"
                );
            }
        }
    }

    /// Stops the export after the queued traces, and waits for that at most `timeout`.
    pub fn close(&self, timeout: Duration) {
        drop(self.sender.lock().take());
        let _ = self.finished.lock().recv_timeout(timeout);
    }

    /// Number of traces that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The thread that builds and sends traces.
struct Exporter {
    receiver: Receiver<FinishedSession>,
    collector: Collector,
    runtime: tokio::runtime::Runtime,
    endpoint: String,
    traces: Arc<Traces>,
    /// Whether the last request failed.
    is_failing: bool,
    /// Number of dropped traces after the last request, and when it last grew.
    dropped: u64,
    dropped_at: Instant,
}

impl Exporter {
    fn run(mut self) {
        loop {
            let Ok(first) = self.receiver.recv() else { return };
            let mut all = Vec::new();
            spans(first, &mut all);
            let until = Instant::now() + BATCH_TIME;
            for _ in 1..MAX_SESSIONS_PER_REQUEST {
                match self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(next) => spans(next, &mut all),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            let result = self.runtime.block_on(self.collector.send(otlp::request(all)));
            self.log_changes(result);
        }
    }

    /// Logs when the collector starts or stops failing, and when no more traces are dropped.
    fn log_changes(&mut self, result: Result<(), String>) {
        match (result, self.is_failing) {
            (Err(why), false) => {
                self.is_failing = true;
                tracing::warn!(
                    target: "traces",
                    endpoint = self.endpoint,
                    "the collector does not accept traces, which are dropped until it does: {why}"
                );
            }
            (Ok(()), true) => {
                self.is_failing = false;
                tracing::info!(target: "traces", endpoint = self.endpoint, "the collector accepts traces again");
            }
            _ => {}
        }
        let dropped = self.traces.dropped();
        if dropped != self.dropped {
            (self.dropped, self.dropped_at) = (dropped, Instant::now());
        } else if self.dropped_at.elapsed() > RECOVERED_AFTER
            && self.traces.dropping.swap(false, Ordering::Relaxed)
        {
            tracing::info!(
                target: "traces",
                dropped,
                "traces are no longer dropped; {dropped} were dropped since the start"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_right_size_and_is_always_the_same() {
        for (sample, least, most) in [(0, 0, 0), (250_000, 2200, 2800), (MILLION, 10_000, 10_000)] {
            let (sender, finished) = (sync_channel(1).0, sync_channel(1).1);
            let traces = Traces {
                sample,
                sender: Mutex::new(Some(sender)),
                finished: Mutex::new(finished),
                dropped: AtomicU64::new(0),
                dropping: AtomicBool::new(false),
            };
            let sampled: Vec<_> =
                (0..10_000).filter(|number| traces.is_sampled(&format!("a1b2c3d4{number:08x}"))).collect();
            assert!((least..=most).contains(&sampled.len()), "{sample}: {}", sampled.len());
            assert!(sampled.iter().all(|number| traces.is_sampled(&format!("a1b2c3d4{number:08x}"))));
        }
    }
}
