//! Generates the messages of the demo, all different, with content that careless proxies get wrong:
//! lines that begin with dots, long attachments, empty bodies.

use std::fmt::Write as _;

use base64::Engine as _;

/// A message and its Message-ID.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) message_id: String,
    pub(crate) bytes: Vec<u8>,
}

const SUBJECTS: [&str; 6] = [
    "Minutes of Tuesday",
    "Your order has been shipped",
    "Lunch?",
    "Re: the garden",
    "Invoice",
    "Photographs",
];

const LINES: [&str; 8] = [
    "The committee met from ten until noon and made no decisions.",
    "Please check the figures below and reply by Friday.",
    "...and so on, as before.",
    ".",
    "The roses need pruning before the first frost.",
    "",
    ".profile is the file that I meant.",
    "Please bring the long ladder.",
];

impl Message {
    /// Generates a message to `user`.
    pub(crate) fn generate(user: &str) -> Self {
        let mut id = [0; 12];
        getrandom::fill(&mut id).expect("the system provides random bytes");
        let message_id = format!("<{}@demo.invalid>", blake3::hash(&id).to_hex().split_at(24).0);
        let now = jiff::Zoned::now();
        let date = jiff::fmt::rfc2822::to_string(&now).unwrap_or_default();
        let mut text = format!(
            "Return-Path: <sender@demo.invalid>\r\nMessage-ID: {message_id}\r\nDate: {date}\r\n\
             From: Sender <sender@demo.invalid>\r\nTo: {user}@demo.invalid\r\nSubject: {}\r\n\
             MIME-Version: 1.0\r\n",
            pick(&SUBJECTS),
        );
        match below(10) {
            0 => text.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n"),
            1..=3 => attach(&mut text),
            _ => {
                text.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
                push_lines(&mut text, 3 + below(40));
            }
        }
        Self { message_id, bytes: text.into_bytes() }
    }
}

fn attach(text: &mut String) {
    text.push_str("Content-Type: multipart/mixed; boundary=\"part\"\r\n\r\n--part\r\n\r\n");
    push_lines(text, 3 + below(5));
    text.push_str("--part\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    let mut bytes = vec![0; 1000 + below(20_000)];
    getrandom::fill(&mut bytes).expect("the system provides random bytes");
    // Lines of 76 characters (RFC 2045, section 6.8).
    for line in bytes.chunks(57) {
        let _ = write!(text, "{}\r\n", base64::engine::general_purpose::STANDARD.encode(line));
    }
    text.push_str("--part--\r\n");
}

fn push_lines(text: &mut String, count: usize) {
    for _ in 0..count {
        text.push_str(pick(&LINES));
        text.push_str("\r\n");
    }
}

fn pick<'a>(from: &[&'a str]) -> &'a str {
    from[below(from.len())]
}

/// A random number below `end`; the bias is negligible for small numbers.
pub(crate) fn below(end: usize) -> usize {
    let random = getrandom::u32().expect("the system provides random bytes");
    usize::try_from((u64::from(random) * end as u64) >> 32).unwrap_or(0)
}

/// The Message-ID in the header of a message.
pub(crate) fn message_id(bytes: &[u8]) -> Option<&str> {
    let mut header = bytes.split(|&byte| byte == b'\n').take_while(|line| *line != b"\r");
    let value = header.find_map(|line| line.strip_prefix(b"Message-ID:"))?;
    std::str::from_utf8(value).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_an_id_and_valid_line_endings() {
        for _ in 0..50 {
            let message = Message::generate("anna");
            assert_eq!(message_id(&message.bytes), Some(message.message_id.as_str()));
            assert!(message.bytes.ends_with(b"\r\n"));
            let text = String::from_utf8(message.bytes).unwrap();
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            assert!(text.lines().all(|line| line.len() <= 998));
        }
    }

    #[test]
    fn an_id_in_the_body_is_ignored() {
        assert_eq!(message_id(b"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n"), None);
    }

    #[test]
    fn random_numbers_stay_below_their_end() {
        assert!((0..1000).all(|_| below(3) < 3));
        assert!((0..1000).any(|_| below(3) == 2));
    }
}
