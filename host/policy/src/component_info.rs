//! The contents of a WebAssembly file, as far as it can be parsed. Also for files that are not
//! policies, to explain why.

use wasmparser::{ComponentTypeRef, KnownCustom, Parser, Payload, ProducersSectionReader};

/// The kind of a WebAssembly file.
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
    /// Its size in bytes.
    pub bytes: usize,
    /// Its initial memory in bytes.
    pub memory: u64,
}

/// A tool that took part in building a component, from its producers section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// The name.
    pub name: String,
    /// The version, which may be empty.
    pub version: String,
}

/// The contents of a WebAssembly file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Component or core module, if the header says so.
    pub kind: Option<Kind>,
    /// Names of the imports, unchanged.
    pub imports: Vec<String>,
    /// Names of the exports, unchanged.
    pub exports: Vec<String>,
    /// The core modules in it, itself included if it is one.
    pub modules: Vec<Module>,
    /// The source language, if it can be determined.
    pub language: Option<String>,
    /// The tools that built it, from the producers sections of all its modules.
    pub producers: Vec<Producer>,
    /// Why the file cannot be parsed completely, in one line.
    pub damage: Option<String>,
}

const PAGE: u64 = 64 << 10;
/// Bytes that only components of one language contain. The runtimes of the first ones are written in
/// other languages and contain their marks too. JavaScript and TypeScript look the same.
const MARKS: [(&str, &[u8]); 4] = [
    ("Python", b"componentize_py"),
    ("JavaScript or TypeScript", b"quickjs"),
    ("JavaScript or TypeScript", b"SpiderMonkey"),
    // File names of its library, as UTF-16.
    ("AssemblyScript", b"~\0l\0i\0b\0/\0r\0t\0/\0"),
];
/// Names of the languages' tools in producers sections, in the same order.
const TOOLS: [(&str, &str); 4] = [
    ("Go", "Go"),
    ("wit-bindgen-rust", "Rust"),
    ("C_plus_plus", "C++"),
    // These compilers leave no trace in a component without debug information.
    ("wit-bindgen-c", "C, C++ or Zig"),
];
/// Tools that are kept; a component has a handful.
const PRODUCERS: usize = 64;

impl ComponentInfo {
    /// Parses a file as far as possible.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut anatomy = Self::default();
        if let Err(error) = anatomy.read(bytes) {
            anatomy.damage = Some(one_line(&error.to_string()));
        }
        if anatomy.language.is_none() {
            anatomy.language = anatomy.likely_language(bytes).map(str::to_owned);
        }
        anatomy
    }

    fn likely_language(&self, bytes: &[u8]) -> Option<&'static str> {
        let marked = |(_, mark): &&(_, &[u8])| memchr::memmem::find(bytes, mark).is_some();
        let made = |(tool, _): &&(&str, _)| self.producers.iter().any(|one| one.name.starts_with(tool));
        let by_mark = MARKS.iter().find(marked).map(|(language, _)| *language);
        by_mark.or_else(|| TOOLS.iter().find(made).map(|(_, language)| *language))
    }

    fn read(&mut self, bytes: &[u8]) -> wasmparser::Result<()> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
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
                        self.modules.push(Module { bytes: bytes.len() - range.start, memory: 0 });
                    }
                    depth += 1;
                }
                Payload::ModuleSection { unchecked_range, .. } => {
                    // Of a file that ends too early, this is what there is of it.
                    let end = unchecked_range.end.min(bytes.len());
                    let present = end.saturating_sub(unchecked_range.start);
                    self.modules.push(Module { bytes: present, memory: 0 });
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
                        // A type only has a name.
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

    /// `whole`: they describe the whole file, not a module in it.
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
                // The section of the finished component is the author's own statement.
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

    /// The version of the policy WIT that it was built for, from its imports.
    #[must_use]
    pub fn wit_version(&self) -> Option<&str> {
        let of_policies = self.imports.iter().filter_map(|name| name.strip_prefix("reprieve:policy/"));
        of_policies.filter_map(|name| name.split_once('@')).map(|(_, version)| version).next()
    }
}

/// A message of the parser or the engine, some of which have several lines.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_source;

    #[test]
    fn the_default_policy_is_recognised() {
        let bytes = load_source("interval").unwrap();
        let interval = ComponentInfo::of(&bytes);
        assert_eq!(interval.kind, Some(Kind::Component));
        assert_eq!(interval.wit_version(), Some("0.2.0"));
        for export in ["handler", "settings"] {
            let name = format!("reprieve:policy/{export}@0.2.0");
            assert!(interval.exports.contains(&name), "{name}");
        }
        assert!(interval.modules.iter().any(|module| module.memory >= PAGE), "{:?}", interval.modules);
        assert!(
            interval.producers.iter().any(|one| one.name == "wit-bindgen-rust"),
            "{:?}",
            interval.producers
        );
        assert_eq!(interval.language.as_deref(), Some("Rust"));
        assert_eq!(interval.damage, None);
        let cut = ComponentInfo::of(&bytes[..bytes.len() / 2]);
        assert_eq!(cut.kind, Some(Kind::Component));
        assert!(cut.damage.is_some());
        assert_eq!(ComponentInfo::of(b"\0asm\x01\0\0\0").kind, Some(Kind::Module));
        assert!(ComponentInfo::of(b"hello").damage.is_some());
    }

    #[test]
    fn a_module_has_no_more_bytes_than_the_file() {
        // A component whose module should have 127 bytes, and has four.
        let modules = ComponentInfo::of(b"\0asm\x0d\0\x01\0\x01\x7f\0asm").modules;
        assert_eq!(modules, [Module { bytes: 4, memory: 0 }]);
    }

    #[test]
    fn damage_is_described_in_one_line() {
        for bytes in [&b"\0asn\x01\0\0\0"[..], b"\0asm\x0d\0\x01\0\x01\x08\0asn\x01\0\0\0", b"hello", b""] {
            let damage = ComponentInfo::of(bytes).damage.unwrap_or_default();
            assert!(!damage.chars().any(char::is_control), "{damage:?}");
        }
    }
}
