//! The store in a file survives restarts, kills and full disks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::farm::FarmNode;
use crate::support::proxy::Setup;
use crate::support::running::{BINARY, Running};
use crate::support::until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reprieve_store::StoreConfig;
use reprieve_store::clock::SystemClock;
use reprieve_store::{NamespaceConfig, Store, StoreSecrets};

fn configuration(folder: &Path, node: SocketAddr, store: &str) -> String {
    let at = folder.display();
    crate::support::write_secret(&folder.join("secret"), "the secret of this machine alone\n");
    let top = format!(
        "admin = {{ socket = \"{at}/admin.sock\" }}\n[store]\nbackend = \"file\"\npath = \"{at}/store.redb\"\n{store}"
    );
    let policy = "settings = { interval = \"1h\" }";
    Setup { top: &top, policy, threads: 2, ..Setup::default() }.text(&[node])
}

/// Runs `reprieve store`; returns success and output.
fn store(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let file = folder.join("reprieve.toml");
    let run = Command::new(BINARY).arg("store").args(arguments).arg("--config").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.success(), said)
}

fn poll(server: SocketAddr, user: &str) -> std::io::Result<bool> {
    use std::io::{BufRead as _, BufReader, Write as _};
    // The server may be killed at any time, which is not a failure.
    let mut stream = std::net::TcpStream::connect(server)?;
    let mut replies = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(format!("USER {user}\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n").as_bytes())?;
    let mut all = Vec::new();
    for line in &mut replies {
        all.push(line?);
    }
    Ok(all.len() == 5 && all.iter().all(|line| line.starts_with("+OK")))
}

#[test]
fn fifty_kills_at_random_times_lose_only_the_latest_writes() {
    /// The documented bound on lost writes.
    const SAVE_EVERY: Duration = Duration::from_millis(300);
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), node.address(), "save-every = \"300ms\"");
    let mut chance = StdRng::seed_from_u64(4);
    let mut known: HashMap<String, Instant> = HashMap::new();
    for round in 0..50 {
        let mut running = Running::with_configuration(folder.path(), &text);
        let server = running.address();
        let stop = AtomicBool::new(false);
        let passed = Mutex::new(Vec::new());
        let killed = std::thread::scope(|scope| {
            for worker in 0..3 {
                let (stop, passed) = (&stop, &passed);
                scope.spawn(move || {
                    for turn in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let user = format!("user-{round}-{worker}-{turn}");
                        if poll(server, &user).unwrap_or(false) {
                            passed.lock().unwrap().push((user, Instant::now()));
                        }
                    }
                });
            }
            let lives = Duration::from_millis(chance.random_range(50..900));
            // The lifetime of the process is the variable of this test.
            std::thread::sleep(lives);
            let killed = Instant::now();
            running.signal("-KILL");
            stop.store(true, Ordering::SeqCst);
            running.ended();
            killed
        });
        known.extend(passed.into_inner().unwrap());
        let export = folder.path().join("export");
        let (opened, said) = store(folder.path(), &["export", export.to_str().unwrap()]);
        assert!(opened, "round {round}: {said}");
        let kept = std::fs::read_to_string(&export).unwrap();
        let kept: std::collections::HashSet<_> = kept
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["key"].as_str().unwrap().to_owned())
            .collect();
        let mut forgotten = 0;
        known.retain(|user, at| {
            let is_kept = kept.contains(&format!("~{user}"));
            if !is_kept {
                forgotten += 1;
                let age = killed.duration_since(*at);
                assert!(
                    age <= SAVE_EVERY,
                    "round {round}: {user} was forgotten, {age:?} after it was written"
                );
            }
            is_kept
        });
        assert!(known.len() > round, "round {round}: {} known, {forgotten} forgotten", known.len());
    }
    assert!(known.len() > 1000, "there was load: {}", known.len());
    // The quota counts the existing entries, whatever was lost.
    let export = std::fs::read_to_string(folder.path().join("export")).unwrap();
    let counted: usize = export
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        // `interval` keeps eight bytes of a user: twelve in Base64, with padding.
        .map(|line| {
            72 + line["key"].as_str().unwrap().len() + line["value"].as_str().unwrap().len() / 4 * 3 - 1
        })
        .sum();
    let (done, said) = store(folder.path(), &["stats", "--json"]);
    assert!(done, "{said}");
    let stats: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(stats[0]["namespaces"][0]["bytes"], counted, "{said}");
}

#[test]
fn after_a_shutdown_nobody_passes_again_and_after_a_kill_each_user_passes_once() {
    let dovecot = Dovecot::start(&["anna"]);
    dovecot.deliver_many("anna", 2);
    let folder = tempfile::tempdir().unwrap();
    let share = format!(
        "save-every = \"50ms\"\nshare = \"tags+snapshots\"\nsecret-file = \"{}/secret\"",
        folder.path().display()
    );
    let text = configuration(folder.path(), dovecot.address(), &share);
    let polled = |server| {
        let mut dialogue = Dialogue::log_in(&dovecot.account_at(server, "anna"));
        let count = dialogue.lines("UIDL").len();
        dialogue.quit();
        (count, dovecot.logins("anna"))
    };
    let mut running = Running::with_configuration(folder.path(), &text);
    let server = running.address();
    assert_eq!((polled(server), polled(server)), ((2, 1), (2, 1)));
    running.signal("-TERM");
    assert!(running.ended().success());
    // A new process poses from the old one's snapshot.
    let mut running = Running::with_configuration(folder.path(), &text);
    let server = running.address();
    assert_eq!(polled(server), (2, 1));
    running.signal("-KILL");
    running.ended();
    // The last writes may be lost, including a session that saw a newer maildrop.
    let mut running = Running::with_configuration(folder.path(), &text);
    let server = running.address();
    assert_eq!(polled(server), (2, 2));
    assert_eq!(polled(server), (2, 2));
}

#[test]
fn a_full_disk_is_reported_once_and_the_store_continues_in_memory() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), node.address(), "save-every = \"20ms\"");
    std::fs::write(folder.path().join("reprieve.toml"), &text).unwrap();
    // Files of this process cannot grow beyond 2 MB, which looks like a full disk.
    let mut running = Running::spawn(
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec prlimit --fsize=2000000:unlimited \"$0\" \"$@\"", BINARY])
            .args(["run", "--log-format", "json", "--config"])
            .arg(folder.path().join("reprieve.toml"))
            .stdin(Stdio::null()),
    );
    let server = running.address();
    let mut users = 0;
    let mut fill = |count: usize| {
        for _ in 0..count {
            users += 1;
            let name = format!("user-with-a-long-name-so-that-the-file-fills-{users}-{}", "x".repeat(150));
            assert!(poll(server, &name).unwrap(), "clients are not affected");
        }
        users
    };
    let status = || {
        let socket = folder.path().join("admin.sock");
        let run = Command::new(BINARY).args(["ctl", "status", "--socket"]).arg(socket).output().unwrap();
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    fill(500);
    until("the disk is full", || {
        fill(50);
        status().contains("in memory only: cannot")
    });
    let line = running.line_with("store's file cannot be used");
    assert!(line.contains("store.redb") && line.contains("ERROR"), "{line}");
    let known = fill(20);
    // Space becomes available.
    let raised =
        Command::new("prlimit").args(["--fsize=unlimited", "--pid", &running.id().to_string()]).status();
    assert!(raised.unwrap().success());
    until("all is written", || status().contains("store.redb, healthy"));
    running.line_with("can be written again");
    running.signal("-TERM");
    assert!(running.ended().success());
    let export = folder.path().join("export");
    let (done, said) = store(folder.path(), &["export", export.to_str().unwrap()]);
    assert!(done, "{said}");
    let kept = std::fs::read_to_string(&export).unwrap().lines().count();
    assert_eq!(kept, known, "what was written meanwhile is there, too");
}

#[test]
fn errors_in_the_stores_file_are_reported_with_their_location() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let start = |change: &dyn Fn(String) -> String| {
        let text = change(configuration(folder.path(), node.address(), ""));
        let file = folder.path().join("reprieve.toml");
        std::fs::write(&file, text).unwrap();
        let run = Command::new(BINARY).args(["run", "--config"]).arg(&file).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, said) = start(&|text| text.replace("/store.redb", "/no/such/directory/store.redb"));
    assert!(code == Some(2) && said.contains("reprieve.toml:4: `path`: the directory"), "{said}");
    std::fs::write(folder.path().join("other"), "some other file ".repeat(1000)).unwrap();
    let (code, said) = start(&|text| text.replace("/store.redb", "/other"));
    assert!(code == Some(2) && said.contains("is not a store of Reprieve; move it away"), "{said}");
    let (code, said) = start(&|text| text.replace("/store.redb", ""));
    assert!(code == Some(2) && said.contains("is a directory"), "{said}");
    let (code, said) = start(&|text| text.replace("backend = \"file\"", "backend = \"redis\""));
    assert!(
        code == Some(2) && said.contains("reprieve.toml:6: `store.path` belongs to `backend = \"file\"`"),
        "{said}"
    );
    let (code, said) = start(&|text| text.replace("backend =", "share = \"tags\"\nbackend ="));
    assert!(code == Some(2) && said.contains("`store.secret-file` is missing"), "{said}");
    let short = folder.path().join("short");
    crate::support::write_secret(&short, "guess me\n");
    let with_short = format!("share = \"tags\"\nsecret-file = \"{}\"\nbackend =", short.display());
    let (code, said) = start(&|text| text.replace("backend =", &with_short));
    assert!(code == Some(2) && said.contains("openssl rand -base64 32") && !said.contains("guess"), "{said}");

    let text = configuration(folder.path(), node.address(), "");
    let mut running = Running::with_configuration(folder.path(), &text);
    running.address();
    let (code, said) = start(&|text| text);
    assert!(code == Some(2) && said.contains("in use by another process"), "{said}");
    // `check` does not touch a running server's file.
    let file = folder.path().join("reprieve.toml");
    let check = Command::new(BINARY).args(["check", "--config"]).arg(&file).status().unwrap();
    assert!(check.success());
}

#[tokio::test]
async fn a_large_file_shrinks_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let config = StoreConfig::from_argument(&format!("file:{}", path.display())).unwrap();
    let open = || Store::open(StoreSecrets::read(&config).unwrap(), Arc::new(SystemClock)).unwrap();
    let size = || std::fs::metadata(&path).unwrap().len();
    let store = open();
    let space = store.namespace(NamespaceConfig::for_policies("large", 1 << 30));
    for number in 0..1500 {
        space.set(&number.to_string(), &[7; 65_536], None).await.unwrap().unwrap();
    }
    assert!(store.save().await);
    assert!(size() > 90 << 20, "{}", size());
    space.clear().await.unwrap();
    space.set("stays", b"1", None).await.unwrap().unwrap();
    // Cleared entries are removed by the next rounds.
    for _ in 0..3 {
        assert!(store.save().await);
    }
    drop((space, store));
    let store = open();
    assert!(size() < 16 << 20, "{}", size());
    let space = store.namespace(NamespaceConfig::for_policies("large", 1 << 30));
    assert_eq!(space.get("stays").await.unwrap().unwrap(), b"1");
    assert_eq!((space.get("7").await.unwrap(), space.usage().await.unwrap()), (None, 72 + 6));
}

#[test]
fn a_running_servers_store_in_memory_is_shown_over_its_socket() {
    let dovecot = Dovecot::start(&["anna"]);
    dovecot.deliver_many("anna", 2);
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), dovecot.address(), "")
        .replace("backend = \"file\"", "backend = \"memory\"");
    let path = format!("path = \"{}/store.redb\"", folder.path().display());
    let text = text.replace(&path, "");
    std::fs::write(folder.path().join("reprieve.toml"), &text).unwrap();
    let (done, said) = store(folder.path(), &["get", "anna"]);
    assert!(!done && said.contains("no reprieve answers at its admin socket"), "{said}");

    let mut running = Running::with_configuration(folder.path(), &text);
    let account = dovecot.account_at(running.address(), "anna");
    let poll = || Dialogue::log_in(&account).quit();
    poll();
    poll();
    assert_eq!(dovecot.logins("anna"), 1);
    let (done, said) = store(folder.path(), &["get", "anna"]);
    assert!(
        done && said.contains("clients last saw 2 messages")
            && said.contains("policy:pop3: the policy remembers ["),
        "{said}"
    );
    let (done, said) = store(folder.path(), &["stats"]);
    assert!(done && said.contains("store: memory, healthy") && said.contains("users in memory: 1"), "{said}");
    // After an export and an import, the policy still knows the users.
    let export = folder.path().join("export");
    let export = export.to_str().unwrap();
    assert!(store(folder.path(), &["export", export]).1.contains("1 entries written"));
    let (done, said) = store(folder.path(), &["forget", "anna"]);
    assert!(done && said.contains("forgot anna at 1 virtual servers and deleted 1 entries"), "{said}");
    assert!(store(folder.path(), &["get", "anna"]).1.contains("nothing is known about anna"));
    assert!(store(folder.path(), &["import", export]).1.contains("1 entries written of 1"));
    assert!(store(folder.path(), &["get", "anna"]).1.contains("the policy remembers ["));
    poll();
    assert_eq!(dovecot.logins("anna"), 2, "denied, but not proven any more");
}

/// Damaged files that were set aside.
fn set_aside(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("store.redb.damaged-")).collect()
}

#[test]
fn a_damaged_file_prevents_neither_start_nor_logins() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), node.address(), "save-every = \"20ms\"");
    let file = folder.path().join("store.redb");
    let mut running = Running::with_configuration(folder.path(), &text);
    let server = running.address();
    for number in 0..500 {
        assert!(poll(server, &format!("user-{number}")).unwrap());
    }
    running.signal("-TERM");
    running.rest_of_log();
    assert!(running.ended().success());
    let good = std::fs::read(&file).unwrap();
    let damaged = |from: usize, length: usize, how: &dyn Fn(u8) -> u8| {
        let mut bytes = good.clone();
        let end = (from + length).min(bytes.len());
        bytes[from..end].iter_mut().for_each(|byte| *byte = how(*byte));
        bytes
    };
    let zero = |_| 0;
    let flip = |byte: u8| byte ^ 0xff;
    let mut damages = vec![good[..good.len() / 2].to_vec(), damaged(4096, good.len(), &zero)];
    damages.push(damaged(0, 64, &zero));
    damages.extend((0..12).map(|page| damaged(page * 4096 + 16, 24, &flip)));
    damages.extend((1..12).map(|page| damaged(page * 4096, 4096, &zero)));
    let mut found = 0;
    for (number, bytes) in damages.iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let mut running = Running::with_configuration(folder.path(), &text);
        let server = running.address();
        for user in 0..5 {
            assert!(poll(server, &format!("user-{number}-{user}")).unwrap(), "damage {number}");
            assert!(poll(server, &format!("user-{}", user * 97)).unwrap(), "damage {number}");
        }
        running.signal("-TERM");
        let log = running.rest_of_log();
        assert!(running.ended().success(), "damage {number}");
        let aside = set_aside(folder.path());
        // It may have been reported before, but never twice.
        assert!(log.matches("file was damaged").count() <= aside.len(), "damage {number}: {log}");
        assert!(!log.contains("panicked"), "damage {number}: {log}");
        if let Some(kept) = aside.first() {
            found += 1;
            assert_eq!(aside.len(), 1, "damage {number}");
            let kept_bytes = std::fs::metadata(kept).unwrap().len();
            assert!(kept_bytes > 0, "damage {number}");
            std::fs::remove_file(kept).unwrap();
        }
        std::fs::remove_file(&file).unwrap();
    }
    // Damage while serving is a unit test: a small file is entirely in memory.
    assert!(found > 5, "there were damages: {found}");
}
