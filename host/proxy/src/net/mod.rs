//! Networking: listening sockets, connections, TLS, the PROXY protocol and connection limits.
//! Independent of POP3.

mod admission;
mod listener;
#[cfg(target_os = "linux")]
mod pipe;
mod proxy;
mod stream;
mod tls;
mod waiting;

pub use admission::{Admission, Admitted, AllConnections, LimitReached, counted_as};
pub use listener::{BindError, InheritedSockets, bind, bind_one, listen};
#[cfg(target_os = "linux")]
pub use pipe::Pipe;
pub use proxy::{
    Proxied, ProxyError, header as proxy_header, length as proxy_header_length,
    local_header as local_proxy_header, missing as missing_of_proxy_header, parse as parse_proxy_header,
    read_header,
};
pub use stream::{Stream, TlsKind};
pub use tls::{CertificateState, ClientCertificate, NodeConnector, TlsAcceptor, TlsError, TlsSession};
pub use waiting::Place;
