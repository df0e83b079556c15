//! Table that compares the figures of the routes.

use std::time::Duration;

use super::phase::Route;
use super::stats::Figures;

/// Column widths; together they fit into 80 columns.
const LABEL: usize = 33;
const COLUMN: usize = 15;

/// Formats a line of the table with a cell for each route.
pub(crate) fn row(label: &str, cells: [String; Route::ALL.len()]) -> String {
    let [direct, interval, signals] = cells;
    format!(" {label:<LABEL$}{direct:>COLUMN$}{interval:>COLUMN$}{signals:>COLUMN$}")
}

/// Formats a line of the table with a figure of each route whose phase has begun.
pub(crate) fn row_of(
    label: &str,
    figures: &[Option<Figures>; Route::ALL.len()],
    show: impl Fn(&Figures) -> String,
) -> String {
    row(label, figures.each_ref().map(|figures| figures.as_ref().map(&show).unwrap_or_default()))
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

/// The value of sorted ones that a share of them does not exceed.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
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
        assert_eq!(quantile(&times, 0.99), Some(times[2]));
        assert_eq!(quantile(&times, 0.5), Some(times[1]));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
