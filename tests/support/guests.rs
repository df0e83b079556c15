//! Policies of `tests/guests`, built on first use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A policy that misbehaves as its settings say.
#[track_caller]
pub fn hostile() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("hostile", Names::Stripped))
}

/// [`hostile`] with the names of its functions.
#[track_caller]
pub fn hostile_with_names() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("hostile", Names::Kept))
}

/// A policy with the fault that its setting names.
#[track_caller]
pub fn faulty() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("faulty", Names::Stripped))
}

/// A policy that logs its arguments.
#[track_caller]
pub fn mirror() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("mirror", Names::Stripped))
}

/// A policy that tells the client what it knows about the maildrop.
#[track_caller]
pub fn facts() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("facts", Names::Stripped))
}

/// Whether a component has a section with the names of its functions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Kept,
    Stripped,
}

#[track_caller]
fn build(package: &str, names: Names) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    // A separate target folder: a running cargo may hold the lock of the usual one.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(match names {
        Names::Kept => "guests-with-names",
        Names::Stripped => "guests",
    });
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--locked", "--package", package, "--profile", "policy"])
        .args(["--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .env("CARGO_PROFILE_POLICY_STRIP", if names == Names::Kept { "false" } else { "true" })
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("running cargo");
    assert!(
        output.status.success(),
        "the guest {package} does not build; is the target installed (rustup target add wasm32-wasip2)?:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("wasm32-wasip2/policy").join(format!("{package}.wasm"))
}
