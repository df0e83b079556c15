//! Prometheus exposition in two formats: Prometheus text 0.0.4 and OpenMetrics 1.0. Written by hand,
//! because existing crates support only one of them, and keep a second copy of every counter.

use std::fmt::Write as _;

use reprieve_metrics::HistogramSnapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.
    OpenMetrics,
}

impl Format {
    /// Chooses the format that the client prefers, by its `Accept` header.
    pub(super) fn negotiate(accept: &str) -> Self {
        let mut quality_of = [0.0; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f32, None);
            for (key, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match key.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    quality_of[1] = quality.max(quality_of[1]);
                }
                "text/plain" | "text/*" | "*/*" => quality_of[0] = quality.max(quality_of[0]),
                _ => {}
            }
        }
        if quality_of[1] > 0.0 && quality_of[1] >= quality_of[0] { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Labels of a sample: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Builds the exposition, one metric family after another.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// Metadata of a family, written before its first sample.
#[derive(Clone, Copy, Debug)]
struct Head {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
}

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Samples<'e> {
    exposition: &'e mut Exposition,
    head: Head,
    /// Appended to the family's name in samples, such as `_total`.
    suffix: &'static str,
    is_begun: bool,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(32 << 10) }
    }

    /// Begins a counter. `name`: without `_total`; its last word is the unit, if it has one.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Samples<'_> {
        self.samples("counter", name, help, "_total")
    }

    /// Begins a gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Samples<'_> {
        self.samples("gauge", name, help, "")
    }

    /// Begins an info metric, whose value is always 1. `name`: without `_info`.
    pub(super) fn info(&mut self, name: &'static str, help: &'static str) -> Samples<'_> {
        self.samples("info", name, help, "_info")
    }

    /// Begins a histogram of times in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> Samples<'_> {
        self.samples("histogram", name, help, "")
    }

    fn samples(
        &mut self,
        kind: &'static str,
        name: &'static str,
        help: &'static str,
        suffix: &'static str,
    ) -> Samples<'_> {
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or("");
        let head = Head { name, kind, unit, help };
        Samples { exposition: self, head, suffix, is_begun: false }
    }

    fn begin(&mut self, head: Head, suffix: &str) {
        let Head { name, kind, unit, help } = head;
        match self.format {
            Format::Text => {
                // In this format, a family has the name of its samples.
                let kind = if kind == "info" { "gauge" } else { kind };
                let _ = writeln!(self.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
            }
            Format::OpenMetrics => {
                let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
                if !unit.is_empty() {
                    let _ = writeln!(self.text, "# UNIT {name} {unit}");
                }
            }
        }
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: &str) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels.iter().copied().chain(le.map(|le| ("le", le))) {
            self.text.push(before);
            before = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if before == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        self.text.push_str(value);
        self.text.push('\n');
    }

    /// Returns the complete exposition.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: u64) {
        self.write(self.suffix, labels, None, &value.to_string());
    }

    /// Adds a sample with a fractional value.
    pub(super) fn add_fraction(&mut self, labels: Labels<'_>, value: f64) {
        self.write(self.suffix, labels, None, &value.to_string());
    }

    /// Adds a sample for each kind; `label`: name of the label for the kind.
    pub(super) fn by_kind(&mut self, labels: Labels<'_>, label: &str, counts: &[(&'static str, u64)]) {
        for (kind, count) in counts {
            self.add(&[labels, &[(label, kind)]].concat(), *count);
        }
    }

    pub(super) fn add_histogram(&mut self, labels: Labels<'_>, histogram: &HistogramSnapshot) {
        for (bound, count) in &histogram.buckets {
            self.write("_bucket", labels, Some(&float(seconds(*bound))), &count.to_string());
        }
        let count = histogram.count.to_string();
        self.write("_bucket", labels, Some("+Inf"), &count);
        self.write("_sum", labels, None, &seconds(histogram.sum_ns).to_string());
        self.write("_count", labels, None, &count);
    }

    fn write(&mut self, suffix: &'static str, labels: Labels<'_>, le: Option<&str>, value: &str) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.exposition.begin(self.head, self.suffix);
        }
        self.exposition.sample(self.head.name, suffix, labels, le, value);
    }
}

fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

/// Formats a bound as OpenMetrics requires, with `.0` for whole numbers; both formats use it, so that
/// a bucket has the same name in both.
fn float(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.counter("reprieve_received_bytes", "Bytes.").add(&[("virtual_server", "a\\\"\nb")], 7);
        out.info("reprieve_build", "Running version.").add(&[("version", "1")], 1);
        let _ = out.gauge("reprieve_nothing", "Omitted without samples.");
        out.gauge("reprieve_fraction", "Half.").add_fraction(&[], 0.5);
        let histogram =
            HistogramSnapshot { buckets: vec![(2_500, 1), (1_000_000_000, 2)], count: 3, sum_ns: 1_500_000 };
        out.histogram("reprieve_time_seconds", "Time.").add_histogram(&[("pool", "mail")], &histogram);
        out.finish()
    }

    #[test]
    fn both_formats_follow_their_specifications() {
        assert_eq!(
            example(Format::Text),
            r#"# HELP reprieve_received_bytes_total Bytes.
# TYPE reprieve_received_bytes_total counter
reprieve_received_bytes_total{virtual_server="a\\\"\nb"} 7
# HELP reprieve_build_info Running version.
# TYPE reprieve_build_info gauge
reprieve_build_info{version="1"} 1
# HELP reprieve_fraction Half.
# TYPE reprieve_fraction gauge
reprieve_fraction 0.5
# HELP reprieve_time_seconds Time.
# TYPE reprieve_time_seconds histogram
reprieve_time_seconds_bucket{pool="mail",le="0.0000025"} 1
reprieve_time_seconds_bucket{pool="mail",le="1.0"} 2
reprieve_time_seconds_bucket{pool="mail",le="+Inf"} 3
reprieve_time_seconds_sum{pool="mail"} 0.0015
reprieve_time_seconds_count{pool="mail"} 3
"#
        );
        assert_eq!(
            example(Format::OpenMetrics),
            r#"# HELP reprieve_received_bytes Bytes.
# TYPE reprieve_received_bytes counter
# UNIT reprieve_received_bytes bytes
reprieve_received_bytes_total{virtual_server="a\\\"\nb"} 7
# HELP reprieve_build Running version.
# TYPE reprieve_build info
reprieve_build_info{version="1"} 1
# HELP reprieve_fraction Half.
# TYPE reprieve_fraction gauge
reprieve_fraction 0.5
# HELP reprieve_time_seconds Time.
# TYPE reprieve_time_seconds histogram
# UNIT reprieve_time_seconds seconds
reprieve_time_seconds_bucket{pool="mail",le="0.0000025"} 1
reprieve_time_seconds_bucket{pool="mail",le="1.0"} 2
reprieve_time_seconds_bucket{pool="mail",le="+Inf"} 3
reprieve_time_seconds_sum{pool="mail"} 0.0015
reprieve_time_seconds_count{pool="mail"} 3
# EOF
"#
        );
    }

    #[test]
    fn the_client_gets_the_format_that_it_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("Application/OpenMetrics-Text; version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text; q=0.5, text/plain", Format::Text),
            ("application/openmetrics-text; q=0", Format::Text),
            ("application/openmetrics-text; version=2.0.0, text/plain; q=0.1", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
        ] {
            assert_eq!(Format::negotiate(accept), expected, "{accept}");
        }
    }
}
