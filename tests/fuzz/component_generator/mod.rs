//! Turns the bytes of a fuzzer into a component, so that it is loaded and called and not only refused.
//!
//! Bytes that begin like WebAssembly are left as they are: the committed inputs are components. Otherwise
//! the first byte chooses what is made of the rest: any component or core module, or a policy whose functions have random code
//! (both by wasm-smith), or a policy whose functions call the host with odd arguments.

mod shape;
mod smith;
mod statements;
mod world;

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use libfuzzer_sys::arbitrary::Unstructured;

use world::World;

/// The component; None if the bytes do not suffice for one.
pub fn component(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    if data.starts_with(b"\0asm") {
        return Some(data.into());
    }
    let (&kind, rest) = data.split_first()?;
    let mut input = Unstructured::new(rest);
    let worlds = World::all();
    let world = &worlds[usize::from(kind >> 4) % worlds.len()];
    let made = match kind % 8 {
        0 => smith::component(&mut input).ok(),
        1 => smith::module(&mut input).ok(),
        2..=4 => smith::policy(world, &mut input).ok().and_then(|module| world.component(module)),
        _ => statements::policy(&world.shape, &mut input).ok().and_then(|module| world.component(module)),
    };
    made.map(Cow::from)
}

/// Writes a component into the folder that `REPRIEVE_COMPONENTS` names, if it does: for the corpus, and to
/// look at one that crashes.
pub fn keep(component: &[u8]) {
    let Some(folder) = std::env::var_os("REPRIEVE_COMPONENTS") else { return };
    let mut hasher = DefaultHasher::new();
    component.hash(&mut hasher);
    let path = Path::new(&folder).join(format!("{:016x}", hasher.finish()));
    std::fs::write(path, component).expect("writing a component");
}
