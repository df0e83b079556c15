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

/// A test or check failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const WRONG: u8 = 2;

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
/// usage or configuration.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
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
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reprieve: {error:#}");
            ExitCode::from(WRONG)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Reads a configuration file.
fn read_config(path: &std::path::Path) -> anyhow::Result<crate::config::Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read the configuration {name}: {error}"))?;
    Ok(crate::config::Config::parse(&text, &name)?)
}
