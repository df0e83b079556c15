//! `reprieve store`

mod access;
mod capacity;
mod output;

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::output::{Output, errln, outln};
use crate::server::{Page, PageRequest, contains_user, spellings};
use access::StoreAccess;
use reprieve_store::Entry;

/// Inspect and change stores: show or forget a user, export and import entries.
///
/// If a Reprieve with this configuration is running and has an admin socket, the command asks it.
/// Otherwise it opens the stores itself, which is not possible for a store in memory.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", default_value = "/etc/reprieve/reprieve.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// Show what is known about a user
    ///
    /// Shows accepted secrets (only their number), the maildrop that clients last saw, and entries of
    /// policies whose keys contain the user's name.
    Get {
        /// User name, as in the login
        user: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Forget a user, so that their next login passes
    Forget {
        /// User name, as in the login
        user: String,
    },
    /// Show stores, namespaces and their size
    Stats {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Write all entries to a file, one JSON object per line
    Export {
        /// File; `-` for standard output
        file: PathBuf,
    },
    Capacity(capacity::Arguments),
    /// Read entries that `export` has written, also from another backend
    Import {
        /// File; `-` for standard input
        file: PathBuf,
    },
}

/// A line of an export.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The virtual server that the store is for; None for the one that all others share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    virtual_server: Option<String>,
    namespace: String,
    #[serde(flatten)]
    entry: Entry,
}

/// Entries that are imported at once.
const BATCH: usize = 500;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Subcommands::Capacity(arguments) = &arguments.command {
        return capacity::run(arguments);
    }
    let config = super::read_config(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let access = StoreAccess::to(&config).await?;
        match &arguments.command {
            Subcommands::Get { user, json } => get(&access, &config, user, *json).await,
            Subcommands::Forget { user } => forget(&access, &config, user).await,
            Subcommands::Stats { json } => {
                let stats = access.stats().await?;
                if *json {
                    outln!("{}", serde_json::to_string(&stats)?);
                } else {
                    Output.write_all(output::stats(&stats).as_bytes())?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Subcommands::Export { file } => export(&access, file).await,
            Subcommands::Import { file } => import(&access, file).await,
            Subcommands::Capacity(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn get(access: &StoreAccess, config: &Config, user: &str, json: bool) -> anyhow::Result<ExitCode> {
    let known = access.user(user).await?;
    let mut pages = Vec::new();
    walk(access, "searching the store", async |mut page: Page| {
        keep_entries_of(config, &mut page, user);
        if !page.entries.is_empty() {
            pages.push(page);
        }
        Ok(())
    })
    .await?;
    if json {
        let entries = pages.into_iter().flat_map(|page| {
            let Page { virtual_server, namespace, entries, .. } = page;
            entries.into_iter().map(move |entry| Line {
                virtual_server: virtual_server.clone(),
                namespace: namespace.clone(),
                entry,
            })
        });
        let found = serde_json::json!({
            "user": user,
            "virtual_servers": known,
            "entries": entries.collect::<Vec<_>>(),
        });
        outln!("{found}");
    } else {
        Output.write_all(output::user(user, &known, &pages).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn forget(access: &StoreAccess, config: &Config, user: &str) -> anyhow::Result<ExitCode> {
    let servers = access.forget(user).await?;
    let mut deleted = 0;
    walk(access, "searching the store", async |mut page: Page| {
        keep_entries_of(config, &mut page, user);
        if !page.entries.is_empty() {
            deleted += access.delete(page).await?;
        }
        Ok(())
    })
    .await?;
    if servers == 0 && deleted == 0 {
        outln!("nothing was known about {user}");
    } else {
        outln!(
            "forgot {user} at {servers} virtual servers and deleted {deleted} entries of policies: the next login passes"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes entries of others.
fn keep_entries_of(config: &Config, page: &mut Page, user: &str) {
    let names = spellings(config, page, user);
    page.entries.retain(|entry| names.iter().any(|name| contains_user(&entry.key, name)));
}

async fn export(access: &StoreAccess, file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    // A regular file is written under another name and renamed at the end, so that an interrupted
    // export replaces nothing. Devices and pipes are written directly.
    let is_regular = file.metadata().map_or(true, |metadata| metadata.is_file());
    let unfinished = if is_regular { file.with_added_extension("unfinished") } else { file.to_owned() };
    let mut to: Box<dyn std::io::Write> = if name == "-" {
        Box::new(BufWriter::new(Output))
    } else {
        // For its user only: it says who polls when.
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        Box::new(BufWriter::new(opened.with_context(|| format!("cannot write {}", unfinished.display()))?))
    };
    let mut count = 0_u64;
    let walked = walk(access, "exporting", async |page: Page| {
        for entry in page.entries {
            let virtual_server = page.virtual_server.clone();
            let line = Line { virtual_server, namespace: page.namespace.clone(), entry };
            serde_json::to_writer(&mut to, &line)
                .map_err(std::io::Error::from)
                .and_then(|()| to.write_all(b"\n"))
                .with_context(|| format!("cannot write {name}"))?;
            count += 1;
        }
        Ok(())
    })
    .await;
    let is_renamed = name != "-" && is_regular;
    let written = walked.and_then(|()| {
        to.flush()
            .and_then(|()| if is_renamed { std::fs::rename(&unfinished, file) } else { Ok(()) })
            .with_context(|| format!("cannot write {name}"))
    });
    // What is still buffered is written, or is lost, before the file goes.
    drop(to);
    if written.is_err() && is_renamed {
        let _ = std::fs::remove_file(&unfinished);
    }
    written?;
    errln!("{count} entries written");
    Ok(ExitCode::SUCCESS)
}

async fn import(access: &StoreAccess, file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    let (from, bytes): (Box<dyn std::io::Read>, u64) = if name == "-" {
        (Box::new(std::io::stdin()), 0)
    } else {
        let from = File::open(file).with_context(|| format!("cannot read {name}"))?;
        let bytes = from.metadata()?.len();
        (Box::new(from), bytes)
    };
    let bar = progress_bar(bytes, "importing");
    let (mut written, mut lines) = (0, 0);
    let mut batch: Option<Page> = None;
    for line in BufReader::new(from).lines() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        lines += 1;
        bar.inc(line.len() as u64 + 1);
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)
            .with_context(|| format!("{name}:{lines}: not a line that `export` writes"))?;
        let fits = |page: &Page| {
            page.entries.len() < BATCH
                && page.virtual_server == line.virtual_server
                && page.namespace == line.namespace
        };
        if let Some(page) = batch.take_if(|page| !fits(page)) {
            written += access.put(page).await?;
        }
        batch
            .get_or_insert_with(|| Page {
                virtual_server: line.virtual_server.clone(),
                namespace: line.namespace.clone(),
                entries: Vec::new(),
                next: None,
            })
            .entries
            .push(line.entry);
    }
    if let Some(page) = batch {
        written += access.put(page).await?;
    }
    anyhow::ensure!(access.save().await, "the store could not be saved; see its log messages");
    bar.finish_and_clear();
    errln!("{written} entries written of {lines}; the others had expired");
    Ok(ExitCode::SUCCESS)
}

/// Calls `look` with each page of each namespace of each store.
async fn walk(
    access: &StoreAccess,
    activity: &'static str,
    mut look: impl AsyncFnMut(Page) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stats = access.stats().await?;
    for store in &stats {
        if let Some(error) = &store.error {
            let of = store.virtual_server.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            anyhow::bail!("the store{of} cannot be read: {error}");
        }
    }
    let bytes = stats.iter().flat_map(|store| &store.namespaces).map(|namespace| namespace.bytes).sum();
    let bar = progress_bar(bytes, activity);
    for store in stats {
        for namespace in store.namespaces {
            let mut from = None;
            loop {
                let (virtual_server, namespace) = (store.virtual_server.clone(), namespace.name.clone());
                let mut page = access.page(PageRequest { virtual_server, namespace, from }).await?;
                from = page.next.take();
                bar.inc(page.entries.iter().map(Entry::footprint).sum());
                look(page).await?;
                if from.is_none() {
                    break;
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A progress bar over a number of bytes; hidden if standard error is not a terminal.
fn progress_bar(bytes: u64, activity: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(activity);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
