//! `reprieve policy new`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::output::outln;
use crate::template::{self, Language};

/// Create a project for a new policy
///
/// The project contains the WIT, a small working policy, a test scenario, and a README with the
/// commands to build and test it.
///
///   reprieve policy new --lang rust night-shift
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Programming language
    #[arg(long, value_enum)]
    lang: Language,
    /// Directory to create; its name becomes the policy's name
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    let shown = directory.display();
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    template::check_name(&name).map_err(anyhow::Error::msg)?;
    if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        anyhow::bail!("the directory {shown} is not empty; choose a new one");
    }
    template::write(arguments.lang, &name, directory)
        .with_context(|| format!("cannot write the project into {shown}"))?;
    let (commands, component) = arguments.lang.commands(&name);
    outln!("Created {shown}. To build, test and run the policy:\n");
    outln!("  cd {shown}");
    for command in commands {
        outln!("  {command}");
    }
    outln!("  reprieve policy test {component} scenarios/pause.toml");
    outln!(
        "  reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110 --policy {component} --set pause=60"
    );
    outln!("\nThe README lists the required tools and the next steps.");
    Ok(ExitCode::SUCCESS)
}
