use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::deliveries::recorder::Recorder;
use super::*;

fn line(user: &str) -> String {
    format!("2026-11-27T22:11:26Z mx dovecot: lmtp({user})<812><CVN5B>: msgid=<1@x>: saved mail to INBOX\n")
}

/// A log in a folder, and a follower of it.
struct Log {
    folder: tempfile::TempDir,
    follower: LogFollower,
    recorder: Recorder,
}

impl Log {
    /// A log with one delivery, to `before`, at whose end the follower has started.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let follower = follower(folder.path());
        let mut log = Self { folder, follower, recorder: Recorder::default() };
        log.append("mail.log", line("before"));
        assert_eq!(log.poll().await, [""; 0], "the log's past is not news");
        assert_eq!(log.recorder.take_gaps(), [Gap::NoPosition]);
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// The users of the deliveries that a poll finds.
    async fn poll(&mut self) -> Vec<String> {
        self.follower.poll(&self.recorder).await.unwrap();
        self.recorder.take_users()
    }

    /// Stops the follower and starts another one.
    fn restart(&mut self) {
        self.follower.save();
        self.crash();
    }

    /// Starts another follower with the last position that was written.
    fn crash(&mut self) {
        self.follower = follower(self.folder.path());
    }

    #[track_caller]
    fn has_no_gap(&self) {
        assert_eq!(self.recorder.take_gaps(), []);
    }
}

fn follower(folder: &Path) -> LogFollower {
    LogFollower::new(folder.join("mail.log"), folder.join("position.json"))
}

#[tokio::test]
async fn deliveries_are_found_once_when_their_lines_are_complete() {
    let mut log = Log::new().await;
    assert_eq!(log.poll().await, [""; 0]);
    log.append(
        "mail.log",
        "2026-11-27T22:11:26Z mx postfix/smtpd[1]: connect\n".to_owned() + &line("a") + &line("b"),
    );
    assert_eq!(log.poll().await, ["a", "b"]);
    let whole = line("c");
    let (half, rest) = whole.split_at(60);
    log.append("mail.log", half);
    assert_eq!(log.poll().await, [""; 0]);
    assert_eq!(log.poll().await, [""; 0]);
    log.append("mail.log", rest);
    assert_eq!(log.poll().await, ["c"]);
    log.append("mail.log", line("many").repeat(5000));
    assert_eq!(log.poll().await.len(), 5000);
    log.has_no_gap();
}

#[tokio::test]
async fn a_live_delivery_has_the_time_of_reading_and_a_past_one_that_of_the_log() {
    let logged_ms = 1_795_817_486_000;
    let mut log = Log::new().await;
    log.append("mail.log", line("live"));
    log.follower.poll(&log.recorder).await.unwrap();
    let now = now_ms();
    assert!(log.recorder.take()[0].at_ms.abs_diff(now) < 60_000);
    log.restart();
    log.append("mail.log", line("past"));
    log.append("mail.log", line("without a zone").replace("2026-11-27T22:11:26Z", "Nov 27 22:11:26"));
    log.follower.poll(&log.recorder).await.unwrap();
    let past = log.recorder.take();
    assert_eq!(past[0].at_ms, logged_ms.min(now));
    assert!(past[1].at_ms >= now, "its time is not known");
    log.append("mail.log", line("live"));
    log.follower.poll(&log.recorder).await.unwrap();
    assert!(log.recorder.take()[0].at_ms >= now);
}

#[tokio::test]
async fn rotation_by_renaming_loses_nothing_in_either_file() {
    let mut log = Log::new().await;
    log.append("mail.log", line("a"));
    log.rename("mail.log", "mail.log.1");
    assert_eq!(log.poll().await, ["a"]);
    log.append("mail.log.1", line("b"));
    assert_eq!(log.poll().await, ["b"], "there is no new file yet");
    log.append("mail.log.1", line("c"));
    log.append("mail.log", line("d"));
    assert_eq!(log.poll().await, ["c", "d"]);
    log.append("mail.log.1", line("late"));
    log.append("mail.log", line("e"));
    assert_eq!(log.poll().await, ["late", "e"], "a program that has not opened the new file");
    log.restart();
    log.append("mail.log.1", line("later"));
    log.append("mail.log", line("f"));
    assert_eq!(log.poll().await, ["later", "f"]);
    // The renamed file is compressed and removed; then the next rotation.
    fs::remove_file(log.path("mail.log.1")).unwrap();
    assert_eq!(log.poll().await, [""; 0]);
    assert!(log.follower.older.is_empty(), "a removed file is not kept open");
    log.rename("mail.log", "mail.log.1");
    log.append("mail.log", line("g"));
    assert_eq!(log.poll().await, ["g"]);
    log.has_no_gap();
}

#[tokio::test]
async fn truncation_after_copying_continues_in_the_copy_and_is_a_gap() {
    let mut log = Log::new().await;
    log.append("mail.log", line("a"));
    assert_eq!(log.poll().await, ["a"]);
    log.append("mail.log", line("b"));
    fs::copy(log.path("mail.log"), log.path("mail.log.1")).unwrap();
    log.append("mail.log", line("lost"));
    OpenOptions::new().write(true).truncate(true).open(log.path("mail.log")).unwrap();
    log.append("mail.log", line("c"));
    let mut found = log.poll().await;
    found.extend(log.poll().await);
    found.sort();
    assert_eq!(found, ["b", "c"]);
    assert_eq!(log.recorder.take_gaps(), [Gap::Truncated]);
    // A truncated file that has grown beyond the position.
    OpenOptions::new().write(true).truncate(true).open(log.path("mail.log")).unwrap();
    log.append("mail.log", line("other1") + &line("other2"));
    assert_eq!(log.poll().await, ["other1", "other2"]);
    assert_eq!(log.recorder.take_gaps(), [Gap::Truncated]);
}

#[tokio::test]
async fn after_a_restart_the_follower_continues_at_its_position() {
    let mut log = Log::new().await;
    log.append("mail.log", line("a"));
    assert_eq!(log.poll().await, ["a"]);
    log.restart();
    log.append("mail.log", line("b"));
    assert_eq!(log.poll().await, ["b"], "written while it was down");
    log.restart();
    log.append("mail.log", line("c"));
    log.rename("mail.log", "mail.log.1");
    log.append("mail.log", line("d"));
    assert_eq!(log.poll().await, ["c", "d"], "rotated while it was down");
    log.has_no_gap();
}

#[tokio::test]
async fn a_crash_repeats_signals_and_never_skips_any() {
    let mut log = Log::new().await;
    log.follower.save();
    let before = fs::read(log.path("position.json")).unwrap();
    log.append("mail.log", line("a"));
    *log.recorder.is_unavailable.lock() = true;
    assert_eq!(log.follower.poll(&log.recorder).await, Err(NotWritten));
    log.append("mail.log", line("b"));
    assert_eq!(log.follower.poll(&log.recorder).await, Err(NotWritten));
    log.restart();
    *log.recorder.is_unavailable.lock() = false;
    assert_eq!(log.poll().await, ["a", "b"], "nobody had taken them");
    // A crash before the position was written.
    fs::write(log.path("position.json"), before).unwrap();
    log.crash();
    assert_eq!(log.poll().await, ["a", "b"]);
    log.has_no_gap();
}

#[tokio::test]
async fn a_position_that_is_gone_is_a_gap() {
    for damage in ["other file", "compressed", "between", "position"] {
        let mut log = Log::new().await;
        log.append("mail.log", line("a"));
        assert_eq!(log.poll().await, ["a"]);
        log.restart();
        let mut expected = Gap::RotatedAway;
        match damage {
            "other file" => fs::write(log.path("mail.log"), line("x").repeat(9)).unwrap(),
            "compressed" => {
                fs::remove_file(log.path("mail.log")).unwrap();
                log.append("mail.log.1.gz", "compressed");
                log.append("mail.log", line("x"));
            }
            "between" => {
                log.rename("mail.log", "mail.log.2");
                log.append("mail.log.2", line("b"));
                log.append("mail.log.1", line("lost"));
                let later = std::time::SystemTime::now() + Duration::from_secs(5);
                OpenOptions::new()
                    .write(true)
                    .open(log.path("mail.log.1"))
                    .unwrap()
                    .set_modified(later)
                    .unwrap();
                log.append("mail.log", line("x"));
            }
            _ => {
                fs::write(log.path("position.json"), "{").unwrap();
                expected = Gap::NoPosition;
            }
        }
        let found = log.poll().await;
        assert!(found.is_empty() || (damage == "between" && found == ["b"]), "{damage}: {found:?}");
        assert_eq!(log.recorder.take_gaps(), [expected], "{damage}");
        log.append("mail.log", line("c"));
        assert_eq!(log.poll().await, ["c"], "{damage}");
        log.has_no_gap();
    }
}

#[tokio::test]
async fn hostile_lines_are_gaps_and_the_next_line_is_read() {
    let mut log = Log::new().await;
    for length in [tail::LINE_LIMIT + 1, 3 << 20] {
        log.append("mail.log", vec![b'x'; length]);
        log.poll().await;
        log.append("mail.log", vec![b'x'; 10]);
        log.poll().await;
        log.append("mail.log", "\n".to_owned() + &line("a"));
        assert_eq!(log.poll().await, ["a"], "{length}");
        assert_eq!(log.recorder.take_gaps(), [Gap::LineTooLong], "{length}");
    }
    log.append("mail.log", "Nov 27 22:11:26 mx postfix/lmtp[1]: A: to=<x, status=sent (250)\n");
    log.append("mail.log", b"\xff\xfe\0\n\n".repeat(100));
    log.append("mail.log", line("b"));
    assert_eq!(log.poll().await, ["b"]);
    assert!(matches!(log.recorder.take_gaps()[..], [Gap::Malformed(_)]));
}

#[tokio::test]
async fn a_log_that_does_not_exist_is_a_gap_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log { follower: follower(folder.path()), folder, recorder: Recorder::default() };
    assert_eq!(log.poll().await, [""; 0]);
    assert_eq!(log.poll().await, [""; 0]);
    assert_eq!(log.recorder.take_gaps(), [Gap::Unreadable; 2]);
    assert!(log.follower.problem.as_ref().unwrap().contains("No such file"));
    log.append("mail.log", line("a"));
    assert_eq!(log.poll().await, ["a"]);
    assert_eq!(log.follower.problem, None);
    log.has_no_gap();
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_a_gap_until_it_can() {
    let mut log = Log::new().await;
    log.restart();
    // A folder can be opened and not read, even by root.
    log.rename("mail.log", "saved");
    fs::create_dir(log.path("mail.log")).unwrap();
    fs::set_permissions(log.path("mail.log"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(log.poll().await, [""; 0]);
    assert!(log.recorder.take_gaps().contains(&Gap::Unreadable));
    fs::remove_dir(log.path("mail.log")).unwrap();
    log.rename("saved", "mail.log");
    log.append("mail.log", line("a"));
    let found = [log.poll().await, log.poll().await].concat();
    assert!(found.contains(&"a".to_owned()), "{found:?}");
}

#[tokio::test]
async fn the_position_is_written_when_the_follower_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mail.log"), line("before")).unwrap();
    let (recorder, stop) = (Recorder::default(), CancellationToken::new());
    let followed = follower(folder.path()).run(&recorder, stop.clone());
    let write = async {
        recorder.changed.notified().await;
        let mut log = OpenOptions::new().append(true).open(folder.path().join("mail.log")).unwrap();
        log.write_all(line("a").as_bytes()).unwrap();
        recorder.changed.notified().await;
        stop.cancel();
    };
    tokio::join!(followed, write);
    assert_eq!(recorder.take_users(), ["a"]);
    let position: Position =
        serde_json::from_slice(&fs::read(folder.path().join("position.json")).unwrap()).unwrap();
    assert_eq!(position.files[0].offset as usize, 2 * line("before").len() - 5);
}

/// How much of a core the follower needs per line, and per poll that finds nothing. Run it with
/// `--ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_per_line() {
    let mut log = Log::new().await;
    let other = "2026-11-27T22:11:26Z mx postfix/smtpd[812]: connect from mail.example.net[192.0.2.7], and some more text\n";
    for (name, text) in [("a delivery", line("alice")), ("another line", other.to_owned())] {
        log.append("mail.log", text.repeat(200_000));
        let began = std::time::Instant::now();
        log.poll().await;
        println!("{name}: {} ns per line", began.elapsed().as_nanos() / 200_000);
    }
    let began = std::time::Instant::now();
    for _ in 0..10_000 {
        log.poll().await;
    }
    println!("nothing new: {} ns per poll", began.elapsed().as_nanos() / 10_000);
}
