//! The command line: one file per subcommand. They parse arguments and print results; the work is
//! done by the other modules.

mod check;
mod completions;
mod ctl;
mod demo;
mod generate;
mod lookup;
mod man;
mod new_mail;
mod policy;
mod replay;
mod run;
mod store;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::output::{self, errln};

/// The configuration file, unless another one is given.
const DEFAULT_CONFIG: &str = "/etc/reprieve/reprieve.toml";

/// Exit code: a test or check failed.
const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is invalid.
const WRONG: u8 = 2;
/// Exit code: the reader of standard output is gone. Shells report a death by SIGPIPE like this.
const NOT_READ: u8 = 128 + 13;

/// A POP3 proxy that protects mail servers from clients that check for mail too often.
///
/// Reprieve runs in front of a POP3 server. A policy decides for each login whether it is passed to
/// the server; otherwise Reprieve itself answers that nothing has changed. Policies are WebAssembly
/// components; the built-in policy `interval` passes one login per user every ten minutes.
#[derive(Debug, Parser)]
#[command(name = "reprieve", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Run(run::Arguments),
    Check(check::Arguments),
    Ctl(ctl::Arguments),
    Demo(demo::Arguments),
    Lookup(lookup::Arguments),
    NewMail(new_mail::Arguments),
    Policy(policy::Arguments),
    Replay(replay::Arguments),
    Store(store::Arguments),
    Top(top::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// Runs the command line of this process. Exit codes: 0 success; 1 a test or check failed; 2 invalid
/// usage or configuration, or standard output cannot be written; 141 the reader of standard output is
/// gone.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        // Also `--help` and `--version`.
        Err(error) => {
            let printed = error.print();
            if !error.use_stderr() {
                let _ = output::record_error(printed);
            }
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG)))
        }
    };
    match (output::first_error(), result) {
        (Some(error), _) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(NOT_READ),
        (Some(error), _) => {
            errln!("reprieve: cannot write to standard output: {error}");
            ExitCode::from(WRONG)
        }
        (None, Ok(code)) => code,
        (None, Err(error)) => {
            errln!("reprieve: {error:#}");
            ExitCode::from(WRONG)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    crate::rlimit::survive_size_limit();
    match arguments.command {
        Subcommands::Run(arguments) => run::run(&arguments),
        Subcommands::Check(arguments) => check::run(&arguments),
        Subcommands::Ctl(arguments) => ctl::run(&arguments),
        Subcommands::Demo(arguments) => demo::run(&arguments),
        Subcommands::Lookup(arguments) => lookup::run(&arguments),
        Subcommands::NewMail(arguments) => new_mail::run(&arguments),
        Subcommands::Policy(arguments) => policy::run(&arguments),
        Subcommands::Replay(arguments) => replay::run(&arguments),
        Subcommands::Store(arguments) => store::run(&arguments),
        Subcommands::Top(arguments) => top::run(&arguments),
        Subcommands::Completions(arguments) => completions::run(&arguments, Arguments::command()),
        Subcommands::Generate(arguments) => generate::run(&arguments),
        Subcommands::Man(arguments) => man::run(&arguments, Arguments::command()),
    }
}

fn read_config(path: &std::path::Path) -> anyhow::Result<crate::config::Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read the configuration {name}: {error}"))?;
    Ok(crate::config::Config::parse(&text, &name)?)
}
