//! Random components, modules and policies by wasm-smith.

use libfuzzer_sys::arbitrary::{Arbitrary as _, Result, Unstructured};
use wasm_smith::{Component, Config, Module};

use super::world::World;

/// Fuel of a policy that is made to end.
const FUEL: u32 = 1000;

pub fn component(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let config = config(input)?;
    Component::new(config, input).map(|component| component.to_bytes())
}

pub fn module(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let config = config(input)?;
    Module::new(config, input).map(|module| module.to_bytes())
}

/// A core module with the exports of a world, and some of its imports.
pub fn policy(world: &World, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut config = config(input)?;
    config.exports = Some(world.dummy.clone());
    config.available_imports = Some(world.dummy.clone());
    // The only memory is the one that is exported.
    config.max_memories = 0;
    let ends = input.ratio(3, 4)?;
    let mut module = Module::new(config, input)?;
    if ends {
        module.ensure_termination(FUEL).expect("it has no invalid functions");
    }
    Ok(module.to_bytes())
}

/// Seldom with what the host does not have, and mostly small enough for a policy.
fn config(input: &mut Unstructured<'_>) -> Result<Config> {
    let mut config = Config::arbitrary(input)?;
    if !input.ratio(1, 16)? {
        config.exceptions_enabled = false;
        config.gc_enabled = false;
        config.threads_enabled = false;
        // Some of them are a matter of the garbage collector.
        config.reference_types_enabled = false;
        config.max_tables = config.max_tables.min(1);
        config.max_tags = 0;
    }
    if !input.ratio(1, 8)? {
        config.max_memory32_bytes = 2 << 20;
        config.max_memory64_bytes = 2 << 20;
        config.max_table_elements = 1000;
        config.max_memories = config.max_memories.min(1);
        config.max_tables = config.max_tables.min(4);
    }
    // A program of a fuzzer's few bytes has no more.
    config.max_funcs = config.max_funcs.min(30);
    config.max_globals = config.max_globals.min(30);
    config.max_types = config.max_types.min(100);
    config.max_nesting_depth = config.max_nesting_depth.min(5);
    (config.max_modules, config.max_components, config.max_instances) = (3, 3, 5);
    Ok(config)
}
