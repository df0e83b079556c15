//! The reference of scenarios is complete and its examples pass.

use super::{Folder, root, run, text};

/// The text of the reference.
fn reference() -> String {
    std::fs::read_to_string(root().join("docs/scenarios.md")).expect("the reference")
}

#[test]
fn the_references_examples_pass_and_its_report_is_current() {
    let page = reference();
    let folder = Folder::new();
    let mut reports = Vec::new();
    for (number, block) in page.split("```toml\n").skip(1).enumerate() {
        let content = block.split("```").next().unwrap();
        let name = if number == 0 { "first.toml".to_owned() } else { format!("{number}.toml") };
        let path = folder.file(&name, content);
        let output = run(&["interval", &path.display().to_string()]);
        assert!(output.status.success(), "{content}{}{}", text(&output.stdout), text(&output.stderr));
        reports.push(text(&output.stdout));
    }
    assert!(reports.len() >= 5);
    // The duration varies.
    let shown = |report: &str| {
        report
            .lines()
            .map(|line| line.split(" s of virtual time in ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let quoted = page.split("$ reprieve policy test interval first.toml\n").nth(1).unwrap();
    assert_eq!(shown(&reports[0]), shown(quoted.split("```").next().unwrap()));
}

#[test]
fn the_reference_names_every_key_that_is_read() {
    let page = reference();
    let folder = root().join("host/policy/src/scenario");
    let mut keys = 0;
    for file in ["file.rs", "file/step.rs", "file/login.rs", "file/expectation.rs", "condition.rs"] {
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        for call in ["get(\"", "required(\""] {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                let whole = |&(before, after): &(Option<char>, Option<char>)| {
                    let within = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
                    !within(before) && !within(after)
                };
                let mut places = page
                    .match_indices(key)
                    .map(|(at, _)| (page[..at].chars().next_back(), page[at + key.len()..].chars().next()));
                assert!(places.any(|place| whole(&place)), "`{key}` of {file} is not explained");
                keys += 1;
            }
        }
    }
    assert!(keys > 40, "{keys}");
}
