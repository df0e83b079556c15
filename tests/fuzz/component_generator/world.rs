//! Worlds of the contract, and components of them.

use std::path::Path;
use std::sync::OnceLock;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

use super::shape::Shape;

/// A world that policies are built for.
pub struct World {
    resolve: Resolve,
    id: WorldId,
    /// A core module with all imports and exports of the world, and one page of memory.
    pub dummy: Vec<u8>,
    /// The same, read.
    pub shape: Shape,
}

impl World {
    /// The worlds of all versions, the largest first.
    pub fn all() -> &'static [Self] {
        static WORLDS: OnceLock<Vec<World>> = OnceLock::new();
        WORLDS.get_or_init(|| {
            [("v0.2", "policy-with-all"), ("v0.2", "policy"), ("v0.1", "policy")]
                .map(|(version, world)| Self::new(version, world))
                .into()
        })
    }

    fn new(version: &str, world: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(version);
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&folder).expect("the contract");
        let id = resolve.select_world(&[package], Some(world)).expect("its world");
        let dummy = with_memory(dummy_module(&resolve, id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync)));
        let shape = Shape::of(&dummy).expect("a module");
        Self { resolve, id, dummy, shape }
    }

    /// A component of a core module with these exports; None if the module does not fit.
    pub fn component(&self, mut module: Vec<u8>) -> Option<Vec<u8>> {
        embed_component_metadata(&mut module, &self.resolve, self.id, StringEncoding::UTF8).ok()?;
        // What is wrong with it is for the host to find.
        ComponentEncoder::default().validate(false).module(&module).ok()?.encode().ok()
    }
}

/// Gives the memory of a dummy module, which is empty, one page.
fn with_memory(mut module: Vec<u8>) -> Vec<u8> {
    // A memory section with one memory of no pages.
    let section = [5, 3, 1, 0, 0];
    let at = module.windows(section.len()).position(|bytes| bytes == section).expect("its memory");
    module[at + 4] = 1;
    module
}
