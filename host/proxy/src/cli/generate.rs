//! `reprieve generate`, for those who change Reprieve itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::reference;

/// Renew the generated files of the repository: docs/configuration.md between its markers, and
/// host/packaging/reprieve.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Root of the repository
    #[arg(value_name = "DIR", default_value = ".")]
    root: PathBuf,
}

/// The page with the reference of all keys.
const PAGE: &str = "docs/configuration.md";
/// The example file.
const EXAMPLE: &str = "host/packaging/reprieve.toml";

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let page = arguments.root.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let renewed = between_markers(&text, "configuration", &reference::page());
    write(&page, &renewed.with_context(|| format!("{} lacks its markers", page.display()))?)?;
    write(&arguments.root.join(EXAMPLE), &reference::example())?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces the text between `<!-- generated: NAME -->` and `<!-- /generated -->`.
fn between_markers(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- generated: {name} -->\n"))?;
    let (_, after) = rest.split_once("<!-- /generated -->")?;
    Some(format!("{before}<!-- generated: {name} -->\n{text}<!-- /generated -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENEW: &str = "renew it: cargo run --package reprieve -- generate";

    fn committed(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
    }

    #[test]
    fn the_reference_of_all_keys_is_up_to_date() {
        let page = committed(PAGE);
        let renewed = between_markers(&page, "configuration", &reference::page()).expect("markers");
        assert!(page == renewed, "{PAGE} is not what the code generates; {RENEW}");
    }

    #[test]
    fn the_example_file_is_up_to_date() {
        assert!(
            committed(EXAMPLE) == reference::example(),
            "{EXAMPLE} is not what the code generates; {RENEW}"
        );
    }

    #[test]
    fn only_the_text_between_the_markers_is_replaced() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- /generated -->\nb\n";
        let expected = "a\n<!-- generated: x -->\nnew\n<!-- /generated -->\nb\n";
        assert_eq!(between_markers(page, "x", "new\n").as_deref(), Some(expected));
        assert_eq!(between_markers(page, "y", "new\n"), None);
    }
}
