//! Pixels kept column by column.
//!
//! A landscape is the same few vertical gradients over and over, cut off at different heights. Kept by columns, nearly
//! all of it is copied in runs, so even an unoptimised build draws a megapixel in some ten milliseconds.

use image::{DynamicImage, RgbImage};

/// Bytes of a pixel.
const PIXEL: usize = 3;

pub(super) type Colour = [u8; PIXEL];

#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// Columns from right to left, each from top to bottom: so a quarter turn makes them rows.
    columns: Vec<u8>,
}

/// One column of pixels, from top to bottom.
#[derive(Clone, Debug)]
pub(super) struct Column(Vec<u8>);

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1) as usize, height.max(1) as usize);
        Self { width, height, columns: vec![0; width * height * PIXEL] }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Copies the rows `from..to` of `column` to column `x`.
    pub(super) fn copy(&mut self, x: usize, column: &Column, from: usize, to: usize) {
        let to = to.min(self.height);
        if x < self.width && from < to {
            let start = (self.width - 1 - x) * self.height * PIXEL;
            let here = self.columns.get_mut(start + from * PIXEL..start + to * PIXEL);
            let there = column.0.get(from * PIXEL..to * PIXEL);
            if let (Some(here), Some(there)) = (here, there) {
                here.copy_from_slice(there);
            }
        }
    }

    /// Fills a rectangle.
    pub(super) fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, paint: &Column) {
        for x in x..x + width {
            self.copy(x, paint, y, y + height);
        }
    }

    /// The picture, rows from top to bottom.
    pub(super) fn into_image(self) -> DynamicImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let turned = RgbImage::from_raw(height, width, self.columns).unwrap_or_default();
        DynamicImage::ImageRgb8(turned).rotate90()
    }
}

// === impl Column ===

impl Column {
    /// A column of one colour.
    pub(super) fn solid(height: usize, colour: Colour) -> Self {
        Self(colour.repeat(height))
    }

    /// A column whose colour at each row is told by `colour`.
    pub(super) fn shaded(height: usize, colour: impl Fn(usize) -> Colour) -> Self {
        Self((0..height).flat_map(colour).collect())
    }

    /// The same column, each pixel moved towards `colour` by `share`.
    pub(super) fn mixed(&self, colour: Colour, share: f32) -> Self {
        Self(self.0.as_chunks().0.iter().flat_map(|pixel| mix(*pixel, colour, share)).collect())
    }

    /// Copies the rows `from..` of `other` over this column's; `from` may lie between two rows, whose edge is softened.
    pub(super) fn cover(&mut self, other: &Column, from: f32) {
        let first = from.max(0.0).ceil() as usize;
        if let (Some(here), Some(there)) = (self.0.get_mut(first * PIXEL..), other.0.get(first * PIXEL..)) {
            here.copy_from_slice(there);
        }
        if from > 0.0 && first > 0 {
            self.soften(other, first - 1, first as f32 - from);
        }
    }

    /// Copies the rows between `from` and `to` of `other` over this column's, with softened ends.
    pub(super) fn cover_between(&mut self, other: &Column, from: f32, to: f32) {
        let (first, last) = (from.max(0.0).ceil() as usize, to.max(0.0).floor() as usize);
        let last = last.min(self.0.len() / PIXEL);
        if first >= last {
            return;
        }
        let rows = first * PIXEL..last * PIXEL;
        if let (Some(here), Some(there)) = (self.0.get_mut(rows.clone()), other.0.get(rows)) {
            here.copy_from_slice(there);
        }
        if first > 0 {
            self.soften(other, first - 1, first as f32 - from);
        }
        self.soften(other, last, to - last as f32);
    }

    fn soften(&mut self, other: &Column, row: usize, share: f32) {
        let at = row * PIXEL;
        if let (Some([a, b, c]), Some([d, e, f])) = (self.0.get_mut(at..at + PIXEL), other.0.get(at..at + PIXEL)) {
            [*a, *b, *c] = mix([*a, *b, *c], [*d, *e, *f], share);
        }
    }
}

/// `share` of `b`, the rest of `a`.
pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    let share = share.clamp(0.0, 1.0);
    let part = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8;
    let ([r, g, b_], [r2, g2, b2]) = (a, b);
    [part(r, r2), part(g, g2), part(b_, b2)]
}

/// A colour by hue (in turns), saturation and lightness (0 to 1).
pub(super) fn hsl(hue: f32, saturation: f32, lightness: f32) -> Colour {
    let hue = hue.rem_euclid(1.0) * 12.0;
    let reach = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f32| {
        let k = (offset + hue) % 12.0;
        ((lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)) * 255.0).round() as u8
    };
    [channel(0.0), channel(8.0), channel(4.0)]
}
