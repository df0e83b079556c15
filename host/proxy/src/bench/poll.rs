//! Measures a whole denied poll: sequential sessions over loopback with a server that has the default
//! policy. The CPU time of the client, which is a thread of the same process, is subtracted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Config, PolicyCache, PoolConfig, VirtualServerConfig};
use crate::server::{Options, Server};
use reprieve_mailserver::{MailServer, Settings};
use reprieve_metrics::cpu_time;

/// The cost of a denied poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedPoll {
    /// Number of polls.
    pub polls: u32,
    /// CPU time of the proxy per poll, including the decision of the default policy.
    pub cpu_per_poll: Duration,
}

const SECRET: &str = "bench";
/// How long a reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures a denied poll: banner, USER, PASS, STAT, QUIT.
///
/// # Errors
/// If loopback cannot be used, or a command fails.
pub fn denied_poll(polls: u32) -> anyhow::Result<DeniedPoll> {
    let mail = MailServer::start(Settings { password_rounds: 1, ..Settings::default() })?;
    mail.add_user("bench", SECRET);
    let listen = vec!["127.0.0.1:0".parse().context("an address of loopback")?];
    let mut config = Config::empty();
    config.threads = 1;
    config.policy_cache = PolicyCache::Off;
    let mut pool = PoolConfig::new("mail", vec![mail.address().to_string()]);
    pool.health_check = None;
    config.pools.push(pool);
    config.virtual_servers.push(VirtualServerConfig::new("bench", listen, "mail"));
    let server = Server::start(config, Options::default())?;
    let address = server.address("bench");
    let session = || -> anyhow::Result<()> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        for command in ["", "USER bench\r\n", "PASS bench\r\n", "STAT\r\n", "QUIT\r\n"] {
            stream.get_mut().write_all(command.as_bytes())?;
            line.clear();
            stream.read_line(&mut line)?;
            anyhow::ensure!(line.starts_with("+OK"), "unexpected reply {line:?}");
        }
        Ok(())
    };
    // The first session passes; the next ones warm up caches.
    (0..16).try_for_each(|_| session())?;
    let relieved = server.counters().relieved;
    let (process, client) = (cpu_time::of_this_process(), cpu_time::of_this_thread());
    (0..polls).try_for_each(|_| session())?;
    let client = cpu_time::of_this_thread().saturating_sub(client);
    let process = cpu_time::of_this_process().saturating_sub(process);
    // The last session may not be counted yet: its client does not wait for its end.
    anyhow::ensure!(
        server.counters().relieved - relieved + 1 >= u64::from(polls),
        "not every poll was denied"
    );
    Ok(DeniedPoll { polls, cpu_per_poll: process.saturating_sub(client) / polls.max(1) })
}
