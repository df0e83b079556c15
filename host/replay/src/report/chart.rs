//! The chart of logins over time, as inline SVG: what reaches the mail server below, the relief
//! above it. Drawn for a width, because what is only scaled cannot be read on a phone.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::words::{day, moment, number, percent};
use crate::periods::Period;
use crate::tally::share;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Places on the axis of time; where a log has gaps so long that there would be more, they are
/// left out.
const MOST_PLACES: u64 = 500;
/// Around the bars, in units of the drawing.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;
/// Lines across, beside the one at the bottom, at most.
const MOST_LINES: u64 = 5;

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) periods: &'a [Period],
    pub(super) are_days: bool,
    pub(super) zone: &'a TimeZone,
    /// Tells this chart's elements from another's on the page.
    pub(super) id: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Chart<'_> {
    /// The chart as an `svg` element.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        self.write(&mut svg).expect("writing to a string");
        svg
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let (step, lines) = lines(self.periods.iter().map(|period| period.logins).max().unwrap_or(0).max(1));
        let most = step.saturating_mul(lines);
        let places = self.places();
        let count = places.last().copied().unwrap_or(0) + 1;
        #[allow(clippy::cast_precision_loss)]
        let slot = (width - LEFT - RIGHT) / count as f64;
        let bar = (slot * 0.82).max(slot - 4.0);
        let y = |logins: u64| TOP + (height - TOP - BOTTOM) * (1.0 - share(logins, most));
        let logins: u64 = self.periods.iter().map(|period| period.logins).sum();
        let relieved: u64 = self.periods.iter().map(|period| period.relieved).sum();
        let unit = if self.are_days { "day" } else { "hour" };
        writeln!(
            out,
            "<svg class=\"chart {id}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">Logins by the {unit}</title>\
             <desc id=\"{id}-desc\">Stacked bars, one for each {unit} from {} to {}: of {} logins {} do not reach the mail server. The table below has all figures.</desc>",
            self.width,
            self.height,
            self.periods.first().map_or_else(String::new, |first| self.when(first.start_ms)),
            self.periods.last().map_or_else(String::new, |last| self.when(last.start_ms)),
            number(logins),
            percent(share(relieved, logins)),
            id = self.id,
        )?;
        for line in 0..=lines {
            let value = step.saturating_mul(line);
            let at = y(value);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(value)
            )?;
        }
        let mut labelled = f64::NEG_INFINITY;
        for (period, place) in self.periods.iter().zip(&places) {
            #[allow(clippy::cast_precision_loss)]
            let x = LEFT + slot * *place as f64 + (slot - bar) / 2.0;
            let (base, middle, top) = (y(0), y(period.passed), y(period.logins));
            writeln!(
                out,
                "<g><title>{}: {} logins, {} relieved</title>\
                 <rect class=\"passed\" x=\"{x:.2}\" y=\"{middle:.2}\" width=\"{bar:.2}\" height=\"{:.2}\"/>\
                 <rect class=\"relieved\" x=\"{x:.2}\" y=\"{top:.2}\" width=\"{bar:.2}\" height=\"{:.2}\"/></g>",
                self.when(period.start_ms),
                number(period.logins),
                percent(share(period.relieved, period.logins)),
                base - middle,
                middle - top
            )?;
            // As many labels as there is room for; at hours that a clock would mark.
            let room = if self.are_days { 92.0 } else { 58.0 };
            if self.is_marked(period.start_ms) && x - labelled >= room && x + room / 2.0 <= width {
                labelled = x;
                writeln!(
                    out,
                    "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                    height - 8.0,
                    self.label(period.start_ms)
                )?;
            }
        }
        out.push_str("</svg>\n");
        Ok(())
    }

    /// Each period's place on the axis.
    fn places(&self) -> Vec<u64> {
        let unit = if self.are_days { DAY_MS } else { HOUR_MS };
        let first = self.periods.first().map_or(0, |first| first.start_ms);
        // A day may have an hour more or less.
        let place = |period: &Period| (period.start_ms - first + unit / 2) / unit;
        if self.periods.last().is_some_and(|last| place(last) < MOST_PLACES) {
            self.periods.iter().map(place).collect()
        } else {
            (0..self.periods.len() as u64).collect()
        }
    }

    fn when(&self, ms: u64) -> String {
        if self.are_days { day(ms, self.zone) } else { moment(ms, self.zone, false) }
    }

    fn is_marked(&self, ms: u64) -> bool {
        let hour = moment(ms, self.zone, false).get(11..13).and_then(|hour| hour.parse::<u32>().ok());
        self.are_days || self.periods.len() <= 12 || hour.is_some_and(|hour| hour.is_multiple_of(3))
    }

    fn label(&self, ms: u64) -> String {
        let text = moment(ms, self.zone, false);
        let (date, time) = text.split_once(' ').unwrap_or((&text, ""));
        match (self.are_days, time) {
            (true, _) => date.to_owned(),
            // Where a day begins, its date says more than its time.
            (false, "00:00") => date.get(5..).unwrap_or(date).to_owned(),
            (false, time) => time.to_owned(),
        }
    }
}

/// The step between lines across, a number that is easily read, and how many it takes to get
/// past the highest bar.
fn lines(most: u64) -> (u64, u64) {
    let mut unit = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = unit.saturating_mul(factor);
            if most.div_ceil(step) <= MOST_LINES {
                return (step, most.div_ceil(step));
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// A number in a few characters.
#[allow(clippy::cast_precision_loss)]
fn short(value: u64) -> String {
    let with = |divisor: f64, unit: &str| {
        let text = format!("{:.1}", value as f64 / divisor);
        format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match value {
        1_000_000_000.. => with(1e9, "G"),
        1_000_000.. => with(1e6, "M"),
        10_000.. => with(1e3, "k"),
        _ => number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_round_number() {
        let axes: Vec<_> = [1, 5, 6, 13, 100, 399, 4323, 12_345].map(lines).into();
        assert_eq!(axes, [(1, 1), (1, 5), (2, 3), (5, 3), (20, 5), (100, 4), (1000, 5), (5000, 3)]);
        assert!(lines(u64::MAX).1 <= MOST_LINES);
        let shown: Vec<_> = [0, 9_999, 12_500, 3_000_000].map(short).into();
        assert_eq!(shown, ["0", "9,999", "12.5 k", "3 M"]);
    }

    #[test]
    fn hours_without_logins_keep_their_place_and_ages_without_do_not() {
        let hour =
            |hours: u64| Period { start_ms: hours * HOUR_MS, logins: 1, passed: 1, ..Period::default() };
        let chart = |periods: &[Period]| {
            Chart { periods, are_days: false, zone: &TimeZone::UTC, id: "a", width: 100, height: 50 }.places()
        };
        assert_eq!(chart(&[hour(5), hour(6), hour(9)]), [0, 1, 4]);
        assert_eq!(chart(&[hour(5), hour(6), hour(90_000)]), [0, 1, 2]);
        assert!(chart(&[]).is_empty());
    }
}
