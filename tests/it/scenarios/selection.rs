//! Which scenarios are tested: files, folders and names.

use super::{Folder, run, text};

const GOOD: &str = "[[step]]\nlogin = \"alice\"\nexpect = \"pass\"\n";

/// A folder with scenarios in files and subfolders, and other files.
fn folder() -> Folder {
    let folder = Folder::new();
    for name in ["more/deep", ".hidden"] {
        std::fs::create_dir_all(folder.0.path().join(name)).unwrap();
    }
    for name in ["b.toml", "a.toml", "more/deep/night.toml", ".hidden/wrong.toml", ".wrong.toml", "notes.txt"]
    {
        folder.file(name, if name.contains("wrong") || name.contains("txt") { "x" } else { GOOD });
    }
    folder
}

#[test]
fn a_folder_stands_for_all_scenario_files_below_it() {
    let folder = folder();
    let output = run(&["interval", &folder.0.path().display().to_string()]);
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    let files: Vec<_> = report.lines().filter(|line| line.ends_with(".toml:")).collect();
    assert_eq!(files.len(), 3, "{report}");
    for (line, name) in files.iter().zip(["a.toml:", "b.toml:", "more/deep/night.toml:"]) {
        assert!(line.ends_with(name), "{report}");
    }
    assert!(report.contains("✓ night"), "{report}");
}

#[test]
fn only_scenarios_with_the_name_are_tested() {
    let folder = folder();
    folder.file("wrong.toml", "[[stp]]\n");
    let path = folder.0.path().display().to_string();
    let deep = folder.0.path().join("more").display().to_string();
    for (arguments, code, expected) in [
        (&["--run", "igh"][..], 2, &["✓ night", "wrong.toml:1: unknown key `stp`", "1 passed, 1 failed"][..]),
        (&["--run", "a", "--run", "b"], 2, &["✓ a", "✓ b", "2 passed, 1 failed"]),
        (&["--run", "zzz"], 2, &["no name of a scenario contains \"zzz\" (--run)", "night"]),
    ] {
        let output = run(&[&["interval", &path], arguments].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        for part in expected {
            assert!(said.contains(part), "{arguments:?}: {part:?} is not in:\n{said}");
        }
    }
    assert_eq!(run(&["interval", &deep, "--run", "night"]).status.code(), Some(0));
    let empty = Folder::new();
    let output = run(&["interval", &empty.0.path().display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there are no .toml files"), "{}", text(&output.stderr));
}
