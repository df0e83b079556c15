//! One connection: reads lines, writes replies, and enforces the inactivity timeout and the line
//! limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::meter::Meter;
use super::session::{BANNER, COMMAND_LIMIT, INACTIVE, Next, Session, TOO_LONG};

/// Replies to pipelined commands are collected up to about this many bytes.
const FLUSH_AT: usize = 64 * 1024;

/// Serves a client until it sends QUIT, disconnects, or is inactive for too long.
pub(crate) async fn serve(
    mut stream: TcpStream,
    mut session: Session,
    meter: Arc<Meter>,
    inactivity: Duration,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = Lines::default();
    let mut out = BANNER.to_vec();
    loop {
        while let Some(line) = lines.next() {
            meter.command();
            let next = match line {
                Line::Whole(line) => session.line(&line, &mut out),
                Line::TooLong => {
                    out.extend_from_slice(TOO_LONG);
                    Next::Continue
                }
            };
            if next == Next::Close {
                send(&mut stream, &mut out, &meter, inactivity).await?;
                return stream.shutdown().await;
            }
            if out.len() >= FLUSH_AT {
                send(&mut stream, &mut out, &meter, inactivity).await?;
            }
        }
        send(&mut stream, &mut out, &meter, inactivity).await?;
        let mut chunk = [0; 4096];
        match timeout(inactivity, stream.read(&mut chunk)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(count)) => lines.push(&chunk[..count]),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                out.extend_from_slice(INACTIVE);
                return send(&mut stream, &mut out, &meter, inactivity).await;
            }
        }
    }
}

async fn send(stream: &mut TcpStream, out: &mut Vec<u8>, meter: &Meter, limit: Duration) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    // A client that does not read is as inactive as one that does not write.
    timeout(limit, stream.write_all(out)).await??;
    meter.bytes_out(out.len());
    out.clear();
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Received bytes, cut into lines. Holds at most a line and one read.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    discarding: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Line> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.bytes) else {
                if self.discarding {
                    self.bytes.clear();
                } else if self.bytes.len() >= COMMAND_LIMIT {
                    self.bytes.clear();
                    self.discarding = true;
                    return Some(Line::TooLong);
                }
                return None;
            };
            let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            if line.len() > COMMAND_LIMIT {
                return Some(Line::TooLong);
            }
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Some(Line::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> Option<Line> {
        Some(Line::Whole(text.to_vec()))
    }

    #[test]
    fn lines_may_arrive_in_parts_and_several_at_once() {
        let mut lines = Lines::default();
        lines.push(b"ST");
        assert_eq!(lines.next(), None);
        lines.push(b"AT\r\nLIST\nUI");
        assert_eq!(lines.next(), whole(b"STAT"));
        assert_eq!(lines.next(), whole(b"LIST"));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_line_without_an_end_is_reported_once_and_takes_no_memory() {
        let mut lines = Lines::default();
        let mut reported = 0;
        for _ in 0..100 {
            lines.push(&[b'x'; 4096]);
            while lines.next() == Some(Line::TooLong) {
                reported += 1;
            }
            assert!(lines.bytes.len() < COMMAND_LIMIT);
        }
        lines.push(b"\r\nNOOP\r\n");
        assert_eq!((reported, lines.next()), (1, whole(b"NOOP")));
    }

    #[test]
    fn a_line_of_the_limit_fits_and_one_more_byte_does_not() {
        let mut lines = Lines::default();
        lines.push(&[vec![b'x'; 253], b"\r\n".to_vec(), vec![b'x'; 254], b"\r\n".to_vec()].concat());
        assert_eq!(lines.next(), whole(&[b'x'; 253]));
        assert_eq!(lines.next(), Some(Line::TooLong));
        assert_eq!(lines.next(), None);
    }
}
