//! Containers for what is kept per user: as little memory as possible for each of a million, and
//! no pause when a table grows.

pub mod sharding;
pub mod slab;
