//! `reprieve completions`

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::output::Output;

/// Print what completes this command line in a shell.
///
/// For the shell in use:
///
///   source <(reprieve completions bash)
///
/// For good:
///
///   reprieve completions bash > ~/.local/share/bash-completion/completions/reprieve
///
///   reprieve completions fish > ~/.config/fish/completions/reprieve.fish
///
///   reprieve completions zsh > FOLDER/_reprieve     (a folder of $fpath)
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// `command`: the command line as a whole.
pub(super) fn run(arguments: &Arguments, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    // Written at once: the generator takes a reader that has gone for a reason to panic.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    Output.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
