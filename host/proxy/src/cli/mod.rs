//! The command line: one file a subcommand, none of which knows how anything works.

mod check;
mod completions;
mod ctl;
mod demo;
mod man;
mod policy;
mod replay;
mod run;
mod store;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::output::{self, tell};

/// A test or check failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;
/// Nobody reads standard output any longer: what a shell says of a program that SIGPIPE ended.
const NOT_READ: u8 = 128 + 13;

/// A POP3 proxy that takes the load of clients that check mail too often off mail servers.
///
/// It stands in front of a POP3 server, lets a user through when a policy says so, and
/// otherwise answers in the server's place that nothing has changed. Policies are WebAssembly
/// components; the built-in one, `interval`, lets each user through once in ten minutes.
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
    Policy(policy::Arguments),
    Replay(replay::Arguments),
    Store(store::Arguments),
    Top(top::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Runs the command line of this process. Exit codes: 0 done, 1 a test or check failed, 2
/// usage or configuration, or standard output that cannot be written, 141 standard output that
/// nobody reads on.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        // Help and the version are among them.
        Err(error) => {
            let printed = error.print();
            if !error.use_stderr() {
                let _ = output::noted(printed);
            }
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG)))
        }
    };
    match (output::failure(), result) {
        (Some(error), _) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(NOT_READ),
        (Some(error), _) => {
            tell!("reprieve: cannot write to standard output: {error}");
            ExitCode::from(WRONG)
        }
        (None, Ok(code)) => code,
        (None, Err(error)) => {
            tell!("reprieve: {error:#}");
            ExitCode::from(WRONG)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Subcommands::Run(arguments) => run::run(&arguments),
        Subcommands::Check(arguments) => check::run(&arguments),
        Subcommands::Ctl(arguments) => ctl::run(&arguments),
        Subcommands::Demo(arguments) => demo::run(&arguments),
        Subcommands::Policy(arguments) => policy::run(&arguments),
        Subcommands::Replay(arguments) => replay::run(&arguments),
        Subcommands::Store(arguments) => store::run(&arguments),
        Subcommands::Top(arguments) => top::run(&arguments),
        Subcommands::Completions(arguments) => completions::run(&arguments, Arguments::command()),
        Subcommands::Man(arguments) => man::run(&arguments, Arguments::command()),
    }
}

/// Reads a configuration file.
fn read_config(path: &std::path::Path) -> anyhow::Result<crate::config::Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read the configuration {name}: {error}"))?;
    Ok(crate::config::Config::parse(&text, &name)?)
}
