//! Real pictures, hostile ones, and a pool under pressure.

use std::{
    io::{Cursor, Read},
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Rgb, RgbImage, Rgba,
    RgbaImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};
use prometheus::Registry;

use futures_util::future::join_all;

use super::*;
use crate::{
    picture::{Format, Sniff, sniff},
    telemetry::Metrics,
};

const ANY: Encode = Encode::Png;
const HALF: Fit = Fit::Inside { width: Some(32), height: None };

fn pool() -> Pool {
    Pool::start(NonZeroUsize::new(2), metrics()).unwrap()
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).unwrap()
}

/// Red on the left, blue on the right, 64 by 48.
fn flag() -> DynamicImage {
    RgbImage::from_fn(64, 48, |x, _| if x < 32 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
}

fn encoded(pixels: &DynamicImage, format: ImageFormat) -> Source {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    Source::Bytes(bytes.into_inner().into())
}

fn decoded(bytes: &[u8]) -> DynamicImage {
    ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().decode().unwrap()
}

/// Whether two colours look alike after a lossy way.
fn alike(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) < 24)
}

fn bytes(source: &Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.reader(Instant::now() + Duration::from_secs(60)).read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn every_format_in_becomes_every_format_out() {
    let pool = pool();
    let deep = DynamicImage::from(flag().into_rgb16());
    let clear = DynamicImage::from(flag().into_rgba8());
    let grey = DynamicImage::from(flag().into_luma16());
    for (pixels, format) in [
        (flag(), ImageFormat::Png),
        (deep, ImageFormat::Png),
        (grey, ImageFormat::Png),
        (flag(), ImageFormat::Jpeg),
        (flag(), ImageFormat::WebP),
        (clear, ImageFormat::Gif),
    ] {
        let source = encoded(&pixels, format);
        let header = pool.header(source.clone()).await.unwrap();
        assert_eq!((header.width, header.height), (64, 48), "{format:?}");
        for encode in [Encode::Jpeg { quality: 90 }, Encode::Png, Encode::Webp] {
            let made = pool.resize(source.clone(), HALF, encode).await.unwrap();
            assert_eq!((made.width, made.height, made.format), (32, 24, encode.format()));
            let small = decoded(&made.out).into_rgb8();
            let from = pixels.to_rgb8();
            assert!(alike(&small.get_pixel(2, 12).0, &from.get_pixel(4, 24).0), "{format:?} {encode:?}");
            assert!(alike(&small.get_pixel(29, 12).0, &from.get_pixel(60, 24).0), "{format:?} {encode:?}");
        }
    }
}

#[tokio::test]
async fn an_avif_is_written_up_to_a_megapixel() {
    let pool = pool();
    let clear = RgbaImage::from_fn(64, 48, |x, _| Rgba([200, 0, 0, if x < 32 { 0 } else { 255 }]));
    for pixels in [flag(), flag().into_luma8().into(), clear.into()] {
        let source = encoded(&pixels, ImageFormat::Png);
        let made = pool.resize(source, HALF, Encode::Avif { quality: 80 }).await.unwrap();
        assert_eq!((made.width, made.height, made.format), (32, 24, Format::Avif));
        assert_eq!(sniff(&made.out), Sniff::Picture(Format::Avif));
    }
    let Source::Bytes(large) = encoded(&DynamicImage::new_luma8(1025, 1024), ImageFormat::Png) else { unreachable!() };
    // Its header alone tells.
    let made = pool.resize(Source::Bytes(large.slice(..100)), Fit::Whole, Encode::Avif { quality: 80 }).await;
    assert!(matches!(made, Err(PixelError::TooLargeForAvif)));
}

#[tokio::test]
async fn files_are_read_in_place_by_many() {
    let source = encoded(&flag(), ImageFormat::Png);
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, &bytes(&source)).unwrap();
    let (pool, file) = (pool(), Source::file(Arc::new(file)).unwrap());
    let one = || pool.resize(file.clone(), HALF, ANY);
    let (a, b, c) = tokio::join!(one(), one(), pool.resize(source, HALF, ANY));
    assert_eq!(a.unwrap().out, b.as_ref().unwrap().out);
    assert_eq!(b.unwrap().out, c.unwrap().out);
}

#[tokio::test]
async fn a_camera_held_on_its_side_still_makes_an_upright_picture() {
    // TIFF, one entry: orientation 6 (turn right).
    let exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.encode_image(&flag()).unwrap();
    let (pool, source) = (pool(), Source::Bytes(jpeg.into()));

    let header = pool.header(source.clone()).await.unwrap();
    assert_eq!((header.width, header.height), (48, 64));
    let made = pool.resize(source, Fit::Inside { width: Some(24), height: None }, ANY).await.unwrap();
    assert_eq!((made.width, made.height), (24, 32));
    let upright = decoded(&made.out).into_rgb8();
    assert!(alike(&upright.get_pixel(12, 2).0, &[255, 0, 0]), "red is on top");
    assert!(alike(&upright.get_pixel(12, 29).0, &[0, 0, 255]), "blue is below");
}

#[tokio::test]
async fn what_is_transparent_stays_so_or_becomes_white() {
    let half = RgbaImage::from_fn(64, 48, |x, _| Rgba([0, 0, 0, if x < 32 { 0 } else { 255 }]));
    let (pool, source) = (pool(), encoded(&half.into(), ImageFormat::Png));
    for encode in [Encode::Png, Encode::Webp] {
        let made = pool.resize(source.clone(), HALF, encode).await.unwrap();
        let small = decoded(&made.out);
        assert!(small.color().has_alpha());
        assert_eq!(small.into_rgba8().get_pixel(2, 2).0[3], 0);
    }
    let made = pool.resize(source, HALF, Encode::Jpeg { quality: 90 }).await.unwrap();
    let flat = decoded(&made.out).into_rgb8();
    assert!(alike(&flat.get_pixel(2, 2).0, &[255; 3]) && alike(&flat.get_pixel(29, 2).0, &[0; 3]));
}

#[tokio::test]
async fn a_profile_is_kept_where_it_fits() {
    let mut profile = vec![7; 200];
    let pool = pool();
    for (space, kept) in [(b"RGB ", true), (b"CMYK", false)] {
        profile[16..20].copy_from_slice(space);
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_icc_profile(profile.clone()).unwrap();
        encoder.write_image(flag().as_bytes(), 64, 48, ExtendedColorType::Rgb8).unwrap();
        for encode in [Encode::Jpeg { quality: 90 }, Encode::Png, Encode::Webp] {
            let made = pool.resize(Source::Bytes(png.clone().into()), HALF, encode).await.unwrap();
            let reader = ImageReader::new(Cursor::new(made.out)).with_guessed_format().unwrap();
            let found = reader.into_decoder().unwrap().icc_profile().unwrap();
            assert_eq!(found, kept.then(|| profile.clone()), "{encode:?}");
        }
    }
}

#[tokio::test]
async fn the_first_frame_stands_for_an_animation() {
    let mut gif = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
    for color in [[255, 0, 0, 255], [0, 255, 0, 255]] {
        encoder.encode_frame(image::Frame::new(RgbaImage::from_pixel(8, 8, Rgba(color)))).unwrap();
    }
    drop(encoder);
    let made = pool().resize(Source::Bytes(gif.into()), Fit::Whole, ANY).await.unwrap();
    assert_eq!(decoded(&made.out).into_rgb8().get_pixel(4, 4).0, [255, 0, 0]);
}

// === hostile pictures ===

/// A PNG of this size with hardly any bytes.
fn png_header(width: u32, height: u32) -> Source {
    let mut png = bytes(&encoded(&flag(), ImageFormat::Png));
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    Source::Bytes(png.into())
}

/// PNG, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    })
}

fn jpeg_header(width: u16, height: u16) -> Source {
    let mut jpeg = bytes(&encoded(&flag(), ImageFormat::Jpeg));
    let frame = jpeg.windows(2).position(|pair| pair == b"\xff\xc0").unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    Source::Bytes(jpeg.into())
}

fn gif_header(width: u16, height: u16) -> Source {
    let mut gif = bytes(&encoded(&DynamicImage::from(flag().into_rgba8()), ImageFormat::Gif));
    gif[6..8].copy_from_slice(&width.to_le_bytes());
    gif[8..10].copy_from_slice(&height.to_le_bytes());
    Source::Bytes(gif.into())
}

/// A WebP whose chunk claims 4 GB of EXIF.
fn lying_webp() -> Source {
    let mut webp = b"RIFF\xf0\xff\xff\xffWEBPVP8X\x0a\0\0\0\x08\0\0\0\x0f\0\0\x0f\0\0".to_vec();
    webp.extend(b"EXIF\xe0\xff\xff\xff");
    Source::Bytes(webp.into())
}

fn over_sized() -> [(&'static str, Source); 6] {
    [
        ("60000 a side", png_header(60_000, 60_000)),
        ("one side too long", png_header(16_385, 1)),
        ("too many pixels", png_header(16_000, 16_000)),
        ("JPEG", jpeg_header(65_535, 65_535)),
        ("GIF", gif_header(65_535, 65_535)),
        ("too many bytes", {
            let file = tempfile::tempfile().unwrap();
            file.set_len(MAX_BYTES + 1).unwrap();
            Source::file(Arc::new(file)).unwrap()
        }),
    ]
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_header() {
    let pool = pool();
    for (name, source) in over_sized() {
        for result in [pool.header(source.clone()).await.map(drop), pool.resize(source, HALF, ANY).await.map(drop)] {
            assert!(matches!(result, Err(PixelError::TooLarge)), "{name}: {result:?}");
        }
    }
    assert!(matches!(pool.header(lying_webp()).await, Err(PixelError::Broken)));
}

#[tokio::test]
async fn damaged_and_foreign_bytes_are_told_apart() {
    let pool = pool();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = bytes(&encoded(&DynamicImage::from(flag().into_rgba8()).to_rgb8().into(), format));
        // Everything but the first two thirds, and only the header.
        for cut in [40, whole.len() / 3, whole.len() * 2 / 3] {
            let result = pool.resize(Source::Bytes(whole[..cut].to_vec().into()), HALF, ANY).await;
            // A JPEG decoder fills what is missing; everybody else notices.
            assert!(
                matches!(result, Err(PixelError::Broken | PixelError::Unsupported)) || format == ImageFormat::Jpeg,
                "{format:?} cut at {cut}: {result:?}"
            );
        }
    }
    for (name, foreign) in [
        ("nothing", &b""[..]),
        ("text", b"hello, this is no picture at all"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("BMP", include_bytes!("../../tests/fixtures/wire/img/px2.bmp")),
        ("AVIF", include_bytes!("../../tests/fixtures/wire/img/px2.avif")),
    ] {
        let result = pool.header(Source::Bytes(foreign.into())).await;
        assert!(matches!(result, Err(PixelError::Unsupported | PixelError::Broken)), "{name}: {result:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
    #[test]
    fn no_damage_makes_a_decoder_panic(at in proptest::collection::vec((0.0..1.0_f64, proptest::num::u8::ANY), 1..6), kind in 0..4_usize) {
        let format = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif][kind];
        let mut damaged = bytes(&encoded(&DynamicImage::from(flag().into_rgba8()).to_rgb8().into(), format));
        for (place, byte) in at {
            let place = (place * damaged.len() as f64) as usize;
            damaged[place] = byte;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let result = work::resize(&Source::Bytes(damaged.into()), HALF, ANY, Vec::new(), deadline);
        proptest::prop_assert!(!matches!(result, Err(PixelError::Failed)), "{result:?}");
    }
}

/// In a process of its own, because memory is told per process.
#[test]
fn a_hostile_header_costs_no_memory() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pixels::tests::measured_alone", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "run by a_hostile_header_costs_no_memory"]
async fn measured_alone() {
    let pool = pool();
    let before = peak_kib();
    for (_, source) in over_sized() {
        assert!(pool.resize(source, HALF, ANY).await.is_err());
    }
    assert!(pool.header(lying_webp()).await.is_err());
    let grown = peak_kib() - before;
    assert!(grown < 96 << 10, "grew by {grown} KiB");
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// === the pool ===

#[tokio::test]
async fn a_panic_is_an_error_and_the_thread_lives_on() {
    let pool = Pool::start(NonZeroUsize::new(1), metrics()).unwrap();
    for _ in 0..3 {
        let result = pool.run::<(), _>(|_| panic!("a decoder's mistake")).await;
        assert!(matches!(result, Err(PixelError::Failed)));
    }
    assert_eq!(pool.run(|_| Ok(7)).await.unwrap(), 7);
}

#[tokio::test]
async fn one_more_than_may_wait_is_refused_at_once() {
    let metrics = metrics();
    let long = Duration::from_secs(3600);
    let pool = Pool::with_times(NonZeroUsize::new(1), metrics.clone(), long, long).unwrap();
    let (open, closed) = mpsc::channel::<()>();
    let blocked = pool.run(move |_| Ok(closed.recv().is_err()));
    let waiting = join_all((0..Pool::WAITING).map(|_| pool.run(|_| Ok(()))));
    let last = async {
        let result = pool.run(|_| Ok(())).await;
        drop(open);
        result
    };
    // `join!` polls in this order, so all places are taken before the last asks.
    let (blocked, waiting, last) = tokio::join!(biased; blocked, waiting, last);
    assert!(matches!(last, Err(PixelError::Busy)));
    assert!(blocked.unwrap() && waiting.into_iter().all(|result| result.is_ok()));
    assert_eq!(metrics.pixel_jobs.with_label_values(&["busy"]).get(), 1);
    assert_eq!(metrics.pixel_jobs.with_label_values(&["ok"]).get(), 1 + Pool::WAITING as u64);
}

#[tokio::test]
async fn a_slow_job_is_a_timeout_and_who_waits_behind_it_hears_busy() {
    let short = Duration::from_millis(20);
    let pool = Pool::with_times(NonZeroUsize::new(1), metrics(), short, short).unwrap();
    let (open, closed) = mpsc::channel::<()>();
    let slow = pool.run(move |_| Ok(closed.recv().is_err())).await;
    assert!(matches!(slow, Err(PixelError::Timeout)));
    // The thread is still at it, and not replaced.
    assert!(matches!(pool.run(|_| Ok(())).await, Err(PixelError::Busy)));
    drop(open);
    while matches!(pool.run(|_| Ok(())).await, Err(PixelError::Busy)) {}
}

#[test]
fn a_source_runs_dry_when_the_time_is_over() {
    let source = encoded(&flag(), ImageFormat::Png);
    let mut reader = source.reader(Instant::now());
    assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(work::resize(&source, HALF, ANY, Vec::new(), Instant::now()).is_err());
}

#[test]
fn formats_that_can_be_written() {
    for format in Format::ALL {
        let written = Encode::to(format, 80).map(Encode::format);
        let can = matches!(format, Format::Png | Format::Jpeg | Format::Webp | Format::Avif);
        assert_eq!(written, can.then_some(format));
    }
}
