//! The Lua scripts that run on the server, each in one round trip.

use super::connection::Connection;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

/// A script and its SHA-1, by which a server knows it once it has run there.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    digest: String,
}

#[derive(Debug)]
pub(super) struct Scripts {
    pub change: Script,
    pub commit: Script,
    pub ttl: Script,
    pub usage: Script,
    pub clear: Script,
    pub sweep: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            change: Script::new(concat!(include_str!("entries.lua"), include_str!("change.lua"))),
            commit: Script::new(concat!(include_str!("entries.lua"), include_str!("commit.lua"))),
            ttl: Script::new(include_str!("ttl.lua")),
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

    /// Runs the script. `arguments` appends the number of keys, the keys, and the other arguments.
    pub async fn run(&self, connection: &mut Connection, arguments: impl Fn(&mut Cmd)) -> RedisResult<Value> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest);
        arguments(&mut command);
        match connection.run(&command).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // The server does not know it, for example after a restart. EVAL sends it.
                let mut command = redis::cmd("EVAL");
                command.arg(self.code);
                arguments(&mut command);
                connection.run(&command).await
            }
            result => result,
        }
    }
}
