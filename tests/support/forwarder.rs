//! A TCP port that leads to a Unix socket, for programs that know only the former.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Opens a port on loopback for as long as the test process lives.
pub fn to(socket: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let socket = socket.clone();
            std::thread::spawn(move || forward(stream, &socket));
        }
    });
    address
}

fn forward(client: TcpStream, socket: &PathBuf) -> Option<()> {
    let server = UnixStream::connect(socket).ok()?;
    let (from_client, to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let asking = std::thread::spawn(move || {
        copy(from_client, &to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    copy(server, &client);
    let _ = client.shutdown(Shutdown::Both);
    asking.join().ok()
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut octets = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut octets) {
        if to.write_all(&octets[..length]).is_err() {
            break;
        }
    }
}
