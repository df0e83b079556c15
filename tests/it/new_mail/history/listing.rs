//! The demo's mail server, and clients that only list the maildrop: fast, so that much happens.

use std::io::{BufRead as _, BufReader, Error, Result, Write as _};
use std::net::TcpStream;

use super::Program;
use crate::support::DEADLINE;
use crate::support::account::Account;

/// Asks for the unique-ids.
pub struct Lister;

impl Program for Lister {
    fn poll(&mut self, account: &Account) -> Option<Vec<String>> {
        listing(account).ok()
    }

    fn name(&self) -> &'static str {
        "the lister"
    }
}

/// The unique-ids that a login shows.
fn listing(account: &Account) -> Result<Vec<String>> {
    let stream = TcpStream::connect(account.server)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut stream = BufReader::new(stream);
    let line = |stream: &mut BufReader<TcpStream>| -> Result<String> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(Error::other("the end"));
        }
        Ok(line.trim_end().to_owned())
    };
    let ok = |stream: &mut BufReader<TcpStream>| match line(stream)? {
        line if line.starts_with("+OK") => Ok(()),
        line => Err(Error::other(line)),
    };
    ok(&mut stream)?;
    for command in [format!("USER {}", account.user), format!("PASS {}", account.password), "UIDL".to_owned()]
    {
        stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        ok(&mut stream)?;
    }
    let mut listed = Vec::new();
    loop {
        match line(&mut stream)? {
            end if end == "." => break,
            row => listed.extend(row.split_once(' ').map(|(_, id)| id.to_owned())),
        }
    }
    stream.get_mut().write_all(b"QUIT\r\n")?;
    ok(&mut stream)?;
    Ok(listed)
}
