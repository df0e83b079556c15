//! Where a message ends (RFC 1939, section 3), however its octets arrive.

/// What ends a message.
pub(super) const END: &[u8; 5] = b"\r\n.\r\n";

/// Looks for the end of a message, of which `matched` octets came before. Returns the octets
/// up to it, or all, and how much of the end they close with.
///
/// Only CR LF . CR LF ends a message: a bare LF around a dot, which mail can contain, does not.
pub(super) fn find(octets: &[u8], mut matched: usize) -> (usize, usize) {
    let mut at = 0;
    while at < octets.len() {
        if matched == 0 {
            match memchr::memmem::find(&octets[at..], END) {
                Some(found) => return (at + found + END.len(), END.len()),
                None => {
                    // No end in it; it may still close with a beginning of one.
                    let tail = octets.len().saturating_sub(END.len() - 1).max(at);
                    let rest = &octets[tail..];
                    let begun = (1..END.len()).rev().find(|&length| rest.ends_with(&END[..length]));
                    return (octets.len(), begun.unwrap_or(0));
                }
            }
        }
        let octet = octets[at];
        at += 1;
        matched = if octet == END[matched] { matched + 1 } else { usize::from(octet == END[0]) };
        if matched == END.len() {
            return (at, matched);
        }
    }
    (at, matched)
}
