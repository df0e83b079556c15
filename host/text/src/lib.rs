//! Text for logs, terminals and policies: [`escape`] keeps text that others choose from acting on
//! a terminal or a log, and [`ip_text`] and [`socket_text`] write addresses quickly.
//!
//! This crate knows nothing about what the text means. Which bytes of a user name are shown is
//! decided in `reprieve_pop3::user_name`.

mod address;
pub mod escape;

pub use address::{ip_text, socket_text};
