//! Passwords, tokens and keys: [`Secret`] wipes them from memory when it is dropped, [`wiping`] wipes
//! what libraries free without doing so, and [`secret_file`] reads them only from files that no
//! other user can replace or read.
//!
//! This crate knows nothing about what a secret is for. How a client's password is compared with a
//! known one is in the proxy's `maildrop`; which files a configuration may name is in its `config`.

mod secret;
pub mod secret_file;
pub mod wiping;

pub use secret::Secret;
