//! `reprieve policy test`: scenarios in virtual time.

mod causes;
mod command;
mod harness;
mod reference;
mod selection;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::running::BINARY;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(["policy", "test"]).args(arguments).output().expect("running reprieve")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("writing a scenario");
        path
    }
}

/// Runs one scenario for `interval`; returns exit code, report and errors.
fn play(content: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = Folder::new();
    let path = folder.file("one.toml", content);
    let output = run(&[&["interval", &path.display().to_string()], more].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
