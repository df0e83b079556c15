//! Components with additional core modules, assembled byte by byte.

/// A component with one more core module, which has functions with these bodies. They are compiled
/// but never called.
pub fn with_functions(component: &[u8], bodies: &[Vec<u8>]) -> Vec<u8> {
    // One type: (i32) -> ().
    let types = section(1, &[1, 0x60, 1, 0x7f, 0]);
    let functions = section(3, &[number(bodies.len()), vec![0; bodies.len()]].concat());
    let sized = bodies.iter().flat_map(|body| [number(body.len()), body.clone()].concat()).collect();
    let code = section(10, &[number(bodies.len()), sized].concat());
    let module = [b"\0asm\x01\0\0\0".to_vec(), types, functions, code].concat();
    [component.to_vec(), section(1, &module)].concat()
}

/// The body of a function with nested loops that all use the same variables. It takes much longer
/// to compile than its size suggests.
pub fn loops(depth: usize, variables: usize) -> Vec<u8> {
    // Adds the parameter to each variable.
    let use_all: Vec<u8> = (1..=variables)
        .flat_map(|one| [vec![0x20], number(one), vec![0x20, 0, 0x6a, 0x21], number(one)].concat())
        .collect();
    let variables = [vec![1], number(variables), vec![0x7f]].concat();
    // Each loop repeats while the parameter is not 0.
    let ends = [0x20, 0, 0x0d, 0, 0x0b].repeat(depth);
    [variables, use_all.clone(), [0x03, 0x40].repeat(depth), use_all.clone(), ends, use_all, vec![0x0b]]
        .concat()
}

fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [vec![kind], number(content.len()), content.to_vec()].concat()
}

/// An unsigned number in LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
