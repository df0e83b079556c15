//! `--watch`: the test is repeated when a file changes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use super::Folder;
use crate::support::running::BINARY;
use crate::support::{DEADLINE, guests, until};

/// A running `policy test --watch`; dropping it kills the process.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(policy: &Path, scenario: &Path) -> Self {
        // Tests that run in the background may ignore Ctrl-C, and child processes inherit that.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", BINARY, "policy", "test", "--watch"])
            .args([policy, scenario])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting reprieve");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let errors = BufReader::new(child.stderr.take().expect("its errors"));
        let (tell, lines) = std::sync::mpsc::channel();
        let tell_errors = tell.clone();
        // Reads have no timeout; waiting for a line does.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| tell_errors.send(line))
        });
        Self { child, lines }
    }

    #[track_caller]
    fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect("it tests again");
            if line.contains(part) {
                return line;
            }
        }
    }

    #[track_caller]
    fn summary(&self) -> String {
        self.line_with(" passed, ")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watch_repeats_the_test_when_the_scenario_or_the_policy_changes() {
    let folder = Folder::new();
    let good = "settings = { note = \"a\" }\n[[step]]\nlogin = \"alice\"\nexpect = { note = \"a\" }\n";
    let (scenario, policy) = (folder.0.path().join("one.toml"), folder.0.path().join("policy.wasm"));
    let new = folder.0.path().join("new");
    // Replaces the file, as editors and builds do.
    let become_scenario = |content: &str| {
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &scenario).unwrap();
    };
    let become_policy = |component: &Path| {
        std::fs::copy(component, &new).unwrap();
        std::fs::rename(&new, &policy).unwrap();
    };
    become_scenario(good);
    become_policy(guests::mirror());
    let mut watching = Watching::start(&policy, &scenario);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    become_scenario(&good.replace("{ note = \"a\" }\n[[", "{ note = \"longer\" }\n[["));
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    // An unreadable file is reported; the next run follows when it is readable again.
    become_scenario("[[step");
    watching.line_with("one.toml:1");
    become_scenario(good);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    // Emptying and slowly rewriting a file is one change.
    std::fs::write(&scenario, "").unwrap();
    std::fs::write(&scenario, good.replace("expect = { note = \"a\" }", "expect = \"deny\"")).unwrap();
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    become_scenario(good);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    // This policy accepts any settings and returns no note.
    become_policy(guests::hostile());
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    let signalled = Command::new("kill").args(["-INT", &watching.child.id().to_string()]).status();
    assert!(signalled.expect("running kill").success());
    let mut ended = None;
    until("it has ended", || {
        ended = watching.child.try_wait().expect("its state");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|ended| std::os::unix::process::ExitStatusExt::signal(&ended)), Some(2));
}
