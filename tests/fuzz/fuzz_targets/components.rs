#![no_main]

#[path = "../component_generator/mod.rs"]
mod component_generator;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(bytes) = component_generator::component(data) else { return };
    component_generator::keep(&bytes);
    reprieve_fuzz::targets::components(&bytes);
});
