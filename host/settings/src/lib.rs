//! TOML tables read key by key. Each error names the file, the line, the key and the remedy.

mod certificate_files;
mod location;
mod reader;
mod units;

pub use certificate_files::CertificateFiles;
pub use location::Place;
pub use reader::{Error, Section, Source, Value, asked};
pub use units::{duration, size};
