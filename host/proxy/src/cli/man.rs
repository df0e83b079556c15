//! `reprieve man`

mod configuration;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The middle of the pages' footer.
const MANUAL: &str = "Reprieve";

/// Write the manual pages: reprieve(1), one for each subcommand, and reprieve.toml(5).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Directory whose subdirectories man1 and man5 get the pages; created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// `command`: the whole command line.
pub(super) fn run(arguments: &Arguments, command: clap::Command) -> anyhow::Result<ExitCode> {
    let (commands, formats) = (arguments.directory.join("man1"), arguments.directory.join("man5"));
    for directory in [&commands, &formats] {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    // "reprieve help" would only repeat the other pages.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_pages(&command, None, &commands)?;
    write(&formats.join("reprieve.toml.5"), &configuration::page(MANUAL)?)?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: &clap::Command, above: Option<&str>, directory: &Path) -> anyhow::Result<()> {
    let page = Man::new(command.clone()).manual(MANUAL);
    write(&directory.join(page.get_filename()), &rendered(&page, command, above)?)?;
    for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
        write_pages(part, Some(name(command)), directory)?;
    }
    Ok(())
}

fn name(command: &clap::Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// Renders the page of a command, with the sections that all pages have.
fn rendered(page: &Man, command: &clap::Command, above: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        page.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    rest.text([roman(
        "0: success. 1: a test or a check failed. 2: the command line or the configuration is invalid, or standard output cannot be written. 141: the reader of standard output is gone.",
    )]);
    let reads_configuration = command.get_arguments().any(|argument| argument.get_id() == "config");
    let mut others: Vec<String> = above.map(|above| format!("{above}(1)")).into_iter().collect();
    others.extend(
        command.get_subcommands().filter(|part| !part.is_hide_set()).map(|part| format!("{}(1)", name(part))),
    );
    if above.is_none() || reads_configuration {
        others.push("reprieve.toml(5)".to_owned());
    }
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(others.join(", "))]);
    rest.to_writer(&mut text)?;
    Ok(text)
}

fn write(path: &Path, page: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}
