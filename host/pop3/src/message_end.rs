//! Finds the end of a message (RFC 1939, section 3), in however many parts it arrives.

/// The end of a message, including the line end before the dot.
pub(super) const END: &[u8; 5] = b"\r\n.\r\n";

/// Searches `bytes` for the end of a message, whose first `matched` bytes have arrived before.
/// Returns how many bytes belong to the message, and how many bytes of the end have been matched:
/// all of them if the message is over.
///
/// Only CR LF . CR LF ends a message. A dot between bare line feeds, which mail can contain, does not.
pub(super) fn find(bytes: &[u8], mut matched: usize) -> (usize, usize) {
    let mut at = 0;
    while at < bytes.len() {
        if matched == 0 {
            match memchr::memmem::find(&bytes[at..], END) {
                Some(found) => return (at + found + END.len(), END.len()),
                None => {
                    // The last bytes may be the beginning of the end.
                    let tail = bytes.len().saturating_sub(END.len() - 1).max(at);
                    let rest = &bytes[tail..];
                    let begun = (1..END.len()).rev().find(|&length| rest.ends_with(&END[..length]));
                    return (bytes.len(), begun.unwrap_or(0));
                }
            }
        }
        let byte = bytes[at];
        at += 1;
        matched = if byte == END[matched] { matched + 1 } else { usize::from(byte == END[0]) };
        if matched == END.len() {
            return (at, matched);
        }
    }
    (at, matched)
}
