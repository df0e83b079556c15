//! A mail server that follows a script of the test, which may break the protocol.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A connection to the server.
pub struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Sends bytes as they are; a closed connection is ignored.
    pub fn send(&mut self, bytes: &[u8]) {
        // The test sees a closed connection at the other end.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends bytes as they are; fails if the peer has closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next command without its line end; `None` if the peer has closed the connection.
    pub fn read_command(&mut self) -> Option<String> {
        self.read_command_bytes().and_then(|line| String::from_utf8(line).ok())
    }

    /// The same as bytes, for commands that may not be UTF-8.
    pub fn read_command_bytes(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => Some(line.trim_ascii_end().to_owned()),
            _ => None,
        }
    }

    /// Whether more has arrived than was read.
    pub fn has_more(&mut self) -> bool {
        if !self.stream.buffer().is_empty() {
            return true;
        }
        let socket = self.stream.get_ref();
        socket.set_nonblocking(true).expect("a setting");
        let there = socket.peek(&mut [0]).is_ok_and(|count| count > 0);
        socket.set_nonblocking(false).expect("a setting");
        there
    }

    /// Greets, and accepts a login with USER and PASS.
    pub fn accept_login(&mut self) {
        self.send(b"+OK scripted\r\n");
        self.read_command();
        self.send(b"+OK\r\n");
        self.read_command();
        self.send(b"+OK in\r\n");
    }

    /// Answers commands with these replies until QUIT or the end of the connection.
    pub fn answer(&mut self, replies: &[(&str, &str)]) {
        while let Some(command) = self.read_command() {
            let reply = replies.iter().find(|(known, _)| *known == command).map(|(_, reply)| *reply);
            self.send(reply.unwrap_or("-ERR no\r\n").as_bytes());
            if command == "QUIT" {
                return;
            }
        }
    }
}

/// A running server; dropping it stops it.
pub struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Starts a server that runs the script for each connection, one at a time.
    pub fn start(script: impl Fn(&mut Conversation) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (connections, ended) = (connections.clone(), ended.clone());
            move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    connections.fetch_add(1, Ordering::SeqCst);
                    let closing = stream.try_clone();
                    script(&mut Conversation { stream: BufReader::new(stream) });
                    if let Ok(stream) = closing {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                }
            }
        });
        Self { address, connections, ended, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
