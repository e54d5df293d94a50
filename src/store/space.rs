//! The low-space guard: no new picture once less than `store.min_free` is left.

use std::{
    io,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::error::{Doing, StoreError};

/// How long a reading of the free space is trusted.
const FRESH: Duration = Duration::from_secs(1);

/// Watches the free space of the file system under `data_dir`.
#[derive(Debug)]
pub(super) struct Space {
    dir: PathBuf,
    min_free: AtomicU64,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    pub(super) fn new(dir: PathBuf, min_free: u64) -> Self {
        Self { dir, min_free: min_free.into(), last: Mutex::new(None) }
    }

    pub(super) fn set_min_free(&self, min_free: u64) {
        self.min_free.store(min_free, Ordering::Relaxed);
    }

    /// [`StoreError::Full`] when too little is left. May block.
    ///
    /// Between two readings a second's worth of pictures can pass, so the guard is a margin, not a promise: a disk that
    /// fills up all the same is told by the write that fails.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let min_free = self.min_free.load(Ordering::Relaxed);
        if min_free == 0 {
            return Ok(());
        }
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let free = match *last {
            Some((at, free)) if at.elapsed() < FRESH => free,
            _ => {
                let free = self.free()?;
                *last = Some((Instant::now(), free));
                free
            }
        };
        if free < min_free { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Bytes that may still be written before less than `min_free` is left. Read anew each time. May block.
    pub(super) fn above_min_free(&self) -> Result<u64, StoreError> {
        Ok(self.free()?.saturating_sub(self.min_free.load(Ordering::Relaxed)))
    }

    /// Bytes an ordinary user may still write. May block.
    pub(super) fn free(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(io::Error::from).doing("reading the free space")?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
