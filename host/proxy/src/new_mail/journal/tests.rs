use std::io::Write as _;
use std::path::Path;

use super::super::deliveries::recorder::Recorder;
use super::*;

const JOURNAL_REMOTE: &str = "/lib/systemd/systemd-journal-remote";
const BOOT: &str = "5d0b6c0e8d1c4a4f9b5e9c6f8f0d1b2a";

/// Writes a journal, through the program that receives those of other hosts.
struct Journal {
    folder: tempfile::TempDir,
    entries: u64,
}

impl Journal {
    fn new() -> Self {
        let mut journal = Self { folder: tempfile::tempdir().unwrap(), entries: 0 };
        journal.write("systemd", "Started.");
        journal
    }

    fn write(&mut self, program: &str, message: &str) {
        self.write_bytes(program, message.as_bytes());
    }

    /// Appends an entry, in the export format.
    fn write_bytes(&mut self, program: &str, message: &[u8]) {
        self.entries += 1;
        let at_us = now_ms() * 1000 + self.entries;
        let mut export = format!(
            "__REALTIME_TIMESTAMP={at_us}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={BOOT}\nSYSLOG_IDENTIFIER={program}\nMESSAGE\n",
            self.entries
        )
        .into_bytes();
        export.extend_from_slice(&(message.len() as u64).to_le_bytes());
        export.extend_from_slice(message);
        export.extend_from_slice(b"\n\n");
        let mut remote = Command::new(JOURNAL_REMOTE)
            .arg("--output")
            .arg(self.folder.path().join("remote.journal"))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("systemd-journal-remote; install it with tests/setup");
        remote.stdin.take().unwrap().write_all(&export).unwrap();
        let output = remote.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn follower(&self) -> JournalFollower {
        JournalFollower::new(Some(self.folder.path().into()), self.position())
    }

    fn position(&self) -> PathBuf {
        self.folder.path().join("position.json")
    }
}

/// Follows a journal while `during` runs, which gets a function that waits for the next users.
async fn while_following<'a, F: Future<Output = ()>>(
    follower: JournalFollower,
    recorder: &'a Recorder,
    during: impl FnOnce() -> F + 'a,
) {
    let stop = CancellationToken::new();
    let followed = follower.run(recorder, stop.clone());
    let limited = tokio::time::timeout(Duration::from_secs(60), async {
        during().await;
        stop.cancel();
    });
    let ((), limited) = tokio::join!(followed, limited);
    limited.expect("the journal was not followed within a minute");
}

/// Waits until these users' deliveries have been reported.
async fn reported(recorder: &Recorder, users: &[&str]) {
    let mut found = Vec::new();
    while found.len() < users.len() {
        recorder.changed.notified().await;
        found.extend(recorder.take_users());
    }
    assert_eq!(found, users);
}

fn delivered(user: &str) -> String {
    format!("lmtp({user})<812><CVN5B>: msgid=<1@x>: saved mail to INBOX")
}

#[tokio::test]
async fn deliveries_are_followed_and_continued_after_a_restart() {
    let (mut journal, recorder) = (Journal::new(), Recorder::default());
    journal.write("dovecot", &delivered("last"));
    let (follower, position) = (journal.follower(), journal.position());
    while_following(follower, &recorder, async || {
        // The last entry so far is the position; its delivery is not new, which does no harm.
        reported(&recorder, &["last"]).await;
        journal.write("dovecot", &delivered("a"));
        reported(&recorder, &["a"]).await;
        journal.write("sshd", &delivered("b"));
        journal.write(
            "postfix/pipe",
            "03EAC2E0EDD: to=<c@x>, relay=dovecot, delay=5, status=sent (delivered via dovecot service)",
        );
        journal.write_bytes("dovecot", &[delivered("d").as_bytes(), b"\xff\n"].concat());
        journal.write("dovecot", &delivered("e"));
        reported(&recorder, &["c@x", "e"]).await;
    })
    .await;
    assert_eq!(recorder.take_gaps(), [Gap::NoPosition]);
    assert!(position.exists());

    journal.write("dovecot", &delivered("while it was down"));
    let follower = journal.follower();
    while_following(follower, &recorder, async || {
        reported(&recorder, &["while it was down"]).await;
        journal.write("dovecot", &delivered("f"));
        reported(&recorder, &["f"]).await;
    })
    .await;
    assert_eq!(recorder.take_gaps(), []);
}

#[tokio::test]
async fn a_vacuumed_journal_is_a_gap() {
    let (mut journal, recorder) = (Journal::new(), Recorder::default());
    journal.write("dovecot", &delivered("a"));
    let follower = journal.follower();
    while_following(follower, &recorder, async || reported(&recorder, &["a"]).await).await;
    assert_eq!(recorder.take_gaps(), [Gap::NoPosition]);
    std::fs::remove_file(journal.folder.path().join("remote.journal")).unwrap();
    journal.write("dovecot", &delivered("b"));
    let follower = journal.follower();
    while_following(follower, &recorder, async || reported(&recorder, &["b"]).await).await;
    assert!(recorder.take_gaps().contains(&Gap::Vacuumed));
}

#[tokio::test]
async fn a_child_that_ends_is_reaped_reported_once_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut follower =
        JournalFollower::new(Some(folder.path().join("nowhere")), folder.path().join("position.json"));
    let recorder = Recorder::default();
    for _ in 0..2 {
        let ended = follower.follow(&recorder).await;
        assert!(ended.contains("No such file or directory"), "{ended}");
        follower.report(&ended, &recorder);
        assert!(recorder.take_gaps().contains(&Gap::Unreadable));
    }
    follower.program = Path::new("/nowhere/journalctl").into();
    let ended = follower.follow(&recorder).await;
    assert!(ended.starts_with("cannot run /nowhere/journalctl: No such file"), "{ended}");
}
