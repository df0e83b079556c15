//! From an accepted connection to one that can be greeted: the PROXY header, the limit of
//! connections from an address, and the TLS handshake of ports that have it from the start.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::context::Context;
use super::counters::Counters;
use super::record::Record;
use super::{Door, Session};
use crate::config::OnUnreachable;
use crate::net::{Admitted, Proxied, Refused, Stream, read_header};
use reprieve_pop3::reply;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Incoming {
    /// Its octets.
    pub stream: TcpStream,
    /// Whoever has connected.
    pub peer: SocketAddr,
    /// The address that it has connected to.
    pub local: SocketAddr,
    /// Whether it begins with a TLS handshake.
    pub encrypted: bool,
    /// Its place among the connections.
    pub admitted: Admitted,
}

/// Serves one connection to its end. `under_way` is dropped when nothing is left of it.
pub fn serve(door: Arc<Door>, incoming: Incoming, under_way: impl Send) -> impl Future<Output = ()> + Send {
    // The way to the greeting needs memory that the session after it does not.
    let opening = Box::pin(open(door, incoming));
    async move {
        let Some(mut session) = opening.await else { return };
        let end = session.run().await;
        session.record.finish(&session.context, &session.link, end);
        drop(session);
        drop(under_way);
    }
}

async fn open(door: Arc<Door>, incoming: Incoming) -> Option<Session> {
    let context = door.context();
    let Incoming { mut stream, peer, local, encrypted, admitted } = incoming;
    let settings = context.settings.clone();
    let mut record = Box::new(Record::new(peer, local));
    let sender = peer.ip().to_canonical();
    if settings.proxy_from.iter().any(|network| network.contains(&sender)) {
        match tokio::time::timeout(settings.proxy_timeout, read_header(&mut stream)).await {
            Ok(Ok(Proxied::Client { peer, local, tls })) => {
                (record.peer, record.local, record.tls) = (peer, local, tls.map(Box::new));
            }
            Ok(Ok(Proxied::Own)) => {}
            Ok(Err(error)) => return unopened(&context, &record, &error),
            Err(_) => return unopened(&context, &record, &"no PROXY header in time"),
        }
    }
    match admitted.from(record.peer.ip().to_canonical()) {
        Ok(admitted) => record.admitted = Some(admitted),
        Err(refused) => {
            refuse(&stream, refused, encrypted, &context);
            return None;
        }
    }
    if settings.on_unreachable == OnUnreachable::Close && context.pool.state().healthy == 0 {
        // As without a proxy: mail programs say that they cannot connect, and ask for no password.
        Counters::count(&context.counters.refused_connections);
        context.counters.kinds.refused_without_nodes();
        return None;
    }
    let stream = match settings.tls.clone().filter(|_| encrypted) {
        None => Stream::Plain(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok((stream, session)) => {
                shook_hands(&context, &stream);
                record.tls = Some(Box::new(session));
                stream
            }
            Err(error) => {
                handshake_failed(&context, &record, &error);
                return None;
            }
        },
    };
    Some(Session::new(door, context, stream, record))
}

fn unopened<T>(context: &Context, record: &Record, why: &dyn std::fmt::Display) -> Option<T> {
    Counters::count(&context.counters.failed_handshakes);
    Counters::count(&context.counters.without_proxy_header);
    tracing::warn!(server = &*context.settings.name, peer = %record.peer, "{why}");
    None
}

/// Counts a TLS session that has begun.
pub(super) fn shook_hands(context: &Context, stream: &Stream) {
    if let Some(kind) = stream.tls_kind() {
        context.counters.kinds.shook_hands(kind);
    }
}

/// Usual on the open net, where everything is scanned: worth a line only to who asks for it.
pub(super) fn handshake_failed(context: &Context, record: &Record, error: &std::io::Error) {
    Counters::count(&context.counters.failed_handshakes);
    Counters::count(&context.counters.without_tls);
    tracing::debug!(server = &*context.settings.name, peer = %record.peer, %error, "no TLS handshake");
}

/// Says why there is no session, where that can be said without a handshake.
pub fn refuse(stream: &TcpStream, refused: Refused, encrypted: bool, context: &Context) {
    Counters::count(&context.counters.refused_connections);
    context.counters.kinds.refused(refused);
    let word = match refused {
        Refused::Full => reply::TOO_MANY_CONNECTIONS,
        Refused::AddressFull => reply::TOO_MANY_FROM_ADDRESS,
    };
    if !encrypted {
        // The socket's buffer is empty: the line fits, and nobody waits for it to be read.
        let _ = stream.try_write(word);
    }
}
