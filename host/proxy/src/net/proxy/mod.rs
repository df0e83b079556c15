//! The PROXY protocol: the client's address as whoever is before Reprieve tells it, and as
//! Reprieve tells it to nodes.

mod inward;
mod outward;

pub use inward::{Proxied, ProxyError, read_header};
pub use outward::{header, local_header};
