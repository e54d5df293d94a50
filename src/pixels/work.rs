//! What a thread of the pool does for a job.

use std::{io::Write, time::Instant};

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, metadata::Orientation};

use super::{
    Encode, Fit, PixelError, Source,
    decode::{Decoded, open},
    encode::is_opaque,
    fit::Plan,
};
use crate::picture::Format;

/// What a picture's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub format: Format,
    /// As it is seen, upright.
    pub width: u32,
    pub height: u32,
}

/// What was made, and where it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made<W> {
    pub out: W,
    pub format: Format,
    pub width: u32,
    pub height: u32,
}

pub(super) fn header(source: &Source, deadline: Instant) -> Result<Header, PixelError> {
    let opened = open(source, deadline)?;
    let (width, height) = upright(opened.orientation, opened.width, opened.height);
    Ok(Header { format: opened.format, width, height })
}

pub(super) fn resize<W: Write>(
    source: &Source,
    fit: Fit,
    encode: Encode,
    mut out: W,
    deadline: Instant,
) -> Result<Made<W>, PixelError> {
    let opened = open(source, deadline)?;
    let (width, height) = upright(opened.orientation, opened.width, opened.height);
    let plan = fit.plan(width, height);
    encode.check(plan.width, plan.height)?;
    let decoded = opened.decode(deadline)?;
    in_time(deadline)?;
    let profile = decoded.profile.clone();
    let pixels = shrink(decoded, fit)?;
    in_time(deadline)?;
    let (width, height) = (pixels.width(), pixels.height());
    encode.write(pixels, profile, &mut out)?;
    Ok(Made { out, format: encode.format(), width, height })
}

fn in_time(deadline: Instant) -> Result<(), PixelError> {
    if Instant::now() < deadline { Ok(()) } else { Err(PixelError::Timeout) }
}

/// Scales it and sets it upright, in this order: turning the small one is cheaper.
fn shrink(decoded: Decoded, fit: Fit) -> Result<DynamicImage, PixelError> {
    let Decoded { pixels, orientation, .. } = &decoded;
    let (width, height) = (pixels.width(), pixels.height());
    let plan =
        if is_on_its_side(*orientation) { fit.plan(height, width).transposed() } else { fit.plan(width, height) };
    let mut small = if (plan.width, plan.height) == (width, height) { decoded.pixels } else { scale(pixels, plan)? };
    small.apply_orientation(decoded.orientation);
    Ok(small)
}

fn scale(pixels: &DynamicImage, Plan { width, height, part }: Plan) -> Result<DynamicImage, PixelError> {
    let left = (f64::from(pixels.width()) - part.0) / 2.0;
    let top = (f64::from(pixels.height()) - part.1) / 2.0;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(left, top, part.0, part.1)
        // Weighing by alpha takes a copy of all pixels, which opaque ones do not need.
        .use_alpha(!is_opaque(pixels));
    let mut small = DynamicImage::new(width, height, pixels.color());
    Resizer::new().resize(pixels, &mut small, &options).map_err(|_| PixelError::Failed)?;
    Ok(small)
}

fn upright(orientation: Orientation, width: u32, height: u32) -> (u32, u32) {
    if is_on_its_side(orientation) { (height, width) } else { (width, height) }
}

fn is_on_its_side(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            true
        }
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}
