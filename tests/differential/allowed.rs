//! The differences that are allowed, each with its reason. README.md has the same list.

use super::maildrops::Make;
use super::plan::Say;

/// The longest line of a command, CR LF included (RFC 2449, section 4).
const LONGEST: usize = 255;

/// Something that every server refuses.
const UNKNOWN: &[u8] = b"XNONE";

/// What the client that goes straight to the mail server says in place of this line: something that must
/// get the same reply as the line gets from Reprieve.
pub fn straight_form(make: Make, say: &Say, line: &[u8], logged_in: bool) -> Vec<u8> {
    // Reprieve refuses a command of more than 255 bytes; mail servers differ.
    if line.len() + 2 > LONGEST {
        return UNKNOWN.to_vec();
    }
    if !matches!(say, Say::Line(_)) {
        return line.to_vec();
    }
    // A CR or NUL within a line is refused: servers differ in whether the line ends there.
    if line.contains(&b'\r') || line.contains(&0) {
        return UNKNOWN.to_vec();
    }
    let upper = line.to_ascii_uppercase();
    let (verb, arguments) = match upper.iter().position(|&byte| byte == b' ') {
        Some(at) => (&upper[..at], &upper[at + 1..]),
        None => (&upper[..], &b""[..]),
    };
    match verb {
        // LAST is of RFC 1460 and gone since; some servers still have it.
        b"LAST" => return UNKNOWN.to_vec(),
        // Before the login NOOP is harmless, and answered; RFC 1939 has it after the login only.
        b"NOOP" if !logged_in => return b"CAPA".to_vec(),
        _ => {}
    }
    match make {
        // Trailing blanks after a number: old clients send them, and only one number can be meant.
        Make::Dovecot if has_number(verb) => upper.trim_ascii_end().to_vec(),
        Make::Dovecot => line.to_vec(),
        Make::Cyrus => one_form(verb, arguments),
    }
}

fn has_number(verb: &[u8]) -> bool {
    matches!(verb, b"LIST" | b"UIDL" | b"RETR" | b"DELE" | b"TOP")
}

/// A command in the one form that each server understands, as RFC 1939 means it; otherwise an unknown
/// command. Cyrus takes other numbers and spaces than Dovecot and Reprieve do.
fn one_form(verb: &[u8], arguments: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = arguments.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let message = |word: &[u8]| number(word).filter(|&number| number <= u64::from(u32::MAX));
    let numbers: Option<Vec<u64>> = match (verb, &words[..]) {
        (b"STAT" | b"RSET" | b"NOOP" | b"QUIT" | b"CAPA", _) | (b"LIST" | b"UIDL", []) => Some(Vec::new()),
        (b"LIST" | b"UIDL" | b"RETR" | b"DELE", [word]) => message(word).map(|number| vec![number]),
        (b"TOP", [word, lines]) => {
            // More lines than any message has.
            let lines = number(lines).map(|lines| lines.min(1_000_000));
            message(word).zip(lines).map(|(number, lines)| vec![number, lines])
        }
        (b"AUTH" | b"PASS" | b"*", _) => {
            return [verb, &b" "[..usize::from(!words.is_empty())], &words.join(&b' ')].concat();
        }
        _ => None,
    };
    let Some(numbers) = numbers else { return UNKNOWN.to_vec() };
    let numbers = numbers.iter().map(|number| format!(" {number}"));
    [verb, numbers.collect::<String>().as_bytes()].concat()
}

fn number(word: &[u8]) -> Option<u64> {
    let all_digits = word.iter().all(u8::is_ascii_digit);
    if all_digits { std::str::from_utf8(word).ok()?.parse().ok() } else { None }
}
