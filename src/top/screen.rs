//! Cells of the terminal, written by lines: a text never leaves its place.

use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::form::plain;

/// The cells to write.
pub(super) struct Screen<'a> {
    pub(super) buffer: &'a mut Buffer,
    /// Nothing but ASCII.
    pub(super) ascii: bool,
    /// Whether there are colours.
    pub(super) has_colors: bool,
}

/// The style of ordinary text: the terminal's own.
pub(super) fn normal() -> Style {
    Style::new()
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// The style of the row under the cursor.
pub(super) fn chosen() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

impl Screen<'_> {
    pub(super) fn width(&self) -> u16 {
        self.buffer.area.width
    }

    pub(super) fn height(&self) -> u16 {
        self.buffer.area.height
    }

    /// A colour, where there are any.
    pub(super) fn color(&self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }

    /// Writes a text from `x` on, at most `width` cells of it; returns the cell behind it.
    pub(super) fn put(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
        let room = width.min(self.width().saturating_sub(x));
        if room == 0 || y >= self.height() {
            return x;
        }
        let text = cut(&plain(text, self.ascii), room, self.ascii);
        let (x, y) = (self.buffer.area.x + x, self.buffer.area.y + y);
        self.buffer.set_stringn(x, y, text, room.into(), style).0 - self.buffer.area.x
    }

    /// Likewise to the right end of its place.
    pub(super) fn put_right(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        let text = cut(&plain(text, self.ascii), width, self.ascii);
        let used = u16::try_from(text.width()).unwrap_or(width).min(width);
        self.put(x + width - used, y, used, &text, style);
    }

    /// Styles a line.
    pub(super) fn style_line(&mut self, y: u16, style: Style) {
        for x in 0..self.width() {
            if let Some(cell) = self.buffer.cell_mut((self.buffer.area.x + x, self.buffer.area.y + y)) {
                cell.set_style(style);
            }
        }
    }

    /// A bar of `width` cells, of which a share is full.
    pub(super) fn bar(&self, width: u16, share: f64) -> String {
        let (full, empty) = if self.ascii { ("#", ".") } else { ("█", "░") };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a width fits it")]
        let filled = (f64::from(width) * share.clamp(0.0, 1.0)).round() as u16;
        // What is not nothing has a cell, and what is not all lacks one.
        let filled = if share > 0.0 { filled.max(1) } else { 0 };
        let filled = if share < 1.0 { filled.min(width.saturating_sub(1)) } else { filled };
        full.repeat(filled.into()) + &empty.repeat((width - filled).into())
    }
}

/// A text of at most so many cells, with a mark where it is cut.
fn cut(text: &str, width: u16, ascii: bool) -> String {
    if text.width() <= usize::from(width) {
        return text.to_owned();
    }
    let room = usize::from(width).saturating_sub(1);
    let (mut kept, mut used) = (String::new(), 0);
    for letter in text.chars() {
        let wide = letter.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        kept.push(letter);
    }
    if width > 0 {
        kept.push(if ascii { '~' } else { '…' });
    }
    kept
}

/// A name of at most so many cells, cut in its middle: names of pods differ at their ends.
pub(super) fn middle(name: &str, width: u16, ascii: bool) -> String {
    let letters: Vec<char> = name.chars().collect();
    let room = usize::from(width);
    // Wide characters are cut at the end, by cells.
    if letters.len() <= room || room < 12 || name.width() != letters.len() {
        return name.to_owned();
    }
    let tail = room * 2 / 5;
    let begin: String = letters.iter().take(room - tail - 1).collect();
    let end: String = letters.iter().skip(letters.len() - tail).collect();
    format!("{begin}{}{end}", if ascii { '~' } else { '…' })
}

#[cfg(test)]
mod tests {
    use ratatui_core::layout::Rect;

    use super::*;

    fn line(width: u16, ascii: bool, draw: impl FnOnce(&mut Screen<'_>)) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 1));
        draw(&mut Screen { buffer: &mut buffer, ascii, has_colors: false });
        buffer.content.iter().map(ratatui_core::buffer::Cell::symbol).collect()
    }

    /// Texts are cut at the end of their place, by cells and not by characters.
    #[test]
    fn texts_stay_in_their_place() {
        assert_eq!(line(8, false, |screen| _ = screen.put(1, 0, 4, "abcdefg", normal())), " abc…   ");
        assert_eq!(line(8, true, |screen| _ = screen.put(6, 0, 9, "abcdefg", normal())), "      a~");
        assert_eq!(line(8, false, |screen| screen.put_right(0, 0, 6, "12", normal())), "    12  ");
        assert_eq!(line(8, false, |screen| _ = screen.put(0, 0, 4, "日本語", normal())).trim_end(), "日 …");
        assert_eq!(
            line(9, false, |screen| _ = screen.put(0, 0, 9, "a\u{1b}[31m", normal())),
            "a[U+001B]".chars().take(8).collect::<String>() + "…"
        );
        assert_eq!(line(4, false, |screen| _ = screen.put(9, 5, 4, "x", normal())), "    ");
    }

    /// Names that begin alike stay apart.
    #[test]
    fn names_keep_their_ends() {
        assert_eq!(middle("default/deathstar-7b8c5f9d64-h7k2x", 20, false), "default/dea…64-h7k2x");
        assert_eq!(middle("default/deathstar-7b8c5f9d64-h7k2x", 20, true), "default/dea~64-h7k2x");
        assert_eq!(middle("default/xwing", 13, true), "default/xwing");
        assert_eq!(middle("日本語日本語日本語日本語", 12, false).chars().count(), 12);
    }

    /// A little is not nothing, and nearly all is not all.
    #[test]
    fn bars_are_not_rounded_away() {
        let bar = |share: f64| {
            line(10, true, |screen| {
                let bar = screen.bar(10, share);
                screen.put(0, 0, 10, &bar, normal());
            })
        };
        for (share, drawn) in [
            (0.0, ".........."),
            (0.001, "#........."),
            (0.5, "#####....."),
            (0.999, "#########."),
            (1.0, "##########"),
            (7.0, "##########"),
        ] {
            assert_eq!(bar(share), drawn);
        }
    }
}
