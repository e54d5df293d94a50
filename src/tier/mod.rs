//! Pictures wherever they are: on this disk or in the archive.
//!
//! A picture that is not here is fetched from the bucket once, however many ask for it: it goes to the disk and to all of
//! them at the same time, and any range of it can be asked for from the first moment on. Afterwards it is here again.
//!
//! That a picture is in the bucket is told by its record, which stays when a picture is evicted. For an id without a
//! record here (a new machine) the bucket is asked for the record; that it has none is remembered for a while.

mod absence;
mod fill;
mod remote;
pub mod roster;

use std::time::Duration;

use crate::{
    archive::Bucket,
    config::{Redirect, without_slash},
    error::{Code, Error},
    picture::PictureId,
    store::{Facts, Failure, Picture, Record, Store},
    telemetry::Metrics,
};

use remote::Remote;

/// How long a presigned URL is good for, and how long its redirect may be kept by a cache.
const PRESIGNED: Duration = Duration::from_secs(3600);
pub const REDIRECT_KEPT: Duration = Duration::from_secs(300);

/// Finds pictures on this disk and behind it.
#[derive(Debug)]
pub struct Tier {
    store: Store,
    remote: Option<Remote>,
    redirect: Redirect,
}

/// A picture that was found.
#[derive(Debug)]
pub enum Found {
    Here(Picture),
    /// The archive should have it.
    Archived(Box<Record>),
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

    /// How clients get pictures from the bucket by themselves.
    pub fn redirect(&self) -> &Redirect {
        &self.redirect
    }

    /// Where the pictures are archived.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.remote.as_ref().map(Remote::bucket)
    }

    /// The picture, ready to be read.
    pub async fn open(&self, id: &PictureId) -> Result<Option<Picture>, Error> {
        match self.find(id).await? {
            Some(found) => self.fetch(found).await,
            None => Ok(None),
        }
    }

    /// As [`open`](Self::open), when all of it has come.
    pub async fn open_whole(&self, id: &PictureId) -> Result<Option<Picture>, Error> {
        let Some(picture) = self.open(id).await? else { return Ok(None) };
        if picture.arrived().await { Ok(Some(picture)) } else { Err(away()) }
    }

    /// What is known of the picture. One that is not here is not fetched yet.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when only the archive could tell and it cannot be asked.
    pub async fn find(&self, id: &PictureId) -> Result<Option<Found>, Error> {
        if let Some(picture) = self.store.get(id).await? {
            return Ok(Some(Found::Here(picture)));
        }
        let Some(remote) = &self.remote else { return Ok(None) };
        if self.store.is_buried(*id).await? {
            return Ok(None);
        }
        let record = match self.store.record(id).await? {
            Some(record) => Some(record),
            None => remote.record(id).await?,
        };
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

    /// Where a client may get an archived picture by itself, if it is to.
    pub async fn elsewhere(&self, record: &Record) -> Option<String> {
        let remote = self.remote.as_ref()?;
        match &self.redirect {
            Redirect::Off => None,
            Redirect::Presigned => remote.presigned(record, PRESIGNED).await,
            Redirect::Public(base) => Some(remote.public(record, without_slash(base))),
        }
    }
}

fn away() -> Error {
    Error::new(Code::Unavailable, "The picture is in the archive, which cannot be reached now.")
        .retry_after(Duration::from_secs(5))
}
