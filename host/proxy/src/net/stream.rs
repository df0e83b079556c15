//! A connection, in cleartext or over TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use reprieve_secrets::wiping::wiping;

/// A connection of a client or to a node. TLS buffers written bytes until they are flushed.
#[derive(Debug, Default)]
pub enum Stream {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS, as client or server.
    Tls(Box<TlsStream<TcpStream>>),
    /// Moved out, for example during a TLS handshake; reads report the end of the stream.
    #[default]
    Taken,
    /// A connection of the simulation, which no product has.
    #[cfg(test)]
    #[allow(private_interfaces)] // there is nobody outside of this crate
    Simulated(Box<crate::simulation::Endpoint>),
}

/// Version and kind of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsKind {
    /// TLS 1.3 rather than 1.2.
    pub is_1_3: bool,
    /// Whether the handshake resumed an earlier session.
    pub is_resumed: bool,
}

impl Stream {
    /// Connects over TCP, without delaying small writes.
    ///
    /// # Errors
    /// If the connection is refused, or the address cannot be reached.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(connecting) = crate::simulation::connect(address) {
            return connecting.await.map(|endpoint| Self::Simulated(Box::new(endpoint)));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Plain(stream))
    }

    /// The connection in cleartext, for a TLS handshake.
    ///
    /// # Errors
    /// If TLS is active already, or the connection was moved out.
    pub fn into_plain(self) -> io::Result<TcpStream> {
        match self {
            Self::Plain(stream) => Ok(stream),
            _ => Err(io::Error::other("the connection is not in cleartext")),
        }
    }

    /// Kind of the TLS handshake; None in cleartext.
    #[must_use]
    pub fn tls_kind(&self) -> Option<TlsKind> {
        let Self::Tls(stream) = self else { return None };
        let (_, connection) = stream.get_ref();
        Some(TlsKind {
            is_1_3: connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3),
            is_resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        })
    }

    /// The underlying TCP connection.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Taken => None,
            #[cfg(test)]
            Self::Simulated(_) => None,
        }
    }

    /// Writes as many bytes as the send buffer takes at once, without TLS.
    ///
    /// # Errors
    /// If the buffer is full, or the connection is lost.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            #[cfg(test)]
            Self::Simulated(endpoint) => endpoint.try_write(bytes),
            Self::Tls(_) | Self::Taken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Passes bytes to the kernel without sending them yet (`MSG_MORE`): they go out with the next
    /// write or with the closing FIN, in one packet. Returns the number of bytes accepted: 0 over
    /// TLS and if the send buffer is full.
    pub fn write_deferred(&self, bytes: &[u8]) -> usize {
        #[cfg(target_os = "linux")]
        if let (Self::Plain(stream), false) = (self, bytes.is_empty()) {
            let socket = socket2::SockRef::from(stream);
            let send = || socket.send_with_flags(bytes, libc::MSG_MORE | libc::MSG_NOSIGNAL);
            return stream.try_io(Interest::WRITABLE, send).unwrap_or(0);
        }
        let _ = bytes;
        0
    }

    /// Number of received bytes that were not read yet; 0 if unknown.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        let unread = self.tcp().and_then(|stream| rustix::io::ioctl_fionread(stream).ok());
        unread.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
    }

    /// Number of written bytes that the peer has not acknowledged yet; 0 if unknown.
    #[must_use]
    pub fn unacknowledged_bytes(&self) -> u64 {
        #[cfg(test)]
        if let Self::Simulated(endpoint) = self {
            return endpoint.unacknowledged_bytes();
        }
        #[cfg(target_os = "linux")]
        if let Some(stream) = self.tcp() {
            use std::os::fd::AsRawFd as _;
            let mut bytes: libc::c_int = 0;
            // SAFETY: the descriptor is open as long as `stream` is borrowed, and TIOCOUTQ
            // (SIOCOUTQ of sockets) writes one int, which `bytes` is.
            let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
            if result == 0 {
                return u64::try_from(bytes).unwrap_or(0);
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
            // rustls frees buffers of decrypted bytes, which may contain a password.
            Self::Tls(stream) => wiping(|| Pin::new(stream).poll_read(context, buffer)),
            Self::Taken => Poll::Ready(Ok(())),
            #[cfg(test)]
            Self::Simulated(endpoint) => Pin::new(&mut **endpoint).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            #[cfg(test)]
            Self::Simulated(endpoint) => Pin::new(&mut **endpoint).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Taken => Poll::Ready(Ok(())),
            #[cfg(test)]
            Self::Simulated(endpoint) => Pin::new(&mut **endpoint).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Taken => Poll::Ready(Ok(())),
            #[cfg(test)]
            Self::Simulated(endpoint) => Pin::new(&mut **endpoint).poll_shutdown(context),
        }
    }
}
