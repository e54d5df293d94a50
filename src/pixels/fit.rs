//! How large a picture becomes.

/// What the result has to fit. Nothing is ever made larger than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// As it is.
    Whole,
    /// All of the picture, within this width and height. `None`: any.
    Inside { width: Option<u32>, height: Option<u32> },
    /// This width and height exactly, filled; what juts out is cut off evenly. A picture with a side shorter than that
    /// keeps that side.
    Cover { width: u32, height: u32 },
    /// All of the picture, with at most this many pixels.
    Pixels(u64),
}

/// A size, and the part in the middle of the picture that is scaled to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) part: (f64, f64),
}

impl Fit {
    /// The plan for a picture of this size, as it is seen (upright).
    pub(super) fn plan(self, width: u32, height: u32) -> Plan {
        let (width, height) = (width.max(1), height.max(1));
        let (w, h) = (f64::from(width), f64::from(height));
        let ratio = |limit: Option<u32>, side: f64| limit.map_or(1.0, |limit| f64::from(limit.max(1)) / side);
        match self {
            Fit::Whole => scaled(w, h, 1.0),
            Fit::Inside { width, height } => scaled(w, h, ratio(width, w).min(ratio(height, h))),
            #[expect(clippy::cast_precision_loss, reason = "2^53 pixels are more than any picture has")]
            Fit::Pixels(pixels) => {
                let most = pixels.max(1);
                let mut plan = scaled(w, h, (most as f64 / (w * h)).sqrt());
                // Rounding both sides up may be a few pixels too many.
                while u64::from(plan.width) * u64::from(plan.height) > most && (plan.width > 1 || plan.height > 1) {
                    let longer = if plan.width >= plan.height { &mut plan.width } else { &mut plan.height };
                    *longer -= 1;
                }
                plan
            }
            Fit::Cover { width: want_w, height: want_h } => {
                let scale = ratio(Some(want_w), w).max(ratio(Some(want_h), h)).min(1.0);
                let width = want_w.max(1).min(rounded(w * scale));
                let height = want_h.max(1).min(rounded(h * scale));
                Plan { width, height, part: ((f64::from(width) / scale).min(w), (f64::from(height) / scale).min(h)) }
            }
        }
    }
}

impl Plan {
    /// The plan for the same picture lying on its side.
    pub(super) fn transposed(self) -> Self {
        Self { width: self.height, height: self.width, part: (self.part.1, self.part.0) }
    }
}

fn scaled(w: f64, h: f64, scale: f64) -> Plan {
    let scale = scale.min(1.0);
    Plan { width: rounded(w * scale), height: rounded(h * scale), part: (w, h) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and sides are small")]
fn rounded(side: f64) -> u32 {
    (side.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        let inside = |width, height| Fit::Inside { width, height };
        for (fit, from, to) in [
            (Fit::Whole, (3, 4), (3, 4)),
            (inside(Some(512), None), (1024, 768), (512, 384)),
            (inside(None, Some(384)), (1024, 768), (512, 384)),
            (inside(Some(100), Some(100)), (1024, 768), (100, 75)),
            (inside(Some(4096), None), (1024, 768), (1024, 768)),
            (inside(None, None), (1024, 768), (1024, 768)),
            (inside(Some(1), None), (1, 9000), (1, 9000)),
            (inside(Some(10), Some(10)), (9000, 1), (10, 1)),
            (Fit::Cover { width: 100, height: 100 }, (1024, 768), (100, 100)),
            (Fit::Cover { width: 100, height: 100 }, (1024, 50), (100, 50)),
            (Fit::Cover { width: 100, height: 100 }, (10, 20), (10, 20)),
            (Fit::Pixels(1_000_000), (2000, 2000), (1000, 1000)),
            (Fit::Pixels(10), (2000, 2000), (3, 3)),
            (Fit::Pixels(0), (2, 2), (1, 1)),
        ] {
            let plan = fit.plan(from.0, from.1);
            assert_eq!((plan.width, plan.height), to, "{fit:?} {from:?}");
        }
    }

    #[test]
    fn covering_cuts_evenly() {
        assert_eq!(Fit::Cover { width: 100, height: 100 }.plan(400, 200).part, (200.0, 200.0));
        assert_eq!(Fit::Cover { width: 100, height: 100 }.plan(1024, 50).part, (100.0, 50.0));
    }

    proptest! {
        #[test]
        fn nothing_grows_and_no_side_vanishes(
            (w, h) in (1..=16_384_u32, 1..=16_384_u32), (x, y) in (0..20_000_u32, 0..20_000_u32), pixels in any::<u64>(),
        ) {
            for fit in [
                Fit::Whole,
                Fit::Inside { width: Some(x), height: Some(y) },
                Fit::Inside { width: Some(x), height: None },
                Fit::Cover { width: x, height: y },
                Fit::Pixels(pixels % 100_000_000),
            ] {
                let plan = fit.plan(w, h);
                prop_assert!(plan.width >= 1 && plan.width <= w && plan.height >= 1 && plan.height <= h);
                prop_assert!(plan.part.0 > 0.0 && plan.part.0 <= f64::from(w));
                prop_assert!(plan.part.1 > 0.0 && plan.part.1 <= f64::from(h));
                if let Fit::Pixels(most) = fit {
                    prop_assert!(u64::from(plan.width) * u64::from(plan.height) <= most.max(1));
                }
            }
        }
    }
}
