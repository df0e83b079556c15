//! Reads TOML tables key by key. Each error names the file, the line, the key and the remedy.
//!
//! This crate knows how settings are written, not which ones exist: the keys of `reprieve.toml`
//! are in the proxy's `config`, those of scenario files in the policy host's `scenario`. A new
//! type of value (as durations and sizes are) belongs here, in [`units`](crate::duration) with a
//! method of [`Value`].

mod certificate_files;
mod location;
mod reader;
mod units;

pub use certificate_files::CertificateFiles;
pub use location::Location;
pub use reader::{Error, Section, Source, Value, asked};
pub use units::{duration, size};
