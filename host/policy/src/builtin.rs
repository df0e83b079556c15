//! The source of a component: built into the binary, or a file.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag};

/// The built-in policies. Their components are committed, so that building the binary needs no Wasm
/// target; `policies/renew` builds them from source.
const BUILT_IN: &[(&str, &[u8])] =
    &[("interval", include_bytes!("../../../policies/built-in/interval.wasm"))];

/// Names of the built-in policies.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Reads a file, or what another program writes into a pipe. A pipe into which none writes is not waited
/// for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        let flags = FcntlArg::F_SETFL(OFlag::empty());
        nix::fcntl::fcntl(&file, flags)?;
    } else if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if kind.is_fifo() && bytes.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is a pipe, and no program writes into it",
        ));
    }
    Ok(bytes)
}

/// The bytes of a component. `name`: a built-in policy or a path.
///
/// # Errors
/// What is wrong and what to do, in one sentence.
pub fn source(name: &str) -> Result<Cow<'static, [u8]>, String> {
    if let Some((_, bytes)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok(Cow::Borrowed(bytes));
    }
    read(Path::new(name)).map(Cow::Owned).map_err(|error| {
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
