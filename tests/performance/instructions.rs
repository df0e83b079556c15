//! Instructions per poll, which hardly vary between runs. `tests/instructions.txt` has the counts;
//! the test fails if a poll takes more than 5 % more.
//!
//! Only instructions in user space count. The binary is the one of the tests, in which Reprieve
//! itself is not optimised; docs/performance.md has the counts of a release.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::alone::alone;
use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::running::{BINARY, Running};
use crate::support::tool::Tool;

const VALGRIND: Tool = Tool { program: "valgrind", package: "valgrind" };
const CONTROL: Tool = Tool { program: "callgrind_control", package: "valgrind" };

/// File of the expected counts.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/instructions.txt");
/// Polls before the counted ones, to warm up.
const BEFORE: usize = 100;
/// Counted polls.
const COUNTED: u64 = 500;
/// Tolerated increase in percent.
const TOLERATED: u64 = 5;

/// Instructions per poll with this setting of `interval`.
fn count(setting: &str) -> u64 {
    let server = mail_server(20);
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("callgrind");
    let mut valgrind = VALGRIND.command();
    valgrind
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .args([BINARY, "run", "--listen", "127.0.0.1:0", "--threads", "1", "--log-format", "json"])
        .args(["--backend", &server.address().to_string(), "--set", setting])
        .env("CACHE_DIRECTORY", cache());
    let mut reprieve = Running::spawn(&mut valgrind);
    let address = reprieve.address();
    let poll = || {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        assert!(session.ok("STAT").starts_with("20 "));
        session.quit();
    };
    (0..BEFORE).for_each(|_| poll());
    let instrument = |state: &str| {
        let done = Command::new(CONTROL.path()).args(["-i", state, &reprieve.id().to_string()]).output();
        let done = done.expect("running callgrind_control");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    };
    instrument("on");
    (0..COUNTED).for_each(|_| poll());
    instrument("off");
    reprieve.signal("-TERM");
    let log = reprieve.rest_of_log();
    assert!(reprieve.ended().success(), "{log}");
    let profile = std::fs::read_to_string(&profile).expect("callgrind's profile");
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals");
    totals.trim().parse::<u64>().unwrap() / COUNTED
}

/// Folder for compiled policies, below the target folder.
fn cache() -> std::path::PathBuf {
    std::env::var_os("CACHE_DIRECTORY").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-policies"),
        std::path::PathBuf::from,
    )
}

#[test]
fn a_poll_takes_no_more_instructions_than_before() {
    let _alone = alone();
    let kept = std::fs::read_to_string(KEPT).unwrap();
    let mut found = String::new();
    let mut dearer = Vec::new();
    for line in kept.lines() {
        let Some((name, rest)) = line.split_once(": ").filter(|_| !line.starts_with('#')) else {
            writeln!(found, "{line}").unwrap();
            continue;
        };
        let setting = match name {
            "denied poll" => "interval=1h",
            "passed poll" => "interval=0s",
            _ => panic!("{KEPT}: unknown kind of poll: {name:?}"),
        };
        let before: u64 = rest.trim().parse().unwrap();
        let now = count(setting);
        println!("{name}: {now} instructions, expected {before}");
        writeln!(found, "{name}: {now}").unwrap();
        if now > before + before * TOLERATED / 100 {
            dearer.push(format!("a {name} takes {now} instructions instead of {before}"));
        }
    }
    // The file with the new counts, for a change that justifies them.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions.txt"), found).unwrap();
    assert!(
        dearer.is_empty(),
        "{}. If that is justified, copy target/tmp/instructions.txt to tests/instructions.txt and give \
         the reason in the commit; otherwise `valgrind --tool=callgrind` shows where they are spent.",
        dearer.join("; ")
    );
}
