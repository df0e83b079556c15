//! Size limits of components, checked by parsing: a component that is larger than real compilers
//! make is refused before it is compiled.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::diagnostics::not_compiled;

/// The limits. Python's runtime, the largest of the languages
/// that were tried, has 14 modules, 13,375 functions, 1,485 types, 1,889 segments, blocks 781 deep
/// and loops 6 deep.
const LIMITS: Sizes = Sizes {
    modules: 500,
    functions: 150_000,
    types: 50_000,
    segments: 50_000,
    body: 4 << 20,
    depth: 10_000,
    loops: 100,
    parts: 100,
};

/// Counts of everything in a component that takes time or memory to compile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
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
    /// Nesting depth of blocks.
    depth: u64,
    /// Nesting depth of loops.
    loops: u64,
    /// Nesting depth of components and modules.
    parts: u64,
}

impl Sizes {
    /// Each number with the words in front of and after it.
    fn described(self) -> [(u64, &'static str, &'static str); 8] {
        [
            (self.modules, "", " core modules"),
            (self.functions, "", " functions"),
            (self.types, "", " types"),
            (self.segments, "", " data and element segments"),
            (self.body, "", " bytes of code in one function"),
            (self.depth, "blocks nested ", " deep"),
            (self.loops, "loops nested ", " deep"),
            (self.parts, "components and modules nested ", " deep"),
        ]
    }

    /// Reads a component, and stops as soon as it exceeds a limit.
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let mut sizes = Self::default();
        let mut parts = 0_u64;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| not_compiled(&error.to_string()))?;
            match &payload {
                Payload::Version { .. } => {
                    parts += 1;
                    sizes.parts = sizes.parts.max(parts);
                }
                Payload::End(_) => parts = parts.saturating_sub(1),
                Payload::ModuleSection { .. } => sizes.modules += 1,
                Payload::FunctionSection(section) => sizes.functions += u64::from(section.count()),
                Payload::TypeSection(section) => sizes.types += u64::from(section.count()),
                Payload::ComponentTypeSection(section) => sizes.types += u64::from(section.count()),
                Payload::CoreTypeSection(section) => sizes.types += u64::from(section.count()),
                Payload::DataSection(section) => sizes.segments += u64::from(section.count()),
                Payload::ElementSection(section) => sizes.segments += u64::from(section.count()),
                Payload::CodeSectionEntry(body) => {
                    sizes.function(body).map_err(|error| not_compiled(&error.to_string()))?;
                }
                _ => {}
            }
            sizes.check()?;
        }
        Ok(sizes)
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> wasmparser::Result<()> {
        self.body = self.body.max(body.as_bytes().len() as u64);
        // A body that is too large is not read to its end.
        if self.body > LIMITS.body {
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
        for ((number, before, after), (limit, ..)) in self.described().into_iter().zip(LIMITS.described()) {
            if number > limit {
                return Err(format!(
                    "it is too large to compile: it has {before}{number}{after}; the limit is {limit}"
                ));
            }
        }
        Ok(())
    }
}

/// Refuses a component that exceeds a limit.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    Sizes::of(bytes).map(drop)
}
