//! Components of any WIT world, with functions that do nothing.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A component of the world `policy` of a WIT package.
#[track_caller]
pub fn of(wit: &str) -> Vec<u8> {
    of_world(wit, "policy")
}

/// A component of a world of a WIT package.
#[track_caller]
pub fn of_world(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).expect("the WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("its world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedding the WIT");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}
