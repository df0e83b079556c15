//! The configurations in `examples/`: `reprieve check` accepts each of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::certificates::{Age, Authority};
use crate::support::running::BINARY;
use crate::support::write_secret;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The files in `examples/` with this extension, sorted.
fn examples(extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("examples")).expect("the examples");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == extension));
    files.sort();
    files
}

fn name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

fn hex_digest(file: &Path) -> String {
    let file = file.to_str().expect("a path in UTF-8");
    let output = Command::new(BINARY).args(["policy", "inspect", file, "--format", "json"]).output();
    let inspected: serde_json::Value =
        serde_json::from_slice(&output.expect("reprieve").stdout).expect("JSON");
    inspected["sha256"].as_str().expect("a digest").to_owned()
}

/// Puts the files that an example names into a folder, and returns the example with their paths.
fn prepare(example: &str, folder: &Path, authority: &Authority) -> String {
    let files = authority.server("example", &["mail.example.org"], Age::Valid);
    let mut text = example.to_owned();
    for path in example.split('"').filter_map(|word| word.strip_prefix("/etc/reprieve/")) {
        let to = folder.join(path);
        let from = match path {
            "privkey.pem" | "admin.key" => files.key.clone(),
            _ if path.ends_with(".pem") => files.chain.clone(),
            _ if path.ends_with(".wasm") => root().join("policies/built-in/interval.wasm"),
            _ => {
                write_secret(&to, &format!("a-secret-of-more-than-16-characters:{path}\n"));
                continue;
            }
        };
        std::fs::copy(from, &to).expect("a file");
        if path.ends_with(".wasm") {
            let pin = text.lines().find(|line| line.starts_with("sha256 = ")).expect("a pin").to_owned();
            text = text.replace(&pin, &format!("sha256 = \"{}\"", hex_digest(&to)));
        }
    }
    for place in ["/etc/reprieve/", "/var/log/reprieve/", "/run/reprieve/"] {
        text = text.replace(place, &format!("{}/", folder.display()));
    }
    // A user that exists on every machine. As root, `check` continues as that user.
    text = text.replace("\nuser = \"reprieve\"\n", "\nuser = \"nobody\"\n");
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody").uid.as_raw();
        let files = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file").path());
        for path in files.chain([folder.to_owned()]) {
            std::os::unix::fs::chown(path, Some(nobody), None).expect("changing the owner");
        }
    }
    text
}

#[test]
fn check_accepts_every_example() {
    let authority = Authority::new();
    let files = examples("toml");
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        let folder = tempfile::tempdir().expect("a folder");
        let example = std::fs::read_to_string(&file).expect("an example");
        let text = prepare(&example, folder.path(), &authority);
        let configuration = folder.path().join(name(&file));
        std::fs::write(&configuration, &text).expect("a configuration");
        let output = Command::new(BINARY).arg("check").arg("--config").arg(&configuration).output();
        let output = output.expect("running reprieve");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}\n{text}", file.display());
        assert!(!errors.contains("warning"), "{}: {errors}", file.display());
    }
}

#[test]
fn every_example_begins_with_its_purpose_and_is_listed() {
    let list = std::fs::read_to_string(root().join("examples/README.md")).expect("the list");
    for file in examples("toml") {
        let text = std::fs::read_to_string(&file).expect("an example");
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("# For ")), "{}", file.display());
        assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{}", file.display());
        assert!(list.contains(&format!("| [{0}]({0}) |", name(&file))), "{} is not listed", file.display());
    }
    let listed = list.lines().filter(|line| line.starts_with("| [")).count();
    assert_eq!(listed, examples("toml").len(), "the list has a file that does not exist");
}
