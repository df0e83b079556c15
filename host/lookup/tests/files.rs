//! Tables follow their files, and files are made by `compile`.

use std::path::Path;

use reprieve_lookup::{Form, Problem, Tables, compile, read};

fn value(tables: &Tables, key: &str) -> Option<String> {
    tables.get("users", key).unwrap().map(String::from)
}

#[test]
fn the_form_is_recognised_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("users.tbl"), folder.path().join("users.txt"));
    std::fs::write(&source, "alice\nbob 10m\n").unwrap();
    assert_eq!(compile(&source, &target).unwrap().len(), 2);
    for (path, form) in [(&source, Form::Text), (&target, Form::Compiled)] {
        let (table, found) = read(path).unwrap();
        assert_eq!((found, table.get("bob")), (form, Some("10m")));
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 2, "nothing else is left behind");
}

#[test]
fn compile_replaces_the_target_only_if_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("users.txt"), folder.path().join("users.tbl"));
    std::fs::write(&source, "alice 1\n").unwrap();
    compile(&source, &target).unwrap();
    let in_use = Tables::open([("users", &*target)]).unwrap();
    std::fs::write(&source, "alice 2\nalice 3\n").unwrap();
    let error = compile(&source, &target).unwrap_err().to_string();
    assert!(
        error.ends_with("users.txt:2: the key \"alice\" is already on line 1; remove one of the two lines")
    );
    assert_eq!(read(&target).unwrap().0.get("alice"), Some("1"));
    std::fs::write(&source, "alice 2\n").unwrap();
    compile(&source, &target).unwrap();
    assert_eq!(value(&in_use, "alice").as_deref(), Some("1"), "the old file is kept while it is mapped");
    assert!(matches!(compile(&source, &source).unwrap_err().problem(), Problem::SameFile));
    assert!(matches!(compile(&target, &source).unwrap_err().problem(), Problem::AlreadyCompiled));
    let nowhere = folder.path().join("no/users.tbl");
    assert!(matches!(compile(&source, &nowhere).unwrap_err().problem(), Problem::Unwritable(_)));
    for wrong in [folder.path(), Path::new("/dev/null")] {
        assert!(matches!(read(wrong).unwrap_err().problem(), Problem::NotAFile));
    }
    assert_eq!(std::fs::read(&source).unwrap(), b"alice 2\n");
}

#[test]
fn a_changed_file_is_read_when_it_has_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    std::fs::write(&path, "alice 1\n").unwrap();
    let tables = Tables::open([("users", &*path)]).unwrap();
    assert!(tables.reload_changed().is_empty() && tables.reload_changed().is_empty());
    std::fs::write(&path, "alice 2\n").unwrap();
    assert!(tables.reload_changed().is_empty(), "it may be incomplete");
    std::fs::write(&path, "alice 2\nbob\n").unwrap();
    assert!(tables.reload_changed().is_empty(), "it has changed again");
    assert_eq!(value(&tables, "alice").as_deref(), Some("1"));
    let [reload] = &*tables.reload_changed() else { panic!("one table") };
    assert_eq!(*reload.result.as_ref().unwrap(), 2);
    assert_eq!(value(&tables, "alice").as_deref(), Some("2"));
    assert!(tables.reload_changed().is_empty(), "once");
}

#[test]
fn a_reload_on_request_does_not_wait_and_skips_what_has_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    std::fs::write(&path, "alice 1\n").unwrap();
    let tables = Tables::open([("users", &*path)]).unwrap();
    assert!(tables.reload().is_empty());
    std::fs::write(&path, "alice 2\n").unwrap();
    assert_eq!(tables.reload().len(), 1);
    assert_eq!(value(&tables, "alice").as_deref(), Some("2"));
}

#[test]
fn a_broken_version_leaves_the_old_one_in_use_and_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    std::fs::write(&path, "alice 1\n").unwrap();
    let tables = Tables::open([("users", &*path)]).unwrap();
    let check = |expected: Option<&str>| {
        assert!(tables.reload_changed().is_empty());
        let [reload] = &*tables.reload_changed() else { panic!("one table") };
        assert!(tables.reload_changed().is_empty() && tables.reload_changed().is_empty());
        let reported = reload.result.as_ref().err().map(ToString::to_string);
        let state = tables.states().next().unwrap();
        assert_eq!(state.error.map(|error| error.to_string()), reported);
        match (reported, expected) {
            (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (reported, expected) => assert_eq!(reported.as_deref(), expected),
        }
    };
    std::fs::write(&path, "alice 2\nalice 3\n").unwrap();
    check(Some("users.txt:2: the key \"alice\""));
    assert_eq!(value(&tables, "alice").as_deref(), Some("1"));
    std::fs::remove_file(&path).unwrap();
    check(Some("No such file"));
    assert_eq!(value(&tables, "alice").as_deref(), Some("1"));
    assert_eq!(tables.reload().len(), 1, "on request, it is tried again");
    std::fs::write(&path, "alice 4\n").unwrap();
    check(None);
    assert_eq!(value(&tables, "alice").as_deref(), Some("4"));
}

#[test]
fn a_text_can_be_replaced_by_its_compiled_form() {
    let folder = tempfile::tempdir().unwrap();
    let (source, used) = (folder.path().join("users.txt"), folder.path().join("users"));
    std::fs::write(&source, "alice 1\nbob\n").unwrap();
    std::fs::write(&used, "alice 0\n").unwrap();
    let tables = Tables::open([("users", &*used)]).unwrap();
    compile(&source, &used).unwrap();
    assert_eq!(tables.reload().len(), 1);
    assert_eq!(value(&tables, "alice").as_deref(), Some("1"));
    let state = tables.states().next().unwrap();
    assert_eq!((state.form, state.entries), (Some(Form::Compiled), 2));
}

#[test]
fn the_error_of_the_first_reading_names_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.txt");
    let (name, error) = Tables::open([("users", &*path)]).unwrap_err();
    assert_eq!(name, "users");
    assert!(error.to_string().contains("users.txt: cannot be read: No such file"), "{error}");
}
