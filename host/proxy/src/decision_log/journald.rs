//! Lines as journal entries in journald's native protocol: one datagram per entry, one field per
//! line. This form suffices for values without line ends that fit into a datagram, as these do.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::writer::Sink;

/// The fields in front of a line; `journalctl -t reprieve-decisions -o cat` shows the lines alone.
const FIELDS: &[u8] = b"SYSLOG_IDENTIFIER=reprieve-decisions\nPRIORITY=6\nMESSAGE=";
/// Send buffer, as large as journald's own library requests.
const SEND_BUFFER: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Journald {
    path: PathBuf,
    socket: UnixDatagram,
    entry: Vec<u8>,
}

impl Journald {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let fail = |why: io::Error| format!("cannot reach journald at {}: {why}", path.display());
        let socket = UnixDatagram::unbound().map_err(fail)?;
        let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER);
        socket.connect(path).map_err(fail)?;
        Ok(Self { path: path.to_owned(), socket, entry: Vec::new() })
    }
}

impl Sink for Journald {
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        while let Some(end) = memchr::memchr(b'\n', &batch[*done..]) {
            let next = *done + end + 1;
            self.entry.clear();
            self.entry.extend_from_slice(FIELDS);
            self.entry.extend_from_slice(&batch[*done..next]);
            if let Err(error) = self.socket.send(&self.entry) {
                if error.raw_os_error() == Some(libc::EMSGSIZE) {
                    // Too large: it would never be accepted and would block those behind it.
                    tracing::warn!(target: "decision-log", "journald takes no entry of {} bytes", self.entry.len());
                    *done = next;
                    continue;
                }
                // After a restart journald has a new socket.
                self.reopen();
                return Err(error);
            }
            *done = next;
        }
        Ok(())
    }

    fn reopen(&mut self) {
        if let Ok(again) = Self::open(&self.path) {
            *self = again;
        }
    }

    fn name(&self) -> String {
        format!("journald at {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_entry_also_after_a_restart_of_journald() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(Journald::open(&path).unwrap_err().contains("cannot reach journald"));
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = Journald::open(&path).unwrap();
        let mut done = 0;
        sink.write(b"{\"a\":1}\n{\"b\":2}\n", &mut done).unwrap();
        assert_eq!(done, 16);
        let heard = |journal: &UnixDatagram| {
            let mut datagram = [0; 500];
            let length = journal.recv(&mut datagram).unwrap();
            String::from_utf8_lossy(&datagram[..length]).into_owned()
        };
        for line in ["{\"a\":1}", "{\"b\":2}"] {
            let expected = format!("SYSLOG_IDENTIFIER=reprieve-decisions\nPRIORITY=6\nMESSAGE={line}\n");
            assert_eq!(heard(&journal), expected);
        }
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        let (batch, mut done) = (b"one\ntwo\n", 0);
        sink.write(batch, &mut done).unwrap_err();
        assert_eq!(done, 0, "nothing is lost meanwhile");
        let journal = UnixDatagram::bind(&path).unwrap();
        // The first attempt finds that the socket is gone.
        let _ = sink.write(batch, &mut done);
        sink.write(batch, &mut done).unwrap();
        assert!(heard(&journal).ends_with("=one\n") && heard(&journal).ends_with("=two\n"));
    }
}
