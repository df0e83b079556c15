//! Routes for signals of new mail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::{Extension, Json};
use hyper::body::Bytes;

use super::auth::Transport;
use super::routes::AppState;
use crate::net::counted_as;
use crate::new_mail::{Missed, RateLimit, Request, RequestError, Source};
use crate::server::{Applied, NewMail, NotHeard};

type Answer = Result<Json<Applied>, (StatusCode, String)>;

/// `POST /new-mail`, `PUT /new-mail`: users of all pools that expect signals.
pub(super) async fn signal_all(
    State(state): State<AppState>,
    Extension(transport): Extension<Transport>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    Sender::new(&state, transport, None).signal(body).await
}

/// `POST /new-mail/{pool}`, `PUT /new-mail/{pool}`: users of one pool.
pub(super) async fn signal_pool(
    State(state): State<AppState>,
    Extension(transport): Extension<Transport>,
    Path(pool): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    Sender::new(&state, transport, Some(pool)).signal(body).await
}

/// A request with signals. They count as missed if it is dropped before they have been applied, as when
/// the sender does not wait for the answer.
struct Sender {
    new_mail: NewMail,
    limit: Arc<RateLimit>,
    /// None for the admin socket.
    address: Option<IpAddr>,
    source: Source,
    pool: Option<String>,
    missed: Option<Missed>,
}

impl Sender {
    fn new(state: &AppState, transport: Transport, pool: Option<String>) -> Self {
        let (address, source) = match transport {
            Transport::Socket => (None, Source::Control),
            Transport::Tcp { peer, .. } => (Some(counted_as(peer.ip())), Source::Http),
        };
        let (new_mail, limit) = (state.view.new_mail(), state.signals.clone());
        Self { new_mail, limit, address, source, pool, missed: Some(Missed::Unavailable) }
    }

    async fn signal(mut self, body: Result<Bytes, BytesRejection>) -> Answer {
        let request = self.request(body)?;
        if !self.limit.admit(self.address, request.users.len(), Instant::now()) {
            self.missed = Some(Missed::Limit);
            return Err((
                StatusCode::TOO_MANY_REQUESTS,
                "too many signals from this address; send fewer per second".to_owned(),
            ));
        }
        let heard = self.new_mail.hear(self.pool.as_deref(), &request.users, self.source).await;
        // A store that cannot be reached has been counted.
        self.missed = None;
        heard.map(Json).map_err(|error| {
            let status = match error {
                NotHeard::UnknownPool { .. } | NotHeard::NoSource => StatusCode::NOT_FOUND,
                NotHeard::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, error.to_string())
        })
    }

    /// Reads the request, and learns the pool from it if the path does not name one.
    fn request(&mut self, body: Result<Bytes, BytesRejection>) -> Result<Request, (StatusCode, String)> {
        let body = body.map_err(|rejection| {
            let response = rejection.into_response();
            let is_large = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
            self.missed = Some(if is_large { Missed::Limit } else { Missed::Malformed });
            let why = if is_large { "the request is too large" } else { "the request's body is incomplete" };
            (response.status(), why.to_owned())
        })?;
        let request = Request::parse(&body).map_err(|error| {
            let (missed, status) = match error {
                RequestError::TooManyUsers(_) => (Missed::Limit, StatusCode::PAYLOAD_TOO_LARGE),
                RequestError::Json(_) | RequestError::NoUser => (Missed::Malformed, StatusCode::BAD_REQUEST),
            };
            self.missed = Some(missed);
            (status, error.to_string())
        })?;
        self.pool = self.pool.take().or_else(|| request.pool.clone());
        Ok(request)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(missed) = self.missed {
            self.new_mail.missed(self.pool.as_deref(), self.source, missed);
        }
    }
}
