//! Names the functions in which a guest trapped. Only components with a name section have them; the
//! engine collects the frames only after a trap, so that other calls cost nothing.

use wasmtime::WasmBacktrace;

use super::guest_log::harmless;

/// Functions to name.
const MOST: usize = 4;
/// Bytes of a function's name that are kept.
const LONGEST_NAME: usize = 80;
/// The beginnings of names that say nothing about a policy: how a language panics.
const RUNTIME: [&str; 9] =
    ["abort", "__rust", "rust_", "_rust", "std::", "core::", "alloc::", "<std::", "<core::"];

/// "in `f`, called by `g`, `h`", or nothing if the error has no names.
pub(super) fn describe(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name).map(demangle);
    join(names)
}

fn demangle(name: &str) -> String {
    // The alternate form leaves out the hash.
    format!("{:#}", rustc_demangle::demangle(name))
}

fn join(names: impl Iterator<Item = String>) -> Option<String> {
    let own = names.filter(|name| !RUNTIME.iter().any(|start| name.starts_with(start)));
    let named: Vec<_> = own.take(MOST).map(|name| format!("`{}`", harmless(&name, LONGEST_NAME))).collect();
    let (innermost, callers) = named.split_first()?;
    let callers =
        if callers.is_empty() { String::new() } else { format!(", called by {}", callers.join(", ")) };
    Some(format!("in {innermost}{callers}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policys_own_functions_are_named_from_the_innermost() {
        for (names, expected) in [
            (&[][..], None),
            (&["__rust_abort"], None),
            (&["rule"], Some("in `rule`")),
            (
                &[
                    "abort",
                    "_ZN4core9panicking5panic17h0123456789abcdefE",
                    "_ZN5pause6decide17h0123456789abcdefE",
                    "decide",
                ],
                Some("in `pause::decide`, called by `decide`"),
            ),
            (&["a", "b", "c", "d", "e"], Some("in `a`, called by `b`, `c`, `d`")),
        ] {
            let described = join(names.iter().map(|name| demangle(name)));
            assert_eq!(described.as_deref(), expected, "{names:?}");
        }
    }
}
