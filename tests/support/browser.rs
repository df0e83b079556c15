//! Scripts of tests/dashboard, which open pages in a headless Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tool::Tool;

const NODE: Tool = Tool { program: "node", package: "nodejs" };
const CHROMIUM: Tool = Tool { program: "chromium", package: "chromium" };

/// Folder for screenshots, which are for people to look at.
pub fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dashboard-pictures");
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// A command that runs a script of tests/dashboard.
pub fn script(name: &str, arguments: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dashboard").join(name);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/test-tools/node/node_modules/playwright-core");
    assert!(tools.exists(), "playwright-core is not installed; install it with: tests/setup");
    let mut command = NODE.command();
    command.arg(path).args(arguments).env("CHROMIUM", CHROMIUM.path());
    command
}

/// Runs a script; panics with its standard error if it fails.
#[track_caller]
pub fn run(mut command: Command) {
    let output = command.output().expect("running node");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
