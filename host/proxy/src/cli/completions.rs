//! `reprieve completions`

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::output::Output;

/// Print a shell completion script
///
/// For the current shell:
///
///   source <(reprieve completions bash)
///
/// Permanently:
///
///   reprieve completions bash > ~/.local/share/bash-completion/completions/reprieve
///
///   reprieve completions fish > ~/.config/fish/completions/reprieve.fish
///
///   reprieve completions zsh > DIR/_reprieve     (DIR: a directory in $fpath)
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Shell to complete for
    shell: Shell,
}

/// `command`: the command line as a whole.
pub(super) fn run(arguments: &Arguments, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    // Into a buffer first, because the generator panics if the output cannot be written.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    Output.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
