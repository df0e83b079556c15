//! What the fuzz targets of tests/fuzz use of the inside of this crate. No part of its interface.

pub use crate::redis::namespace_over;
