//! Secrets: in memory they are wiped when they are dropped, and files that hold them are read only
//! if nobody else could have put another file in their place.

mod secret;
pub mod secret_file;
pub mod wiping;

pub use secret::Secret;
