//! The landscape: a sky, a sun with its halo, ridges that fade into the distance, and the prompt on a dark pane.

use std::f32::consts::TAU;

use super::{
    Dice,
    canvas::{Canvas, Colour, Column, hsl, mix},
    lettering::{Block, LINE},
};

/// Ridges, the farthest first.
const RIDGES: usize = 5;

/// Halos around the sun, the widest first: radius in suns, and how much of the sun's colour.
const HALOS: [(f32, f32); 3] = [(2.6, 0.10), (1.9, 0.20), (1.4, 0.34)];

/// Signature in the lower right corner.
const SIGNATURE: &str = "picgate demo";

/// Paints `prompt` at this size.
pub(super) fn paint(prompt: &str, seed: u64, width: u32, height: u32) -> Canvas {
    let mut canvas = Canvas::new(width, height);
    let mut dice = Dice(seed);
    let (w, h) = (canvas.width(), canvas.height());
    let palette = Palette::roll(&mut dice);
    let outline = Outline::roll(&mut dice, w as f32, h as f32);
    let day = Strips::new(&palette, &outline, h);
    let shade = day.mixed(palette.pane, 0.66);

    let block = Block::fit(prompt, w * 84 / 100, h * 44 / 100, w.min(h) / 128);
    let pane = block.as_ref().map(|block| Pane::around(block, w, h));
    let mut column = day.sky.clone();
    for x in 0..w {
        day.compose(&outline, x as f32, &mut column);
        canvas.copy(x, &column, 0, h);
        if let Some((from, to)) = pane.as_ref().and_then(|pane| pane.rows(x)) {
            shade.compose(&outline, x as f32, &mut column);
            canvas.copy(x, &column, from, to);
        }
    }

    let shadow = Column::solid(h, mix(palette.pane, [0; 3], 0.5));
    let ink = Column::shaded(h, |y| mix([255; 3], palette.sun, y as f32 / h as f32 * 0.4));
    if let (Some(block), Some(pane)) = (block, pane) {
        block.write(&mut canvas, pane.x + pane.margin, pane.y + pane.margin, &ink, &shadow);
    }
    sign(&mut canvas, &ink, &shadow);
    canvas
}

fn sign(canvas: &mut Canvas, ink: &Column, shadow: &Column) {
    let (w, h) = (canvas.width(), canvas.height());
    let scale = w.min(h) / 400;
    if scale > 0
        && let Some(block) = Block::fit(SIGNATURE, w, h, scale)
    {
        let gap = 6 * scale;
        block.write(canvas, w.saturating_sub(block.width() + gap), h.saturating_sub(LINE * scale + gap), ink, shadow);
    }
}

/// The colours, all from one hue.
#[derive(Debug)]
struct Palette {
    zenith: Colour,
    horizon: Colour,
    sun: Colour,
    far: Colour,
    near: Colour,
    pane: Colour,
}

impl Palette {
    fn roll(dice: &mut Dice) -> Self {
        // From cyan over blue and purple to orange: no green skies.
        let hue = dice.between(0.50, 1.06);
        let warm = hue + dice.between(0.06, 0.18);
        let land = dice.between(0.20, 0.80);
        Self {
            zenith: hsl(hue, 0.62, dice.between(0.30, 0.46)),
            horizon: hsl(warm, 0.85, dice.between(0.74, 0.82)),
            sun: hsl(warm + 0.04, 1.0, 0.90),
            far: hsl(land + 0.06, 0.32, 0.60),
            near: hsl(land, 0.50, 0.15),
            pane: hsl(hue, 0.45, 0.08),
        }
    }
}

/// Where the sun stands and how the ridges run.
#[derive(Debug)]
struct Outline {
    sun: (f32, f32),
    radius: f32,
    width: f32,
    ridges: Vec<Ridge>,
}

#[derive(Debug)]
struct Ridge {
    base: f32,
    reach: f32,
    /// Swings over the picture's width, phase, and share of each wave.
    waves: [(f32, f32, f32); 4],
    /// Peaks instead of round tops.
    sharp: bool,
}

impl Outline {
    fn roll(dice: &mut Dice, width: f32, height: f32) -> Self {
        let side = width.min(height);
        let sun = (width * dice.between(0.18, 0.82), height * dice.between(0.16, 0.36));
        let radius = side * dice.between(0.06, 0.11);
        let mountains = dice.next() % RIDGES as u64;
        let ridges = (0..RIDGES)
            .map(|k| {
                let depth = k as f32 / (RIDGES - 1) as f32;
                let sharp = (k as u64) < mountains;
                let wave = |dice: &mut Dice, swings: f32, share: f32| {
                    (swings * dice.between(0.7, 1.4), dice.between(0.0, TAU), share)
                };
                Ridge {
                    base: height * (0.46 + 0.42 * depth + dice.between(-0.03, 0.03)),
                    reach: height * (if sharp { 0.16 } else { 0.09 }) * (1.0 - 0.45 * depth),
                    waves: [
                        wave(dice, 1.0, 0.55),
                        wave(dice, 2.3, 0.30),
                        wave(dice, 5.1, 0.12),
                        wave(dice, 13.0, 0.05),
                    ],
                    sharp,
                }
            })
            .collect();
        Self { sun, radius, width, ridges }
    }

    /// The rows a circle of this radius around the sun covers at `x`.
    fn circle(&self, x: f32, radius: f32) -> Option<(f32, f32)> {
        let (sun_x, sun_y) = self.sun;
        let half = (radius * radius - (x - sun_x) * (x - sun_x)).sqrt();
        (half > 0.0).then_some((sun_y - half, sun_y + half))
    }
}

impl Ridge {
    fn top(&self, x: f32) -> f32 {
        let height: f32 = self
            .waves
            .iter()
            .map(|(swings, phase, share)| {
                let wave = (x * swings * TAU + phase).sin();
                share * if self.sharp { 1.0 - 2.0 * wave.asin().abs() / (TAU / 4.0) } else { wave }
            })
            .sum();
        self.base - self.reach * height
    }
}

/// The gradients everything is cut from.
#[derive(Debug)]
struct Strips {
    sky: Column,
    halos: Vec<Column>,
    sun: Column,
    ridges: Vec<Column>,
}

impl Strips {
    fn new(palette: &Palette, outline: &Outline, height: usize) -> Self {
        let sky = Column::shaded(height, |y| {
            mix(palette.zenith, palette.horizon, (y as f32 / (height as f32 * 0.62)).powf(1.15))
        });
        let ridges = outline.ridges.iter().enumerate().map(|(k, ridge)| {
            let depth = k as f32 / (RIDGES - 1) as f32;
            let crest = mix(mix(palette.far, palette.near, depth), palette.horizon, 0.42 * (1.0 - depth));
            let foot = mix(crest, palette.horizon, 0.30 * (1.0 - depth));
            Column::shaded(height, |y| mix(crest, foot, (y as f32 - ridge.base) / (height as f32 * 0.25) + 0.3))
        });
        Self {
            halos: HALOS.iter().map(|(_, share)| sky.mixed(palette.sun, *share)).collect(),
            sun: Column::solid(height, palette.sun),
            ridges: ridges.collect(),
            sky,
        }
    }

    /// The same strips under a tint.
    fn mixed(&self, colour: Colour, share: f32) -> Self {
        let mixed = |columns: &[Column]| columns.iter().map(|column| column.mixed(colour, share)).collect();
        Self {
            sky: self.sky.mixed(colour, share),
            halos: mixed(&self.halos),
            sun: self.sun.mixed(colour, share),
            ridges: mixed(&self.ridges),
        }
    }

    /// Puts together the column at `x`.
    fn compose(&self, outline: &Outline, x: f32, column: &mut Column) {
        column.cover(&self.sky, 0.0);
        for (halo, (radius, _)) in self.halos.iter().zip(HALOS) {
            if let Some((from, to)) = outline.circle(x, outline.radius * radius) {
                column.cover_between(halo, from, to);
            }
        }
        if let Some((from, to)) = outline.circle(x, outline.radius) {
            column.cover_between(&self.sun, from, to);
        }
        for (strip, ridge) in self.ridges.iter().zip(&outline.ridges) {
            column.cover(strip, ridge.top(x / outline.width));
        }
    }
}

/// The dark pane behind the words.
#[derive(Debug)]
struct Pane {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    margin: usize,
}

impl Pane {
    fn around(block: &Block, width: usize, height: usize) -> Self {
        let margin = block.scale() * 5;
        let (w, h) = ((block.width() + 2 * margin).min(width), (block.height() + 2 * margin).min(height));
        Self {
            x: (width - w) / 2,
            y: (height * 68 / 100).saturating_sub(h / 2).min(height - h),
            width: w,
            height: h,
            margin,
        }
    }

    /// The rows it covers at `x`: fewer at its round corners.
    fn rows(&self, x: usize) -> Option<(usize, usize)> {
        let x = x.checked_sub(self.x).filter(|x| *x < self.width)?;
        let corner = (self.margin).min(self.height / 2);
        let edge = x.min(self.width - 1 - x);
        let cut = match corner.checked_sub(edge) {
            Some(out) => corner - ((corner * corner).saturating_sub(out * out) as f32).sqrt().round() as usize,
            None => 0,
        };
        Some((self.y + cut, self.y + self.height - cut))
    }
}
