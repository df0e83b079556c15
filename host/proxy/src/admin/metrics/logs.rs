//! Decision log and traces, if they are configured.

use super::exposition::Exposition;
use crate::server::View;

pub(super) fn write(view: &View, out: &mut Exposition) {
    if let Some(counts) = view.decision_log() {
        out.counter(
            "reprieve_decision_log_lines",
            "Lines of the decision log, by result: written or dropped.",
        )
        .by_kind(&[], "result", &[("written", counts.written), ("dropped", counts.dropped)]);
    }
    if let Some(dropped) = view.dropped_traces() {
        out.counter(
            "reprieve_traces_dropped",
            "Traces that were dropped because the collector did not keep up.",
        )
        .add(&[], dropped);
    }
}
