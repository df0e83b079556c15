//! `tests/compare`, which uses this program: it measures, and rejects wrong results. The figures are
//! not checked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compare");

/// Returns exit code, output and errors.
fn compare(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(SCRIPT)
        .args(["--load", env!("CARGO_BIN_EXE_reprieve-load")])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("tests/compare");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// A program that listens like Reprieve but does something else.
fn impostor(folder: &Path, body: &str) -> String {
    let path = folder.join("reprieve");
    let script = format!(
        "#!/usr/bin/env python3\nimport socket, sys\n\
         if '--version' in sys.argv: sys.exit('reprieve 0.0.1')\n\
         def address(name): host, port = sys.argv[sys.argv.index(name) + 1].split(':'); return host, int(port)\n\
         {body}"
    );
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path.to_str().expect("UTF-8").to_string()
}

/// A proxy that only copies bytes: right if logins must pass, and wrong if they must be denied.
const RELAY: &str = "
import threading
def copy(a, b):
    while data := a.recv(65536): b.sendall(data)
    b.shutdown(socket.SHUT_WR)
server = socket.create_server(address('--listen'), backlog=1024)
while True:
    client, _ = server.accept()
    backend = socket.create_connection(address('--backend'))
    for pair in ((client, backend), (backend, client)): threading.Thread(target=copy, args=pair, daemon=True).start()
";

/// Few and short rounds, because the figures are not checked.
const SMALL: [&str; 8] = ["--rounds", "2", "--scale", "0.02", "--users", "20", "--max-steal", "100"];

fn of(reprieve: &str, more: &[&str]) -> (i32, String, String) {
    compare(&[&["--peers", "reprieve", "--reprieve", reprieve][..], &SMALL, more].concat())
}

#[test]
fn the_figures_of_a_correct_proxy_are_in_the_table_and_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let reprieve = impostor(folder.path(), RELAY);
    let file = folder.path().join("run.json");
    let file = file.to_str().unwrap();
    let suites = "passed,uidl,bulk,memory-banner,memory-relayed,latency";
    let (code, table, errors) = of(&reprieve, &["--suites", suites, "--json", file]);
    assert_eq!(code, 0, "{table}{errors}");
    let rows: Vec<_> = table.lines().filter(|line| line.ends_with(" × |")).collect();
    assert!(rows.len() >= 4 && rows[0].starts_with("| passed poll: µs of CPU a session | "), "{table}");
    assert!(table.contains("of 2 interleaved rounds") && table.contains("Reprieve 0.0.1"), "{table}");

    let (code, pooled, errors) = compare(&["--show", file, file]);
    assert_eq!(code, 0, "{errors}");
    assert!(pooled.contains("of 4 interleaved rounds"), "{pooled}");
}

#[test]
fn a_denial_that_reaches_the_mail_server_has_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let (code, table, errors) = of(&impostor(folder.path(), RELAY), &["--suites", "denied,memory-posed"]);
    assert_eq!(code, 1, "{table}{errors}");
    assert!(table.contains("No round was completed."), "{table}");
    assert!(table.contains("logins instead of 0"), "{table}");
}

#[test]
fn a_proxy_with_wrong_replies_has_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let relay = RELAY.replace("b.sendall(data)", "b.sendall(data.replace(b'+OK 20 ', b'+OK 21 '))");
    let (code, table, errors) = of(&impostor(folder.path(), &relay), &["--suites", "passed"]);
    assert_eq!(code, 1, "{table}{errors}");
    assert!(table.contains("wrong reply at STAT"), "{table}");
}

#[test]
fn the_error_of_a_proxy_that_does_not_start_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let reprieve = impostor(folder.path(), "sys.exit('the moon is full')\n");
    let (code, table, errors) = of(&reprieve, &["--suites", "passed"]);
    assert_eq!(code, 1, "{table}{errors}");
    assert!(table.contains("did not start: the moon is full"), "{table}");
}

#[test]
fn errors_name_the_missing_program_and_the_known_values() {
    for (args, says) in [
        (&["--reprieve", "/nowhere/reprieve"][..], "cargo build --release"),
        (&["--load", "/nowhere/load", "--peers", "haproxy"], "cargo build --release -p reprieve-load"),
        (&["--suites", "denyed"], "memory-posed"),
        (&["--peers", "squid"], "haproxy-lua"),
        (&["--baseline", "squid"], "haproxy-lua"),
        (&["--rounds", "0"], "above zero"),
        (&["--show", "/nowhere/run.json"], "/nowhere/run.json"),
    ] {
        let (code, _, errors) = compare(args);
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains(says), "{says:?} is missing in {errors}");
    }
}

#[test]
fn ratios_are_computed_per_round() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    // In each round the second is twice the first; a slow round does not change the ratio.
    let rounds: Vec<_> = [(10, 20), (12, 24), (100, 200)]
        .map(|(one, two)| {
            let peers = format!(r#"{{"reprieve": {{"value": {one}}}, "haproxy": {{"value": {two}}}}}"#);
            format!(r#"{{"steal": 0.5, "peers": {peers}}}"#)
        })
        .into();
    let result = format!(
        r#"{{"format": 1, "machine": "m", "accounting": "a", "cores": "c", "skipped": {{}},
            "titles": {{"reprieve": "Reprieve", "haproxy": "HAProxy"}}, "versions": {{"HAProxy": "2"}},
            "suites": {{"passed": {{"rounds": [{}], "thrown_away": [7.0], "errors": []}}}}}}"#,
        rounds.join(",")
    );
    std::fs::write(&file, result).unwrap();
    let file = file.to_str().unwrap();
    let (code, table, errors) = compare(&["--show", file]);
    assert_eq!(code, 0, "{errors}");
    assert!(table.contains("| 12 (10–100), 1.00 × | 24 (20–200), 2.00 × |"), "{table}");
    assert!(table.contains("thrown away for it: 1"), "{table}");
    let (_, table, _) = compare(&["--show", file, "--baseline", "haproxy"]);
    assert!(table.contains("| 12 (10–100), 0.50 × | 24 (20–200), 1.00 × |"), "{table}");
}
