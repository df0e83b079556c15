//! Entries that are exported from one store and imported into another.

use std::path::Path;
use std::process::Command;

use reprieve::config::Config;
use reprieve::server::{Options, Server};

use super::{configuration, mail_server, poll};
use crate::support::redis::{Make, Redis};
use crate::support::running::BINARY;
use crate::support::until;

/// Runs `reprieve store`; returns its output.
fn store(configuration: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    let run = command.arg("store").args(arguments).arg("--config").arg(configuration).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {said}");
    said
}

/// The system clock in Unix milliseconds.
fn now(text: &str) -> Server {
    let config = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    Server::start(config, Options::default()).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn entries_are_shown_deleted_exported_and_imported() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(Make::Redis);
    let mail = mail_server();
    let table = format!("url = \"{}\"\ntimeout = \"10s\"", redis.url());
    let text = configuration(folder.path(), mail.address(), &table);
    let in_redis = folder.path().join("redis.toml");
    std::fs::write(&in_redis, &text).unwrap();
    let reprieve = now(&text);
    let server = reprieve.address("pop3");
    for user in 0..12 {
        poll(server, user);
        poll(server, user);
    }
    until("all are counted", || reprieve.counters().relieved == 12);

    let said = store(&in_redis, &["get", "user1"]);
    assert!(said.contains("pop3: 1 known secrets") && said.contains("clients last saw 2 messages"), "{said}");
    assert!(said.contains("policy:pop3: the policy remembers [") && !said.contains("user11"), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&store(&in_redis, &["get", "user1", "--json"])).unwrap();
    assert_eq!(json["entries"][0]["key"], "~user1");
    assert_eq!(json["virtual_servers"][0]["known"]["messages"], 2);
    assert!(store(&in_redis, &["get", "nobody"]).contains("nothing is known about nobody"));
    let stats = store(&in_redis, &["stats"]);
    assert!(stats.contains("redis at 127.0.0.1:") && stats.contains("policy:pop3"), "{stats}");

    let said = store(&in_redis, &["forget", "user1"]);
    assert!(said.contains("forgot user1 at 1 virtual servers and deleted 1 entries"), "{said}");
    let logins = reprieve.counters().authenticated;
    poll(server, 1);
    assert_eq!(reprieve.counters().authenticated, logins + 1, "their next login passes");
    poll(server, 11);
    assert_eq!(reprieve.counters().authenticated, logins + 1, "and only theirs");
    poll(server, 1);

    // Through a file.
    drop(reprieve);
    let export = folder.path().join("export.jsonl");
    let export = export.to_str().unwrap();
    assert!(store(&in_redis, &["export", export]).contains("24 entries written"));
    let path = folder.path().join("store.redb");
    let moved =
        text.replace(&table, &format!("path = \"{}\"", path.display())).replace("\"redis\"", "\"file\"");
    let in_file = folder.path().join("file.toml");
    std::fs::write(&in_file, &moved).unwrap();
    assert!(store(&in_file, &["import", export]).contains("24 entries written of 24"));
    // The export may be older than what clients have seen since.
    let known = store(&in_file, &["get", "user1"]);
    assert!(!known.contains("clients last saw"), "{known}");
    let reprieve = now(&moved);
    for _ in 0..2 {
        for user in 0..12 {
            poll(reprieve.address("pop3"), user);
        }
    }
    until("all are counted", || reprieve.counters().relieved == 12);
    assert_eq!(reprieve.counters().authenticated, 12, "each passes once");

    // An unreachable store is not taken for an empty one.
    redis.kill();
    for arguments in [&["get", "user1"][..], &["forget", "user1"], &["export", export]] {
        let mut command = Command::new(BINARY);
        let run = command.arg("store").args(arguments).arg("--config").arg(&in_redis).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains("cannot be re"), "{arguments:?}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(export).unwrap().lines().count(),
        24,
        "the last export is still there"
    );
}

#[test]
fn capacity_is_measured_in_each_backend_and_leaves_nothing_behind() {
    let redis = Redis::start(Make::Valkey);
    let folder = tempfile::tempdir().unwrap();
    let file = format!("file:{}/store.redb", folder.path().display());
    let url = redis.url();
    for (word, proxies) in [("memory", "1"), (file.as_str(), "1"), (url.as_str(), "2")] {
        let arguments =
            ["store", "capacity", "--users", "2000", "--json", "--store", word, "--proxies", proxies];
        let run = Command::new(BINARY).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{word}: {said} {}", String::from_utf8_lossy(&run.stderr));
        let told: serde_json::Value = serde_json::from_str(&said).unwrap();
        for what in ["passed", "denied"] {
            assert_eq!((&told[what]["logins"], &told[what]["failed"]), (&2000.into(), &0.into()), "{told}");
        }
        assert_eq!(told["extrapolated"][2]["users"], 100_000_000);
    }
    until("nothing stays", || redis.ask(&["keys", "*:*user*"]).is_empty());
    let run = Command::new(BINARY)
        .args([
            "policy", "bench", "interval", "--calls", "2000", "--fresh", "10", "--format", "json", "--store",
            &url,
        ])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(told["failed"], 0);
}
