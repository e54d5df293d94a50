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
    pixels::{self, PixelError, Pool, Source},
    store::{Body, Facts, Picture, Store},
    tier::{Found, Tier},
};

/// When to come back after the threads for pixels were busy.
const COME_BACK: Duration = Duration::from_secs(1);

type Key = (PictureId, String);
type Flight = OnceCell<Result<Bytes>>;

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

    /// The variant of this picture, which is fetched from the archive if need be. Up to `max_disk` bytes of variants are
    /// kept.
    ///
    /// # Errors
    /// `image_not_decodable` for a picture that cannot be decoded here, `unavailable` when the pixel threads have too
    /// much to do, this picture takes them too long, or the archive cannot be reached.
    pub async fn get(&self, tier: &Tier, original: Found, variant: &Variant, max_disk: u64) -> Result<Picture> {
        let (facts, name) = (original.facts(), variant.name());
        match self.store.variant(&facts, &name).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => log::warn!("a kept variant cannot be read and is made anew: {error}"),
        }
        let passenger = self.board((facts.id, name.clone()));
        let made = passenger.flight.get_or_init(|| async {
            let source = self.source(tier, original).await?;
            let made = self.pixels.resize(source, variant.fit, variant.encode).await.map_err(|error| told(&error))?;
            let bytes = Bytes::from(made.out);
            if let Err(error) = self.store.keep_variant(facts.id, &name, bytes.clone(), max_disk).await {
                log::debug!("a variant is answered but not kept: {error}");
            }
            Ok(bytes)
        });
        let bytes = made.await.clone()?;
        let facts = Facts { format: variant.encode.format(), len: bytes.len() as u64, ..facts };
        Ok(Picture { facts, body: Body::Memory(bytes), from_cache: false })
    }

    /// All bytes of a picture.
    async fn source(&self, tier: &Tier, original: Found) -> Result<Source> {
        let missing = || Error::new(Code::NotFound, "There is no picture of this name here.");
        let (id, picture) = (original.facts().id, tier.fetch(original).await?.ok_or_else(missing)?);
        if picture.facts.len > pixels::MAX_BYTES {
            return Err(told(&PixelError::TooLarge));
        }
        match &picture.body {
            Body::Memory(bytes) => return Ok(Source::Bytes(bytes.clone())),
            Body::File(file) => return Ok(Source::File { file: Arc::clone(file), len: picture.facts.len }),
            Body::Growing(_) => {}
        }
        // Once it has come it is here like any other, unless the disk is full.
        if picture.arrived().await
            && let Some(Picture { body: Body::File(file), facts, .. }) = self.store.get(&id).await?
        {
            return Ok(Source::File { file, len: facts.len });
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < picture.facts.len {
            match picture.read(bytes.len() as u64..picture.facts.len).await? {
                piece if piece.is_empty() => return Err(told(&PixelError::Broken)),
                piece => bytes.extend_from_slice(&piece),
            }
        }
        Ok(Source::Bytes(bytes.into()))
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
        PixelError::TooLargeForAvif => Error::new(
            Code::InvalidRequest,
            "As AVIF a picture has at most one megapixel. Ask for a smaller one with `w` or `h`, or for another format.",
        )
        .param("format"),
        PixelError::Broken => {
            Error::new(Code::ImageNotDecodable, "The picture is damaged. What there is of it is served as it is.")
        }
        _ => Error::new(Code::Internal, "The picture could not be made in this size."),
    }
}
