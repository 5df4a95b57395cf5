//! Lines at the bottom of a terminal, replaced in place.
//!
//! Main types: [`Row`], a line that knows how wide it is, and [`Screen`], which makes the bytes that put
//! rows where the last ones stood. It writes nothing itself.

use console::measure_text_width;

use crate::report::escape::clean;

/// How a piece of text looks where colours are wanted; without them all look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Strong,
    Good,
    Bad,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Faint => "2",
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Bad => "1;31",
        }
    }
}

/// One line, from left to right. Text from outside cannot move the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pieces: Vec<(Tone, String)>,
}

impl Row {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn with(mut self, tone: Tone, text: &str) -> Self {
        self.pieces.push((tone, clean(text)));
        self
    }

    /// How many columns it takes.
    pub(super) fn columns(&self) -> usize {
        self.pieces.iter().map(|(_, text)| measure_text_width(text)).sum()
    }

    /// As much of it as goes into so many columns; what was cut ends with an ellipsis.
    pub(super) fn cut(self, columns: usize) -> Self {
        if self.columns() <= columns {
            return self;
        }
        let mut room = columns.saturating_sub(1);
        let mut kept = Row::new();
        for (tone, text) in self.pieces {
            let mut part = String::new();
            for character in text.chars() {
                let width = measure_text_width(character.encode_utf8(&mut [0; 4]));
                if width > room {
                    kept.pieces.push((tone, part + "…"));
                    return kept;
                }
                room -= width;
                part.push(character);
            }
            kept.pieces.push((tone, part));
        }
        kept
    }

    /// With escape codes where colours are wanted.
    pub(super) fn paint(&self, colours: bool) -> String {
        let paint = |(tone, text): &(Tone, String)| match tone.code() {
            code if colours && !code.is_empty() && !text.is_empty() => {
                format!("\x1b[{code}m{text}\x1b[0m")
            }
            _ => text.clone(),
        };
        self.pieces.iter().map(paint).collect()
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.paint(false)
    }
}

/// A text that stays, broken between words, later lines indented.
pub(super) fn wrapped(tone: Tone, text: &str, columns: usize, indent: usize) -> Vec<Row> {
    let mut lines: Vec<String> = vec![String::new()];
    let mut width = 0;
    for word in clean(text).split_whitespace() {
        let mut word = word;
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let gap = usize::from(!line.trim_end().is_empty());
            let needs = measure_text_width(word);
            if width + gap + needs <= columns {
                line.push_str(&" ".repeat(gap));
                line.push_str(word);
                width += gap + needs;
                break;
            }
            if gap == 0 {
                // A word longer than a line is broken where the line ends.
                let mut room = columns.saturating_sub(width).max(1);
                let cut = word.char_indices().find(|(_, character)| {
                    let width = measure_text_width(character.encode_utf8(&mut [0; 4]));
                    let full = width > room;
                    room = room.saturating_sub(width);
                    full
                });
                let (head, tail) = word.split_at(cut.map_or(word.len(), |(at, _)| at));
                line.push_str(head);
                word = tail;
                if word.is_empty() {
                    width += measure_text_width(head);
                    break;
                }
            }
            lines.push(" ".repeat(indent));
            width = indent;
        }
    }
    lines.into_iter().map(|line| Row::new().with(tone, &line)).collect()
}

/// What stands at the bottom. The cursor rests at the beginning of the line below it and is never
/// hidden: whatever ends the process, be it `kill -9`, nothing is left to be put right, and what anybody
/// else writes begins on a line of its own.
#[derive(Debug)]
pub(super) struct Screen {
    /// The columns of each row as it was drawn.
    drawn: Vec<usize>,
    colours: bool,
    /// Whether a terminal that has become narrower breaks lines that no longer fit, as most do, or cuts
    /// them off.
    reflows: bool,
}

impl Screen {
    pub(super) fn new(colours: bool, reflows: bool) -> Self {
        Self { drawn: Vec::new(), colours, reflows }
    }

    /// The bytes that put `rows` where the last ones stood, and `above` over them, to scroll away. One
    /// write of them shows no half of it: each line is overwritten and only then its rest erased.
    /// `size` is that of the terminal, rows first.
    pub(super) fn frame(&mut self, size: (usize, usize), above: &[Row], rows: Vec<Row>) -> String {
        let (height, width) = (size.0.max(2), size.1.max(2));
        let up: usize = self.drawn.iter().map(|columns| self.lines_of(*columns, width)).sum();
        let mut bytes = String::new();
        if up > 0 {
            // Never further than the top: a terminal stops there by itself.
            bytes.push_str(&format!("\x1b[{up}A"));
        }
        bytes.push('\r');
        if up > self.drawn.len() {
            bytes.push_str("\x1b[J");
        }
        // The last column is left free: some terminals wrap as soon as it is filled.
        let rows: Vec<Row> =
            rows.into_iter().take(height - 1).map(|row| row.cut(width - 1)).collect();
        for row in above.iter().chain(&rows) {
            bytes.push_str(&row.paint(self.colours));
            bytes.push_str("\x1b[K\n");
        }
        // What is left of a taller one, and what was typed meanwhile, such as `^C`.
        bytes.push_str("\x1b[J");
        self.drawn = rows.iter().map(Row::columns).collect();
        bytes
    }

    /// What was drawn is out of reach: somebody else has written since.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
    }

    /// On how many lines of the terminal a row stands now.
    fn lines_of(&self, columns: usize, width: usize) -> usize {
        if self.reflows { columns.div_ceil(width).max(1) } else { 1 }
    }
}

/// Columns that are free in a row of this width, and never so few that nothing can be said.
pub(super) fn usable(width: usize) -> usize {
    width.max(20) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row::new().with(Tone::Plain, text)
    }

    #[test]
    fn a_row_is_as_wide_as_it_looks() {
        assert_eq!(row("日本").columns(), 4);
        assert_eq!(row("日本語").cut(5).text(), "日本…");
        assert_eq!(row("abc").cut(3).text(), "abc");
        let two = Row::new().with(Tone::Good, "ab").with(Tone::Bad, "cdef");
        assert_eq!(two.clone().cut(4).text(), "abc…");
        assert_eq!(two.cut(4).paint(true), "\x1b[32mab\x1b[0m\x1b[1;31mc…\x1b[0m");
        assert_eq!(row("\x1b[2J\n").text(), " [2J ");
    }

    #[test]
    fn what_stays_is_broken_between_words() {
        let lines = |text: &str, columns| {
            wrapped(Tone::Plain, text, columns, 2).iter().map(Row::text).collect::<Vec<_>>()
        };
        assert_eq!(lines("one two three", 20), ["one two three"]);
        assert_eq!(lines("one two three", 8), ["one two", "  three"]);
        assert_eq!(lines("aaaaaaaaaaaa b", 5), ["aaaaa", "  aaa", "  aaa", "  a b"]);
        assert_eq!(lines("", 5), [""]);
    }

    #[test]
    fn rows_replace_those_that_stood_there() {
        let mut screen = Screen::new(false, true);
        let size = (24, 40);
        let first = screen.frame(size, &[], vec![row("one"), row("two")]);
        assert_eq!(first, "\rone\x1b[K\ntwo\x1b[K\n\x1b[J");
        let second = screen.frame(size, &[row("stays")], vec![row("three")]);
        assert_eq!(second, "\x1b[2A\rstays\x1b[K\nthree\x1b[K\n\x1b[J");
        assert_eq!(screen.frame(size, &[], vec![]), "\x1b[1A\r\x1b[J");
        assert_eq!(screen.frame(size, &[], vec![]), "\r\x1b[J");
    }

    #[test]
    fn a_narrower_terminal_has_broken_the_lines_or_cut_them() {
        let wide = "x".repeat(70);
        for (reflows, up) in [(true, "\x1b[3A\r\x1b[J"), (false, "\x1b[2A\r")] {
            let mut screen = Screen::new(false, reflows);
            screen.frame((24, 80), &[], vec![row(&wide), row("short")]);
            let frame = screen.frame((24, 40), &[], vec![row(&wide)]);
            assert!(frame.starts_with(up), "{frame:?}");
            assert!(frame.contains(&format!("{}…\x1b[K", "x".repeat(38))), "{frame:?}");
        }
    }

    #[test]
    fn a_low_terminal_shows_the_first_rows() {
        let mut screen = Screen::new(false, true);
        let rows = (0..9).map(|number| row(&number.to_string())).collect();
        assert_eq!(screen.frame((3, 40), &[], rows), "\r0\x1b[K\n1\x1b[K\n\x1b[J");
    }
}
