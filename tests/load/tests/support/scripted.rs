//! Servers that answer as a test wants. They end with the test's process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What is done about a line.
#[derive(Clone)]
pub enum Act {
    /// These octets; after QUIT the connection ends.
    Say(String),
    /// The same, and the connection stays.
    SayAndStay(String),
    /// The same, and the connection ends.
    SayAndClose(String),
    /// The connection ends.
    Close,
    /// Nothing, for ever.
    Hang,
}

impl Act {
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

/// A server that answers each line as told; the empty line stands for the beginning.
pub fn scripted(answer: impl Fn(&str) -> Act + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    listen(move |stream| talk(stream, &*answer))
}

fn talk(mut stream: TcpStream, answer: &dyn Fn(&str) -> Act) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut line = String::new();
    loop {
        match answer(&line) {
            Act::Say(octets) => stream.write_all(octets.as_bytes())?,
            Act::SayAndStay(octets) => {
                stream.write_all(octets.as_bytes())?;
                line.clear();
            }
            Act::SayAndClose(octets) => return stream.write_all(octets.as_bytes()),
            Act::Close => return Ok(()),
            Act::Hang => {}
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

/// A proxy that may change what the server at `target` sends.
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
            // A client that goes away is what some tests are about.
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An address that nobody serves, nor gets while this lives.
pub struct Bound {
    _socket: tokio::net::TcpSocket,
    pub address: SocketAddr,
}

/// Takes a port that is free, and does not listen.
pub fn bound_only() -> Bound {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let address = socket.local_addr().expect("its address");
    Bound { _socket: socket, address }
}
