//! Pictures wherever they are: on this disk or in the archive.
//!
//! A picture that is not here is fetched from the bucket once, however many ask for it: it goes to the disk and to all of
//! them at the same time, and any range of it can be asked for from the first moment on. Afterwards it is here again.
//!
//! That a picture is in the bucket is told by its record, which stays when a picture is evicted. For an id without a
//! record here (a new machine) the bucket is asked for the record; that it has none is remembered for a while. Strangers can
//! name any id, so these questions are bounded (`lookup.rs`).

mod absence;
mod fill;
mod lookup;
mod remote;
pub mod roster;
mod slots;

use std::time::Duration;

use crate::{
    archive::Bucket,
    config::{Redirect, without_slash},
    error::{Code, Error},
    picture::PictureId,
    store::{Facts, Failure, Picture, Record, Store},
    telemetry::Metrics,
};

pub use lookup::{Asker, Questions};
use remote::Remote;

/// The longest that a presigned URL is good for, and that its redirect may be kept by a cache.
const PRESIGNED: Duration = Duration::from_secs(3600);
const REDIRECT_KEPT: Duration = Duration::from_secs(300);

/// Finds pictures on this disk and behind it.
#[derive(Debug)]
pub struct Tier {
    store: Store,
    remote: Option<Remote>,
    redirect: Redirect,
}

/// Where a picture is read without us.
#[derive(Debug)]
pub struct Elsewhere {
    pub url: String,
    /// For how long a cache may keep the redirect.
    pub kept: Duration,
}

/// A picture that was found.
#[derive(Debug)]
pub enum Found {
    Here(Picture),
    /// The archive should have it.
    Archived(Box<Record>),
}

/// What this disk knows of a picture.
#[derive(Debug)]
pub enum Known {
    Found(Found),
    /// There is none.
    Nowhere,
    /// Only the archive can tell.
    Unknown,
}

impl Found {
    pub fn facts(&self) -> Facts {
        match self {
            Found::Here(picture) => picture.facts,
            Found::Archived(record) => record.facts(),
        }
    }
}

impl Tier {
    /// `bucket`: where the pictures of this store are archived. `redirect`: how clients get there by themselves.
    pub fn new(store: Store, bucket: Option<Bucket>, redirect: Redirect, metrics: Metrics) -> Self {
        let remote = bucket.map(|bucket| Remote::new(store.clone(), bucket, metrics));
        Self { store, remote, redirect }
    }

    /// Where the pictures are archived.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.remote.as_ref().map(Remote::bucket)
    }

    /// The picture, when all of it has come.
    ///
    /// # Errors
    /// As [`find`](Self::find) and [`fetch`](Self::fetch).
    pub async fn open_whole(&self, id: &PictureId, asker: Asker<'_>) -> Result<Option<Picture>, Error> {
        match self.find(id, asker).await? {
            Some(found) => self.fetch_whole(found).await,
            None => Ok(None),
        }
    }

    /// As [`fetch`](Self::fetch), when all of it has come.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_whole(&self, found: Found) -> Result<Option<Picture>, Error> {
        let Some(picture) = self.fetch(found).await? else { return Ok(None) };
        if picture.arrived().await { Ok(Some(picture)) } else { Err(away()) }
    }

    /// What is known of the picture. One that is not here is not fetched yet.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when only the archive could tell and it cannot be asked.
    pub async fn find(&self, id: &PictureId, asker: Asker<'_>) -> Result<Option<Found>, Error> {
        match self.known(id).await? {
            Known::Found(found) => Ok(Some(found)),
            Known::Nowhere => Ok(None),
            Known::Unknown => self.look_up(id, asker).await,
        }
    }

    /// What is known of the picture without asking the archive.
    pub async fn known(&self, id: &PictureId) -> Result<Known, Error> {
        if let Some(picture) = self.store.get(id).await? {
            return Ok(Known::Found(Found::Here(picture)));
        }
        if self.remote.is_none() || self.store.is_buried(*id).await? {
            return Ok(Known::Nowhere);
        }
        let record = self.store.record(id).await?;
        Ok(record.map_or(Known::Unknown, |record| Known::Found(Found::Archived(Box::new(record)))))
    }

    /// What the archive knows of a picture that is unknown here. Dropping the future ends the question.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when it cannot be asked, or not as often.
    pub async fn look_up(&self, id: &PictureId, asker: Asker<'_>) -> Result<Option<Found>, Error> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let record = remote.record(id, asker).await?;
        Ok(record.map(|record| Found::Archived(Box::new(record))))
    }

    /// The picture, on its way if it is not here. `None`: the archive does not have it after all.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when the archive cannot be reached.
    pub async fn fetch(&self, found: Found) -> Result<Option<Picture>, Error> {
        let record = match found {
            Found::Here(picture) => return Ok(Some(picture)),
            Found::Archived(record) => record,
        };
        let Some(remote) = &self.remote else { return Ok(None) };
        match remote.fetch(*record).await {
            Ok(picture) => Ok(Some(picture)),
            Err(Failure::Missing) => Ok(None),
            Err(Failure::Away) => Err(away()),
            Err(Failure::Busy) => {
                let message = "The disk is full, and too many pictures pass through memory. Try again.";
                Err(Error::new(Code::Unavailable, message).retry_after(Duration::from_secs(5)))
            }
            Err(Failure::Full) => Err(Error::new(Code::StorageFull, "There is no room to take the picture back.")),
        }
    }

    /// Where a client may get an archived picture by itself, if it is to. `left`: how long the client may read it; `None`:
    /// for ever. The URL ends no later. Whole seconds count, so nobody is redirected within the last one.
    pub async fn elsewhere(&self, record: &Record, left: Option<Duration>) -> Option<Elsewhere> {
        let remote = self.remote.as_ref()?;
        let seconds = |longest: Duration| Duration::from_secs(left.unwrap_or(longest).min(longest).as_secs());
        let kept = seconds(REDIRECT_KEPT);
        let url = match &self.redirect {
            Redirect::Presigned if !kept.is_zero() => remote.presigned(record, seconds(PRESIGNED)).await?,
            // This URL never ends.
            Redirect::Public(base) if left.is_none() => remote.public(record, without_slash(base)),
            Redirect::Off | Redirect::Presigned | Redirect::Public(_) => return None,
        };
        Some(Elsewhere { url, kept })
    }
}

fn away() -> Error {
    Error::new(Code::Unavailable, "The picture is in the archive, which cannot be reached now.")
        .retry_after(Duration::from_secs(5))
}
