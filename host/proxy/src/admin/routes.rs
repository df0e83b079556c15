//! What can be asked for, by which path.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::dashboard::{self, Feed};
use super::guard::{self, Guard};
use super::{Status, changes, metrics};
use crate::config::NodeMode;
use crate::server::{Page, PageRequest, Registered, StoreStats, StoreTool, View};
use reprieve_store::Unavailable;

/// The body of a change of a node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct NodeChange {
    pub(super) mode: NodeMode,
}

/// What is needed to answer.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) view: View,
    pub(super) guard: Arc<Guard>,
    pub(super) feed: Feed,
}

impl FromRef<Desk> for View {
    fn from_ref(desk: &Desk) -> Self {
        desk.view.clone()
    }
}

/// All of them, behind the guard.
pub(super) fn routes(desk: Desk) -> Router {
    let guard = desk.guard.clone();
    Router::new()
        .route("/", get(dashboard::page))
        .route("/icon.svg", get(dashboard::icon))
        .route("/access", get(dashboard::access))
        .route("/day", get(dashboard::day))
        .route("/events", get(dashboard::events))
        .route("/recent", get(dashboard::recent))
        .route("/status", get(status))
        .route("/metrics", get(metrics::get))
        .route("/pools/{pool}/nodes/{node}", put(change_node))
        .route("/store", get(store_stats))
        .route("/store/page", post(store_page))
        // A batch of the longest entries.
        .route("/store/entries", put(store_put).delete(store_delete).layer(DefaultBodyLimit::max(1 << 30)))
        .route("/store/users/{user}", get(store_user).delete(store_forget))
        .route("/virtual-servers/{server}/policy", put(changes::swap))
        .route("/virtual-servers/{server}/policy/back", post(changes::swap_back))
        .route("/virtual-servers/{server}/shadow", put(changes::shadow).delete(changes::no_shadow))
        .route("/reload", post(changes::reload))
        .route("/drain", post(changes::drain))
        .route("/hand-over", post(changes::hand_over).delete(changes::keep))
        .with_state(desk)
        .layer(middleware::from_fn_with_state(guard, guard::check))
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
        let word = format!("there is no pool {pool:?}; there is {}", known.join(", "));
        return Err((StatusCode::NOT_FOUND, word));
    };
    match found.set_mode(&node, change.mode) {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err((StatusCode::NOT_FOUND, error.to_string())),
    }
}

/// Why a store did not do it.
fn unavailable(why: Unavailable) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}

type Answered<T> = Result<Json<T>, (StatusCode, String)>;

async fn store_stats(State(view): State<View>) -> Json<Vec<StoreStats>> {
    Json(StoreTool::of(&view).stats().await)
}

async fn store_page(State(view): State<View>, Json(request): Json<PageRequest>) -> Answered<Page> {
    StoreTool::of(&view).page(request).await.map(Json).map_err(unavailable)
}

async fn store_put(State(view): State<View>, Json(page): Json<Page>) -> Answered<usize> {
    StoreTool::of(&view).put(page).await.map(Json).map_err(unavailable)
}

async fn store_delete(State(view): State<View>, Json(page): Json<Page>) -> Answered<usize> {
    StoreTool::of(&view).delete(page).await.map(Json).map_err(unavailable)
}

async fn store_user(State(view): State<View>, Path(user): Path<String>) -> Json<Vec<Registered>> {
    Json(StoreTool::of(&view).user(&user).await)
}

async fn store_forget(State(view): State<View>, Path(user): Path<String>) -> Answered<usize> {
    StoreTool::of(&view).forget(&user).await.map(Json).map_err(unavailable)
}
