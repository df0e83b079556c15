//! `reprieve store`

mod access;
mod capacity;
mod shown;

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::output::{Output, outln, errln};
use crate::server::{Page, PageRequest, is_about};
use access::Access;
use reprieve_store::Entry;

/// Look at the store, and at what it knows of a user; forget him; carry it to another home.
///
/// Where a Reprieve with this configuration runs and has an admin socket, it is asked: it has the
/// store open, and a store in memory is nowhere else. Otherwise the store is opened here.
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
    /// What is known of a user: accepted secrets, the maildrop that his clients saw, and what
    /// policies keep under keys with his name
    Get {
        /// The user's name, as he logs in
        user: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Forget a user: his next login passes
    Forget {
        /// The user's name, as he logs in
        user: String,
    },
    /// Homes, namespaces and what they take
    Stats {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Write all entries to a file, one JSON object a line
    Export {
        /// The file; `-` for standard output
        file: PathBuf,
    },
    Capacity(capacity::Arguments),
    /// Read entries that `export` has written, also of another home
    Import {
        /// The file; `-` for standard input
        file: PathBuf,
    },
}

/// A line of an export.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The virtual server that has the store for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    namespace: String,
    #[serde(flatten)]
    entry: Entry,
}

/// Entries that are carried at once.
const BATCH: usize = 500;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Subcommands::Capacity(arguments) = &arguments.command {
        return capacity::run(arguments);
    }
    let config = super::read_config(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let access = Access::of(&config).await?;
        match &arguments.command {
            Subcommands::Get { user, json } => get(&access, user, *json).await,
            Subcommands::Forget { user } => forget(&access, user).await,
            Subcommands::Stats { json } => {
                let stats = access.stats().await?;
                if *json {
                    outln!("{}", serde_json::to_string(&stats)?);
                } else {
                    Output.write_all(shown::stats(&stats).as_bytes())?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Subcommands::Export { file } => export(&access, file).await,
            Subcommands::Import { file } => import(&access, file).await,
            Subcommands::Capacity(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn get(access: &Access, user: &str, json: bool) -> anyhow::Result<ExitCode> {
    let registered = access.user(user).await?;
    let mut pages = Vec::new();
    walk(access, "looking through the store", async |mut page: Page| {
        page.entries.retain(|entry| is_about(&entry.key, user));
        if !page.entries.is_empty() {
            pages.push(page);
        }
        Ok(())
    })
    .await?;
    if json {
        let entries = pages.into_iter().flat_map(|page| {
            let Page { of: store, namespace, entries, .. } = page;
            entries.into_iter().map(move |entry| Line {
                store: store.clone(),
                namespace: namespace.clone(),
                entry,
            })
        });
        let found = serde_json::json!({
            "user": user,
            "virtual_servers": registered,
            "entries": entries.collect::<Vec<_>>(),
        });
        outln!("{found}");
    } else {
        Output.write_all(shown::user(user, &registered, &pages).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn forget(access: &Access, user: &str) -> anyhow::Result<ExitCode> {
    let forgotten = access.forget(user).await?;
    let mut gone = 0;
    walk(access, "looking through the store", async |mut page: Page| {
        page.entries.retain(|entry| is_about(&entry.key, user));
        if !page.entries.is_empty() {
            gone += access.delete(page).await?;
        }
        Ok(())
    })
    .await?;
    if forgotten == 0 && gone == 0 {
        outln!("nothing was known of {user}");
    } else {
        outln!(
            "{user} is forgotten at {forgotten} virtual servers, with {gone} entries of policies: the next login passes"
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(access: &Access, file: &Path) -> anyhow::Result<ExitCode> {
    let shown = file.display().to_string();
    // What comes half way takes nothing's place; who polls when is nobody else's business. A
    // device or a pipe is written as it is.
    let is_plain = file.metadata().map_or(true, |there| there.is_file());
    let unfinished = if is_plain { file.with_added_extension("unfinished") } else { file.to_owned() };
    let mut to: Box<dyn std::io::Write> = if shown == "-" {
        Box::new(BufWriter::new(Output))
    } else {
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        Box::new(BufWriter::new(opened.with_context(|| format!("cannot write {}", unfinished.display()))?))
    };
    let mut count = 0_u64;
    let walked = walk(access, "exporting", async |page: Page| {
        for entry in page.entries {
            let line = Line { store: page.of.clone(), namespace: page.namespace.clone(), entry };
            serde_json::to_writer(&mut to, &line)?;
            to.write_all(b"\n")?;
            count += 1;
        }
        Ok(())
    })
    .await;
    if walked.is_err() && shown != "-" && is_plain {
        let _ = std::fs::remove_file(&unfinished);
    }
    walked?;
    to.flush().with_context(|| format!("cannot write {shown}"))?;
    drop(to);
    if shown != "-" && is_plain {
        std::fs::rename(&unfinished, file).with_context(|| format!("cannot write {shown}"))?;
    }
    errln!("{count} entries written");
    Ok(ExitCode::SUCCESS)
}

async fn import(access: &Access, file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    let (from, octets): (Box<dyn std::io::Read>, u64) = if name == "-" {
        (Box::new(std::io::stdin()), 0)
    } else {
        let from = File::open(file).with_context(|| format!("cannot read {name}"))?;
        let octets = from.metadata()?.len();
        (Box::new(from), octets)
    };
    let bar = bar(octets, "importing");
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
            .with_context(|| format!("{name}:{lines}: is no line of an export"))?;
        let fits = |page: &Page| {
            page.entries.len() < BATCH && page.of == line.store && page.namespace == line.namespace
        };
        if let Some(page) = batch.take_if(|page| !fits(page)) {
            written += access.put(page).await?;
        }
        batch
            .get_or_insert_with(|| Page {
                of: line.store.clone(),
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
    anyhow::ensure!(access.save().await, "the store could not be saved; its log says why");
    bar.finish_and_clear();
    errln!("{written} entries written of {lines}; the others had expired");
    Ok(ExitCode::SUCCESS)
}

/// Shows every page of every namespace to somebody.
async fn walk(
    access: &Access,
    what: &'static str,
    mut look: impl AsyncFnMut(Page) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stats = access.stats().await?;
    for store in &stats {
        let of = store.of.as_ref().map_or_else(|| "the store".to_owned(), |of| format!("the store of {of}"));
        if let Some(why) = &store.unseen {
            anyhow::bail!("{of} cannot be read, so nothing is known of what it has: {why}");
        }
    }
    let octets = stats.iter().flat_map(|store| &store.namespaces).map(|namespace| namespace.bytes).sum();
    let bar = bar(octets, what);
    for store in stats {
        for namespace in store.namespaces {
            let mut from = None;
            loop {
                let request = PageRequest { of: store.of.clone(), namespace: namespace.name.clone(), from };
                let mut page = access.page(request).await?;
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

/// A bar that shows itself where the work is long and somebody can see it.
fn bar(octets: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(octets).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
