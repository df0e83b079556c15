//! Standard output and standard error of all commands. `println!` and its like panic if nobody
//! reads on or the disk is full, and whatever wraps a writer may hide why it failed; so commands
//! write by [`Output`], [`say!`] and [`tell!`], and `main` asks [`failure`] at the end.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;

/// The first error of standard output. There is one standard output, and so one of these.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Standard output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Output;

impl Output {
    /// Whether somebody looks at it.
    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        noted(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        noted(io::stdout().flush())
    }
}

/// Keeps the first error of what wrote to standard output.
pub(crate) fn noted<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && error.kind() != io::ErrorKind::Interrupted
    {
        let code = error.raw_os_error();
        FAILURE.get_or_init(|| code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
    }
    result
}

/// Why something that was written did not get to standard output, if so. For the end of a
/// command.
pub(crate) fn failure() -> Option<&'static io::Error> {
    // What was written without a line end may still be here.
    let _ = Output.flush();
    FAILURE.get()
}

/// Writes a value as JSON, on several lines, and a line end.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(Output.write_all(text.as_bytes())?)
}

/// Writes a line to standard output, or returns from the function with the error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!($crate::output::Output, $($text)*)?;
    }};
}

/// Writes a line to standard error. If that fails, there is nowhere to say so.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use {say, tell};
