//! The source of a component: built into the binary, or a file.

use std::borrow::Cow;
use std::path::Path;

/// The built-in policies. Their components are committed, so that building the binary needs no Wasm
/// target; `policies/renew` builds them from source.
const BUILT_IN: &[(&str, &[u8])] =
    &[("interval", include_bytes!("../../../policies/built-in/interval.wasm"))];

/// Names of the built-in policies.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The bytes of a component. `name`: a built-in policy or a path.
///
/// # Errors
/// What is wrong and what to do, in one sentence.
pub fn source(name: &str) -> Result<Cow<'static, [u8]>, String> {
    if let Some((_, bytes)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(Cow::Borrowed(bytes));
    }
    std::fs::read(Path::new(name)).map(Cow::Owned).map_err(|error| {
        if name.contains(['/', '.']) {
            format!("cannot read the component {name}: {error}")
        } else {
            let known: Vec<_> = names().collect();
            format!(
                "there is no built-in policy `{name}` and no file of that name; built in: {}",
                known.join(", ")
            )
        }
    })
}
