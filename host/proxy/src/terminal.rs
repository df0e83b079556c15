//! Terminal output of the demo and `reprieve top`: colours, size, and a display that is redrawn in
//! place.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Appearance of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Title,
    Dim,
    Good,
    Costly,
    News,
    Bad,
}

impl Style {
    /// The SGR parameter (ECMA-48), restricted to the sixteen colours that a theme can set.
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Title => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Costly => "33",
            Self::News => "1;36",
            Self::Bad => "1;31",
        }
    }
}

/// A line of styled pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    pub(crate) fn of(style: Style, text: impl Into<String>) -> Self {
        Self::default().and(style, text)
    }

    #[must_use]
    pub(crate) fn and(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    #[must_use]
    pub(crate) fn and_line(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Appends as much as fits into `width` columns to `to`. Each character counts as one column;
    /// control characters are replaced.
    pub(crate) fn render(&self, width: usize, colours: bool, to: &mut String) {
        let mut left = width;
        for (style, text) in &self.0 {
            let fits: String = text.chars().map(shown).take(left).collect();
            left -= fits.chars().count();
            if fits.is_empty() {
                continue;
            }
            if colours && *style != Style::Plain {
                let _ = write!(to, "\x1b[{}m{fits}\x1b[0m", style.sgr());
            } else {
                to.push_str(&fits);
            }
        }
    }
}

/// Replaces characters that control the terminal, which names and error texts may contain.
fn shown(character: char) -> char {
    if reprieve_text::escape::is_active(character) { '?' } else { character }
}

/// Whether colours are enabled (no-color.org).
pub(crate) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the terminal can move its cursor.
pub(crate) fn can_redraw() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the locale's encoding is UTF-8.
pub(crate) fn supports_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty())
        .unwrap_or_default();
    let set = set.to_string_lossy().to_ascii_lowercase();
    set.contains("utf-8") || set.contains("utf8")
}

/// Columns and rows of the terminal on standard output; 80 by 24 if unknown.
pub(crate) fn size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the pointer, which points to one.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if result != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return (80, 24);
    }
    (usize::from(size.ws_col), usize::from(size.ws_row))
}

/// Lines on the terminal that are redrawn in place. The cursor is hidden until this is dropped.
pub(crate) struct LiveDisplay<'a, W: Write> {
    out: &'a mut W,
    colours: bool,
    /// Number of lines drawn last, and the terminal's size at that time.
    drawn: usize,
    size: (usize, usize),
}

impl<'a, W: Write> LiveDisplay<'a, W> {
    pub(crate) fn new(out: &'a mut W, colours: bool) -> io::Result<Self> {
        out.write_all(b"\x1b[?25l")?;
        Ok(Self { out, colours, drawn: 0, size: size() })
    }

    /// Replaces the lines drawn last, as far as the terminal has room.
    pub(crate) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let size = size();
        let mut text = String::new();
        if self.drawn > 0 {
            if size == self.size {
                let _ = write!(text, "\x1b[{}F", self.drawn);
            } else {
                // A resized terminal may have wrapped the old lines, so their position is unknown.
                text.push_str("\x1b[2J\x1b[H");
            }
        }
        let (columns, rows) = size;
        self.drawn = lines.len().min(rows.saturating_sub(1));
        for line in &lines[..self.drawn] {
            // Some terminals wrap if the last column is written to.
            line.render(columns.saturating_sub(1), self.colours, &mut text);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        self.size = size;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for LiveDisplay<'_, W> {
    fn drop(&mut self) {
        // Errors do not matter: without a terminal there is no cursor to show.
        let _ = self.out.write_all(b"\x1b[?25h");
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line::of(Style::Plain, "anna ").and(Style::Good, "··").and(Style::Costly, "██")
    }

    #[test]
    fn a_line_is_cut_by_columns_not_bytes() {
        let mut text = String::new();
        line().render(6, false, &mut text);
        assert_eq!(text, "anna ·");
    }

    #[test]
    fn control_characters_are_replaced() {
        let mut text = String::new();
        Line::of(Style::Plain, "refused\u{1b}[2J\r\n").render(80, false, &mut text);
        assert_eq!(text, "refused?[2J??");
    }

    #[test]
    fn each_piece_resets_its_colour() {
        let mut text = String::new();
        line().render(80, true, &mut text);
        assert_eq!(text, "anna \x1b[32m··\x1b[0m\x1b[33m██\x1b[0m");
    }

    #[test]
    fn the_cursor_is_shown_again_when_the_display_is_dropped() {
        let mut out = Vec::new();
        let mut picture = LiveDisplay::new(&mut out, false).unwrap();
        picture.draw(&[line(), line()]).unwrap();
        picture.draw(&[line()]).unwrap();
        drop(picture);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("\x1b[?25l") && text.ends_with("\x1b[?25h"));
        assert!(text.contains("\x1b[2F"), "the second drawing starts at the top of the first");
    }
}
