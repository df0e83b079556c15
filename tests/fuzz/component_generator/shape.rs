//! The imports and exports of a core module.

use wasm_encoder::ValType;
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef};

/// A function type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    pub params: Vec<ValType>,
    pub results: Vec<ValType>,
}

/// The functions that a module imports and exports.
#[derive(Debug, Default)]
pub struct Shape {
    /// Module, name and type.
    pub imports: Vec<(String, String, Type)>,
    /// Name and type.
    pub exports: Vec<(String, Type)>,
}

impl Shape {
    /// Of a module that is valid.
    pub fn of(module: &[u8]) -> wasmparser::Result<Self> {
        let (mut shape, mut types, mut functions) = (Self::default(), Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    types = section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let TypeRef::Func(number) = import.ty else { continue };
                        functions.push(number);
                        let of = type_of(&types[number as usize]);
                        shape.imports.push((import.module.to_owned(), import.name.to_owned(), of));
                    }
                }
                Payload::FunctionSection(section) => {
                    functions.extend(section.into_iter().collect::<Result<Vec<_>, _>>()?);
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            let number = functions[export.index as usize];
                            shape.exports.push((export.name.to_owned(), type_of(&types[number as usize])));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(shape)
    }
}

fn type_of(of: &FuncType) -> Type {
    let all = |types: &[wasmparser::ValType]| types.iter().map(value_type).collect();
    Type { params: all(of.params()), results: all(of.results()) }
}

/// The canonical ABI has only numbers.
fn value_type(of: &wasmparser::ValType) -> ValType {
    match of {
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        _ => ValType::I32,
    }
}
