//! Makes calls of [`disk`](super::disk) fail, in tests.
//!
//! A plan is bound to folders, and every test has folders of its own: tests that run at once do not meet here.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was done.
    Before,
    /// All was done, but an error was reported.
    After,
    /// Nothing was done, and nothing is from then on, until the plan is dropped.
    FromThenOn,
}

/// A call that is to fail.
#[derive(Debug)]
struct Plan {
    under: Vec<PathBuf>,
    nth: usize,
    kind: Kind,
    error: i32,
    calls: usize,
}

/// The plan is in force until this is dropped.
#[derive(Debug)]
pub(super) struct Armed(Arc<Mutex<Plan>>);

static PLANS: Mutex<Vec<Arc<Mutex<Plan>>>> = Mutex::new(Vec::new());

/// Lets the `nth` call (counted from 1) on files under these folders fail with this error of the operating system.
pub(super) fn arm(under: &[PathBuf], nth: usize, kind: Kind, error: rustix::io::Errno) -> Armed {
    let plan = Plan { under: under.to_vec(), nth, kind, error: error.raw_os_error(), calls: 0 };
    let plan = Arc::new(Mutex::new(plan));
    lock(&PLANS).push(Arc::clone(&plan));
    Armed(plan)
}

impl Armed {
    /// Whether a call has failed.
    pub(super) fn fired(&self) -> bool {
        let plan = lock(&self.0);
        plan.calls >= plan.nth
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        lock(&PLANS).retain(|plan| !Arc::ptr_eq(plan, &self.0));
    }
}

/// Makes the call, unless a plan wants otherwise.
pub(super) fn around<T>(path: &Path, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match failure(path) {
        None => call(),
        Some((Kind::After, error)) => {
            call()?;
            Err(error)
        }
        Some((Kind::Before | Kind::FromThenOn, error)) => Err(error),
    }
}

fn failure(path: &Path) -> Option<(Kind, io::Error)> {
    let plans = lock(&PLANS);
    for plan in plans.iter() {
        let mut plan = lock(plan);
        if plan.under.iter().any(|folder| path.starts_with(folder)) {
            plan.calls += 1;
            if plan.calls == plan.nth || (plan.kind == Kind::FromThenOn && plan.calls > plan.nth) {
                return Some((plan.kind, io::Error::from_raw_os_error(plan.error)));
            }
        }
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
