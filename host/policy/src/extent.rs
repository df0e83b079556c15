//! How much there is to compile in a component, found by parsing: what is beyond all that
//! compilers of real languages make is refused before it is compiled.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// The most of each that a component may have. Python's runtime, the largest of the languages
/// that were tried, has 14 modules, 13,375 functions, 1,485 types, 1,889 segments, blocks 781 deep
/// and loops 6 deep.
const MOST: Extent = Extent {
    modules: 500,
    functions: 150_000,
    types: 50_000,
    segments: 50_000,
    body: 4 << 20,
    depth: 10_000,
    loops: 100,
    parts: 100,
};

/// What a component has of everything that takes time or memory to compile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    /// Core modules.
    modules: u64,
    /// Functions of all modules.
    functions: u64,
    /// Types of all modules and components.
    types: u64,
    /// Data and element segments of all modules.
    segments: u64,
    /// Bytes of the largest function.
    body: u64,
    /// Blocks that lie in each other.
    depth: u64,
    /// Loops that lie in each other.
    loops: u64,
    /// Components and modules that lie in each other.
    parts: u64,
}

impl Extent {
    /// Each number with its name.
    fn named(self) -> [(u64, &'static str); 8] {
        [
            (self.modules, "core modules"),
            (self.functions, "functions"),
            (self.types, "types"),
            (self.segments, "data and element segments"),
            (self.body, "bytes of code in one function"),
            (self.depth, "blocks in each other"),
            (self.loops, "loops in each other"),
            (self.parts, "components and modules in each other"),
        ]
    }

    /// Reads a component, and stops as soon as it has too much of something.
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let mut extent = Self::default();
        let mut parts = 0_u64;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| error.to_string())?;
            match &payload {
                Payload::Version { .. } => {
                    parts += 1;
                    extent.parts = extent.parts.max(parts);
                }
                Payload::End(_) => parts = parts.saturating_sub(1),
                Payload::ModuleSection { .. } => extent.modules += 1,
                Payload::FunctionSection(section) => extent.functions += u64::from(section.count()),
                Payload::TypeSection(section) => extent.types += u64::from(section.count()),
                Payload::ComponentTypeSection(section) => extent.types += u64::from(section.count()),
                Payload::CoreTypeSection(section) => extent.types += u64::from(section.count()),
                Payload::DataSection(section) => extent.segments += u64::from(section.count()),
                Payload::ElementSection(section) => extent.segments += u64::from(section.count()),
                Payload::CodeSectionEntry(body) => {
                    extent.function(body).map_err(|error| error.to_string())?;
                }
                _ => {}
            }
            extent.check()?;
        }
        Ok(extent)
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> wasmparser::Result<()> {
        self.body = self.body.max(body.as_bytes().len() as u64);
        // What is too large is not read to its end.
        if self.body > MOST.body {
            return Ok(());
        }
        let mut blocks: Vec<bool> = Vec::new();
        let mut loops = 0;
        for operator in body.get_operators_reader()? {
            let is_loop = match operator? {
                Operator::Loop { .. } => true,
                Operator::Block { .. }
                | Operator::If { .. }
                | Operator::Try { .. }
                | Operator::TryTable { .. } => false,
                Operator::End | Operator::Delegate { .. } => {
                    loops -= u64::from(blocks.pop().unwrap_or(false));
                    continue;
                }
                _ => continue,
            };
            loops += u64::from(is_loop);
            blocks.push(is_loop);
            self.loops = self.loops.max(loops);
            self.depth = self.depth.max(blocks.len() as u64);
        }
        Ok(())
    }

    fn check(self) -> Result<(), String> {
        for ((has, what), (most, _)) in self.named().into_iter().zip(MOST.named()) {
            if has > most {
                return Err(format!(
                    "it is too large to compile: it has {has} {what}, and the most is {most}"
                ));
            }
        }
        Ok(())
    }
}

/// Refuses a component that has too much of something.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    Extent::of(bytes).map(drop)
}
