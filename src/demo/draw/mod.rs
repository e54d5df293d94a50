//! Pictures drawn from a prompt: a landscape whose colours and ridges come from the prompt's hash, with the prompt
//! written on a darkened panel.
//!
//! The same [`Order`] always gives the same bytes. Two orders that differ in prompt, index, size, format or padding give
//! different ones.

mod canvas;
mod encode;
mod lettering;
mod pad;
mod scene;
mod studio;

pub(in crate::demo) use pad::noise;
pub(in crate::demo) use studio::{Print, Studio};

use sha2::{Digest, Sha256};

use crate::picture::Format;

/// Longest side of a picture, in pixels.
pub(in crate::demo) const MAX_SIDE: u32 = 4096;

/// Largest file `bytes:N` can ask for.
pub(in crate::demo) const MAX_BYTES: usize = 64 << 20;

/// What to draw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::demo) struct Order {
    /// The words on the picture.
    pub(in crate::demo) prompt: String,
    /// Which of several pictures for the same prompt.
    pub(in crate::demo) index: u64,
    pub(in crate::demo) width: u32,
    pub(in crate::demo) height: u32,
    pub(in crate::demo) format: Format,
    /// Size the file is padded to.
    pub(in crate::demo) bytes: Option<usize>,
}

impl Order {
    /// The number all its colours, shapes and padding follow from.
    fn seed(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.prompt.as_bytes());
        hash.update(self.index.to_le_bytes());
        hash.finalize().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }

    /// The picture's file. Takes tens of milliseconds: not for an async thread.
    fn draw(&self) -> Vec<u8> {
        let seed = self.seed();
        let canvas = scene::paint(&self.prompt, seed, self.width, self.height);
        let file = encode::encode(canvas, self.format);
        match self.bytes {
            Some(target) => pad::pad(self.format, file, target, seed),
            None => file,
        }
    }
}

/// SplitMix64: a small, even stream of numbers from a seed.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Dice(pub(in crate::demo) u64);

impl Dice {
    pub(in crate::demo) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to `high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(prompt: &str, width: u32, height: u32, format: Format) -> Order {
        Order { prompt: prompt.into(), index: 0, width, height, format, bytes: None }
    }

    #[test]
    fn the_same_order_gives_the_same_bytes_and_another_prompt_others() {
        let cat = order("a cat", 128, 96, Format::Png);
        assert_eq!(cat.draw(), cat.draw());
        assert_ne!(cat.draw(), order("a dog", 128, 96, Format::Png).draw());
        assert_ne!(cat.draw(), Order { index: 1, ..cat.clone() }.draw());
    }

    #[test]
    fn every_size_and_format_decodes_to_what_was_asked() {
        for format in [Format::Png, Format::Jpeg, Format::Webp] {
            for (width, height) in [(1, 1), (7, 300), (64, 64), (320, 200)] {
                for bytes in [None, Some(200_000)] {
                    let order = Order { bytes, ..order("Zwölf Boxkämpfer 猫 \u{1F600}", width, height, format) };
                    let file = order.draw();
                    assert_eq!(crate::picture::sniff(&file), crate::picture::Sniff::Picture(format), "{order:?}");
                    let seen = image::load_from_memory(&file).unwrap();
                    assert_eq!((seen.width(), seen.height()), (width, height), "{order:?}");
                    if bytes.is_some() {
                        assert!(file.len().abs_diff(200_000) < 2_000, "{} for {order:?}", file.len());
                    }
                }
            }
        }
    }

    #[test]
    fn padding_does_not_change_the_pixels_and_does_not_compress() {
        let plain = order("a cat", 64, 64, Format::Png);
        let padded = Order { bytes: Some(300_000), ..plain.clone() };
        let pixels = |order: &Order| image::load_from_memory(&order.draw()).unwrap().into_rgb8();
        assert_eq!(pixels(&plain), pixels(&padded));
        let mut counts = [0usize; 256];
        padded.draw().iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| (900..1500).contains(count)), "{counts:?}");
    }
}
