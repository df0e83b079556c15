//! An HTTP client for one request per connection.

use std::io::{Read, Write};

use super::DEADLINE;

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, unparsed.
    pub headers: String,
    /// Body.
    pub body: String,
}

/// Sends a request over an open connection. `headers` are lines without their line ends.
pub fn ask(
    mut stream: impl Read + Write,
    line: &str,
    headers: &[&str],
    body: &str,
) -> std::io::Result<Answer> {
    // With HTTP/1.0 the response is not chunked and ends with the connection.
    let mut request = format!("{line} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let odd = || std::io::Error::other(format!("not an HTTP response: {answer:?}"));
    let (headers, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
    Ok(Answer { status, headers: headers.to_owned(), body: body.to_owned() })
}

/// Connects and sends a request.
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
