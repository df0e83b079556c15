//! The datagram socket for signals of new mail. Nobody is answered: whatever is lost counts as missed. If
//! signals arrive faster than they are written, Linux makes the senders wait.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;

use crate::new_mail::{MAX_REQUEST_BYTES, Missed, RateLimit, Request, Source};
use crate::server::{NewMail, NotHeard};

/// Pause after an error, so that a lasting one does not keep the proxy busy.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Applies signals until the task is aborted.
pub(super) async fn receive(socket: UnixDatagram, new_mail: NewMail, limit: Arc<RateLimit>) {
    new_mail.begin(Source::Socket);
    // The rest of a larger datagram is cut off; with one byte more, that can be noticed.
    let mut buffer = vec![0; MAX_REQUEST_BYTES + 1];
    loop {
        let received = socket.recv(&mut buffer).await.map(|length| &buffer[..length]);
        apply(received, &new_mail, &limit).await;
    }
}

async fn apply(received: io::Result<&[u8]>, new_mail: &NewMail, limit: &RateLimit) {
    let missed = |pool: Option<&str>, why: Missed| {
        tracing::debug!(target: "admin", why = why.name(), "signals of new mail were missed at the socket");
        new_mail.missed(pool, Source::Socket, why);
    };
    let body = match received {
        Ok(body) if body.len() > MAX_REQUEST_BYTES => return missed(None, Missed::Overflow),
        Ok(body) => body,
        Err(error) => {
            tracing::error!(target: "admin", %error, "cannot receive signals of new mail");
            missed(None, Missed::Gap);
            return tokio::time::sleep(ERROR_PAUSE).await;
        }
    };
    let Ok(request) = Request::parse(body) else { return missed(None, Missed::Malformed) };
    let pool = request.pool.as_deref();
    if !limit.admit(None, request.users.len(), Instant::now()) {
        return missed(pool, Missed::Limit);
    }
    match new_mail.hear(pool, &request.users, Source::Socket).await {
        // A store that cannot be reached has been counted, and a pool without signals has none to miss.
        Ok(_) | Err(NotHeard::Unavailable(_) | NotHeard::NoSource) => {}
        Err(NotHeard::UnknownPool { .. }) => missed(None, Missed::Malformed),
    }
}
