//! Reads configuration in TOML. Each error names the file, the line, the key and the remedy.
//!
//! This crate knows how settings are written, not which ones exist: the keys of `reprieve.toml` are
//! declared as [`Table`]s in the proxy's `config`, those of scenario files are read one by one in
//! the policy host's `scenario`. A new type of value belongs in [`mod@format`].

mod certificate_files;
pub mod format;
mod location;
mod reader;
mod table;
mod units;

pub use certificate_files::CertificateFiles;
pub use location::Location;
pub use reader::{Error, Section, Source, Value};
pub use table::{Key, KeyDescription, Table};
pub use units::{DURATION_EXAMPLES, duration, print_duration, print_size, size};
