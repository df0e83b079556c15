//! The dashboard: one page that holds all it needs, and what it asks for once it is loaded.

mod day;
mod feed;
mod page;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};

pub(super) use feed::Feed;

use super::guard::{Access, Way};
use super::routes::Desk;
use super::tokens::Rights;
use crate::logging::Trouble;

/// The page itself, for anybody. What it shows without a script it shows to who may see it.
pub(super) async fn page(State(desk): State<Desk>, Extension(rights): Extension<Rights>) -> Response {
    let status = (rights >= Rights::See).then(|| desk.feed.status());
    let policy = (header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.as_str());
    ([policy], Html(page::page(status.as_ref()))).into_response()
}

/// Its picture.
pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], page::ICON)
}

/// What whoever asks may do.
pub(super) async fn access(
    State(desk): State<Desk>,
    Extension(way): Extension<Way>,
    Extension(rights): Extension<Rights>,
) -> Json<Access> {
    Json(desk.guard.access(way, rights))
}

/// The minutes of the last 24 hours.
pub(super) async fn day(State(desk): State<Desk>) -> impl IntoResponse {
    Json(desk.feed.day().shown())
}

/// The last warnings and errors.
pub(super) async fn recent(State(desk): State<Desk>) -> Json<Vec<Trouble>> {
    Json(desk.feed.recent().lines())
}

/// How everything is, once a second, as server-sent events.
pub(super) async fn events(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
    // A wrong token does not come this far.
    match desk.feed.watch(headers.contains_key(header::AUTHORIZATION)) {
        Some(body) => ([(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED], body).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many watch already; close a window").into_response(),
    }
}
