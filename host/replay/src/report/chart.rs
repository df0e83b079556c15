//! The chart of logins over time, as inline SVG: stacked bars, the logins that reach the mail server
//! below and the relieved ones above. It is drawn for a given width, because text in a drawing that
//! is only scaled down is too small on a phone.

use std::fmt::{self, Write as _};

use jiff::tz::TimeZone;

use super::display::{date, local_time, number, percent};
use crate::periods::Period;
use crate::totals::share;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The most slots on the time axis. If gaps in the log need more, they are left out.
const MAX_SLOTS: u64 = 500;
/// Margins around the bars, in units of the drawing.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;
/// The most grid lines above the base line.
const MAX_GRID_LINES: u64 = 5;

/// What to draw, and its size.
pub(super) struct Chart<'a> {
    pub(super) periods: &'a [Period],
    pub(super) are_days: bool,
    pub(super) zone: &'a TimeZone,
    /// Prefix of the ids of this chart's elements, and its CSS class.
    pub(super) id: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The vertical axis.
#[derive(Clone, Copy)]
struct Axis {
    /// Logins between two grid lines.
    step: u64,
    /// Number of grid lines above the base line.
    lines: u64,
    height: f64,
}

impl Axis {
    /// Vertical position of this many logins.
    fn y(&self, logins: u64) -> f64 {
        let top = self.step.saturating_mul(self.lines);
        TOP + (self.height - TOP - BOTTOM) * (1.0 - share(logins, top))
    }
}

impl Chart<'_> {
    /// The chart as an `svg` element.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        self.write(&mut svg).expect("writing to a string");
        svg
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let most = self.periods.iter().map(|period| period.logins).max().unwrap_or(0).max(1);
        let (step, lines) = grid(most);
        let axis = Axis { step, lines, height: f64::from(self.height) };
        self.write_title(out)?;
        self.write_grid(axis, out)?;
        self.write_bars(axis, out)?;
        out.push_str("</svg>\n");
        Ok(())
    }

    /// Opens the element and describes the chart for screen readers.
    fn write_title(&self, out: &mut String) -> fmt::Result {
        let logins: u64 = self.periods.iter().map(|period| period.logins).sum();
        let relieved: u64 = self.periods.iter().map(|period| period.relieved).sum();
        writeln!(
            out,
            "<svg class=\"chart {id}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">Logins per {unit}</title>\
             <desc id=\"{id}-desc\">Stacked bars, one per {unit} from {} to {}: of {} logins, {} do not reach the mail server. The table below has all figures.</desc>",
            self.width,
            self.height,
            self.periods.first().map_or_else(String::new, |first| self.start(first)),
            self.periods.last().map_or_else(String::new, |last| self.start(last)),
            number(logins),
            percent(share(relieved, logins)),
            id = self.id,
            unit = if self.are_days { "day" } else { "hour" },
        )
    }

    fn write_grid(&self, axis: Axis, out: &mut String) -> fmt::Result {
        for line in 0..=axis.lines {
            let value = axis.step.saturating_mul(line);
            let y = axis.y(value);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                f64::from(self.width) - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short_number(value)
            )?;
        }
        Ok(())
    }

    /// The bars, and as many labels below them as there is room for.
    fn write_bars(&self, axis: Axis, out: &mut String) -> fmt::Result {
        let width = f64::from(self.width);
        let slots = self.slots();
        let count = slots.last().copied().unwrap_or(0) + 1;
        #[allow(clippy::cast_precision_loss)]
        let slot_width = (width - LEFT - RIGHT) / count as f64;
        let bar_width = (slot_width * 0.82).max(slot_width - 4.0);
        let label_width = if self.are_days { 92.0 } else { 58.0 };
        let mut last_label = f64::NEG_INFINITY;
        for (period, slot) in self.periods.iter().zip(&slots) {
            #[allow(clippy::cast_precision_loss)]
            let x = LEFT + slot_width * *slot as f64 + (slot_width - bar_width) / 2.0;
            self.write_bar(period, x, bar_width, axis, out)?;
            let has_room = x - last_label >= label_width && x + label_width / 2.0 <= width;
            if has_room && self.may_have_label(period) {
                last_label = x;
                writeln!(
                    out,
                    "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                    axis.height - 8.0,
                    self.label(period)
                )?;
            }
        }
        Ok(())
    }

    fn write_bar(&self, period: &Period, x: f64, width: f64, axis: Axis, out: &mut String) -> fmt::Result {
        let (base, middle, top) = (axis.y(0), axis.y(period.passed), axis.y(period.logins));
        writeln!(
            out,
            "<g><title>{}: {} logins, {} relieved</title>\
             <rect class=\"passed\" x=\"{x:.2}\" y=\"{middle:.2}\" width=\"{width:.2}\" height=\"{:.2}\"/>\
             <rect class=\"relieved\" x=\"{x:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{:.2}\"/></g>",
            self.start(period),
            number(period.logins),
            percent(share(period.relieved, period.logins)),
            base - middle,
            middle - top
        )
    }

    /// Each period's slot on the time axis.
    fn slots(&self) -> Vec<u64> {
        let unit = if self.are_days { DAY_MS } else { HOUR_MS };
        let first = self.periods.first().map_or(0, |first| first.start_ms);
        // Round, because a day may be an hour longer or shorter.
        let slot = |period: &Period| (period.start_ms - first + unit / 2) / unit;
        if self.periods.last().is_some_and(|last| slot(last) < MAX_SLOTS) {
            self.periods.iter().map(slot).collect()
        } else {
            (0..self.periods.len() as u64).collect()
        }
    }

    /// Date of a day, or date and time of an hour.
    fn start(&self, period: &Period) -> String {
        if self.are_days {
            date(period.start_ms, self.zone)
        } else {
            local_time(period.start_ms, self.zone, false)
        }
    }

    /// If there are many hours, only every third one may have a label.
    fn may_have_label(&self, period: &Period) -> bool {
        let start = local_time(period.start_ms, self.zone, false);
        let hour = start.get(11..13).and_then(|hour| hour.parse::<u32>().ok());
        self.are_days || self.periods.len() <= 12 || hour.is_some_and(|hour| hour.is_multiple_of(3))
    }

    fn label(&self, period: &Period) -> String {
        let start = local_time(period.start_ms, self.zone, false);
        let (date, time) = start.split_once(' ').unwrap_or((&start, ""));
        match (self.are_days, time) {
            (true, _) => date.to_owned(),
            // At midnight, month and day instead of the time.
            (false, "00:00") => date.get(5..).unwrap_or(date).to_owned(),
            (false, time) => time.to_owned(),
        }
    }
}

/// Grid lines for bars of up to `most` logins: a round step, and the number of steps.
fn grid(most: u64) -> (u64, u64) {
    let mut unit = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = unit.saturating_mul(factor);
            if most.div_ceil(step) <= MAX_GRID_LINES {
                return (step, most.div_ceil(step));
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// A number in at most seven characters: `12.5 k`.
#[allow(clippy::cast_precision_loss)]
fn short_number(value: u64) -> String {
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
        let axes: Vec<_> = [1, 5, 6, 13, 100, 399, 4323, 12_345].map(grid).into();
        assert_eq!(axes, [(1, 1), (1, 5), (2, 3), (5, 3), (20, 5), (100, 4), (1000, 5), (5000, 3)]);
        assert!(grid(u64::MAX).1 <= MAX_GRID_LINES);
        let shown: Vec<_> = [0, 9_999, 12_500, 3_000_000].map(short_number).into();
        assert_eq!(shown, ["0", "9,999", "12.5 k", "3 M"]);
    }

    #[test]
    fn short_gaps_keep_their_slots_and_very_long_ones_do_not() {
        let hour =
            |hours: u64| Period { start_ms: hours * HOUR_MS, logins: 1, passed: 1, ..Period::default() };
        let chart = |periods: &[Period]| {
            Chart { periods, are_days: false, zone: &TimeZone::UTC, id: "a", width: 100, height: 50 }.slots()
        };
        assert_eq!(chart(&[hour(5), hour(6), hour(9)]), [0, 1, 4]);
        assert_eq!(chart(&[hour(5), hour(6), hour(90_000)]), [0, 1, 2]);
        assert!(chart(&[]).is_empty());
    }
}
