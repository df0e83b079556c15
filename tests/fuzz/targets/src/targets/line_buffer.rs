//! Lines of a client. The first byte chooses the limit, the second one the parts in which the rest
//! arrives.
//!
//! However the bytes are cut, the same lines come out of them, and these are the lines of a model that
//! has all bytes at once. A line that is too long is reported once, and every other one is whole.

use reprieve_pop3::line::{COMMAND_LIMIT, LOGIN_LIMIT, LineBuffer, NextLine};

use crate::input::{Cut, Input};

/// A line, or `None` if it is too long.
type Found = Option<Vec<u8>>;

/// See the head of this file.
pub fn line_buffer(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = input.choice(&[12, 1, 2, 64, COMMAND_LIMIT, LOGIN_LIMIT]);
    let cut = Cut::Seed(input.byte());
    let bytes = input.rest();
    let expected = model(bytes, limit);
    for cut in [Cut::Whole, Cut::Bytes, cut] {
        assert_eq!(lines(bytes, limit, cut), expected, "{cut:?}, limit {limit}");
    }
}

fn lines(bytes: &[u8], limit: usize, cut: Cut) -> Vec<Found> {
    let mut buffer = LineBuffer::default();
    let mut found = Vec::new();
    let mut received = 0;
    for part in cut.parts(bytes) {
        buffer.push(part);
        received += part.len();
        loop {
            match buffer.next_line(limit) {
                NextLine::Line => {
                    assert!(!buffer.line().contains(&b'\n'));
                    found.push(Some(buffer.line().to_vec()));
                }
                NextLine::TooLong => {
                    assert!(!buffer.line().contains(&b'\n'));
                    found.push(None);
                }
                NextLine::Incomplete => break,
            }
            assert!(bytes[..received].ends_with(buffer.rest()), "the rest is what came last");
        }
        assert!(buffer.rest().len() < limit, "{} bytes are kept", buffer.rest().len());
        assert_eq!(buffer.has_rest(), !buffer.rest().is_empty());
    }
    let kept = buffer.rest().to_vec();
    assert!(bytes.ends_with(&kept));
    buffer.discard();
    assert!(!buffer.has_rest() && buffer.line().is_empty());
    found
}

fn model(bytes: &[u8], limit: usize) -> Vec<Found> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let line = |line: &[u8]| match line.strip_suffix(b"\n") {
        Some(_) if line.len() > limit => Some(None),
        Some(text) => Some(Some(text.strip_suffix(b"\r").unwrap_or(text).to_vec())),
        // One that has not ended: it is known to be too long as soon as its end cannot fit.
        None => (line.len() >= limit).then_some(None),
    };
    lines.filter_map(line).collect()
}
