//! `reprieve top`

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use crate::admin::{Client, USUAL_SOCKET};
use crate::output::Output;
use crate::terminal;
use crate::top::{self, Order};

/// Watch a running Reprieve: relief, virtual servers, mail servers, stores, live.
///
/// It asks by the admin socket (`admin.socket` in the configuration). "Now" is the last ten
/// seconds. Keys: q ends, s sorts the virtual servers otherwise, the arrows and PageUp and
/// PageDown scroll where there is more than the terminal shows.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its admin socket
    #[arg(long, value_name = "PATH", default_value = USUAL_SOCKET, env = "REPRIEVE_SOCKET")]
    socket: PathBuf,
    /// Between two looks, such as 500ms or 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// How virtual servers are sorted
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// Look twice, print one picture, and end
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let least = Duration::from_millis(100);
    match reprieve_settings::duration(text) {
        Some(interval) if interval >= least => Ok(interval),
        _ => Err("it is a time of 100ms or more, such as 500ms or 2s".to_owned()),
    }
}

/// Columns of what is printed where no terminal says how wide it is.
const COLUMNS: usize = 100;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(&arguments.socket);
    if arguments.once {
        let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let columns = given.filter(|columns| (40..=1000).contains(columns)).unwrap_or(COLUMNS);
        let once = top::once(&client, arguments.interval, columns, arguments.sort);
        Output.write_all(runtime.block_on(once)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !(std::io::stdin().is_terminal() && Output::is_terminal() && terminal::can_redraw()) {
        bail!("there is no terminal to draw on; for one picture as text add --once");
    }
    let first = runtime.block_on(client.status())?;
    top::run(client, first, arguments.interval, arguments.sort)?;
    Ok(ExitCode::SUCCESS)
}
