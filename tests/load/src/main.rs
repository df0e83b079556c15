//! A load generator for POP3 servers that checks every reply, and a stub mail server whose messages
//! it knows.

mod cli;
mod client;
mod histogram;
mod mailbox;
mod process;
mod run;
mod scenario;
mod serve;
mod units;
mod users;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("reprieve-load: {error:#}");
            ExitCode::from(2)
        }
    }
}
