//! `reprieve lookup`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::output::{errln, outln};
use reprieve_lookup::{Form, Table, compile, read};
use reprieve_settings::print_size;

/// Compile, check and read lookup tables, the files that `lookups` in the configuration names.
///
/// A table is a text with a key and an optional value on each line; lines that begin with # are
/// comments. The compiled form answers the same, and is for tables of about a million lines or more.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// Compile a text into a table that is mapped into memory
    ///
    /// The output file is replaced as a whole, so it may be in use. Needs about twice as much memory
    /// as the text is large.
    Compile {
        /// The text
        text: PathBuf,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the value of a key
    ///
    /// Prints an empty line if the key has no value. Exit code 1: the key is not in the table.
    Get {
        /// The table, in either form
        table: PathBuf,
        /// The key, exactly as in the table
        key: String,
    },
    /// Check a table and print its form and number of entries
    Check {
        /// The table, in either form
        table: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Subcommands::Compile { text, output } => {
            let began = Instant::now();
            let table = compile(text, output)?;
            let took = began.elapsed().as_secs_f64();
            outln!("{}: {}, compiled in {took:.1} s", output.display(), size(&table));
        }
        Subcommands::Get { table, key } => {
            let (found, _) = read(table)?;
            let Some(value) = found.get(key) else {
                errln!("reprieve: {}: there is no key {key:?}", table.display());
                return Ok(ExitCode::from(super::FAILED));
            };
            outln!("{value}");
        }
        Subcommands::Check { table } => {
            let (found, form) = read(table)?;
            let form = match form {
                Form::Text => "text",
                Form::Compiled => "compiled",
            };
            outln!("{}: {form}, {}", table.display(), size(&found));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn size(table: &Table) -> String {
    let bytes = table.as_bytes().len() as u64;
    // Rounded, so that a large one is printed in a large unit.
    let unit = [1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= 10 * unit).unwrap_or(1);
    let entries = table.len();
    let noun = if entries == 1 { "entry" } else { "entries" };
    format!("{entries} {noun}, {}", print_size(bytes / unit * unit))
}
