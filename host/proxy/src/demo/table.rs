//! Table that compares the figures of polling directly and through Reprieve.

use std::time::Duration;

use super::stats::Figures;

/// Column widths; together they fit into 80 columns.
const LABEL: usize = 36;
const DIRECT: usize = 13;
const RELIEVED: usize = 18;

/// Formats a line of the table.
pub(crate) fn row(label: &str, direct: &str, relieved: &str) -> String {
    format!(" {label:<LABEL$}{direct:>DIRECT$}{relieved:>RELIEVED$}")
}

/// Formats a line of the table with a figure of each phase that has begun.
pub(crate) fn row_of(
    label: &str,
    direct: Option<&Figures>,
    relieved: Option<&Figures>,
    show: impl Fn(&Figures) -> String,
) -> String {
    row(label, &direct.map(&show).unwrap_or_default(), &relieved.map(&show).unwrap_or_default())
}

/// Formats a duration in seconds or milliseconds.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (value, unit) = if seconds >= 1.0 { (seconds, "s") } else { (seconds * 1e3, "ms") };
    let decimals = match value {
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$} {unit}")
}

/// Formats a share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The median of sorted values (the lower one if there are two).
pub(crate) fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_with_their_unit() {
        for (microseconds, shown) in
            [(71, "0.071 ms"), (1240, "1.24 ms"), (14_100, "14.1 ms"), (2_400_000, "2.40 s"), (0, "0.000 ms")]
        {
            assert_eq!(time(Duration::from_micros(microseconds)), shown);
        }
    }

    #[test]
    fn the_median_is_the_middle_value() {
        let times: Vec<_> = [1, 2, 9].map(Duration::from_secs).into();
        assert_eq!(median(&times), Some(times[1]));
        assert_eq!(median(&times[..1]), Some(times[0]));
        assert_eq!(median(&[]), None);
    }
}
