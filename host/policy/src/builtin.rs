//! Where a component comes from: one that the binary carries, or a file.

use std::borrow::Cow;
use std::path::Path;

/// Name and component of each. The repository has the components, so that the binary is built
/// without a Wasm target: `policies/renew` makes them from the policies' sources.
const BUILT_IN: &[(&str, &[u8])] =
    &[("interval", include_bytes!("../../../policies/built-in/interval.wasm"))];

/// Names of the policies that the binary carries.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The octets of a component: `name` is a built-in policy's, or a file's path.
///
/// # Errors
/// One sentence that says what is wrong and what would be right.
pub fn source(name: &str) -> Result<Cow<'static, [u8]>, String> {
    if let Some((_, octets)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(Cow::Borrowed(octets));
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
