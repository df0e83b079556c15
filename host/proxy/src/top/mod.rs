//! `reprieve top`: shows the status of a running Reprieve on a terminal and updates it.

mod frame;
mod history;
mod live;

use std::time::{Duration, Instant};

use crate::admin::{Client, ClientError};
use frame::Frame;
pub(crate) use frame::duration;
use history::History;
pub use live::run;

/// Order of the virtual servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// Order of the configuration
    #[default]
    Configured,
    /// Most polls per second first
    Polls,
    /// Lowest relief first
    Relief,
}

/// Returns the status as text, with rates measured over one `interval`.
///
/// # Errors
/// If a request fails.
pub async fn once(
    client: &Client,
    interval: Duration,
    columns: usize,
    order: Order,
) -> Result<String, ClientError> {
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
