//! `reprieve policy inspect`

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Format;
use crate::cli::FAILED;
use crate::output::{self, Output};
use reprieve_policy_host::{
    Anatomy, Cache, Engine, EngineSize, Kind, Limits, LoadError, PolicyOptions, Prepared, digest, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::SystemClock;

/// A setting that no policy has: one that names those it knows in its refusal tells them all.
const NO_SETTING: &str = "?";

/// Tell what a component is, and whether this host can run it.
///
/// Its world and version, what it imports and exports, its size and digest (for `sha256`), the
/// language and tools that made it, and the settings that it knows, in its own words.
/// Exit codes: 0 it can be run, 1 it cannot, 2 there is no such file.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy or path of a component
    #[arg(value_name = "P")]
    policy: String,
    /// How the report looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What came of loading it.
struct Fitness {
    /// Why it cannot be run.
    misfit: Option<String>,
    /// What it says without any settings.
    needs: Option<String>,
    /// What it says to a setting that nobody has.
    knows: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let octets = load_source(&arguments.policy).map_err(anyhow::Error::msg)?;
    let anatomy = Anatomy::of(&octets);
    let sha256 = digest::hex(&Sha256::digest(&octets).into());
    let fitness = fitness(&arguments.policy, &octets)?;
    match arguments.format {
        Format::Human => human(arguments, &octets, &sha256, &anatomy, &fitness)?,
        Format::Json => machine(arguments, &octets, &sha256, &anatomy, &fitness)?,
    }
    Ok(if fitness.misfit.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn fitness(name: &str, octets: &[u8]) -> anyhow::Result<Fitness> {
    let limits = Limits::default();
    let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 2 };
    let engine = Engine::new(size, cache.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = |settings: Vec<(String, String)>| {
        let clock = Arc::new(SystemClock);
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        PolicyOptions { settings, ..PolicyOptions::new("inspect", name, namespace, clock) }
    };
    let prepared = match runtime.block_on(Prepared::new(engine, octets, &options(Vec::new()))) {
        Ok(prepared) => prepared,
        Err(LoadError::Component { why, .. } | LoadError::Settings { why, .. }) => {
            return Ok(Fitness { misfit: Some(why), needs: None, knows: None });
        }
    };
    let load = |settings| runtime.block_on(prepared.configure(options(settings)));
    let (misfit, needs) = match load(Vec::new()) {
        Ok(_) => (None, None),
        Err(LoadError::Settings { why, .. }) => (None, Some(why)),
        Err(LoadError::Component { why, .. }) => (Some(why), None),
    };
    let knows = match misfit {
        Some(_) => None,
        None => match load(vec![(NO_SETTING.to_owned(), String::new())]) {
            Err(LoadError::Settings { why, .. }) => Some(why),
            _ => None,
        },
    };
    Ok(Fitness { misfit, needs, knows })
}

fn human(
    arguments: &Arguments,
    octets: &[u8],
    sha256: &str,
    anatomy: &Anatomy,
    fitness: &Fitness,
) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| writeln!(Output, "{name:<10} {value}");
    let kind = match anatomy.kind {
        Some(Kind::Component) => "component",
        Some(Kind::Module) => "core module",
        None => "no WebAssembly",
    };
    line("policy", &arguments.policy)?;
    line("kind", kind)?;
    line("size", &format!("{} octets", octets.len()))?;
    line("sha256", sha256)?;
    if let Some(damage) = &anatomy.damage {
        line("damage", damage)?;
    }
    match anatomy.wit_version() {
        Some(version) => line("wit", &format!("reprieve:policy@{version}"))?,
        None => line("wit", "it imports nothing of reprieve:policy")?,
    }
    for (number, export) in anatomy.exports.iter().enumerate() {
        line(if number == 0 { "exports" } else { "" }, export)?;
    }
    for (number, import) in anatomy.imports.iter().enumerate() {
        let note = if import.starts_with("wasi:") { "  (virtual)" } else { "" };
        line(if number == 0 { "imports" } else { "" }, &format!("{import}{note}"))?;
    }
    for (number, module) in anatomy.modules.iter().enumerate() {
        let what = format!(
            "core module of {} octets, {} KiB of memory at the start",
            module.octets,
            module.memory >> 10
        );
        line(if number == 0 { "modules" } else { "" }, &what)?;
    }
    line("language", anatomy.language.as_deref().unwrap_or("not known"))?;
    let tools = anatomy.producers.iter().filter(|producer| producer.field != "language");
    for (number, producer) in tools.enumerate() {
        let what = format!("{} {} {}", producer.field, producer.name, producer.version);
        line(if number == 0 { "made by" } else { "" }, what.trim_end())?;
    }
    match &fitness.knows {
        Some(words) => line("settings", &format!("asked for an impossible one, it says: {words}"))?,
        None if fitness.misfit.is_none() => line("settings", "it does not say which it knows")?,
        None => {}
    }
    if let Some(words) = &fitness.needs {
        line("needs", &format!("without settings it says: {words}"))?;
    }
    match &fitness.misfit {
        Some(why) => line("runs", &format!("no: {why}"))?,
        None => line("runs", "yes")?,
    }
    Ok(())
}

fn machine(
    arguments: &Arguments,
    octets: &[u8],
    sha256: &str,
    anatomy: &Anatomy,
    fitness: &Fitness,
) -> anyhow::Result<()> {
    let modules: Vec<_> = anatomy
        .modules
        .iter()
        .map(|module| json!({ "octets": module.octets, "memory": module.memory }))
        .collect();
    let producers: Vec<_> = anatomy
        .producers
        .iter()
        .map(|one| json!({ "field": one.field, "name": one.name, "version": one.version }))
        .collect();
    let report = json!({
        "policy": arguments.policy,
        "kind": match anatomy.kind {
            Some(Kind::Component) => "component",
            Some(Kind::Module) => "module",
            None => "none",
        },
        "octets": octets.len(),
        "sha256": sha256,
        "wit": anatomy.wit_version(),
        "exports": anatomy.exports,
        "imports": anatomy.imports,
        "modules": modules,
        "language": anatomy.language,
        "producers": producers,
        "damage": anatomy.damage,
        "settings": fitness.knows,
        "needs": fitness.needs,
        "runs": fitness.misfit.is_none(),
        "misfit": fitness.misfit,
    });
    output::json(&report)
}
