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
    Cache, ComponentInfo, Engine, EngineSize, Kind, Limits, LoadError, PolicyOptions, Prepared, Setting,
    digest, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::SystemClock;
use reprieve_text::escape;

/// A setting that no policy has. Policies that reject unknown settings list the known ones.
const NO_SETTING: &str = "?";

/// Describe a component, and check whether this host can run it
///
/// Shows its WIT version, imports and exports, its size and SHA-256 digest, the language and tools
/// that built it, and the policy's own description of its settings.
///
/// Exit codes: 0 this host can run it, 1 it cannot, 2 the file cannot be read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "POLICY")]
    policy: String,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Result of loading the component.
struct LoadResult {
    /// Why this host cannot run it.
    error: Option<String>,
    /// The settings that it describes.
    settings: Vec<Setting>,
    /// Its error message without any settings.
    error_without_settings: Option<String>,
    /// Its error message for an unknown setting, which usually lists the known ones.
    error_for_unknown_setting: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let bytes = load_source(&arguments.policy).map_err(anyhow::Error::msg)?;
    let info = ComponentInfo::of(&bytes);
    let sha256 = digest::hex(&Sha256::digest(&bytes).into());
    let loaded = try_to_load(&arguments.policy, &bytes)?;
    match arguments.format {
        Format::Human => print_text(arguments, &bytes, &sha256, &info, &loaded)?,
        Format::Json => print_json(arguments, &bytes, &sha256, &info, &loaded)?,
    }
    Ok(if loaded.error.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn try_to_load(name: &str, bytes: &[u8]) -> anyhow::Result<LoadResult> {
    let limits = Limits::default();
    let cache = Cache::usual_folder().and_then(|directory| Cache::open(&directory).ok());
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 2 };
    let engine = Engine::new(size, cache.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = |settings: Vec<(String, String)>| {
        let clock = Arc::new(SystemClock);
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        PolicyOptions { settings, ..PolicyOptions::new("inspect", name, namespace, clock) }
    };
    let prepared = match runtime.block_on(Prepared::new(engine, bytes, &options(Vec::new()))) {
        Ok(prepared) => prepared,
        Err(LoadError::Component { why, .. } | LoadError::Settings { why, .. }) => {
            return Ok(LoadResult {
                error: Some(why),
                settings: Vec::new(),
                error_without_settings: None,
                error_for_unknown_setting: None,
            });
        }
    };
    let settings = runtime.block_on(prepared.describe(options(Vec::new()))).unwrap_or_default();
    let load = |settings| runtime.block_on(prepared.configure(options(settings)));
    let (error, error_without_settings) = match load(Vec::new()) {
        Ok(_) => (None, None),
        Err(LoadError::Settings { why, .. }) => (None, Some(why)),
        Err(LoadError::Component { why, .. }) => (Some(why), None),
    };
    let error_for_unknown_setting = match error {
        Some(_) => None,
        None => match load(vec![(NO_SETTING.to_owned(), String::new())]) {
            Err(LoadError::Settings { why, .. }) => Some(why),
            _ => None,
        },
    };
    Ok(LoadResult { error, settings, error_without_settings, error_for_unknown_setting })
}

fn print_text(
    arguments: &Arguments,
    bytes: &[u8],
    sha256: &str,
    info: &ComponentInfo,
    loaded: &LoadResult,
) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| {
        // The names come from the file.
        let mut text = String::with_capacity(value.len());
        escape::push(&mut text, value);
        writeln!(Output, "{name:<10} {text}")
    };
    let kind = match info.kind {
        Some(Kind::Component) => "component",
        Some(Kind::Module) => "core module",
        None => "not WebAssembly",
    };
    line("policy", &arguments.policy)?;
    line("kind", kind)?;
    line("size", &format!("{} bytes", bytes.len()))?;
    line("sha256", sha256)?;
    if let Some(damage) = &info.damage {
        line("damage", damage)?;
    }
    match info.wit_version() {
        Some(version) => line("wit", &format!("reprieve:policy@{version}"))?,
        None => line("wit", "the component imports nothing of reprieve:policy")?,
    }
    for (number, export) in info.exports.iter().enumerate() {
        line(if number == 0 { "exports" } else { "" }, export)?;
    }
    for (number, import) in info.imports.iter().enumerate() {
        let note = if import.starts_with("wasi:") { "  (virtual)" } else { "" };
        line(if number == 0 { "imports" } else { "" }, &format!("{import}{note}"))?;
    }
    for (number, module) in info.modules.iter().enumerate() {
        let what =
            format!("core module of {} bytes, {} KiB of initial memory", module.bytes, module.memory >> 10);
        line(if number == 0 { "modules" } else { "" }, &what)?;
    }
    line("language", info.language.as_deref().unwrap_or("unknown"))?;
    let tools = info.producers.iter().filter(|producer| producer.field != "language");
    for (number, producer) in tools.enumerate() {
        let what = format!("{} {} {}", producer.field, producer.name, producer.version);
        line(if number == 0 { "made by" } else { "" }, what.trim_end())?;
    }
    for (number, setting) in loaded.settings.iter().enumerate() {
        line(if number == 0 { "settings" } else { "" }, &describe(setting))?;
    }
    match &loaded.error_for_unknown_setting {
        _ if !loaded.settings.is_empty() => {}
        Some(message) => line("settings", &format!("error for an unknown setting: {message}"))?,
        None if loaded.error.is_none() => line("settings", "the policy does not list its settings")?,
        None => {}
    }
    if let Some(message) = &loaded.error_without_settings {
        line("needs", &format!("error without settings: {message}"))?;
    }
    match &loaded.error {
        Some(why) => line("runs", &format!("no: {why}"))?,
        None => line("runs", "yes")?,
    }
    Ok(())
}

fn describe(setting: &Setting) -> String {
    let default = match &setting.default {
        Some(default) => format!("default {default}"),
        None => "required".to_owned(),
    };
    format!("{}: {}, {default}. {}", setting.name, setting.kind, setting.doc)
}

fn print_json(
    arguments: &Arguments,
    bytes: &[u8],
    sha256: &str,
    info: &ComponentInfo,
    loaded: &LoadResult,
) -> anyhow::Result<()> {
    let modules: Vec<_> = info
        .modules
        .iter()
        .map(|module| json!({ "bytes": module.bytes, "memory_bytes": module.memory }))
        .collect();
    let producers: Vec<_> = info
        .producers
        .iter()
        .map(|one| json!({ "field": one.field, "name": one.name, "version": one.version }))
        .collect();
    let settings: Vec<_> = loaded
        .settings
        .iter()
        .map(|one| {
            let kind = one.kind.to_string();
            json!({ "name": one.name, "type": kind, "default": one.default, "doc": one.doc })
        })
        .collect();
    let report = json!({
        "policy": arguments.policy,
        "kind": match info.kind {
            Some(Kind::Component) => "component",
            Some(Kind::Module) => "module",
            None => "none",
        },
        "bytes": bytes.len(),
        "sha256": sha256,
        "wit": info.wit_version(),
        "exports": info.exports,
        "imports": info.imports,
        "modules": modules,
        "language": info.language,
        "producers": producers,
        "damage": info.damage,
        "settings": settings,
        "error_for_unknown_setting": loaded.error_for_unknown_setting,
        "error_without_settings": loaded.error_without_settings,
        "runs": loaded.error.is_none(),
        "error": loaded.error,
    });
    output::json(&report)
}
