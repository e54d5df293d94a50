//! How much of the disk spools may take, all of them together and those of one client key.
//!
//! A body is spooled as it arrives, so a client that stalls holds what it has sent. Two bounds apply to each buffer that
//! is about to be written:
//!
//! * The settings `limits.spool` and `limits.spool_per_key`.
//! * A share of the disk: half, and a quarter for one key, of what would be free above `store.min_free` without any spool.
//!   So stalled uploads never bring the disk to `min_free`, and one key leaves as much again to others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::StoreError;
use crate::config::Limits;

/// What spools may take, and what they take.
#[derive(Debug)]
pub(super) struct SpoolBudget {
    most: AtomicU64,
    most_per_key: AtomicU64,
    taken: Mutex<Taken>,
}

/// Bytes on the disk.
#[derive(Debug, Default)]
struct Taken {
    all: u64,
    /// Keys without any are not in it.
    by_key: HashMap<Arc<str>, u64>,
}

/// Bytes that one spool has on the disk. They are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<SpoolBudget>,
    /// `None`: a spool of an answer. Such a spool is counted and never refused, because its picture has been paid for.
    key: Option<Arc<str>>,
    bytes: u64,
}

// === impl SpoolBudget ===

impl Default for SpoolBudget {
    fn default() -> Self {
        let Limits { spool, spool_per_key, .. } = Limits::default();
        Self { most: spool.into(), most_per_key: spool_per_key.into(), taken: Mutex::default() }
    }
}

impl SpoolBudget {
    pub(super) fn follow(&self, limits: &Limits) {
        self.most.store(limits.spool, Ordering::Relaxed);
        self.most_per_key.store(limits.spool_per_key, Ordering::Relaxed);
    }

    /// Bytes that all spools have on the disk.
    pub(super) fn taken(&self) -> u64 {
        self.lock().all
    }

    pub(super) fn share(self: &Arc<Self>, key: Option<Arc<str>>) -> Share {
        Share { budget: Arc::clone(self), key, bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Share ===

impl Share {
    /// Takes `bytes` more. `free`: bytes that may still be written before less than `store.min_free` is left.
    ///
    /// # Errors
    /// [`StoreError::SpoolLimit`] past a setting, [`StoreError::Full`] past a share of the disk. Nothing is taken then.
    pub(super) fn grow(&mut self, bytes: u64, free: u64) -> Result<(), StoreError> {
        let mut taken = self.budget.lock();
        let all = taken.all.saturating_add(bytes);
        if let Some(key) = &self.key {
            let of_key = taken.by_key.get(key).copied().unwrap_or(0).saturating_add(bytes);
            let disk = free.saturating_add(taken.all);
            if all > self.budget.most.load(Ordering::Relaxed) {
                return Err(StoreError::SpoolLimit("limits.spool"));
            }
            if of_key > self.budget.most_per_key.load(Ordering::Relaxed) {
                return Err(StoreError::SpoolLimit("limits.spool_per_key"));
            }
            if all > disk / 2 || of_key > disk / 4 {
                return Err(StoreError::Full);
            }
            taken.by_key.insert(Arc::clone(key), of_key);
        }
        taken.all = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.budget.lock();
        taken.all = taken.all.saturating_sub(self.bytes);
        if let Some(key) = &self.key
            && let Some(of_key) = taken.by_key.get_mut(key)
        {
            *of_key = of_key.saturating_sub(self.bytes);
            if *of_key == 0 {
                taken.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = u64::MAX;

    fn budget(spool: u64, spool_per_key: u64) -> Arc<SpoolBudget> {
        let budget = Arc::<SpoolBudget>::default();
        budget.follow(&Limits { spool, spool_per_key, ..Limits::default() });
        budget
    }

    fn word(result: Result<(), StoreError>) -> &'static str {
        match result {
            Ok(()) => "ok",
            Err(StoreError::SpoolLimit(setting)) => setting,
            Err(StoreError::Full) => "full",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_bound_holds_for_all_and_for_one_key() {
        for (what, limits, free, steps) in [
            ("one key", (100, 60), PLENTY, &[("a", 60, "ok"), ("a", 1, "limits.spool_per_key"), ("b", 40, "ok")][..]),
            ("all keys", (100, 60), PLENTY, &[("a", 60, "ok"), ("b", 41, "limits.spool"), ("b", 40, "ok")]),
            (
                "a small disk",
                (1000, 1000),
                80,
                &[("a", 21, "full"), ("a", 20, "ok"), ("a", 10, "full"), ("b", 20, "ok")],
            ),
            ("a disk at min_free", (1000, 1000), 0, &[("a", 1, "full"), ("b", 1, "full")]),
            // An answer has been paid for.
            ("an answer", (10, 10), 0, &[("", 50, "ok"), ("a", 1, "limits.spool")]),
        ] {
            let budget = budget(limits.0, limits.1);
            let mut shares = Vec::new();
            let mut written = 0;
            for (key, bytes, expected) in steps {
                let mut share = budget.share((!key.is_empty()).then(|| Arc::from(*key)));
                assert_eq!(word(share.grow(*bytes, free.saturating_sub(written))), *expected, "{what}: {key} {bytes}");
                written += share.bytes;
                shares.push(share);
            }
            assert_eq!(budget.taken(), written, "{what}");
            drop(shares);
            let taken = budget.lock();
            assert_eq!((taken.all, taken.by_key.len()), (0, 0), "{what}");
        }
    }
}
