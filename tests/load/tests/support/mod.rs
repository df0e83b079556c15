//! The programs under test, and servers that do not do what they should.

mod scripted;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

pub use scripted::{Act, between, bound_only, scripted};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reprieve-load");

/// Runs `reprieve-load run`; what it prints, whether output or errors, and its exit code.
pub fn run(args: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).arg("run").args(args).output().expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8(text).expect("UTF-8"))
}

/// The program while it runs; it ends with this.
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

    /// Ends it by a signal: its exit code, and what it prints then.
    pub fn end(mut self, signal: &str) -> (i32, String) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &process]).status().expect("kill").success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its last words");
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

/// Starts one on a port that is free.
pub fn stub(args: &[&str]) -> Stub {
    let mut running = Running::start(&[&["serve", "--listen", "127.0.0.1:0"][..], args].concat());
    let line = running.line();
    let address = line.trim_end().strip_prefix("listening on ").expect("its address").to_string();
    Stub { running, address }
}

impl Stub {
    /// What it has seen, this question included.
    pub fn counts(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.write_all(b"XCOUNT\r\nQUIT\r\n").expect("a question");
        let answer = BufReader::new(stream).lines().nth(1);
        answer.expect("an answer").expect("an answer")
    }

    /// Ends it as a service manager would.
    pub fn end(self) -> (i32, String) {
        self.running.end("TERM")
    }
}

/// A certificate for 127.0.0.1 that signs itself, and its key: their paths.
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
