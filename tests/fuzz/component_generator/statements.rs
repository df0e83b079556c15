//! Policies whose functions are a few statements: calls of the host with odd arguments, and whatever
//! else exceeds a limit. Memory has some text that the host understands.

use std::collections::BTreeMap;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

use super::shape::{Shape, Type};

/// Where the text is.
const TEXT_AT: i32 = 512;
/// Names that the host knows, and what it must refuse.
const TEXT: &[u8] = b"mainspareplansalicetoo-soon9mnumbertext|\x1b[2J\xe2\x80\xae\xff\n~key";
/// Numbers at the edges of something: of the text, the memory, its pages or the number range.
const EDGES: [i32; 24] = [
    0,
    1,
    2,
    4,
    5,
    8,
    64,
    200,
    255,
    256,
    512,
    516,
    521,
    531,
    1024,
    1025,
    4096,
    0x4000,
    0xFFF0,
    0xFFFF,
    0x1_0000,
    i32::MAX,
    -1,
    i32::MIN,
];
/// Where `cabi_realloc` begins.
const HEAP: i32 = 0x2000;
/// Where memory has only zeros: a result that succeeds.
const ZEROS: i32 = 4096;
/// Most times that a call is repeated.
const MOST_TIMES: i32 = 5_000;

#[derive(Clone, Copy, Debug)]
enum Argument {
    Number(i64),
    Parameter(u32),
}

#[derive(Debug)]
enum Statement {
    Call {
        import: usize,
        arguments: Vec<Argument>,
        times: i32,
    },
    /// Grows the memory that is exported.
    Grow(i32),
    Fill {
        at: i32,
        byte: i32,
        length: i32,
    },
    Spin,
    Recurse,
    Trap,
}

/// A function with its statements, and what it returns.
struct Body {
    statements: Vec<Statement>,
    returns: Argument,
}

/// A core module with these exports, and the imports that it calls.
pub fn policy(shape: &Shape, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let pages = *input.choose(&[1, 2, 1, 2, 1, 2, 16, 17])?;
    let realloc = input.choose_index(8)?;
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    let data = input.bytes(length)?.to_vec();
    let bodies = shape.exports.iter().map(|(name, of)| body(shape, name, of, input));
    let bodies = bodies.collect::<Result<Vec<_>>>()?;
    Ok(Encoder::new(shape, &bodies).module(pages, realloc, &data))
}

fn body(shape: &Shape, name: &str, of: &Type, input: &mut Unstructured<'_>) -> Result<Body> {
    // What does nothing and returns zeros succeeds. A policy that cannot be started is never called.
    let is_start = ["_initialize", "describe", "configure"].iter().any(|end| name.ends_with(end));
    let (quiet, of_all) = if is_start { (15, 16) } else { (1, 4) };
    if input.ratio(quiet, of_all)? {
        return Ok(Body { statements: Vec::new(), returns: Argument::Number(ZEROS.into()) });
    }
    let count = input.int_in_range(0..=6)?;
    let statements = (0..count).map(|_| statement(shape, of, input)).collect::<Result<_>>()?;
    Ok(Body { statements, returns: argument(of, input)? })
}

fn statement(shape: &Shape, of: &Type, input: &mut Unstructured<'_>) -> Result<Statement> {
    Ok(match input.arbitrary::<u8>()? {
        // Seldom: one of them is the end of a call. And not 0, which is what an input has at its end.
        255 => Statement::Spin,
        254 => Statement::Recurse,
        253 => Statement::Trap,
        241..=252 => Statement::Grow([1, 14, 15, 16, 100, 65_536, -1][input.choose_index(7)?]),
        217..=240 => Statement::Fill { at: edge(input)?, byte: edge(input)?, length: edge(input)? },
        _ => {
            let import = input.choose_index(shape.imports.len())?;
            let params = &shape.imports[import].2.params;
            let arguments = params.iter().map(|_| argument(of, input)).collect::<Result<_>>()?;
            let times = if input.ratio(1, 8)? { input.int_in_range(1..=MOST_TIMES)? } else { 1 };
            Statement::Call { import, arguments, times }
        }
    })
}

fn edge(input: &mut Unstructured<'_>) -> Result<i32> {
    Ok(if input.arbitrary()? { i32::from(input.arbitrary::<u8>()?) } else { *input.choose(&EDGES)? })
}

fn argument(of: &Type, input: &mut Unstructured<'_>) -> Result<Argument> {
    let numbers = of.params.iter().zip(0..).filter(|(of, _)| **of == ValType::I32);
    let parameters: Vec<u32> = numbers.map(|(_, number)| number).collect();
    if !parameters.is_empty() && input.ratio(1, 6)? {
        return Ok(Argument::Parameter(*input.choose(&parameters)?));
    }
    edge(input).map(|number| Argument::Number(number.into()))
}

/// Numbers of the imports that are called, in the order in which they are declared.
struct Encoder<'a> {
    shape: &'a Shape,
    bodies: &'a [Body],
    used: BTreeMap<usize, u32>,
}

impl<'a> Encoder<'a> {
    fn new(shape: &'a Shape, bodies: &'a [Body]) -> Self {
        let mut used = BTreeMap::new();
        for statement in bodies.iter().flat_map(|body| &body.statements) {
            if let Statement::Call { import, .. } = statement {
                used.insert(*import, 0);
            }
        }
        for (number, place) in (0..).zip(used.values_mut()) {
            *place = number;
        }
        Self { shape, bodies, used }
    }

    fn module(&self, pages: u64, realloc: usize, data: &[u8]) -> Vec<u8> {
        let (mut types, mut imports, mut functions) =
            (TypeSection::new(), ImportSection::new(), FunctionSection::new());
        let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
        for import in self.used.keys() {
            let (module, name, of) = &self.shape.imports[*import];
            imports.import(module, name, EntityType::Function(types.len()));
            types.ty().function(of.params.iter().copied(), of.results.iter().copied());
        }
        let first = types.len();
        for (((name, of), body), number) in self.shape.exports.iter().zip(self.bodies).zip(first..) {
            functions.function(number);
            types.ty().function(of.params.iter().copied(), of.results.iter().copied());
            exports.export(name, ExportKind::Func, number);
            code.function(&match name.as_str() {
                "cabi_realloc" => allocate(realloc),
                _ => self.function(of, body, number),
            });
        }
        exports.export("memory", ExportKind::Memory, 0);
        let (mut memories, mut globals, mut segments) =
            (MemorySection::new(), GlobalSection::new(), DataSection::new());
        memories.memory(MemoryType {
            minimum: pages,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let heap = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(heap, &ConstExpr::i32_const(HEAP));
        segments.active(0, &ConstExpr::i32_const(0), data.iter().copied());
        segments.active(0, &ConstExpr::i32_const(TEXT_AT), TEXT.iter().copied());
        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&memories).section(&globals);
        module.section(&exports).section(&code).section(&segments);
        module.finish()
    }

    fn function(&self, of: &Type, body: &Body, own: u32) -> Function {
        // One more than its parameters: a counter.
        let counter = of.params.len() as u32;
        let mut function = Function::new([(1, ValType::I32)]);
        let mut code = function.instructions();
        for statement in &body.statements {
            match statement {
                Statement::Call { import, arguments, times } => {
                    code.i32_const(*times).local_set(counter).loop_(BlockType::Empty);
                    let called = &self.shape.imports[*import].2;
                    for (argument, of) in arguments.iter().zip(&called.params) {
                        push(&mut code, *argument, *of);
                    }
                    code.call(self.used[import]);
                    for _ in &called.results {
                        code.drop();
                    }
                    code.local_get(counter).i32_const(1).i32_sub().local_tee(counter).br_if(0).end();
                }
                Statement::Grow(pages) => {
                    code.i32_const(*pages).memory_grow(0).drop();
                }
                Statement::Fill { at, byte, length } => {
                    code.i32_const(*at).i32_const(*byte).i32_const(*length).memory_fill(0);
                }
                Statement::Spin => {
                    code.loop_(BlockType::Empty).br(0).end();
                }
                Statement::Recurse => {
                    for (number, _) in (0..).zip(&of.params) {
                        code.local_get(number);
                    }
                    code.call(own);
                    for _ in &of.results {
                        code.drop();
                    }
                }
                Statement::Trap => {
                    code.unreachable();
                }
            }
        }
        for of in &of.results {
            push(&mut code, body.returns, *of);
        }
        code.end();
        function
    }
}

fn push(code: &mut InstructionSink<'_>, argument: Argument, of: ValType) {
    match (argument, of) {
        (Argument::Parameter(number), ValType::I32) => code.local_get(number),
        (Argument::Number(number), ValType::I32) => code.i32_const(number as i32),
        (Argument::Number(number), ValType::I64) => code.i64_const(number),
        (Argument::Number(number), ValType::F32) => code.f32_const((number as f32).into()),
        (Argument::Number(number), ValType::F64) => code.f64_const((number as f64).into()),
        (_, ValType::I64) => code.i64_const(0),
        (_, ValType::F32) => code.f32_const(0_f32.into()),
        (_, _) => code.f64_const(0_f64.into()),
    };
}

/// The guest's allocator: mostly one that never frees, sometimes a wrong one.
fn allocate(how: usize) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    match how {
        7 => {
            code.unreachable();
        }
        6 => {
            code.i32_const(HEAP + 1);
        }
        5 => {
            code.i32_const(-1);
        }
        _ => {
            // The heap, aligned, is what is returned; the size is the last parameter.
            code.global_get(0).local_get(2).i32_add().i32_const(1).i32_sub();
            code.i32_const(0).local_get(2).i32_sub().i32_and().global_set(0);
            code.global_get(0);
            code.global_get(0).local_get(3).i32_add().global_set(0);
        }
    }
    code.end();
    function
}
