//! The command line and its help.

mod interrupt;
mod run;
mod serve;

use clap::{Parser, Subcommand};

pub(crate) use interrupt::Interrupt;
pub(crate) use run::{RunArgs, Scenario};
pub(crate) use serve::ServeArgs;

/// Put load on a POP3 server and check every reply, or serve as the mail server behind it.
///
/// A reply that is late, malformed or wrong counts as an error, so a server that is fast because it
/// answers nonsense does not look good. In two terminals:
///
///   reprieve-load serve --listen 127.0.0.1:1100 --messages 20 --size 20000
///
///   reprieve-load run --connect 127.0.0.1:1100 --scenario poll-uidl --messages 20 --size 20000
///
/// Put the proxy that you want to measure between the two, with 127.0.0.1:1100 as its mail server.
///
/// Exit codes: 0 no errors, 1 errors were found, 2 wrong usage, or a limit of the machine.
#[derive(Debug, Parser)]
#[command(name = "reprieve-load", version, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Serve(ServeArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("reprieve-load run --connect a:1 --scenario poll").is_ok());
        for wrong in [
            "reprieve-load run --scenario poll",
            "reprieve-load run --connect a:1",
            "reprieve-load run --connect a:1 --scenario poll --insecure",
            "reprieve-load run --connect a:1 --scenario poll --messages 3",
            "reprieve-load run --connect a:1 --scenario poll --users 3 --users-file x",
            "reprieve-load run --connect a:1 --scenario poll --rate 0",
            "reprieve-load run --connect a:1 --scenario poll --connections 0",
            "reprieve-load serve --listen 127.0.0.1:0 --size 63",
            "reprieve-load serve --listen 127.0.0.1:0 --tls-cert x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
