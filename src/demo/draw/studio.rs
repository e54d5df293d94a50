//! Draws to order, on threads that may block, and keeps the last pictures.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache, sync::DefaultLifecycle};
use tokio::sync::Semaphore;

use super::{Order, pad};
use crate::picture::Format;

/// Memory for kept pictures, their base64 text included.
const KEPT: u64 = 64 << 20;

/// Pictures drawn at the same time.
const DESKS: usize = 2;

/// Where pictures are drawn.
pub(in crate::demo) struct Studio {
    kept: Cache<Order, Arc<Picture>, Weight>,
    desks: Arc<Semaphore>,
    prints: AtomicU64,
}

/// A drawn picture.
#[derive(Debug)]
struct Picture {
    format: Format,
    file: Bytes,
    base64: OnceLock<Bytes>,
}

/// A picture ready to be sent, in pieces that follow each other without gaps.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Print {
    pub(in crate::demo) format: Format,
    pub(in crate::demo) file: Vec<Bytes>,
    pub(in crate::demo) base64: Vec<Bytes>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Order, Arc<Picture>> for Weight {
    fn weight(&self, order: &Order, picture: &Arc<Picture>) -> u64 {
        (order.prompt.len() + 256 + picture.file.len() * 7 / 3) as u64
    }
}

// === impl Studio ===

impl Studio {
    pub(in crate::demo) fn new() -> Self {
        let kept = OptionsBuilder::new().shards(1).estimated_items_capacity(256).weight_capacity(KEPT).build();
        let kept = match kept {
            Ok(options) => {
                Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            Err(_) => Cache::with_weighter(256, KEPT, Weight),
        };
        Self { kept, desks: Arc::new(Semaphore::new(DESKS)), prints: AtomicU64::new(0) }
    }

    /// A number no print had before.
    pub(in crate::demo) fn number(&self) -> u64 {
        self.prints.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The picture ordered. With a `number`, its file differs from that of every other number, at hardly any cost for
    /// PNG (a small chunk is added to the kept file); the other formats are drawn anew.
    pub(in crate::demo) async fn print(&self, mut order: Order, number: Option<u64>) -> Print {
        let png = order.format == Format::Png;
        if let Some(number) = number.filter(|_| !png) {
            order.index = order.index.wrapping_add(number << 8);
        }
        let picture = self.draw(order).await;
        match number {
            Some(number) if png => picture.numbered(number),
            _ => Print {
                format: picture.format,
                file: vec![picture.file.clone()],
                base64: vec![picture.base64().clone()],
            },
        }
    }

    async fn draw(&self, order: Order) -> Arc<Picture> {
        let drawing = async {
            let _desk = self.desks.acquire().await;
            let (format, order) = (order.format, order.clone());
            let file = tokio::task::spawn_blocking(move || order.draw()).await?;
            Ok::<_, tokio::task::JoinError>(Arc::new(Picture { format, file: file.into(), base64: OnceLock::new() }))
        };
        self.kept
            .get_or_insert_async(&order, drawing)
            .await
            .unwrap_or_else(|_| Arc::new(Picture { format: order.format, file: Bytes::new(), base64: OnceLock::new() }))
    }
}

impl fmt::Debug for Studio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Studio").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

// === impl Picture ===

impl Picture {
    fn base64(&self) -> &Bytes {
        self.base64.get_or_init(|| base64_simd::STANDARD.encode_to_string(&self.file).into())
    }

    /// The PNG with a chunk before its end that holds `number`.
    fn numbered(&self, number: u64) -> Print {
        let end = self.file.len().saturating_sub(pad::PNG_END);
        let mut tail = pad::png_chunk(b"nuMb", &number.to_le_bytes());
        tail.extend_from_slice(&self.file.slice(end..));
        // Base64 of whole groups of three is the kept text; only what follows them is encoded again.
        let whole = end / 3 * 3;
        let rest = [&self.file.slice(whole..end)[..], &tail].concat();
        let text = self.base64().slice(..whole / 3 * 4);
        Print {
            format: self.format,
            file: vec![self.file.slice(..end), tail.into()],
            base64: vec![text, base64_simd::STANDARD.encode_to_string(rest).into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbered_prints_differ_and_stay_pictures() {
        let studio = Studio::new();
        for format in [Format::Png, Format::Jpeg] {
            for bytes in [None, Some(30_001), Some(30_002), Some(30_003)] {
                let order = Order { prompt: "x".into(), index: 0, width: 40, height: 40, format, bytes };
                let one = studio.print(order.clone(), Some(studio.number())).await;
                let two = studio.print(order.clone(), Some(studio.number())).await;
                assert_ne!(one.file.concat(), two.file.concat());
                for print in [one, two] {
                    let file = print.file.concat();
                    assert_eq!(base64_simd::STANDARD.decode_to_vec(print.base64.concat()).unwrap(), file);
                    assert_eq!(image::load_from_memory(&file).unwrap().width(), 40);
                }
            }
        }
    }
}
