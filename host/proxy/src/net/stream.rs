//! A connection, in cleartext or encrypted: nobody outside needs to know which.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use reprieve_secrets::wiping::wiping;

/// A connection, of a client or to a node.
///
/// An encrypted one keeps what was written until it is flushed.
#[derive(Debug, Default)]
pub enum Stream {
    /// In cleartext.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// None: it was given away.
    #[default]
    Gone,
}

/// How a TLS session has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsKind {
    /// Whether it is version 1.3 rather than 1.2.
    pub is_1_3: bool,
    /// Whether an earlier one was resumed.
    pub is_resumed: bool,
}

impl Stream {
    /// How its TLS session has begun; None in cleartext.
    #[must_use]
    pub fn tls_kind(&self) -> Option<TlsKind> {
        let Self::Tls(stream) = self else { return None };
        let (_, connection) = stream.get_ref();
        Some(TlsKind {
            is_1_3: connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3),
            is_resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        })
    }

    /// The TCP connection under it.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Gone => None,
        }
    }

    /// Hands octets to the system that need not be sent before more is written or the connection
    /// is closed: the last ones and the end travel together then. How many it has taken: none of
    /// an encrypted connection, and where there is no room.
    pub fn hold_back(&self, octets: &[u8]) -> usize {
        #[cfg(target_os = "linux")]
        if let (Self::Plain(stream), false) = (self, octets.is_empty()) {
            let socket = socket2::SockRef::from(stream);
            let send = || socket.send_with_flags(octets, libc::MSG_MORE | libc::MSG_NOSIGNAL);
            return stream.try_io(Interest::WRITABLE, send).unwrap_or(0);
        }
        let _ = octets;
        0
    }

    /// Octets that have arrived and were not read. 0 where the system does not tell.
    #[must_use]
    pub fn arrived(&self) -> usize {
        let arrived = self.tcp().and_then(|stream| rustix::io::ioctl_fionread(stream).ok());
        arrived.and_then(|octets| usize::try_from(octets).ok()).unwrap_or(0)
    }

    /// Octets that were written and that the other end has not acknowledged: in the system's
    /// buffers, or on their way. 0 where the system does not tell.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        #[cfg(target_os = "linux")]
        if let Some(stream) = self.tcp() {
            use std::os::fd::AsRawFd as _;
            let mut octets: libc::c_int = 0;
            // SAFETY: the descriptor is open as long as `stream` is borrowed, and TIOCOUTQ
            // (SIOCOUTQ of sockets) writes one int, which `octets` is.
            let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
            if result == 0 {
                return u64::try_from(octets).unwrap_or(0);
            }
        }
        0
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            // It frees what it has decrypted, and that may be a password.
            Self::Tls(stream) => wiping(|| Pin::new(stream).poll_read(context, buffer)),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
