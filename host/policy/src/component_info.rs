//! What a WebAssembly file is made of, as far as it can be read: also of files that are no
//! policies, to tell why.

use wasmparser::{ComponentTypeRef, KnownCustom, Parser, Payload, ProducersSectionReader};

/// What kind of WebAssembly it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A component.
    Component,
    /// A core module.
    Module,
}

/// A core module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its octets.
    pub octets: usize,
    /// The memory that it begins with, in octets.
    pub memory: u64,
}

/// A tool that had a part in making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// Its name.
    pub name: String,
    /// Its version, which may be empty.
    pub version: String,
}

/// What a file is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Component or core module, if its head says so.
    pub kind: Option<Kind>,
    /// Names of what it imports, as they stand.
    pub imports: Vec<String>,
    /// Names of what it exports, as they stand.
    pub exports: Vec<String>,
    /// The core modules in it, itself included if it is one.
    pub modules: Vec<Module>,
    /// The language that it was written in, as far as it can be told.
    pub language: Option<String>,
    /// Who made it, from the producers sections of all its parts.
    pub producers: Vec<Producer>,
    /// Why it cannot be read to its end.
    pub damage: Option<String>,
}

const PAGE: u64 = 64 << 10;
/// What only components of a language have in them. The runtimes of the first ones are written in
/// other languages, whose marks they have, too; JavaScript's does not tell what was TypeScript.
const MARKS: [(&str, &[u8]); 4] = [
    ("Python", b"componentize_py"),
    ("JavaScript or TypeScript", b"quickjs"),
    ("JavaScript or TypeScript", b"SpiderMonkey"),
    // The names of its library's files, in its own strings of UTF-16.
    ("AssemblyScript", b"~\0l\0i\0b\0/\0r\0t\0/\0"),
];
/// What the tools of a language call it or themselves in producers sections, in the same order.
const TOOLS: [(&str, &str); 4] = [
    ("Go", "Go"),
    ("wit-bindgen-rust", "Rust"),
    ("C_plus_plus", "C++"),
    // Their compilers leave no trace in a component without debugging information.
    ("wit-bindgen-c", "C, C++ or Zig"),
];
/// The most tools that are kept: a component has a handful.
const PRODUCERS: usize = 64;

impl ComponentInfo {
    /// Reads a file as far as it can be read.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let mut anatomy = Self::default();
        if let Err(error) = anatomy.read(octets) {
            anatomy.damage = Some(error.to_string());
        }
        if anatomy.language.is_none() {
            anatomy.language = anatomy.likely_language(octets).map(str::to_owned);
        }
        anatomy
    }

    fn likely_language(&self, octets: &[u8]) -> Option<&'static str> {
        let marked = |(_, mark): &&(_, &[u8])| memchr::memmem::find(octets, mark).is_some();
        let made = |(tool, _): &&(&str, _)| self.producers.iter().any(|one| one.name.starts_with(tool));
        let by_mark = MARKS.iter().find(marked).map(|(language, _)| *language);
        by_mark.or_else(|| TOOLS.iter().find(made).map(|(_, language)| *language))
    }

    fn read(&mut self, octets: &[u8]) -> wasmparser::Result<()> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(octets) {
            match payload? {
                Payload::Version { encoding, range, .. } => {
                    let kind = match encoding {
                        wasmparser::Encoding::Module => Kind::Module,
                        wasmparser::Encoding::Component => Kind::Component,
                    };
                    if depth == 0 {
                        self.kind = Some(kind);
                    }
                    if kind == Kind::Module && depth == 0 {
                        self.modules.push(Module { octets: octets.len() - range.start, memory: 0 });
                    }
                    depth += 1;
                }
                Payload::ModuleSection { unchecked_range, .. } => {
                    self.modules.push(Module { octets: unchecked_range.len(), memory: 0 });
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let initial = memory?.initial;
                        if let Some(module) = self.modules.last_mut() {
                            module.memory = module.memory.saturating_add(initial.saturating_mul(PAGE));
                        }
                    }
                }
                Payload::ImportSection(imports) if self.kind == Some(Kind::Module) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        self.imports.push(format!("{} {}", import.module, import.name));
                    }
                }
                Payload::ExportSection(exports) if self.kind == Some(Kind::Module) => {
                    for export in exports {
                        self.exports.push(export?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports {
                        let import = import?;
                        // A type says only how it is called.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            self.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        self.read_producers(producers, depth == 1)?;
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }

    /// `whole`: they are of the whole file, and not of a part of it.
    fn read_producers(
        &mut self,
        producers: ProducersSectionReader<'_>,
        whole: bool,
    ) -> wasmparser::Result<()> {
        for field in producers {
            let field = field?;
            for value in field.values {
                let value = value?;
                let producer = Producer {
                    field: field.name.to_owned(),
                    name: value.name.to_owned(),
                    version: value.version.to_owned(),
                };
                // What was written beside the finished component is its author's word.
                if whole && producer.field == "language" && self.kind == Some(Kind::Component) {
                    self.language = Some(producer.name.clone());
                }
                if self.producers.len() < PRODUCERS && !self.producers.contains(&producer) {
                    self.producers.push(producer);
                }
            }
        }
        Ok(())
    }

    /// The version of the policies' WIT that it was built for, by its imports.
    #[must_use]
    pub fn wit_version(&self) -> Option<&str> {
        let of_policies = self.imports.iter().filter_map(|name| name.strip_prefix("reprieve:policy/"));
        of_policies.filter_map(|name| name.split_once('@')).map(|(_, version)| version).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_source;

    #[test]
    fn the_default_policy_is_told_from_other_files() {
        let octets = load_source("interval").unwrap();
        let interval = ComponentInfo::of(&octets);
        assert_eq!(interval.kind, Some(Kind::Component));
        assert_eq!(interval.wit_version(), Some("0.1.0"));
        for export in ["configure", "decide", "observe"] {
            assert!(interval.exports.iter().any(|name| name == export), "{export}");
        }
        assert!(interval.modules.iter().any(|module| module.memory >= PAGE), "{:?}", interval.modules);
        assert!(
            interval.producers.iter().any(|one| one.name == "wit-bindgen-rust"),
            "{:?}",
            interval.producers
        );
        assert_eq!(interval.language.as_deref(), Some("Rust"));
        assert_eq!(interval.damage, None);
        let cut = ComponentInfo::of(&octets[..octets.len() / 2]);
        assert_eq!(cut.kind, Some(Kind::Component));
        assert!(cut.damage.is_some());
        assert_eq!(ComponentInfo::of(b"\0asm\x01\0\0\0").kind, Some(Kind::Module));
        assert!(ComponentInfo::of(b"hello").damage.is_some());
    }
}
