//! Escapes characters that end a line, move a cursor, change the direction of text or are
//! invisible. Clients, mail servers and policies choose user names, error texts and notes: none of
//! them may add a line to a log, or make one line look like another.

use std::fmt::Write as _;

/// Whether a character must be escaped: controls (Unicode category Cc), format characters (Cf, which
/// includes the direction marks), and line and paragraph separators (Zl, Zp).
#[must_use]
pub fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Whether a text is printable ASCII, as nearly all texts are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Appends a text, with [active](is_active) characters escaped as in `\u{202e}`.
pub fn push(to: &mut String, text: &str) {
    if is_plain(text) {
        return to.push_str(text);
    }
    for character in text.chars() {
        if is_active(character) {
            to.extend(character.escape_default());
        } else {
            to.push(character);
        }
    }
}

/// Escapes [active](is_active) characters in finished JSON, from byte `from` on, as in `\u202e`.
/// They occur only inside strings, so every JSON parser reads the same text as before.
pub fn escape_json(json: &mut String, from: usize) {
    let written = &json[from..];
    // Controls below 0x20 are escaped already: JSON demands it.
    if written.is_ascii() && memchr::memchr(0x7f, written.as_bytes()).is_none() {
        return;
    }
    if !written.chars().any(is_active) {
        return;
    }
    let written = written.to_owned();
    json.truncate(from);
    for character in written.chars() {
        if is_active(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(json, "\\u{unit:04x}");
            }
        } else {
            json.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, as it is written in text and in JSON.
    const KINDS: [(&str, &str, &str); 12] = [
        ("\u{7f}", "\\u{7f}", "\\u007f"),
        ("\u{85}", "\\u{85}", "\\u0085"),
        ("\u{9b}", "\\u{9b}", "\\u009b"),
        ("\u{ad}", "\\u{ad}", "\\u00ad"),
        ("\u{61c}", "\\u{61c}", "\\u061c"),
        ("\u{200b}", "\\u{200b}", "\\u200b"),
        ("\u{200f}", "\\u{200f}", "\\u200f"),
        ("\u{2028}", "\\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u{2029}", "\\u2029"),
        ("\u{202e}", "\\u{202e}", "\\u202e"),
        ("\u{2066}", "\\u{2066}", "\\u2066"),
        ("\u{e0041}", "\\u{e0041}", "\\udb40\\udc41"),
    ];

    #[test]
    fn active_characters_are_escaped_and_no_others() {
        for (active, in_text, in_json) in KINDS {
            let text = format!("grüße{active}日本 👍");
            let mut escaped = String::new();
            push(&mut escaped, &text);
            assert_eq!(escaped, text.replace(active, in_text));
            let mut json = format!("kept{active}");
            let from = json.len();
            json += &serde_json::to_string(&text).unwrap();
            escape_json(&mut json, from);
            assert_eq!(json, format!("kept{active}\"{}\"", text.replace(active, in_json)));
            assert_eq!(
                serde_json::from_str::<String>(&json[from..]).unwrap(),
                text,
                "a JSON parser reads the original text"
            );
        }
        let mut escaped = String::new();
        push(&mut escaped, "a\tb\n\u{1b}[0m");
        assert_eq!(escaped, "a\\tb\\n\\u{1b}[0m");
    }

    #[test]
    fn every_invisible_character_of_general_punctuation_is_active() {
        // Rust's `Debug` escapes what cannot be printed. Spaces are visible as gaps.
        let invisible = ('\u{2000}'..='\u{206f}').filter(|character| {
            let is_escaped = format!("{character:?}").len() > character.len_utf8() + 2;
            is_escaped && (!character.is_whitespace() || matches!(character, '\u{2028}' | '\u{2029}'))
        });
        // U+2065 is not assigned.
        let missed: String =
            invisible.filter(|&character| !is_active(character) && character != '\u{2065}').collect();
        assert_eq!(missed, "");
    }
}
