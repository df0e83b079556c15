//! The `reprieve` binary as a child process, with its log.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use super::DEADLINE;

/// Path of the `reprieve` binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_reprieve");

/// A running `reprieve`; dropping it kills the process.
pub struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts it with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(BINARY).args(arguments))
    }

    /// Starts any command that runs it and logs to standard error.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starting reprieve");
        let log = BufReader::new(child.stderr.take().expect("its standard error"));
        Self { child, log }
    }

    /// Starts it in front of a mail server, without a configuration file.
    pub fn in_front_of(server: SocketAddr) -> Self {
        let server = server.to_string();
        Self::start(&["run", "--listen", "127.0.0.1:0", "--backend", &server, "--log-format", "json"])
    }

    /// Starts it with a configuration, which is written to `reprieve.toml` in this folder.
    pub fn with_configuration(folder: &Path, text: &str) -> Self {
        let file = folder.join("reprieve.toml");
        std::fs::write(&file, text).expect("a configuration");
        let file = file.to_str().expect("a path in UTF-8");
        Self::start(&["run", "--config", file, "--log-format", "json", "--log-level", "debug"])
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next log line that contains a text.
    pub fn line_with(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let length = self.log.read_line(&mut line).expect("reading the log");
            assert!(length > 0, "the log ended without {text:?}:\n{all}");
            if line.contains(text) {
                return line;
            }
            all += &line;
        }
    }

    /// The log from here to the end of the process.
    pub fn rest_of_log(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("reading the log");
        rest
    }

    /// The next address that it logs as a listen address.
    pub fn address(&mut self) -> SocketAddr {
        let line = self.line_with("\"listening\"");
        let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
        line["address"].as_str().expect("an address").parse().expect("an address")
    }

    /// Sends it a signal, such as `-HUP`.
    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.expect("running kill").success());
    }

    /// Waits for the process to exit.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waiting") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not exit");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
