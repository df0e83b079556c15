//! `reprieve policy new`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::output::say;
use crate::template::{self, Language};

/// Begin a policy: a project with the WIT, a small real policy, a scenario that passes, and a
/// README with the exact commands.
///
///   reprieve policy new --lang rust night-shift
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Language that the policy is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// Folder to make; its name is the policy's
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = &arguments.folder;
    let shown = folder.display();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    template::check_name(&name).map_err(anyhow::Error::msg)?;
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        anyhow::bail!("the folder {shown} is not empty; name one that is new");
    }
    template::write(arguments.lang, &name, folder)
        .with_context(|| format!("cannot write the project into {shown}"))?;
    let (commands, component) = arguments.lang.commands(&name);
    say!("{shown} is a policy that you can build, test and run:\n");
    say!("  cd {shown}");
    for command in commands {
        say!("  {command}");
    }
    say!("  reprieve policy test {component} scenarios/pause.toml");
    say!(
        "  reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110 --policy {component} --set pause=60"
    );
    say!("\nIts README tells what is needed, and how it goes on.");
    Ok(ExitCode::SUCCESS)
}
