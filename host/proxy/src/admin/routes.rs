//! The HTTP routes of the admin interface.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::auth::{self, Authorizer};
use super::dashboard::{self, Feed};
use super::{Status, control_routes, metrics, new_mail_routes};
use crate::config::NodeMode;
use crate::new_mail::{MAX_REQUEST_BYTES, RateLimit};
use crate::server::{KnownUser, Page, PageRequest, StoreAdmin, StoreStats, View};
use reprieve_store::Unavailable;

/// Body of `PUT /pools/{pool}/nodes/{node}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct NodeChange {
    pub(super) mode: NodeMode,
}

/// State of the request handlers.
#[derive(Clone, Debug)]
pub(super) struct AppState {
    pub(super) view: View,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) feed: Feed,
    /// Limit of signals per sender.
    pub(super) signals: Arc<RateLimit>,
}

impl FromRef<AppState> for View {
    fn from_ref(state: &AppState) -> Self {
        state.view.clone()
    }
}

/// All routes, behind [`auth::check`].
pub(super) fn routes(state: AppState) -> Router {
    let authorizer = state.authorizer.clone();
    let signals_limit = DefaultBodyLimit::max(MAX_REQUEST_BYTES);
    Router::new()
        .route("/", get(dashboard::page))
        .route("/icon.svg", get(dashboard::icon))
        .route("/access", get(dashboard::access))
        .route("/history", get(dashboard::history))
        .route("/events", get(dashboard::events))
        .route("/recent", get(dashboard::recent))
        .route("/status", get(status))
        .route("/metrics", get(metrics::get))
        .route("/pools/{pool}/nodes/{node}", put(change_node))
        .route("/store", get(store_stats))
        .route("/store/page", post(store_page))
        // Room for a batch of the largest entries.
        .route("/store/entries", put(store_put).delete(store_delete).layer(DefaultBodyLimit::max(1 << 30)))
        .route("/store/users/{user}", get(store_user).delete(store_forget))
        .route("/virtual-servers/{server}/policy", put(control_routes::swap))
        .route("/virtual-servers/{server}/policy/back", post(control_routes::swap_back))
        .route(
            "/virtual-servers/{server}/shadow",
            put(control_routes::shadow).delete(control_routes::remove_shadow),
        )
        .route(
            "/new-mail",
            post(new_mail_routes::signal_all).put(new_mail_routes::signal_all).layer(signals_limit),
        )
        .route(
            "/new-mail/{pool}",
            post(new_mail_routes::signal_pool).put(new_mail_routes::signal_pool).layer(signals_limit),
        )
        .route("/reload", post(control_routes::reload))
        .route("/drain", post(control_routes::drain))
        .route("/takeover", post(control_routes::start_takeover).delete(control_routes::cancel_takeover))
        .with_state(state)
        .layer(middleware::from_fn_with_state(authorizer, auth::check))
}

async fn status(State(view): State<View>) -> Json<Status> {
    Json(Status::of(&view))
}

async fn change_node(
    State(view): State<View>,
    Path((pool, node)): Path<(String, String)>,
    Json(change): Json<NodeChange>,
) -> Result<StatusCode, (StatusCode, String)> {
    let Some(found) = view.pools().find(|known| known.name() == pool) else {
        let known: Vec<_> = view.pools().map(|pool| pool.name().to_owned()).collect();
        let message = format!("there is no pool {pool:?}; the pools are {}", known.join(", "));
        return Err((StatusCode::NOT_FOUND, message));
    };
    match found.set_mode(&node, change.mode) {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err((StatusCode::NOT_FOUND, error.to_string())),
    }
}

fn unavailable(why: Unavailable) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

type ApiResult<T> = Result<Json<T>, (StatusCode, String)>;

async fn store_stats(State(view): State<View>) -> Json<Vec<StoreStats>> {
    Json(StoreAdmin::of(&view).stats().await)
}

async fn store_page(State(view): State<View>, Json(request): Json<PageRequest>) -> ApiResult<Page> {
    StoreAdmin::of(&view).page(request).await.map(Json).map_err(unavailable)
}

async fn store_put(State(view): State<View>, Json(page): Json<Page>) -> ApiResult<usize> {
    StoreAdmin::of(&view).put(page).await.map(Json).map_err(unavailable)
}

async fn store_delete(State(view): State<View>, Json(page): Json<Page>) -> ApiResult<usize> {
    StoreAdmin::of(&view).delete(page).await.map(Json).map_err(unavailable)
}

async fn store_user(State(view): State<View>, Path(user): Path<String>) -> Json<Vec<KnownUser>> {
    Json(StoreAdmin::of(&view).user(&user).await)
}

async fn store_forget(State(view): State<View>, Path(user): Path<String>) -> ApiResult<usize> {
    StoreAdmin::of(&view).forget(&user).await.map(Json).map_err(unavailable)
}
