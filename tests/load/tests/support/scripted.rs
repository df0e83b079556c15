//! Servers that reply as a test wants. They end with the test's process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// The reaction to a line.
#[derive(Clone)]
pub enum Reaction {
    /// Send this; after QUIT, close the connection.
    Say(String),
    /// Send this; never close the connection.
    SayAndStay(String),
    /// Send this and close the connection.
    SayAndClose(String),
    /// Close the connection.
    Close,
    /// Do nothing.
    Hang,
}

impl Reaction {
    pub fn say(line: &str) -> Self {
        Self::Say(format!("{line}\r\n"))
    }

    pub fn say_and_stay(line: &str) -> Self {
        Self::SayAndStay(format!("{line}\r\n"))
    }

    pub fn say_and_close(line: &str) -> Self {
        Self::SayAndClose(format!("{line}\r\n"))
    }
}

/// A server that reacts to each line; the empty line stands for the start of the connection.
pub fn scripted(answer: impl Fn(&str) -> Reaction + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    listen(move |stream| talk(stream, &*answer))
}

fn talk(mut stream: TcpStream, answer: &dyn Fn(&str) -> Reaction) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut line = String::new();
    loop {
        match answer(&line) {
            Reaction::Say(bytes) => stream.write_all(bytes.as_bytes())?,
            Reaction::SayAndStay(bytes) => {
                stream.write_all(bytes.as_bytes())?;
                line.clear();
            }
            Reaction::SayAndClose(bytes) => return stream.write_all(bytes.as_bytes()),
            Reaction::Close => return Ok(()),
            Reaction::Hang => {}
        }
        if line == "QUIT" {
            return Ok(());
        }
        match lines.next() {
            Some(next) => line = next?,
            None => return Ok(()),
        }
    }
}

/// A proxy that may change the bytes that the server at `target` sends.
pub fn between(target: String, change: impl Fn(&mut [u8]) + Send + Sync + 'static) -> String {
    let change = Arc::new(change);
    listen(move |client| {
        let server = TcpStream::connect(&target)?;
        let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            to_server.shutdown(Shutdown::Write)
        });
        let (mut from_server, mut to_client) = (server, client);
        let mut buffer = [0; 4096];
        loop {
            match from_server.read(&mut buffer)? {
                0 => return to_client.shutdown(Shutdown::Both),
                length => {
                    change(&mut buffer[..length]);
                    to_client.write_all(&buffer[..length])?;
                }
            }
        }
    })
}

fn listen(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.expect("a connection"), Arc::clone(&serve));
            // Errors are expected: in some tests the client disconnects.
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An address where nothing listens, and that nobody else can bind.
pub struct Bound {
    _socket: tokio::net::TcpSocket,
    pub address: SocketAddr,
}

/// Binds a free port without listening.
pub fn bound_only() -> Bound {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let address = socket.local_addr().expect("its address");
    Bound { _socket: socket, address }
}
