//! Figures side by side: straight to the mail server, and through Reprieve.

use std::time::Duration;

use super::board::Figures;

/// Columns of the description and of the figures: narrow enough for half a screen.
const LABEL: usize = 36;
const DIRECT: usize = 13;
const RELIEVED: usize = 18;

/// One line of the comparison.
pub(crate) fn row(label: &str, direct: &str, relieved: &str) -> String {
    format!(" {label:<LABEL$}{direct:>DIRECT$}{relieved:>RELIEVED$}")
}

/// One line of the comparison, with a figure of each phase that has begun.
pub(crate) fn row_of(
    label: &str,
    direct: Option<&Figures>,
    relieved: Option<&Figures>,
    show: impl Fn(&Figures) -> String,
) -> String {
    row(label, &direct.map(&show).unwrap_or_default(), &relieved.map(&show).unwrap_or_default())
}

/// A duration to three digits, in the unit that suits it.
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

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The value in the middle of sorted ones.
pub(crate) fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_show_three_digits() {
        for (microseconds, shown) in
            [(71, "0.071 ms"), (1240, "1.24 ms"), (14_100, "14.1 ms"), (2_400_000, "2.40 s"), (0, "0.000 ms")]
        {
            assert_eq!(time(Duration::from_micros(microseconds)), shown);
        }
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times: Vec<_> = [1, 2, 9].map(Duration::from_secs).into();
        assert_eq!(median(&times), Some(times[1]));
        assert_eq!(median(&times[..1]), Some(times[0]));
        assert_eq!(median(&[]), None);
    }
}
