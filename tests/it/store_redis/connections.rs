//! How Reprieve connects: TLS, passwords, several addresses, sentinels.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use reprieve_pop3::credential::Secret;
use reprieve_store::clock::SystemClock;
use reprieve_store::{NamespaceConfig, Store, StoreSecrets};
use reprieve_store::{StoreBackend, StoreConfig};

use super::{TIMEOUT, configuration, mail_server, poll};
use crate::support::certificates::{Age, Authority};
use crate::support::dovecot::free_address;
use crate::support::proxy::Proxy;
use crate::support::redis::{Make, Redis};
use crate::support::until;

#[test]
fn tls_an_acl_user_a_database_and_a_prefix_are_used() {
    let authority = Authority::new();
    let files = authority.server("redis", &["localhost"], Age::Valid);
    let encrypted = free_address().port();
    let users =
        ["user default off", "user reprieve on >the-password-of-redis ~site:* +@all -@dangerous +keys"];
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("users.acl");
    std::fs::write(&acl, users.join("\n") + "\n").unwrap();
    let text = |path: &Path| path.display().to_string();
    let redis = Redis::with(
        Make::Redis,
        &[
            "--tls-port",
            &encrypted.to_string(),
            "--tls-cert-file",
            &text(&files.chain),
            "--tls-key-file",
            &text(&files.key),
            "--tls-ca-cert-file",
            &text(&authority.file()),
            "--tls-auth-clients",
            "no",
            "--aclfile",
            &text(&acl),
        ],
    );
    let password = folder.path().join("password");
    crate::support::write_secret(&password, "the-password-of-redis\n");
    let mail = mail_server();
    let store = format!(
        "url = \"rediss://localhost:{encrypted}\"\nuser = \"reprieve\"\npassword-file = \"{}\"\nca = \"{}\"\ndatabase = 3\nprefix = \"site:\"\ntimeout = \"10s\"",
        password.display(),
        authority.file().display()
    );
    let front = Proxy::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(), 1);
    poll(front.address(), 1);
    until("all are counted", || front.server.counters().relieved == 1);
    let there = ["--user", "reprieve", "--pass", "the-password-of-redis", "--no-auth-warning", "-n", "3"];
    let keys = redis.ask(&[&there[..], &["keys", "*"]].concat());
    assert!(keys.contains("site:{policy:pop3}:~user1") && keys.contains("site:{maildrop}:"), "{keys}");

    // A wrong password is reported but not shown, and logins work.
    crate::support::write_secret(&password, "something-else\n");
    let front = Proxy::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(), 2);
    let status = front.server.view().stores()[0].store.status();
    let health = format!("{:?}", status.health);
    assert!(health.contains("WRONGPASS") || health.contains("Authentication"), "{health}");
    assert!(!format!("{status:?}").contains("something-else"));
    // The same for a certificate of another authority.
    let other = Authority::new();
    let store = store.replace(&text(&authority.file()), &text(&other.file()));
    let front = Proxy::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(), 3);
    let health = format!("{:?}", front.server.view().stores()[0].store.status().health);
    assert!(health.contains("ertificate"), "{health}");
}

/// A listener that accepts connections and sends nothing, until it is dropped.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn unresponsive_addresses_do_not_block_the_one_that_answers() {
    let valkey = Redis::start(Make::Valkey);
    let ((_one, one), (_other, other)) = (silent(), silent());
    let mut config = StoreConfig::from_argument(&format!("redis://{one}")).unwrap();
    let StoreBackend::Redis(redis) = &mut config.backend else { panic!("a store in Redis") };
    redis.timeout = TIMEOUT;
    let more = [format!("redis://{other}"), valkey.url()];
    redis.urls.extend(more.iter().map(|url| Secret::new(url.as_bytes())));
    let store = Store::open(StoreSecrets::read(&config).unwrap(), Arc::new(SystemClock)).unwrap();
    let space = store.namespace(NamespaceConfig::for_policies("asked", 1 << 20));
    until("it answers", || space.ready().is_ok());
    assert_eq!(space.increment("key", 1, None).await.unwrap().unwrap(), 1);
}

#[test]
fn sentinels_are_asked_for_the_master_again_after_a_failover() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Redis::start(Make::Redis);
    let port = master.port().to_string();
    let replica = Redis::with(Make::Redis, &["--replicaof", "127.0.0.1", &port]);
    until("the replica follows", || replica.ask(&["info", "replication"]).contains("master_link_status:up"));
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 1\nsentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n"
    );
    std::fs::write(&file, text).unwrap();
    let sentinel = Redis::configured(&file, &["--sentinel"]);
    let mail = mail_server();
    // One sentinel's machine is down.
    let (_down, down) = silent();
    let store = format!(
        "url = [\"redis://{down}\", \"{}\"]\nsentinel = \"mymaster\"\ntimeout = \"500ms\"",
        sentinel.url()
    );
    until("the sentinel knows the replica", || {
        sentinel.ask(&["sentinel", "replicas", "mymaster"]).contains(&replica.port().to_string())
    });
    let front = Proxy::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(), 1);
    poll(front.address(), 1);
    until("all are counted", || front.server.counters().relieved == 1);
    until("the replica has it", || replica.ask(&["keys", "*"]).contains("user1"));
    master.kill();
    let relieved = || {
        poll(front.address(), 1);
        front.server.counters().relieved
    };
    until("the next master is found", || relieved() > 1);
    assert!(replica.ask(&["info", "replication"]).contains("role:master"));
}
