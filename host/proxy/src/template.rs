//! Project templates for new policies: the files in `policies/templates`, the WIT and a scenario.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A language with a project template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Language {
    Rust,
    Javascript,
    Typescript,
    Python,
    C,
    Cpp,
    Go,
    Zig,
}

/// A file of a project: path, and content with placeholders.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($path:literal = $source:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../", $source)))),+]
    };
}

const COMMON: &[File] = files! {
    "wit/types.wit" = "wit/v0.2/types.wit",
    "wit/facts.wit" = "wit/v0.2/facts.wit",
    "wit/effects.wit" = "wit/v0.2/effects.wit",
    "wit/worlds.wit" = "wit/v0.2/worlds.wit",
    "scenarios/pause.toml" = "policies/templates/common/scenarios/pause.toml",
    ".gitignore" = "policies/templates/common/gitignore",
};

/// Additional files for components whose tools produce WASI 0.1.
const ADAPTER: &[File] = files! {
    "adapter/adapter.wat" = "policies/templates/common/adapter/adapter.wat",
    "adapter/adapter.wit" = "policies/templates/common/adapter/adapter.wit",
};

impl Language {
    fn own_files(self) -> &'static [File] {
        match self {
            Self::Rust => files! {
                "Cargo.toml" = "policies/templates/rust/Cargo.toml.template",
                "src/lib.rs" = "policies/templates/rust/src/lib.rs",
                "README.md" = "policies/templates/rust/README.md",
            },
            Self::Javascript => files! {
                "package.json" = "policies/templates/javascript/package.json",
                "policy.js" = "policies/templates/javascript/policy.js",
                "README.md" = "policies/templates/javascript/README.md",
            },
            Self::Typescript => files! {
                "package.json" = "policies/templates/typescript/package.json",
                "tsconfig.json" = "policies/templates/typescript/tsconfig.json",
                "policy.ts" = "policies/templates/typescript/policy.ts",
                "README.md" = "policies/templates/typescript/README.md",
            },
            Self::Python => files! {
                "app.py" = "policies/templates/python/app.py",
                "build" = "policies/templates/python/build",
                "README.md" = "policies/templates/python/README.md",
            },
            Self::C => files! {
                "pause.c" = "policies/templates/c/pause.c",
                "build" = "policies/templates/c/build",
                "README.md" = "policies/templates/c/README.md",
            },
            Self::Cpp => files! {
                "pause.cpp" = "policies/templates/cpp/pause.cpp",
                "build" = "policies/templates/cpp/build",
                "README.md" = "policies/templates/cpp/README.md",
            },
            Self::Go => files! {
                "export_reprieve_policy_handler/policy.go" = "policies/templates/go/export_reprieve_policy_handler/policy.go",
                "export_reprieve_policy_settings/settings.go" = "policies/templates/go/export_reprieve_policy_settings/settings.go",
                "pkg/go.mod" = "policies/templates/go/pkg/go.mod",
                "pkg/wit/types/types.go" = "policies/templates/go/pkg/wit/types/types.go",
                "pkg/wit/runtime/runtime.go" = "policies/templates/go/pkg/wit/runtime/runtime.go",
                "build" = "policies/templates/go/build",
                "README.md" = "policies/templates/go/README.md",
            },
            Self::Zig => files! {
                "pause.zig" = "policies/templates/zig/pause.zig",
                "build" = "policies/templates/zig/build",
                "README.md" = "policies/templates/zig/README.md",
            },
        }
    }

    fn files(self) -> impl Iterator<Item = File> {
        let adapter = if matches!(self, Self::Cpp | Self::Go) { ADAPTER } else { &[] };
        COMMON.iter().chain(self.own_files()).chain(adapter).copied()
    }

    /// The commands that build the component, and the component's path, as in the project's README.
    #[must_use]
    pub fn commands(self, name: &str) -> (&'static [&'static str], String) {
        match self {
            Self::Rust => (
                &["cargo build --release --target wasm32-wasip2"],
                format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
            ),
            Self::Javascript | Self::Typescript => {
                (&["npm install", "npm run build"], format!("{name}.wasm"))
            }
            Self::Python => (
                &["python3 -m venv .venv", ".venv/bin/pip install componentize-py==0.25.1", "./build"],
                format!("{name}.wasm"),
            ),
            Self::C | Self::Cpp | Self::Go | Self::Zig => (&["./build"], format!("{name}.wasm")),
        }
    }
}

/// Checks the name of a project, which is also used for a crate, a package and a file.
///
/// # Errors
/// The message says which names are allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(is_allowed)
    {
        Ok(())
    } else {
        Err(format!(
            "{name:?} cannot be the name of a policy; use lower-case letters, digits and hyphens, beginning with a letter, such as \"night-shift\""
        ))
    }
}

/// Writes a project into a directory, which is created if necessary.
///
/// # Errors
/// If a file cannot be written, or exists.
pub fn write(language: Language, name: &str, directory: &Path) -> io::Result<()> {
    let krate = name.replace('-', "_");
    for (path, content) in language.files() {
        let file = directory.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let content = content.replace("{{name}}", name).replace("{{crate}}", &krate);
        let runs = content.starts_with("#!");
        let mut options = std::fs::OpenOptions::new();
        io::Write::write_all(&mut options.write(true).create_new(true).open(&file)?, content.as_bytes())?;
        if runs {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_placeholder_is_filled_and_every_readme_has_the_commands() {
        for language in Language::value_variants() {
            let directory = tempfile::tempdir().unwrap();
            write(*language, "night-shift", directory.path()).unwrap();
            let readme = std::fs::read_to_string(directory.path().join("README.md")).unwrap();
            let (commands, component) = language.commands("night-shift");
            for part in commands.iter().copied().chain([component.as_str()]) {
                assert!(readme.contains(part), "{language:?}: {part}");
            }
            for (path, _) in language.files() {
                let content = std::fs::read(directory.path().join(path)).unwrap();
                let content = String::from_utf8_lossy(&content);
                assert!(!content.contains("{{name}}") && !content.contains("{{crate}}"), "{path}");
            }
        }
    }

    #[test]
    fn names_that_tools_would_reject_are_refused() {
        assert_eq!(check_name("night-shift2"), Ok(()));
        for wrong in ["", "Night", "2nd", "a b", "../x", "a-", "ä", "a_b"] {
            assert!(check_name(wrong).unwrap_err().contains("night-shift"), "{wrong}");
        }
    }
}
