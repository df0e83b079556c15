//! Lookup tables: configured, checked, compiled, and read again when their files change.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::running::{BINARY, Running};

fn reprieve(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).current_dir(folder).output().expect("running reprieve")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A configuration whose lookup tables are on line 5.
fn configuration(lookups: &str) -> String {
    format!(
        "policy-cache = \"off\"\nadmin = {{ socket = \"admin.sock\" }}\n[[virtual-server]]\nname = \"pop3\"\n\
         lookups = {lookups}\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n\
         [pool.mail]\nnodes = [\"127.0.0.1:1\"]\nhealth-check = \"off\"\n"
    )
}

#[test]
fn check_names_the_line_of_the_table_and_that_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    write("twice.txt", b"alice 1\n# a comment\nbob\nalice 2\n");
    write("latin.txt", b"alice\nb\xf6b\n");
    write("good.txt", b"alice\n");
    for (lookups, expected) in [
        (
            "{ plans = \"twice.txt\" }",
            "reprieve: reprieve.toml:5: lookup table plans: twice.txt:4: the key \"alice\" is already on line 1; \
             remove one of the two lines\n",
        ),
        ("{ plans = \"latin.txt\" }", "lookup table plans: latin.txt:2: the line is not UTF-8; convert"),
        ("{ plans = \"no.txt\" }", "lookup table plans: no.txt: cannot be read: No such file"),
        ("{ plans = \".\" }", "lookup table plans: .: is not a file"),
        (
            "{ plans = 5 }",
            "reprieve.toml:5: `virtual-server.lookups.plans` is the number 5; it must be a string",
        ),
        (
            "{ plans = \"\" }",
            "`virtual-server.lookups.plans` is the string \"\"; it must be the path of a file",
        ),
        ("{ \"my plans\" = \"good.txt\" }", "must be made of up to 64 letters, digits"),
        ("\"good.txt\"", "`virtual-server.lookups` is the string \"good.txt\"; it must be a table"),
    ] {
        write("reprieve.toml", configuration(lookups).as_bytes());
        let output = reprieve(folder.path(), &["check", "--config", "reprieve.toml"]);
        assert_eq!(output.status.code(), Some(2), "{lookups}");
        assert!(said(&output).contains(expected), "{lookups}: {}", said(&output));
    }
    write("reprieve.toml", configuration("{ plans = \"good.txt\" }").as_bytes());
    let output = reprieve(folder.path(), &["check", "--config", "reprieve.toml"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_damaged_compiled_table_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.txt"), "alice 10m\nbob\n").unwrap();
    let output = reprieve(folder.path(), &["lookup", "compile", "users.txt", "-o", "users.tbl"]);
    assert!(said(&output).starts_with("users.tbl: 2 entries, 115B, compiled in "), "{output:?}");
    let table = folder.path().join("users.tbl");
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[80] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    std::fs::write(folder.path().join("reprieve.toml"), configuration("{ users = \"users.tbl\" }")).unwrap();
    for arguments in [&["check", "--config", "reprieve.toml"][..], &["lookup", "check", "users.tbl"]] {
        let output = reprieve(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(
            "users.tbl: is damaged (the checksum of its entries is wrong); compile it again with `reprieve lookup compile`"
        ), "{output:?}");
    }
}

#[test]
fn a_table_is_compiled_checked_and_asked_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.txt"), "alice 10m, please\nbob\n").unwrap();
    let output = reprieve(folder.path(), &["lookup", "compile", "users.txt", "-o", "users.tbl"]);
    assert!(output.status.success(), "{output:?}");
    for (table, form) in [("users.txt", "text"), ("users.tbl", "compiled")] {
        let output = reprieve(folder.path(), &["lookup", "check", table]);
        assert_eq!(said(&output), format!("{table}: {form}, 2 entries, 123B\n"));
        for (key, code, expected) in [
            ("alice", 0, "10m, please\n".to_owned()),
            ("bob", 0, "\n".to_owned()),
            ("Bob", 1, format!("reprieve: {table}: there is no key \"Bob\"\n")),
        ] {
            let output = reprieve(folder.path(), &["lookup", "get", table, key]);
            assert_eq!((output.status.code(), said(&output)), (Some(code), expected));
        }
    }
}

#[test]
fn a_changed_file_is_read_by_itself_and_at_a_reload_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("users.txt"), folder.path().join("admin.sock"));
    let status = || said(&reprieve(folder.path(), &["ctl", "--socket", "admin.sock", "status"]));
    let shown = |text: &str| format!("  lookup table users: {text} of {}", file.display());
    std::fs::write(&file, "alice\n").unwrap();
    let text =
        configuration(&format!("{{ users = {file:?} }}")).replace("\"admin.sock\"", &format!("{socket:?}"));
    let mut running = Running::with_configuration(folder.path(), &text);
    running.line_with("admin socket ready");
    assert!(status().contains(&shown("1 entries")), "{}", status());
    // Nobody asks for it.
    std::fs::write(&file, "alice\nbob\n").unwrap();
    let line = running.line_with("lookup table reloaded");
    assert!(line.contains("\"users\"") && line.contains('2'), "{line}");
    assert!(status().contains(&shown("2 entries")), "{}", status());
    std::fs::write(&file, "alice\nalice\n").unwrap();
    let line = running.line_with("the old one stays in use");
    assert!(line.contains("users.txt:2: the key") && line.contains("WARN"), "{line}");
    assert!(status().contains(&format!(
        "{}, NOT CURRENT: {}:2: the key",
        shown("2 entries"),
        file.display()
    )));
    let output = reprieve(folder.path(), &["ctl", "--socket", "admin.sock", "reload"]);
    assert!(said(&output).contains("lookup table users not reloaded"), "{output:?}");
    std::fs::write(&file, "alice\nbob\ncarol\n").unwrap();
    let output = reprieve(folder.path(), &["ctl", "--socket", "admin.sock", "reload"]);
    assert!(output.status.success(), "{output:?}");
    assert!(status().contains(&shown("3 entries")) && !status().contains("NOT CURRENT"), "{}", status());
}

#[test]
fn a_table_is_named_on_the_command_line_and_its_mistake_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.txt"), "alice\nalice\n").unwrap();
    for (lookup, expected) in [
        (
            "users=users.txt",
            "reprieve: --lookup: lookup table users: users.txt:2: the key \"alice\" is already",
        ),
        ("users.txt", "reprieve: --lookup: has \"users.txt\"; a lookup table is written as NAME=FILE"),
        ("my users=users.txt", "whose name must be made of up to 64 letters"),
    ] {
        let output = reprieve(
            folder.path(),
            &["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1", "--lookup", lookup],
        );
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}
