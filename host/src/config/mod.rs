//! The configuration: what can be set, what is right, and errors that tell the file, the
//! line, the key and the remedy. It knows neither sockets nor Wasm.

mod command_line;
mod reader;
mod schema;
mod values;

/// What is said of a virtual server with `verify = "off"`.
pub(crate) const VERIFY_OFF: &str =
    "verify = \"off\": whoever knows a user's name is shown the posed maildrop, with any password";

pub use reader::Error;
pub(crate) use reader::{Section, Source, Value};
pub(crate) use schema::limits;
pub use schema::{Config, OnUnreachable, PolicyCache, PolicyConfig, PoolConfig, Verify, VirtualServerConfig};
pub use values::{duration, size};

pub use command_line::CommandLine;
