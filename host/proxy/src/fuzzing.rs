//! What the fuzz targets of tests/fuzz use of the inside of this crate. No part of its interface.

pub use crate::config::ProxyHeader;
pub use crate::maildrop::{OpenedRecord, SealedBytes};
pub use crate::net::{
    ClientCertificate, Proxied, ProxyError, TlsSession, local_proxy_header, missing_of_proxy_header,
    parse_proxy_header, proxy_header, proxy_header_length,
};
pub use crate::new_mail::{MAX_REQUEST_BYTES, MAX_REQUEST_USERS, Request, RequestError, bodies};
