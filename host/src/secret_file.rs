//! Secrets that stand in files of their own, so that configurations can be shown around.

use std::path::Path;

use zeroize::Zeroizing;

use crate::pop3::credential::Secret;

/// The first line of a file.
///
/// # Errors
/// Why there is none, in words that name the file.
pub fn first_line(path: &Path) -> Result<Secret, String> {
    let octets = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let octets = Zeroizing::new(octets);
    let line = octets.split(|&octet| octet == b'\n').next().unwrap_or_default().trim_ascii_end();
    if line.is_empty() {
        return Err(format!("the first line of {} is empty", path.display()));
    }
    Ok(Secret::new(line))
}
