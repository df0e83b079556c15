//! Standard output and standard error of all commands. `println!` panics if its reader is gone or
//! the disk is full, so commands use [`Output`], [`outln!`] and [`errln!`]. The first error is kept,
//! because wrappers of a writer may hide it, and `main` reports it ([`first_error`]).

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;

use reprieve_text::escape::escape_json;

/// The first error of standard output.
static FIRST_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Standard output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Output;

impl Output {
    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        record_error(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        record_error(io::stdout().flush())
    }
}

/// Records the error of a write to standard output, unless there was one before.
pub(crate) fn record_error<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && error.kind() != io::ErrorKind::Interrupted
    {
        let code = error.raw_os_error();
        FIRST_ERROR.get_or_init(|| code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
    }
    result
}

/// Flushes standard output, and returns the first error that occurred. Called at the end of a
/// command.
pub(crate) fn first_error() -> Option<&'static io::Error> {
    // An incomplete line may still be buffered.
    let _ = Output.flush();
    FIRST_ERROR.get()
}

/// Writes a value as indented JSON that a terminal shows as it is.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in serde_json::to_string_pretty(value)?.lines() {
        let from = text.len();
        text.push_str(line);
        escape_json(&mut text, from);
        text.push('\n');
    }
    Ok(Output.write_all(text.as_bytes())?)
}

/// Writes a line to standard output, or returns from the function with the error.
macro_rules! outln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!($crate::output::Output, $($text)*)?;
    }};
}

/// Writes a line to standard error. Errors are ignored, because there is nowhere to report them.
macro_rules! errln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use {errln, outln};
