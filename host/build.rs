//! Builds the default policy from its source, so that the binary carries it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let root = host.parent().map(Path::to_path_buf).unwrap_or_default();
    for watched in
        ["policies/interval/src", "policies/interval/Cargo.toml", "wit", "Cargo.lock", "Cargo.toml"]
    {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    match build(&root, &out) {
        Ok(()) => {}
        Err(why) => {
            println!("cargo::error={why}");
            std::process::exit(1);
        }
    }
}

fn build(root: &Path, out: &Path) -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libdir = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", rustc.display()))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&libdir.stdout).trim());
    if !libdir.is_dir() {
        return Err(format!(
            "the Wasm target that the default policy is built for is missing; install it with: rustup target add {TARGET}"
        ));
    }
    // A target directory of its own: cargo holds a lock on the one of this build.
    let target_dir = out.join("policies");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--package", "interval", "--lib", "--profile", "policy", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        // What was set for the host does not fit the guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET");
    if root.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    let output = cargo.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Err("the default policy, policies/interval, does not build; its errors are above".to_owned());
    }
    let built = target_dir.join(TARGET).join("policy").join("interval.wasm");
    fs::copy(&built, out.join("interval.wasm"))
        .map(drop)
        .map_err(|error| format!("cannot take {}: {error}", built.display()))
}
