//! What an administrator has changed: policies, the configuration, who serves.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::hand_over;
use crate::server::{Change, Control, NotChanged, Reloaded, View};

type Answered<T> = Result<Json<T>, (StatusCode, String)>;

/// Where the process listens that takes over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TakeOver {
    pub(super) socket: PathBuf,
    /// Whether it holds the connection that it gets sockets by until this process may drain.
    #[serde(default)]
    pub(super) holds: bool,
}

/// Files are read and code is compiled aside: whoever asks meanwhile is answered.
async fn aside<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, NotChanged> + Send + 'static,
) -> Answered<T> {
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(done)) => Ok(Json(done)),
        Ok(Err(error @ NotChanged::NoServer { .. })) => Err((StatusCode::NOT_FOUND, error.to_string())),
        Ok(Err(error @ NotChanged::Ending)) => Err((StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error @ NotChanged::Refused(_))) => Err((StatusCode::UNPROCESSABLE_ENTITY, error.to_string())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

pub(super) async fn swap(
    State(view): State<View>,
    Path(server): Path<String>,
    Json(change): Json<Change>,
) -> Answered<()> {
    aside(move || view.control().swap(&server, &change)).await
}

pub(super) async fn swap_back(State(view): State<View>, Path(server): Path<String>) -> Answered<()> {
    aside(move || view.control().swap_back(&server)).await
}

pub(super) async fn shadow(
    State(view): State<View>,
    Path(server): Path<String>,
    Json(change): Json<Change>,
) -> Answered<()> {
    aside(move || view.control().shadow(&server, Some(&change))).await
}

pub(super) async fn no_shadow(State(view): State<View>, Path(server): Path<String>) -> Answered<()> {
    aside(move || view.control().shadow(&server, None)).await
}

pub(super) async fn reload(State(view): State<View>) -> Answered<Reloaded> {
    aside(move || view.control().reload_again()).await
}

pub(super) async fn drain(State(view): State<View>) -> StatusCode {
    view.control().drain();
    StatusCode::NO_CONTENT
}

pub(super) async fn hand_over(State(view): State<View>, Json(to): Json<TakeOver>) -> Answered<usize> {
    let control = view.control();
    let holds = to.holds;
    let give = move || {
        let refused = |error: std::io::Error| {
            NotChanged::Refused(format!("cannot hand over to {}: {error}", to.socket.display()))
        };
        let sockets = control.sockets().map_err(refused)?;
        let connection = hand_over::give(&to.socket, &sockets).map_err(refused)?;
        Ok((sockets.len(), connection))
    };
    let control = view.control();
    let Json((sockets, connection)) = aside(give).await?;
    // In a task of its own: one who asks, and goes away meanwhile, does not end it halfway.
    let released = tokio::spawn(async move {
        control.release_stores(true).await;
        tracing::info!(sockets, "sockets and stores handed over to another process");
        if holds {
            tokio::spawn(watch_over(control, connection));
        }
    });
    let internal = |error: tokio::task::JoinError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    released.await.map_err(internal)?;
    Ok(Json(sockets))
}

/// Waits for the end of the process that takes over: if that comes before this one is to drain,
/// nobody serves in its place, and it goes on.
async fn watch_over(control: Control, connection: UnixStream) {
    let word = async {
        connection.set_nonblocking(true)?;
        let mut word = [0];
        tokio::net::UnixStream::from_std(connection)?.read_exact(&mut word).await?;
        std::io::Result::Ok(word[0])
    };
    let mut ending = control.ending();
    tokio::select! {
        () = async { drop(ending.wait_for(|ending| *ending).await) } => {}
        word = word => match word {
            Ok(hand_over::DRAIN) => control.drain(),
            _ => keep_serving(&control).await,
        },
    }
}

async fn keep_serving(control: &Control) {
    control.release_stores(false).await;
    tracing::warn!("the process that was to take over did not come to serve; this one goes on");
}

/// The other process did not come to serve.
pub(super) async fn keep(State(view): State<View>) -> StatusCode {
    let control = view.control();
    // Not twice: it may have seen by itself that the other one has gone.
    if control.has_handed_over() {
        keep_serving(&control).await;
    }
    StatusCode::NO_CONTENT
}
