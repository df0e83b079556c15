//! What the fuzz targets of tests/fuzz use of the inside of this crate. No part of its interface.

pub use crate::calendar::{Calendar, FirstYear};
pub use crate::entry::{Entry, Recorded};
pub use crate::format::delivery::Delivery;
pub use crate::format::{ParsedLine, Reader};

use crate::format::Format;

/// All formats.
pub fn formats() -> impl Iterator<Item = Format> {
    Format::all()
}

/// The time of a delivery, in a calendar.
pub fn delivered_ms(delivery: &Delivery, calendar: &mut Calendar) -> Option<u64> {
    delivery.resolve(calendar)
}
