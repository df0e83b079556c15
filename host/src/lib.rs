//! Reprieve
#[allow(missing_docs)]
pub mod pop3;
