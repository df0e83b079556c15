//! An address of the store that leads to another server from one connection to the next, as in the middle of
//! a failover.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::support::redis::{Make, Redis};
use crate::support::{DEADLINE, until};
use reprieve_store::clock::SystemClock;
use reprieve_store::{NamespaceConfig, Store, StoreBackend, StoreConfig, StoreSecrets};

/// An address whose first connection leads to one port, and whose later ones lead to another. It is there
/// until the test process exits.
fn moving(first: u16, later: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let ports = std::iter::once(first).chain(std::iter::repeat(later));
        for (client, port) in listener.incoming().zip(ports) {
            let (client, server) =
                (client.expect("a connection"), TcpStream::connect(("127.0.0.1", port)).expect("the server"));
            let there = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            for (mut from, mut to) in [there, (server, client)] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    address
}

#[tokio::test]
async fn connections_that_lead_to_different_servers_are_not_used_together() {
    let (old, new) = (Redis::start(Make::Redis), Redis::start(Make::Valkey));
    let url = format!("redis://{}", moving(old.port(), new.port()));
    let mut config = StoreConfig::from_argument(&url).expect("a configuration");
    let StoreBackend::Redis(redis) = &mut config.backend else { panic!("a store in Redis") };
    redis.timeout = DEADLINE;
    let store =
        Store::open(StoreSecrets::read(&config).expect("secrets"), Arc::new(SystemClock)).expect("a store");
    let space = store.namespace(NamespaceConfig::for_policies("counted", 1 << 20));
    until("it is connected", || space.ready().is_ok());
    for number in 1..=20 {
        assert_eq!(space.increment("key", 1, None).await, Ok(Ok(number)));
    }
    assert_eq!(old.ask(&["keys", "*"]), "", "nothing is written to the server of before");
}
