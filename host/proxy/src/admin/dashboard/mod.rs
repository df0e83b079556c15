//! The dashboard: one self-contained page, and the routes that its script calls.

mod feed;
mod history;
mod page;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};

pub(super) use feed::Feed;

use super::auth::{RequestRights, Transport};
use super::routes::AppState;
use super::tokens::Rights;
use crate::logging::RecentLine;

/// `GET /`: the page, without any authorization. The status for browsers without JavaScript is
/// included only for requests that may read it.
pub(super) async fn page(State(state): State<AppState>, Extension(rights): Extension<Rights>) -> Response {
    let status = (rights >= Rights::Read).then(|| state.feed.status());
    let policy = (header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.as_str());
    ([policy], Html(page::page(status.as_ref()))).into_response()
}

/// `GET /icon.svg`
pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], page::ICON)
}

/// `GET /access`: rights of the request.
pub(super) async fn access(
    State(state): State<AppState>,
    Extension(transport): Extension<Transport>,
    Extension(rights): Extension<Rights>,
) -> Json<RequestRights> {
    Json(state.authorizer.access(transport, rights))
}

/// `GET /history`: the last 24 hours, minute by minute.
pub(super) async fn history(State(state): State<AppState>) -> impl IntoResponse {
    Json(state.feed.history().snapshot())
}

/// `GET /recent`: the latest warnings and errors of the log.
pub(super) async fn recent(State(state): State<AppState>) -> Json<Vec<RecentLine>> {
    Json(state.feed.recent().lines())
}

/// `GET /events`: the status once per second, as server-sent events.
pub(super) async fn events(State(state): State<AppState>, headers: HeaderMap) -> Response {
    const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
    // Requests with a wrong token were refused before.
    match state.feed.watch(headers.contains_key(header::AUTHORIZATION)) {
        Some(body) => ([(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED], body).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many open dashboards; close one").into_response(),
    }
}
