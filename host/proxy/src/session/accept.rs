//! From an accepted connection to one that can be greeted: the PROXY header, the connection limit
//! per address, and the TLS handshake on ports with implicit TLS.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use super::context::Context;
use super::counters::Counters;
use super::labeled_counters::RefusedBy;
use super::session_record::SessionRecord;
use super::{ContextHandle, Session};
use crate::net::{Admitted, LimitReached, Proxied, Stream, read_header};
use reprieve_policy_host::OnUnreachable;
use reprieve_pop3::reply;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Incoming {
    /// The connection, in cleartext.
    pub stream: Stream,
    /// The address that connected.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Whether it begins with a TLS handshake.
    pub encrypted: bool,
    /// Its slot within the connection limits.
    pub admitted: Admitted,
}

/// Serves one connection to its end. `guard` is dropped when the connection has ended.
pub fn serve(
    context_handle: Arc<ContextHandle>,
    incoming: Incoming,
    guard: impl Send,
) -> impl Future<Output = ()> + Send {
    // Boxed: the steps before the greeting need memory that the session does not.
    let opening = Box::pin(open_unless_shed(context_handle, incoming));
    async move {
        let Some(mut session) = opening.await else { return };
        let end = session.run().await;
        session.record.finish(&session.context, &session.client, end);
        drop(session);
        drop(guard);
    }
}

/// None if the connection ends without a session: also if another one needs its place.
async fn open_unless_shed(context_handle: Arc<ContextHandle>, incoming: Incoming) -> Option<Session> {
    let place = incoming.admitted.place();
    let opening = open(context_handle.clone(), incoming);
    let Some(place) = place else { return opening.await };
    let opened = place.unless_shed(pin!(opening)).await;
    if opened.is_none() {
        Counters::count(&context_handle.context().counters.shed);
    }
    opened.flatten()
}

async fn open(context_handle: Arc<ContextHandle>, incoming: Incoming) -> Option<Session> {
    let context = context_handle.context();
    let Incoming { mut stream, peer, local, encrypted, admitted } = incoming;
    let settings = context.settings.clone();
    let mut record = Box::new(SessionRecord::new(peer, local));
    let sender = peer.ip().to_canonical();
    if settings.proxy_from.iter().any(|network| network.contains(&sender)) {
        let Stream::Plain(stream) = &mut stream else { return None };
        match crate::time::timeout(settings.proxy_timeout, read_header(stream)).await {
            Ok(Ok(Proxied::Client { peer, local, tls })) => {
                (record.peer, record.local, record.tls) = (peer, local, tls.map(Box::new));
            }
            Ok(Ok(Proxied::Local)) => {}
            Ok(Err(error)) => return unopened(&context, &record, &error),
            Err(_) => return unopened(&context, &record, &"no PROXY header within proxy-timeout"),
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
        // As if there were no proxy: clients report that they cannot connect, and do not ask for a password.
        Counters::count(&context.counters.refused_connections);
        context.counters.labeled.refused(RefusedBy::NoNode);
        return None;
    }
    let stream = match settings.tls.clone().filter(|_| encrypted) {
        None => stream,
        Some(tls) => match tls.accept(stream.into_plain().ok()?).await {
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
    Some(Session::new(context_handle, context, stream, record))
}

fn unopened<T>(context: &Context, record: &SessionRecord, why: &dyn std::fmt::Display) -> Option<T> {
    Counters::count(&context.counters.failed_handshakes);
    Counters::count(&context.counters.without_proxy_header);
    tracing::warn!(server = &*context.settings.name, peer = %record.peer, "{why}");
    None
}

/// Counts a successful TLS handshake.
pub(super) fn shook_hands(context: &Context, stream: &Stream) {
    if let Some(kind) = stream.tls_kind() {
        context.counters.labeled.shook_hands(kind);
    }
}

/// Counts a failed TLS handshake. Port scans cause many, so the log line is at level debug.
pub(super) fn handshake_failed(context: &Context, record: &SessionRecord, error: &std::io::Error) {
    Counters::count(&context.counters.failed_handshakes);
    Counters::count(&context.counters.without_tls);
    tracing::debug!(server = &*context.settings.name, peer = %record.peer, %error, "TLS handshake failed");
}

/// Counts a refused connection, and tells the client why unless that needs a TLS handshake.
pub fn refuse(stream: &Stream, refused: LimitReached, encrypted: bool, context: &Context) {
    Counters::count(&context.counters.refused_connections);
    context.counters.labeled.refused(match refused {
        LimitReached::Total => RefusedBy::MaxConnections,
        LimitReached::PerAddress => RefusedBy::MaxConnectionsPerAddress,
    });
    let word = match refused {
        LimitReached::Total => reply::TOO_MANY_CONNECTIONS,
        LimitReached::PerAddress => reply::TOO_MANY_FROM_ADDRESS,
    };
    if !encrypted {
        // The socket's buffer is empty, so the line fits and there is no need to wait.
        let _ = stream.try_write(word);
    }
}
