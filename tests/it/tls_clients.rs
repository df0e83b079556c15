//! Mail clients over implicit TLS and STLS, in front of Dovecot over TLS: passed, denied and passed
//! sessions receive each message once. And sslyze, which scans for weaknesses.

use std::path::PathBuf;

use crate::support::account::{Account, PASSWORD, Security};
use crate::support::certificates::{Age, Authority};
use crate::support::clients::{Client, Curl, Fetchmail, Getmail, MuttFolder, Poplib};
use crate::support::dovecot::{Dovecot, Features, Tls};
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::until;

struct World {
    dovecot: Dovecot,
    front: Proxy,
    ca: PathBuf,
    _authority: Authority,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let server = authority.server("dovecot", &["127.0.0.1"], Age::Valid);
        let files = authority.server("front", &["localhost", "127.0.0.1"], Age::Valid);
        let features = Features { tls: Some(Tls::with(server)), ..Features::default() };
        let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
        let pool = format!("tls = {{ mode = \"implicit\", ca = {:?} }}", authority.file());
        let front = Setup { server: &files.virtual_server(), pool: &pool, ..Setup::default() }
            .in_front_of(&[dovecot.tls_address()]);
        let ca = authority.file();
        Self { dovecot, front, ca, _authority: authority }
    }

    fn alice(&self, by_stls: bool) -> Account {
        let door = if by_stls { self.front.address() } else { self.front.tls_address() };
        let security = if by_stls { Security::Stls(self.ca.clone()) } else { Security::Tls(self.ca.clone()) };
        self.dovecot.account_at(door, "alice").by(door, security)
    }
}

fn each_message_arrives_once(client: &impl Client, by_stls: bool) {
    let world = World::new();
    let alice = world.alice(by_stls);
    world.dovecot.deliver_many("alice", 5);
    let real = client.poll(&alice);
    assert_eq!(real.total, 5, "the first session: {real:?}");
    let denied = client.poll(&alice);
    assert_eq!(denied.total, 5, "the denied session: {denied:?}");
    until("the denial is counted", || world.front.server.counters().relieved == 1);
    assert_eq!(world.dovecot.logins("alice"), 1);
    world.dovecot.deliver("alice");
    world.front.clock.advance(std::time::Duration::from_secs(600));
    let real = client.poll(&alice);
    assert_eq!(real.total, 6, "the session after the interval: {real:?}");
    assert_eq!(world.front.server.counters().failed_handshakes, 0);
}

#[test]
fn curl_by_pop3s() {
    each_message_arrives_once(&Curl::that_lists(), false);
}

#[test]
fn curl_by_stls() {
    each_message_arrives_once(&Curl::that_lists(), true);
}

#[test]
fn fetchmail_by_pop3s() {
    each_message_arrives_once(&Fetchmail::that_keeps_by_unique_id(), false);
}

#[test]
fn fetchmail_by_stls() {
    each_message_arrives_once(&Fetchmail::that_keeps_by_unique_id(), true);
}

#[test]
fn getmail_by_pop3s() {
    each_message_arrives_once(&Getmail::that_keeps(), false);
}

#[test]
fn mutt_by_pop3s() {
    each_message_arrives_once(&MuttFolder::with_caches(), false);
}

#[test]
fn mutt_by_stls() {
    each_message_arrives_once(&MuttFolder::with_caches(), true);
}

#[test]
fn poplib_by_pop3s() {
    each_message_arrives_once(&Poplib::that_keeps(), false);
}

#[test]
fn poplib_by_stls() {
    each_message_arrives_once(&Poplib::that_keeps(), true);
}

/// Python in the environment of `tests/setup`.
fn sslyze(arguments: &[&str]) -> serde_json::Value {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-tools/python/bin/python3");
    assert!(std::path::Path::new(python).exists(), "sslyze is not installed; install it with: tests/setup");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let output = std::process::Command::new(python)
        .args(["-m", "sslyze", "--quiet", "--json_out"])
        .arg(&file)
        .args(["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--heartbleed"])
        .args(["--openssl_ccs", "--reneg", "--robot", "--compression", "--fallback", "--ems", "--resum"])
        .args(arguments)
        .output()
        .expect("running sslyze");
    let said = String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {said}"));
    serde_json::from_str(&text).expect("a report")
}

#[test]
fn sslyze_finds_no_weakness_with_implicit_tls_and_stls() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = Setup { server: &files.virtual_server(), ..Setup::default() }.in_front_of(&[mail.address()]);
    for (address, more) in [(front.address(), &["--starttls", "pop3"][..]), (front.tls_address(), &[])] {
        let target = format!("localhost:{}", address.port());
        let arguments: Vec<&str> = more.iter().copied().chain([target.as_str()]).collect();
        let report = sslyze(&arguments);
        let results = &report["server_scan_results"][0]["scan_result"];
        let result = |name: &str| &results[name]["result"];
        for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
            let accepted = &result(&format!("{old}_cipher_suites"))["accepted_cipher_suites"];
            assert_eq!(accepted.as_array().map(Vec::len), Some(0), "{old}: {accepted}");
        }
        for new in ["tls_1_2", "tls_1_3"] {
            let accepted = result(&format!("{new}_cipher_suites"))["accepted_cipher_suites"].as_array();
            let accepted = accepted.expect("a list");
            assert!(!accepted.is_empty(), "{new} is supported");
            for suite in accepted {
                let name = suite["cipher_suite"]["name"].as_str().unwrap();
                let is_modern = name.contains("GCM") || name.contains("CHACHA20");
                assert!(is_modern && (new == "tls_1_3" || name.contains("ECDHE")), "{name}");
            }
        }
        for (name, key) in [
            ("heartbleed", "is_vulnerable_to_heartbleed"),
            ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
            ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
            ("tls_compression", "supports_compression"),
        ] {
            assert_eq!(result(name)[key], false, "{name}: {}", result(name));
        }
        for (name, key) in [
            ("session_renegotiation", "supports_secure_renegotiation"),
            ("tls_fallback_scsv", "supports_fallback_scsv"),
            ("tls_extended_master_secret", "supports_ems_extension"),
        ] {
            assert_eq!(result(name)[key], true, "{name}: {}", result(name));
        }
        assert_eq!(result("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
        let resumed = &result("session_resumption")["session_id_resumption_result"];
        assert_eq!(resumed, "FULLY_SUPPORTED", "{}", result("session_resumption"));
    }
}
