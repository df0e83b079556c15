//! The program under test, and servers that misbehave.

mod scripted;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub use scripted::{Reaction, between, bound_only, scripted};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reprieve-load");

/// Runs `reprieve-load run`. Returns its exit code and its output, errors included.
pub fn run(args: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).arg("run").args(args).output().expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8(text).expect("UTF-8"))
}

/// A running program, killed when dropped.
pub struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM).args(args).stdout(Stdio::piped()).spawn().expect("the program");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    /// Ends it with a signal. Returns its exit code and the rest of its output.
    pub fn end(mut self, signal: &str) -> (i32, String) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &process]).status().expect("kill").success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("the rest of its output");
        (self.child.wait().expect("its end").code().expect("an exit code"), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `reprieve-load serve`.
pub struct Stub {
    running: Running,
    pub address: String,
}

/// Starts one on a free port.
pub fn stub(args: &[&str]) -> Stub {
    let mut running = Running::start(&[&["serve", "--listen", "127.0.0.1:0"][..], args].concat());
    let line = running.line();
    let address = line.trim_end().strip_prefix("listening on ").expect("its address").to_string();
    Stub { running, address }
}

impl Stub {
    /// Its counts, including the connection that asks.
    pub fn counts(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.write_all(b"XCOUNT\r\nQUIT\r\n").expect("a command");
        let answer = BufReader::new(stream).lines().nth(1);
        answer.expect("a reply").expect("a reply")
    }

    /// Ends it with SIGTERM.
    pub fn end(self) -> (i32, String) {
        self.running.end("TERM")
    }
}

/// Paths of a self-signed certificate for 127.0.0.1 and its key.
pub fn certificate(folder: &Path) -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).expect("a certificate");
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_string()
    };
    (write("chain.pem", cert.pem()), write("key.pem", signing_key.serialize_pem()))
}
