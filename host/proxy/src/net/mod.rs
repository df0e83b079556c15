//! Listening, connections of clients and to nodes, TLS, the PROXY protocol, and how many
//! connections there may be. It knows no POP3.

mod admission;
mod listener;
#[cfg(target_os = "linux")]
mod pipe;
mod proxy;
mod stream;
mod tls;

pub use admission::{Admission, Admitted, Refused, counted_as};
pub use listener::{BindError, Inherited, bind, bind_one};
#[cfg(target_os = "linux")]
pub use pipe::Pipe;
pub use proxy::{
    Proxied, ProxyError, header as proxy_header, local_header as local_proxy_header, read_header,
};
pub use stream::{Stream, TlsKind};
pub use tls::{CertificateState, ClientCertificate, NodeConnector, TlsAcceptor, TlsError, TlsSession};
