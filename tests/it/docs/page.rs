//! A page of the documentation: its blocks of code and its links.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

pub(super) fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Markdown files of a folder.
pub(super) fn names_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names
}

pub(super) struct Page {
    name: String,
    text: String,
}

/// A fenced block of code.
pub(super) struct Block {
    /// The line of its fence, from 1, for messages.
    pub line: usize,
    /// The directive above it, without the comment's brackets; empty if there is none.
    directive: String,
    pub text: String,
}

/// Whether and how a block of commands is run.
pub(super) enum Run {
    /// In an environment of this name.
    With(String),
    /// Not here, for this reason.
    Not(String),
}

impl Page {
    /// `name`: from the workspace's folder.
    pub fn read(name: &str) -> Self {
        Self { name: name.to_owned(), text: file(name) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether its commands are for users: those for contributors build and test Reprieve itself.
    pub fn is_manual(&self) -> bool {
        self.name == "README.md" || self.name.starts_with("docs/")
    }

    /// The blocks in a language.
    pub fn blocks(&self, language: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut directive = String::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(fence) = line.strip_prefix("```") {
                let text: String = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "```")
                    .flat_map(|line| [line, "\n"])
                    .collect();
                let directive = std::mem::take(&mut directive);
                if fence == language {
                    blocks.push(Block { line: number + 1, directive, text });
                }
            } else {
                let comment = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
                directive = comment.unwrap_or_default().to_owned();
            }
        }
        blocks
    }

    /// The targets of its links and pictures, but for those on the net.
    pub fn links(&self) -> Vec<String> {
        let mut is_code = false;
        let prose = self.text.lines().filter(|line| {
            let fence = line.starts_with("```");
            is_code ^= fence;
            !fence && !is_code
        });
        let targets =
            prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
    }

    /// Finds what a link leads to.
    pub fn follow(&self, link: &str) -> Result<(), String> {
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let here = root().join(&self.name);
        let target: PathBuf =
            if path.is_empty() { here } else { here.parent().expect("a folder").join(path) };
        if !target.exists() {
            return Err("there is no such file".to_owned());
        }
        if heading.is_empty() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&target).map_err(|error| error.to_string())?;
        if slugs(&text).iter().any(|slug| slug == heading) {
            Ok(())
        } else {
            Err("there is no such heading".to_owned())
        }
    }
}

/// The anchors of a page's headings, as code hosts make them.
fn slugs(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase();
            let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter));
            let slug: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
        })
        .collect()
}

impl Block {
    /// What its directive says.
    pub fn run(&self) -> Run {
        let directive = self.directive.as_str();
        if directive.is_empty() {
            return Run::With("plain".to_owned());
        }
        if let Some(setup) = directive.strip_prefix("setup=") {
            return Run::With(setup.to_owned());
        }
        if let Some(reason) = directive.strip_prefix("skip, ") {
            return Run::Not(reason.to_owned());
        }
        let other = directive.strip_prefix("run by ");
        let other = other.unwrap_or_else(|| panic!("line {}: unknown directive: {directive}", self.line));
        assert!(root().join(other).exists(), "line {}: there is no {other}", self.line);
        Run::Not(directive.to_owned())
    }

    /// Whether it is a configuration of Reprieve, whole or in part; the others are scenarios, and what
    /// the page marks as no configuration.
    pub fn is_configuration(&self) -> bool {
        let is_scenario =
            ["[[step]]", "[[scenario]]", "[[scenario.step]]"].iter().any(|head| self.text.contains(head));
        !is_scenario && !self.directive.starts_with("skip, ")
    }

    /// Its commands, continued lines joined, without comments.
    pub fn commands(&self) -> Vec<String> {
        let text = self.text.replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }
}
