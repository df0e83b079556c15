//! The log of this process.

use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// All log events of this process: their fields, with level and target.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<serde_json::Map<String, serde_json::Value>>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields(serde_json::Map::new());
        fields.0.insert("target".to_owned(), event.metadata().target().into());
        fields.0.insert("level".to_owned(), event.metadata().level().as_str().into());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

struct Fields(serde_json::Map<String, serde_json::Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

pub fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let seen = log.clone().with_filter(tracing_subscriber::filter::LevelFilter::INFO);
        tracing_subscriber::registry().with(seen).init();
        log
    })
}

/// The log lines of a virtual server's policy, as JSON.
pub fn lines_of(server: &str) -> Vec<serde_json::Value> {
    let lines = log().0.lock().unwrap();
    let lines = lines.iter().filter(|line| {
        let is = |field, value: &str| line.get(field).is_some_and(|found| found == value);
        is("server", server) && is("target", "policy")
    });
    lines.cloned().map(serde_json::Value::Object).collect()
}
