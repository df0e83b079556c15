//! The contract's versions are compatible with the policies that were built for earlier ones:
//! `wasm-tools component semver-check` accepts what CONTRIBUTING.md allows to grow, and rejects
//! everything that would break a built component.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A WIT package: file names and texts.
type Wit = Vec<(String, String)>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

/// The WIT files in a folder, if there are any. Folders in it are not read.
fn wit_in(folder: &Path) -> Option<Wit> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Wit = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a WIT file"))
        })
        .collect();
    files.sort();
    (!files.is_empty()).then_some(files)
}

/// All versions of the contract: the packages in `wit` and in its folders.
fn contracts() -> Vec<Wit> {
    let wit = root().join("wit");
    let entries =
        std::fs::read_dir(&wit).expect("the folder wit").map(|entry| entry.expect("an entry").path());
    let folders = entries.filter(|path| path.is_dir()).chain([wit.clone()]);
    let contracts: Vec<_> = folders.filter_map(|folder| wit_in(&folder)).collect();
    assert!(!contracts.is_empty(), "{} has no WIT", wit.display());
    contracts
}

/// The version in `package reprieve:policy@VERSION;`.
fn version(wit: &Wit) -> &str {
    let declaration = wit.iter().find_map(|(_, text)| text.split_once("package reprieve:policy@"));
    declaration.and_then(|(_, rest)| rest.split_once(';')).expect("a package with a version").0
}

/// Names after a keyword, such as the worlds after `world`, if `mark` follows the name.
fn named(wit: &Wit, keyword: &str, mark: char) -> BTreeSet<String> {
    let lines = wit.iter().flat_map(|(_, text)| text.lines());
    let after = lines.filter_map(|line| line.trim_start().strip_prefix(keyword)?.strip_prefix(' '));
    let names = after.filter_map(|rest| rest.split_once(mark)).map(|(name, _)| name.trim().to_owned());
    names.filter(|name| !name.contains(|c: char| c.is_whitespace() || c == ':')).collect()
}

/// The package with `planted` as the first thing in the braces of a declaration.
fn with_first(wit: &Wit, keyword: &str, name: &str, planted: &str) -> Wit {
    let head = format!("{keyword} {name} {{");
    let mut found = 0;
    let planted = wit
        .iter()
        .map(|(file, text)| {
            found += text.matches(&head).count();
            (file.clone(), text.replace(&head, &format!("{head} {planted}")))
        })
        .collect();
    assert_eq!(found, 1, "`{head}` is there {found} times");
    planted
}

fn with_declaration(mut wit: Wit, declaration: &str) -> Wit {
    wit[0].1.push_str(declaration);
    wit
}

/// Whether a component built for `before` runs on a host whose contract is `after`; otherwise, why
/// not. Every world of `before` must be compatible.
fn is_compatible(before: &Wit, after: &Wit) -> Result<(), String> {
    let tool = root().join("target/toolchains/bin/wasm-tools");
    assert!(tool.exists(), "{} is missing; install it with: policies/toolchains/wasm", tool.display());
    let folder = tempfile::tempdir().expect("a folder");
    let old = folder.path().join("deps/before");
    std::fs::create_dir_all(&old).expect("a folder");
    // Two versions of one package, so that both can be loaded.
    for (wit, folder, number) in [(before, &*old, "0.2.0"), (after, folder.path(), "0.2.1")] {
        let (from, to) = (format!("reprieve:policy@{};", version(wit)), format!("reprieve:policy@{number};"));
        for (name, text) in wit {
            std::fs::write(folder.join(name), text.replace(&from, &to)).expect("writing WIT");
        }
    }
    let worlds = named(before, "world", '{');
    assert!(worlds.contains("policy"), "{worlds:?}");
    for world in worlds {
        let output = Command::new(&tool)
            .args(["component", "semver-check"])
            .args(["--prev", &format!("reprieve:policy/{world}@0.2.0")])
            .args(["--new", &format!("reprieve:policy/{world}@0.2.1")])
            .arg(folder.path())
            .output()
            .expect("running wasm-tools");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            // Any other error would be one of this test.
            assert!(said.contains("is not semver-compatible"), "{world}: {said}");
            return Err(said);
        }
    }
    Ok(())
}

/// A function, in an interface that nothing else declares.
const PLANTED_INTERFACE: &str = "\ninterface planted-interface { planted: func(); }\n";

#[test]
fn a_change_that_breaks_a_built_component_is_rejected() {
    for wit in contracts() {
        let mut changes: Vec<(String, Wit)> = Vec::new();
        for (keyword, planted) in [("enum", "planted,"), ("variant", "planted,"), ("record", "planted: u32,")]
        {
            for name in named(&wit, keyword, '{') {
                changes.push((
                    format!("{planted} in {keyword} {name}"),
                    with_first(&wit, keyword, &name, planted),
                ));
            }
        }
        for name in named(&wit, "export", ';') {
            let changed = with_first(&wit, "interface", &name, "planted: func();");
            changes.push((format!("function in the exported interface {name}"), changed));
        }
        for name in named(&wit, "world", '{') {
            let changed = with_first(&wit, "world", &name, "export planted: func();");
            changes.push((format!("exported function in world {name}"), changed));
            let changed = with_first(&wit, "world", &name, "export planted-interface;");
            let changed = with_declaration(changed, PLANTED_INTERFACE);
            changes.push((format!("exported interface in world {name}"), changed));
        }
        let version = version(&wit);
        assert!(changes.len() >= 15, "{version}: {} changes", changes.len());
        for (change, changed) in changes {
            assert!(is_compatible(&wit, &changed).is_err(), "{version}: {change} is accepted");
        }
    }
}

#[test]
fn what_may_grow_is_accepted() {
    for wit in contracts() {
        let mut growths = vec![("nothing".to_owned(), wit.clone())];
        for name in named(&wit, "import", ';') {
            let grown = with_first(&wit, "interface", &name, "planted: func() -> u32;");
            growths.push((format!("function in the imported interface {name}"), grown));
        }
        for name in named(&wit, "world", '{') {
            let grown = with_first(&wit, "world", &name, "import planted-interface;");
            let grown = with_declaration(grown, PLANTED_INTERFACE);
            growths.push((format!("imported interface in world {name}"), grown));
        }
        let world = "\nworld planted-world { include policy; export planted-interface; }\n";
        let grown = with_declaration(with_declaration(wit.clone(), PLANTED_INTERFACE), world);
        growths.push(("world with an optional export".to_owned(), grown));
        let version = version(&wit);
        assert!(growths.len() >= 5, "{version}: {} growths", growths.len());
        for (growth, grown) in growths {
            if let Err(why) = is_compatible(&wit, &grown) {
                panic!("{version}: {growth} is rejected: {why}");
            }
        }
    }
}

/// The contract as released is in `tests/golden-X.Y/wit`.
#[test]
fn the_contract_is_compatible_with_every_release() {
    let mut releases = 0;
    for entry in std::fs::read_dir(root().join("tests")).expect("the folder tests") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(series) = name.strip_prefix("golden-") else { continue };
        let released = wit_in(&path.join("wit")).unwrap_or_else(|| panic!("{name}/wit has no WIT"));
        let is_of_series = |wit: &Wit| version(wit).starts_with(&format!("{series}."));
        assert!(is_of_series(&released), "{name}/wit is {}", version(&released));
        let current = contracts().into_iter().find(is_of_series);
        let current = current.unwrap_or_else(|| panic!("the contract {series} is gone from the folder wit"));
        is_compatible(&released, &current).unwrap_or_else(|why| panic!("{series}: {why}"));
        if version(&current) == version(&released) {
            // The same version has the same functions.
            is_compatible(&current, &released).unwrap_or_else(|why| panic!("{series} has grown: {why}"));
        }
        releases += 1;
    }
    assert!(releases > 0);
}

/// componentize-py copies them into Python's docstrings, where a backslash begins an escape.
#[test]
fn comments_of_the_contract_have_no_backslashes() {
    let folder = root().join("wit/v0.2");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains('\\'), "{}", path.display());
    }
}
