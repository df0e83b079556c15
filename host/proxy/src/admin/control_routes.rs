//! Routes that change the running server: swap and shadow policies, reload, drain, takeover.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::takeover;
use crate::server::{ChangeError, Control, PolicyChange, ReloadReport, View};

type ApiResult<T> = Result<Json<T>, (StatusCode, String)>;

/// Body of `POST /takeover`: where the new process receives the sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TakeoverRequest {
    pub(super) socket: PathBuf,
    /// Whether the new process keeps the connection open until it tells this one to drain.
    #[serde(default)]
    pub(super) holds_connection: bool,
}

/// Runs a change on a blocking thread, because it reads files and compiles.
async fn run_blocking<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> ApiResult<T> {
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(done)) => Ok(Json(done)),
        Ok(Err(error @ ChangeError::UnknownServer { .. })) => Err((StatusCode::NOT_FOUND, error.to_string())),
        Ok(Err(error @ ChangeError::Draining)) => Err((StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error @ ChangeError::Refused(_))) => {
            Err((StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

pub(super) async fn swap(
    State(view): State<View>,
    Path(server): Path<String>,
    Json(change): Json<PolicyChange>,
) -> ApiResult<()> {
    run_blocking(move || view.control().swap(&server, &change)).await
}

pub(super) async fn swap_back(State(view): State<View>, Path(server): Path<String>) -> ApiResult<()> {
    run_blocking(move || view.control().swap_back(&server)).await
}

pub(super) async fn shadow(
    State(view): State<View>,
    Path(server): Path<String>,
    Json(change): Json<PolicyChange>,
) -> ApiResult<()> {
    run_blocking(move || view.control().shadow(&server, Some(&change))).await
}

pub(super) async fn remove_shadow(State(view): State<View>, Path(server): Path<String>) -> ApiResult<()> {
    run_blocking(move || view.control().shadow(&server, None)).await
}

pub(super) async fn reload(State(view): State<View>) -> ApiResult<ReloadReport> {
    run_blocking(move || view.control().reload_from_source()).await
}

pub(super) async fn drain(State(view): State<View>) -> StatusCode {
    view.control().drain();
    StatusCode::NO_CONTENT
}

pub(super) async fn start_takeover(
    State(view): State<View>,
    Json(request): Json<TakeoverRequest>,
) -> ApiResult<usize> {
    let control = view.control();
    let holds_connection = request.holds_connection;
    let send = move || {
        let refused = |error: std::io::Error| {
            ChangeError::Refused(format!("cannot hand over to {}: {error}", request.socket.display()))
        };
        let sockets = control.sockets().map_err(refused)?;
        let connection = takeover::send_sockets(&request.socket, &sockets).map_err(refused)?;
        Ok((sockets.len(), connection))
    };
    let control = view.control();
    let Json((sockets, connection)) = run_blocking(send).await?;
    // In a task of its own, so that a client that disconnects does not cancel it halfway.
    let released = tokio::spawn(async move {
        control.release_stores(true).await;
        tracing::info!(sockets, "sockets and stores handed over to another process");
        if holds_connection {
            tokio::spawn(watch_successor(control, connection));
        }
    });
    let internal = |error: tokio::task::JoinError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    released.await.map_err(internal)?;
    Ok(Json(sockets))
}

/// Watches the process that takes over. If it ends before it tells this process to drain, this
/// process resumes serving.
async fn watch_successor(control: Control, connection: UnixStream) {
    let message = async {
        connection.set_nonblocking(true)?;
        let mut message = [0];
        tokio::net::UnixStream::from_std(connection)?.read_exact(&mut message).await?;
        std::io::Result::Ok(message[0])
    };
    let mut ending = control.ending();
    tokio::select! {
        () = async { drop(ending.wait_for(|ending| *ending).await) } => {}
        message = message => match message {
            Ok(takeover::DRAIN) => control.drain(),
            _ => resume_serving(&control).await,
        },
    }
}

async fn resume_serving(control: &Control) {
    control.release_stores(false).await;
    tracing::warn!("the process that was taking over did not start to serve; this process continues");
}

/// `DELETE /takeover`: the new process did not start to serve.
pub(super) async fn cancel_takeover(State(view): State<View>) -> StatusCode {
    let control = view.control();
    // `watch_successor` may have noticed already that the other process is gone.
    if control.has_handed_over() {
        resume_serving(&control).await;
    }
    StatusCode::NO_CONTENT
}
