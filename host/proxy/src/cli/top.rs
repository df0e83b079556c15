//! `reprieve top`

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use crate::admin::{Client, DEFAULT_SOCKET};
use crate::output::Output;
use crate::terminal;
use crate::top::{self, Order};

/// Show a live view of a running Reprieve: relief, virtual servers, mail servers, stores.
///
/// Current rates are averages over the last ten seconds. Keys: q quits, s changes the sort order of
/// the virtual servers, arrow keys, PageUp and PageDown scroll.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Admin socket of the running Reprieve (`admin.socket` in its configuration)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "REPRIEVE_SOCKET")]
    socket: PathBuf,
    /// Time between two updates, 100ms or more
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Sort order of the virtual servers
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// Print the status once as text, with rates over one --interval, so that it need not run for ten
    /// seconds
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let least = Duration::from_millis(100);
    match reprieve_settings::duration(text) {
        Some(interval) if interval >= least => Ok(interval),
        _ => Err("use a duration of 100ms or more, such as 500ms, 2s or 1m30s".to_owned()),
    }
}

/// Width of the output of `--once`, unless COLUMNS is set.
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
        bail!("standard output is not a terminal; use --once to print the status as text");
    }
    let first = runtime.block_on(client.status())?;
    top::run(client, first, arguments.interval, arguments.sort)?;
    Ok(ExitCode::SUCCESS)
}
