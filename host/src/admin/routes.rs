//! What can be asked for, by which path.

use std::os::unix::net::UnixListener;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Status;
use crate::config::NodeMode;
use crate::server::View;

/// The body of a change of a node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct NodeChange {
    pub(super) mode: NodeMode,
}

fn routes(view: View) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/pools/{pool}/nodes/{node}", put(change_node))
        .with_state(view)
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

/// Answers at a socket for ever.
///
/// # Errors
/// Where the socket cannot be used.
pub async fn serve(listener: UnixListener, view: View) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    axum::serve(listener, routes(view)).await
}
