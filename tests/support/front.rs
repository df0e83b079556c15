//! Reprieve with whatever a test writes into its configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_store::clock::ManualClock;

use super::setup::NOON;

/// A running Reprieve; dropping it ends it.
pub struct Front {
    /// The server itself.
    pub server: Server,
    /// Its clock, which stands at noon.
    pub clock: Arc<ManualClock>,
}

impl Front {
    /// Starts Reprieve with a configuration.
    #[track_caller]
    pub fn start(text: &str) -> Self {
        Self::with(text, |_| {})
    }

    /// Starts it with what a configuration cannot set as short as a test wants it.
    #[track_caller]
    pub fn with(text: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
        change(&mut config);
        let clock = ManualClock::new(NOON);
        let options = Options { clock: Some(clock.clone()), ..Options::default() };
        let server = Server::start(config, options).unwrap_or_else(|error| panic!("{error:#}"));
        Self { server, clock }
    }

    /// Where the virtual server `pop3` listens, by its place in the configuration.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.server.addresses_of("pop3")[index]
    }
}
