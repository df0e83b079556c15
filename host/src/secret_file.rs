//! Secrets that stand in files of their own, so that configurations can be shown around.

use std::path::Path;

use zeroize::Zeroizing;

use crate::pop3::credential::Secret;

/// Shorter secrets could be guessed.
const LEAST_SECRET: usize = 16;

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

/// The first line of a file, where it is long enough to be a key.
///
/// # Errors
/// As [`first_line`], or that it is too short.
pub fn long_secret(path: &Path) -> Result<Secret, String> {
    let secret = first_line(path)?;
    if secret.expose().len() < LEAST_SECRET {
        return Err(format!(
            "the first line of {} has fewer than {LEAST_SECRET} characters; make it by: openssl rand -base64 32",
            path.display()
        ));
    }
    Ok(secret)
}
