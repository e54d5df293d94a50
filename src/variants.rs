//! Pictures in other sizes and formats: from the disk, or made once.
//!
//! Whoever asks first has it made; all who ask meanwhile wait for the same one. It is kept on the disk if there is room,
//! and answered in any case.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{
    error::{Code, Error, Result},
    images::Variant,
    picture::PictureId,
    pixels::{PixelError, Pool, Source},
    store::{Body, Facts, Picture, Store},
};

/// When to come back after the threads for pixels were busy.
const COME_BACK: Duration = Duration::from_secs(1);

type Key = (PictureId, String);
type Flight = OnceCell<Result<Bytes, Arc<PixelError>>>;

/// Makes variants.
#[derive(Debug)]
pub struct Variants {
    store: Store,
    pixels: Pool,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
}

/// One who waits for a variant. The last to leave takes the flight off the list.
struct Passenger<'a> {
    variants: &'a Variants,
    key: Key,
    flight: Arc<Flight>,
}

impl Variants {
    pub fn new(store: Store, pixels: Pool) -> Self {
        Self { store, pixels, flights: Mutex::default() }
    }

    /// The variant of this picture. Up to `max_disk` bytes of variants are kept.
    ///
    /// # Errors
    /// `image_not_decodable` for a picture that cannot be decoded here, `unavailable` when the pixel threads have too
    /// much to do or this picture takes them too long.
    pub async fn get(&self, original: &Picture, variant: &Variant, max_disk: u64) -> Result<Picture> {
        let name = variant.name();
        match self.store.variant(&original.facts, &name).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => log::warn!("a kept variant cannot be read and is made anew: {error}"),
        }
        let passenger = self.board((original.facts.id, name.clone()));
        let made = passenger.flight.get_or_init(|| self.make(original, variant, &name, max_disk)).await;
        match made {
            Ok(bytes) => {
                let format = variant.encode.format();
                let facts = Facts { format, len: bytes.len() as u64, ..original.facts };
                Ok(Picture { facts, body: Body::Memory(bytes.clone()), from_cache: false })
            }
            Err(error) => Err(told(error)),
        }
    }

    async fn make(
        &self,
        original: &Picture,
        variant: &Variant,
        name: &str,
        max_disk: u64,
    ) -> Result<Bytes, Arc<PixelError>> {
        let made = self.pixels.resize(Source::from(original), variant.fit, variant.encode).await?;
        let bytes = Bytes::from(made.out);
        if let Err(error) = self.store.keep_variant(original.facts.id, name, bytes.clone(), max_disk).await {
            log::debug!("a variant is answered but not kept: {error}");
        }
        Ok(bytes)
    }

    fn board(&self, key: Key) -> Passenger<'_> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = Arc::clone(flights.entry(key.clone()).or_default());
        Passenger { variants: self, key, flight }
    }
}

impl Drop for Passenger<'_> {
    fn drop(&mut self) {
        let mut flights = self.variants.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: this one, and the list's. Nobody boards while the list is locked.
        if Arc::strong_count(&self.flight) <= 2 {
            flights.remove(&self.key);
        }
    }
}

impl From<&Picture> for Source {
    fn from(picture: &Picture) -> Self {
        match &picture.body {
            Body::Memory(bytes) => Source::Bytes(bytes.clone()),
            Body::File(file) => Source::File { file: Arc::clone(file), len: picture.facts.len },
        }
    }
}

fn told(error: &PixelError) -> Error {
    match error {
        PixelError::Busy | PixelError::Timeout => {
            Error::new(Code::Unavailable, "The picture cannot be made in this size at the moment.")
                .retry_after(COME_BACK)
        }
        PixelError::Unsupported => Error::new(
            Code::ImageNotDecodable,
            "Pictures of this format are served as they are, in no other size or format.",
        ),
        PixelError::TooLarge => Error::new(
            Code::ImageNotDecodable,
            "The picture is too large to be made smaller here. It is served as it is.",
        ),
        PixelError::Broken => {
            Error::new(Code::ImageNotDecodable, "The picture is damaged. What there is of it is served as it is.")
        }
        _ => Error::new(Code::Internal, "The picture could not be made in this size."),
    }
}
