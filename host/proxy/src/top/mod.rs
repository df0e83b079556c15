//! A running Reprieve on a terminal, live: asked by its admin socket, as often as wanted. It
//! sees what the status tells and nothing else.

mod frame;
mod history;
mod live;

use std::time::{Duration, Instant};

use crate::admin::{Client, CtlError};
use frame::Frame;
pub(crate) use frame::duration;
use history::History;
pub use live::run;

/// What is shown first, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// As the configuration has them
    #[default]
    Configured,
    /// Who has most polls a second first
    Polls,
    /// Who is relieved least first
    Relief,
}

/// One picture as lines of text, as wide as told and as high as it takes: the state, and what has
/// happened between two looks, one `interval` apart.
///
/// # Errors
/// Where it cannot be asked.
pub async fn once(
    client: &Client,
    interval: Duration,
    columns: usize,
    order: Order,
) -> Result<String, CtlError> {
    let mut history = History::new();
    history.add(Instant::now(), client.status().await?);
    tokio::time::sleep(interval).await;
    history.add(Instant::now(), client.status().await?);
    let frame = Frame { order, ..Frame::new(&history) };
    let mut text = String::new();
    for line in frame.lines() {
        let mut drawn = String::new();
        line.render(columns, false, &mut drawn);
        text.push_str(drawn.trim_end());
        text.push('\n');
    }
    Ok(text)
}
