//! Characters that do more than stand in a line: they end it, move a cursor, turn the text around
//! them or cannot be seen. Others choose user names, error texts and what policies say; none of
//! that writes a line of its own into a log, or makes one look like another.

use std::fmt::Write as _;

/// Whether a character is never written as it is: controls (Unicode's Cc), format characters (Cf,
/// among them the marks of direction) and the separators of lines and paragraphs (Zl, Zp).
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

/// Whether a text is printable ASCII alone, as nearly all of them are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Adds a text, with escapes such as `\u{202e}` for such characters.
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

/// Escapes such characters in JSON, from `from` on. They stand in texts only, so that another
/// reader of JSON reads the same.
pub fn escape_json(json: &mut String, from: usize) {
    let written = &json[from..];
    // What JSON must escape is escaped already.
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

    /// One of each kind, with what becomes of it for people and in JSON.
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
        for (active, for_people, in_json) in KINDS {
            let text = format!("grüße{active}日本 👍");
            let mut told = String::new();
            push(&mut told, &text);
            assert_eq!(told, text.replace(active, for_people));
            let mut json = format!("kept{active}");
            let from = json.len();
            json += &serde_json::to_string(&text).unwrap();
            escape_json(&mut json, from);
            assert_eq!(json, format!("kept{active}\"{}\"", text.replace(active, in_json)));
            assert_eq!(serde_json::from_str::<String>(&json[from..]).unwrap(), text, "it is read the same");
        }
        let mut told = String::new();
        push(&mut told, "a\tb\n\u{1b}[0m");
        assert_eq!(told, "a\\tb\\n\\u{1b}[0m");
    }

    #[test]
    fn what_cannot_be_seen_in_general_punctuation_is_active() {
        // Rust's own tables say what can be printed; spaces are, by what they leave free.
        let unseen = ('\u{2000}'..='\u{206f}').filter(|one| {
            let is_escaped = format!("{one:?}").len() > one.len_utf8() + 2;
            is_escaped && (!one.is_whitespace() || matches!(one, '\u{2028}' | '\u{2029}'))
        });
        // One of them is not assigned.
        let missed: String = unseen.filter(|&one| !is_active(one) && one != '\u{2065}').collect();
        assert_eq!(missed, "");
    }
}
