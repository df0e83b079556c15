//! Who is told of sessions, where somebody is.

use super::exposition::Exposition;
use crate::server::View;

pub(super) fn write(view: &View, out: &mut Exposition) {
    if let Some(counts) = view.decision_log() {
        out.counter("reprieve_decision_log_lines", "Lines of the decision log, by what became of them.")
            .by_kind(&[], "result", &[("written", counts.written), ("dropped", counts.dropped)]);
    }
    if let Some(dropped) = view.dropped_traces() {
        out.counter(
            "reprieve_dropped_traces",
            "Traces of sessions that were dropped, because the collector did not keep up.",
        )
        .add(&[], dropped);
    }
}
