//! The documentation holds: every command in it runs, every configuration is accepted, every link
//! leads somewhere, and every page and alert is where a reader looks for it.

mod page;
mod scratch;

use std::collections::BTreeSet;
use std::path::Path;

use page::{Block, Page, Run};
use scratch::Scratch;

/// Pages whose commands and links are checked.
fn pages() -> Vec<Page> {
    let beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "policies/README.md", "examples/README.md"];
    let mut pages: Vec<_> = beside.into_iter().map(Page::read).collect();
    pages.extend(page::names_in("docs").iter().map(|name| Page::read(&format!("docs/{name}"))));
    assert!(pages.len() > 20, "the pages of docs/ are missing");
    pages
}

#[test]
fn every_command_in_the_documentation_runs() {
    let mut ran = 0;
    for page in pages().iter().filter(|page| page.is_manual()) {
        for block in page.blocks("sh") {
            if let Run::With(setup) = block.run() {
                let mut scratch = Scratch::new(&setup, page, &block);
                scratch.run(&block);
                ran += 1;
            }
        }
    }
    assert!(ran >= 20, "only {ran} blocks were run");
}

/// Commands that no test can run must at least have options that exist.
#[test]
fn commands_that_are_not_run_have_only_options_that_exist() {
    let mut skipped = Vec::new();
    for page in pages().iter().filter(|page| page.is_manual()) {
        for block in page.blocks("sh") {
            if let Run::Not(reason) = block.run() {
                skipped.push(format!("{}:{}: {reason}", page.name(), block.line));
                block.commands().iter().for_each(|command| scratch::check_options(command, &block));
            }
        }
    }
    // For people who look at what is not run.
    println!("{}", skipped.join("\n"));
}

#[test]
fn every_configuration_in_the_documentation_is_accepted() {
    let mut checked = 0;
    for page in pages() {
        for block in page.blocks("toml").into_iter().filter(Block::is_configuration) {
            Scratch::new("plain", &page, &block).check(&block);
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} configurations were checked");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in page.links() {
            if let Err(why) = page.follow(&link) {
                broken.push(format!("{}: ({link}): {why}", page.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The threat model says which test holds each promise.
#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let page = std::fs::read_to_string(page::root().join("docs/security.md")).expect("the page");
    let model = page.split("## Threat model").nth(1).expect("the threat model");
    let model = model.split("\n## ").next().expect("its text");
    let mut named = 0;
    let cells =
        model.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").nth(1));
    for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
        let path = page::root().join("tests").join(path);
        assert!(path.exists(), "{name}: there is no {}", path.display());
        if let Some(test) = test {
            let source = std::fs::read_to_string(&path).expect("a source");
            assert!(source.contains(&format!("fn {test}(")), "{name}: there is no such test");
        }
        named += 1;
    }
    assert!(named > 20, "only {named} tests are named");
}

#[test]
fn the_table_of_contents_names_every_page() {
    let listed: BTreeSet<_> = Page::read("docs/SUMMARY.md").links().into_iter().collect();
    let there: BTreeSet<_> = page::names_in("docs").into_iter().filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, there);
}

#[test]
fn the_readme_is_short() {
    let lines = Page::read("README.md").text().lines().count();
    assert!(lines <= 150, "{lines} lines; the details belong into docs/");
}

#[test]
fn every_alert_has_an_entry_in_operations() {
    let operations = Page::read("docs/operations.md");
    let rules = page::file("host/packaging/prometheus/reprieve-alerts.yml");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    let entries: BTreeSet<_> = operations
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| title.starts_with("Reprieve"))
        .map(str::to_owned)
        .collect();
    assert_eq!(entries, alerts);
}

#[test]
fn the_mistake_in_the_configuration_page_is_reported_as_it_says() {
    let readme = Page::read("README.md");
    let configuration = &readme.blocks("toml")[0].text;
    assert!(configuration.contains("on-failure"));
    let page = Page::read("docs/configuration.md");
    let shown = page.blocks("console").into_iter().find(|block| block.text.contains("on-failur`"));
    let (code, said) = Scratch::new("plain", &page, &page.blocks("toml")[0])
        .check_text(&configuration.replace("on-failure", "on-failur"));
    assert_eq!(code, Some(2));
    assert_eq!(said, shown.expect("the message").text);
}

#[test]
fn every_feature_in_the_comparison_names_a_test() {
    let page = Page::read("docs/comparison.md");
    let table = page.text().split("\n## ").next().expect("the table");
    let mut sources = String::new();
    add_sources(&page::root().join("tests"), &mut sources);
    let mut claims = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let test = row.rsplit('`').nth(1).expect("a test's name");
        assert!(sources.contains(&format!("fn {test}")), "no test is named {test}: {row}");
        claims += 1;
    }
    assert!(claims >= 25, "{claims}");
}

/// Appends the Rust files of a folder and its subfolders.
fn add_sources(folder: &Path, sources: &mut String) {
    for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            add_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *sources += &std::fs::read_to_string(path).expect("a source file");
        }
    }
}
