//! A local delivery agent that speaks LMTP (RFC 2033).

use std::io::{BufRead, BufReader, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::message_id;

/// Accepts messages and notes their Message-IDs; dropping it stops it.
pub struct Inbox {
    socket: PathBuf,
    taken: Arc<Mutex<Vec<String>>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inbox {
    /// Listens at a socket in a client's home folder.
    pub fn at(home: &Path) -> Self {
        let socket = home.join("lmtp");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (taken, closing) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (taken, closing) = (Arc::clone(&taken), Arc::clone(&closing));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that disconnects delivers nothing; the test sees it in the count.
                    let _ = stream.and_then(|stream| converse(stream, &taken));
                }
            })
        };
        Self { socket, taken, closing, thread: Some(thread) }
    }

    /// Path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Messages delivered so far.
    pub fn count(&self) -> usize {
        self.taken.lock().expect("the messages").len()
    }

    /// Their Message-IDs.
    pub fn message_ids(&self) -> Vec<String> {
        self.taken.lock().expect("the messages").clone()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the thread, which then ends.
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves a connection; each message has one recipient.
fn converse(mut stream: UnixStream, taken: &Mutex<Vec<String>>) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).split(b'\n');
    stream.write_all(b"220 ready\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"LHLO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" => b"250 ok\r\n",
            b"DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut message = Vec::new();
                loop {
                    match lines.next().transpose()? {
                        Some(line) if line == b".\r" => break,
                        Some(line) => message.extend([&line[..], b"\n"].concat()),
                        None => return Ok(()),
                    }
                }
                taken.lock().expect("the messages").push(message_id(&message));
                b"250 taken\r\n"
            }
            b"QUIT" => b"221 bye\r\n",
            _ => b"500 what?\r\n",
        };
        stream.write_all(reply)?;
    }
    Ok(())
}
