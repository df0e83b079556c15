//! The configuration: what can be set, what is right, and errors that tell the file, the
//! line, the key and the remedy. It knows neither sockets nor Wasm.

mod command_line;
mod reader;
mod schema;
mod values;

pub use reader::Error;
pub use schema::{Config, PolicyConfig, PoolConfig, Verify, VirtualServerConfig};
pub use values::{duration, size};

pub use command_line::CommandLine;
