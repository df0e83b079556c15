//! The Debian package of the tested binary, built once and unpacked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::running::BINARY;
use crate::support::tool::Tool;

/// Root of the workspace.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const DPKG_DEB: Tool = Tool { program: "dpkg-deb", package: "dpkg" };

/// An unpacked package.
pub struct Package {
    /// Path of the `.deb` file.
    pub file: PathBuf,
    /// Root of its unpacked files.
    pub root: PathBuf,
    /// Folder of its control files.
    pub control: PathBuf,
    _folder: tempfile::TempDir,
}

static PACKAGE: LazyLock<Package> = LazyLock::new(Package::build);

impl Package {
    /// The package of the tested binary.
    pub fn get() -> &'static Self {
        &PACKAGE
    }

    fn build() -> Self {
        let cargo_deb = Path::new(ROOT).join("target/test-tools/bin");
        assert!(cargo_deb.join("cargo-deb").exists(), "cargo-deb is missing; install it with: tests/setup");
        let folder = tempfile::tempdir().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(Path::new(ROOT).join("host/packaging/deb"))
            .args(["--binary", BINARY, "--fast", "--offline", "--output"])
            .arg(folder.path())
            .env("PATH", format!("{}:{path}", cargo_deb.display()))
            .output()
            .expect("running host/packaging/deb");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = std::fs::read_dir(folder.path()).expect("a folder");
        let mut made = made.map(|entry| entry.expect("an entry").path());
        let file = made.find(|path| path.extension().is_some_and(|end| end == "deb")).expect("a package");
        let (root, control) = (folder.path().join("root"), folder.path().join("control"));
        for (word, to) in [("--extract", &root), ("--control", &control)] {
            let done = DPKG_DEB.command().arg(word).arg(&file).arg(to).status();
            assert!(done.expect("running dpkg-deb").success());
        }
        Self { file, root, control, _folder: folder }
    }

    /// Path of an unpacked file, by its installed path.
    pub fn path(&self, installed: &str) -> PathBuf {
        self.root.join(installed.trim_start_matches('/'))
    }

    /// Content of an unpacked file.
    #[track_caller]
    pub fn text(&self, installed: &str) -> String {
        std::fs::read_to_string(self.path(installed)).unwrap_or_else(|error| panic!("{installed}: {error}"))
    }

    /// A folder with its units for systemd-analyze; they refer to the unpacked program.
    pub fn units(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for unit in ["reprieve.service", "reprieve.socket"] {
            let text = self.text(&format!("/usr/lib/systemd/system/{unit}"));
            let program = self.path("/usr/bin/reprieve");
            let text = text.replace("/usr/bin/reprieve", program.to_str().expect("a path in UTF-8"));
            std::fs::write(folder.path().join(unit), text).expect("a unit");
        }
        folder
    }
}
