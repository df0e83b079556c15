//! Text that others read: characters that must be escaped in logs and terminals, and addresses
//! written without the formatting machinery.

mod address;
pub mod escape;

pub use address::{ip_text, socket_text};
