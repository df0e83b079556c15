//! A mail server that says what the test tells it to, right or wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// One connection of Reprieve's to it.
pub struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Says octets as they are.
    pub fn say(&mut self, octets: &[u8]) {
        // Reprieve may have hung up: that is for the test to see at the other end.
        let _ = self.stream.get_mut().write_all(octets);
    }

    /// Says octets as they are; an error once Reprieve has hung up.
    pub fn try_say(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// The next command, without its end; nothing once Reprieve has closed.
    pub fn hear(&mut self) -> Option<String> {
        self.hear_bytes().and_then(|line| String::from_utf8(line).ok())
    }

    /// The same, if it need not be text.
    pub fn hear_bytes(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => Some(line.trim_ascii_end().to_owned()),
            _ => None,
        }
    }

    /// Whether more has arrived than was heard.
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

    /// Greets and accepts any login.
    pub fn let_in(&mut self) {
        self.say(b"+OK scripted\r\n");
        self.hear();
        self.say(b"+OK\r\n");
        self.hear();
        self.say(b"+OK in\r\n");
    }

    /// Answers commands with fixed replies until Reprieve closes; QUIT ends it.
    pub fn answer(&mut self, replies: &[(&str, &str)]) {
        while let Some(command) = self.hear() {
            let reply = replies.iter().find(|(known, _)| *known == command).map(|(_, reply)| *reply);
            self.say(reply.unwrap_or("-ERR no\r\n").as_bytes());
            if command == "QUIT" {
                return;
            }
        }
    }
}

/// The server; dropping it ends it.
pub struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Holds each conversation by the script, one after the other.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that it has had.
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
