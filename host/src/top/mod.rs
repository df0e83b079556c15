//! A running Reprieve on a terminal, live: asked by its admin socket, as often as wanted. It
//! sees what the status tells and nothing else.

mod frame;
mod history;
mod live;

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::admin::{Client, CtlError};
use frame::Frame;
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
    columns: u16,
    order: Order,
) -> Result<String, CtlError> {
    let mut history = History::new();
    history.add(Instant::now(), client.status().await?);
    tokio::time::sleep(interval).await;
    history.add(Instant::now(), client.status().await?);
    let frame = Frame { order, ..Frame::new(&history) };
    let rows = frame.rows();
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
    frame.draw(buffer.area, &mut buffer);
    Ok(text_of(&buffer))
}

/// What is written in a picture, without colours.
fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(buffer.area.width).max(1)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
