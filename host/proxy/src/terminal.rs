//! What the demo and `reprieve top` need of a terminal: colours if they are wanted, its size, and
//! a picture that is drawn over the last one.

use std::fmt::Write as _;
use std::io::{self, Write};

/// How a piece of text looks.
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
    /// The parameter of SGR (ECMA-48), from the sixteen colours that a theme can set.
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

    /// Writes as much of it as fits into `width` columns. Each character is taken for one column;
    /// one that would move the cursor is not written.
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

/// What others say may have characters that a terminal obeys.
fn shown(character: char) -> char {
    if reprieve_text::escape::is_active(character) { '?' } else { character }
}

/// Whether colours are wanted (no-color.org).
pub(crate) fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the terminal moves its cursor on demand.
pub(crate) fn can_redraw() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the locale, where it says anything, allows more than ASCII.
pub(crate) fn speaks_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty())
        .unwrap_or_default();
    let set = set.to_string_lossy().to_ascii_lowercase();
    set.contains("utf-8") || set.contains("utf8")
}

/// Columns and rows of the terminal on standard output.
pub(crate) fn size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the place that it is given, which is one.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if result != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return (80, 24);
    }
    (usize::from(size.ws_col), usize::from(size.ws_row))
}

/// A picture on the terminal that is drawn over again. The cursor is hidden as long as it
/// is there, and shown again whatever ends it.
pub(crate) struct Picture<'a, W: Write> {
    out: &'a mut W,
    colours: bool,
    /// Lines drawn last, and the terminal's size then.
    drawn: usize,
    size: (usize, usize),
}

impl<'a, W: Write> Picture<'a, W> {
    pub(crate) fn new(out: &'a mut W, colours: bool) -> io::Result<Self> {
        out.write_all(b"\x1b[?25l")?;
        Ok(Self { out, colours, drawn: 0, size: size() })
    }

    /// Draws over what was drawn last, as much as the terminal has room for.
    pub(crate) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let size = size();
        let mut text = String::new();
        if self.drawn > 0 {
            if size == self.size {
                let _ = write!(text, "\x1b[{}F", self.drawn);
            } else {
                // Where the old lines are now, only the terminal knows.
                text.push_str("\x1b[2J\x1b[H");
            }
        }
        let (columns, rows) = size;
        self.drawn = lines.len().min(rows.saturating_sub(1));
        for line in &lines[..self.drawn] {
            // The last column stays free: some terminals wrap when it is written.
            line.render(columns.saturating_sub(1), self.colours, &mut text);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        self.size = size;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Picture<'_, W> {
    fn drop(&mut self) {
        // If the terminal is gone, so is its cursor.
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
    fn a_line_is_cut_to_the_width_in_columns_not_octets() {
        let mut text = String::new();
        line().render(6, false, &mut text);
        assert_eq!(text, "anna ·");
    }

    #[test]
    fn what_others_say_moves_no_cursor() {
        let mut text = String::new();
        Line::of(Style::Plain, "refused\u{1b}[2J\r\n").render(80, false, &mut text);
        assert_eq!(text, "refused?[2J??");
    }

    #[test]
    fn colours_end_where_their_piece_ends() {
        let mut text = String::new();
        line().render(80, true, &mut text);
        assert_eq!(text, "anna \x1b[32m··\x1b[0m\x1b[33m██\x1b[0m");
    }

    #[test]
    fn the_cursor_comes_back_whatever_happens() {
        let mut out = Vec::new();
        let mut picture = Picture::new(&mut out, false).unwrap();
        picture.draw(&[line(), line()]).unwrap();
        picture.draw(&[line()]).unwrap();
        drop(picture);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("\x1b[?25l") && text.ends_with("\x1b[?25h"));
        assert!(text.contains("\x1b[2F"), "the second picture begins where the first did");
    }
}
