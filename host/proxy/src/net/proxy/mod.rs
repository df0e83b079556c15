//! The PROXY protocol: decodes headers from load balancers in front of Reprieve, and encodes headers
//! for nodes.

mod decode;
mod encode;

pub use decode::{Proxied, ProxyError, length, missing, parse, read_header};
pub use encode::{header, local_header};
