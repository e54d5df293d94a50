//! Words in an 8×8 font, scaled up, wrapped and with a shadow.

use font8x8::{BASIC_FONTS, BOX_FONTS, GREEK_FONTS, HIRAGANA_FONTS, LATIN_FONTS, UnicodeFonts};

use super::canvas::{Canvas, Column};

/// Width and height of a letter before scaling.
const LETTER: usize = 8;

/// Height of a line before scaling.
pub(super) const LINE: usize = 11;

/// Letters of a prompt that are written at most.
const LONGEST: usize = 320;

/// Wrapped text at a scale.
#[derive(Debug)]
pub(super) struct Block {
    lines: Vec<Vec<[u8; LETTER]>>,
    scale: usize,
}

impl Block {
    /// The text at the largest scale up to `scale` at which it fits, or nothing when it has no letter we can draw or
    /// there is no room.
    pub(super) fn fit(text: &str, width: usize, height: usize, scale: usize) -> Option<Self> {
        let words = words(text);
        if words.is_empty() {
            return None;
        }
        (1..=scale).rev().find_map(|scale| {
            let columns = width / (LETTER * scale);
            if columns < 4 {
                return None;
            }
            let longest = words.iter().map(Vec::len).max().unwrap_or(0);
            let count = wrap(&words, columns).len();
            // As narrow as the number of lines allows, so that no word is left alone on the last one.
            let lines = (longest.clamp(4, columns)..=columns)
                .map(|columns| wrap(&words, columns))
                .find(|lines| lines.len() == count)?;
            let fits = lines.len() * LINE * scale <= height && (longest <= columns || scale == 1);
            fits.then_some(Self { lines, scale })
        })
    }

    pub(super) fn scale(&self) -> usize {
        self.scale
    }

    pub(super) fn width(&self) -> usize {
        self.lines.iter().map(Vec::len).max().unwrap_or(0) * LETTER * self.scale
    }

    pub(super) fn height(&self) -> usize {
        (self.lines.len() * LINE).saturating_sub(LINE - LETTER) * self.scale
    }

    /// Writes it, centred in its own width, its upper left corner at (`left`, `top`).
    pub(super) fn write(&self, canvas: &mut Canvas, left: usize, top: usize, ink: &Column, shadow: &Column) {
        let drop = (self.scale / 2).max(1);
        for (paint, shift) in [(shadow, drop), (ink, 0)] {
            for (row, line) in self.lines.iter().enumerate() {
                let indent = (self.width() - line.len() * LETTER * self.scale) / 2;
                for (column, glyph) in line.iter().enumerate() {
                    let x = left + indent + column * LETTER * self.scale + shift;
                    let y = top + row * LINE * self.scale + shift;
                    stamp(canvas, x, y, self.scale, glyph, paint);
                }
            }
        }
    }
}

/// Fills the glyph's pixels, and the corners between two diagonal neighbours so that slants are smooth.
fn stamp(canvas: &mut Canvas, x: usize, y: usize, scale: usize, glyph: &[u8; LETTER], paint: &Column) {
    let lit = |column: usize, row: usize| glyph.get(row).is_some_and(|bits| column < LETTER && bits >> column & 1 == 1);
    let half = scale / 2;
    for row in 0..LETTER {
        for column in 0..LETTER {
            let (px, py) = (x + column * scale, y + row * scale);
            if lit(column, row) {
                canvas.fill(px, py, scale, scale, paint);
                continue;
            }
            let up = row > 0 && lit(column, row - 1);
            let down = lit(column, row + 1);
            let left = column > 0 && lit(column - 1, row);
            let right = lit(column + 1, row);
            let rest = scale - half;
            for (corner, dx, dy) in [
                (up && left && !down && !right, 0, 0),
                (up && right && !down && !left, rest, 0),
                (down && left && !up && !right, 0, rest),
                (down && right && !up && !left, rest, rest),
            ] {
                if corner {
                    canvas.fill(px + dx, py + dy, half, half, paint);
                }
            }
        }
    }
}

/// The drawable words of a text.
fn words(text: &str) -> Vec<Vec<[u8; LETTER]>> {
    let short: String = text.chars().take(LONGEST).collect();
    let tail = if short.len() < text.len() { " ..." } else { "" };
    (short + tail)
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .map(|word| word.chars().filter_map(glyph).collect::<Vec<_>>())
        .filter(|word| !word.is_empty())
        .collect()
}

fn glyph(letter: char) -> Option<[u8; LETTER]> {
    let letter = match letter {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2013}' | '\u{2014}' => '-',
        other => other,
    };
    BASIC_FONTS
        .get(letter)
        .or_else(|| LATIN_FONTS.get(letter))
        .or_else(|| GREEK_FONTS.get(letter))
        .or_else(|| HIRAGANA_FONTS.get(letter))
        .or_else(|| BOX_FONTS.get(letter))
}

/// Lines of at most `columns` letters; longer words are cut.
fn wrap(words: &[Vec<[u8; LETTER]>], columns: usize) -> Vec<Vec<[u8; LETTER]>> {
    let mut lines = Vec::new();
    let mut line: Vec<[u8; LETTER]> = Vec::new();
    for word in words {
        if !line.is_empty() && line.len() + 1 + word.len() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push([0; LETTER]);
        }
        for letter in word {
            if line.len() == columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(*letter);
        }
    }
    lines.push(line);
    lines
}
