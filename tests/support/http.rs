//! A client of HTTP that asks one thing.

use std::io::{Read, Write};

use super::DEADLINE;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The header lines.
    pub headers: String,
    /// What comes after them.
    pub body: String,
}

/// Asks over an open connection. `headers`: whole lines, without the last line end.
pub fn ask(
    mut stream: impl Read + Write,
    line: &str,
    headers: &[&str],
    body: &str,
) -> std::io::Result<Answer> {
    // Version 1.0 has the answer come as it is, until the end of the connection.
    let mut request = format!("{line} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let odd = || std::io::Error::other(format!("no answer in HTTP: {answer:?}"));
    let (headers, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
    Ok(Answer { status, headers: headers.to_owned(), body: body.to_owned() })
}

/// Connects to a port and asks.
pub fn ask_at(
    address: std::net::SocketAddr,
    line: &str,
    headers: &[&str],
    body: &str,
) -> std::io::Result<Answer> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    ask(stream, line, headers, body)
}
