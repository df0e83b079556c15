//! The scripts that run at Redis, each one round trip.

use super::link::Link;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

/// A script, known to the server by its digest once it has run there.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    digest: String,
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub change: Script,
    pub usage: Script,
    pub clear: Script,
    pub sweep: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            change: Script::new(include_str!("change.lua")),
            usage: Script::new(include_str!("usage.lua")),
            clear: Script::new(include_str!("clear.lua")),
            sweep: Script::new(include_str!("sweep.lua")),
        }
    }
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it. `arguments` adds the number of keys, the keys, and the rest.
    pub async fn run(&self, link: &mut Link, arguments: impl Fn(&mut Cmd)) -> RedisResult<Value> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest);
        arguments(&mut command);
        match link.run(&command).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // A server that has restarted knows it no more; running it makes it known.
                let mut command = redis::cmd("EVAL");
                command.arg(self.code);
                arguments(&mut command);
                link.run(&command).await
            }
            result => result,
        }
    }
}
