//! Places for a bounded number of jobs; who came last is next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Closed waiters are swept out of the stack when it has grown to this many, and to twice what was left.
const SWEEP: usize = 64;

/// A number of places. The one who came last gets the next that is free: under a flood those who have waited longest are
/// mostly gone or about to give up, and first come, first served would make everybody wait as long as they did. Clones
/// share the places.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Vec<oneshot::Sender<Slot>>,
    sweep_at: usize,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<Slots>);

impl Slots {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: places, waiting: Vec::new(), sweep_at: SWEEP })))
    }

    /// Waits for a place. Dropping the future leaves the queue.
    pub(super) async fn enter(&self) -> Slot {
        let turn = {
            let mut state = self.state();
            if let Some(left) = state.free.checked_sub(1) {
                state.free = left;
                return Slot(Some(self.clone()));
            }
            if state.waiting.len() >= state.sweep_at {
                state.waiting.retain(|waiting| !waiting.is_closed());
                state.sweep_at = SWEEP.max(state.waiting.len() * 2);
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push(sender);
            turn
        };
        // A waiting sender is dropped only when it hands a place over.
        turn.await.unwrap_or(Slot(None))
    }

    /// Hands a place to who came last of those who still wait.
    fn leave(&self) {
        let mut state = self.state();
        while let Some(last) = state.waiting.pop() {
            match last.send(Slot(Some(self.clone()))) {
                Ok(()) => return,
                // Gone. Emptied first: dropped as it is, it would come back here while the lock is held.
                Err(mut slot) => drop(slot.0.take()),
            }
        }
        state.free += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::BoxFuture};

    use super::*;

    fn enter(slots: &Slots) -> BoxFuture<'static, Slot> {
        let slots = slots.clone();
        let mut entering = async move { slots.enter().await }.boxed();
        assert!((&mut entering).now_or_never().is_none(), "there was a place");
        entering
    }

    #[test]
    fn who_came_last_is_next_and_no_place_is_lost() {
        let slots = Slots::new(2);
        let [a, b] = [(); 2].map(|()| slots.enter().now_or_never().unwrap());
        let [mut first, mut second, third] = [(); 3].map(|()| enter(&slots));
        drop(third);
        drop(a);
        assert!((&mut first).now_or_never().is_none());
        let second = (&mut second).now_or_never().unwrap();
        drop(b);
        let first = (&mut first).now_or_never().unwrap();
        // A place that was handed to somebody who left before taking it.
        let gone = enter(&slots);
        drop(second);
        drop(gone);
        drop(first);
        let both = [(); 2].map(|()| slots.enter().now_or_never());
        assert!(both.iter().all(Option::is_some));
        assert!(slots.enter().now_or_never().is_none());
    }

    #[test]
    fn those_who_left_are_not_kept() {
        let slots = Slots::new(1);
        let _taken = slots.enter().now_or_never().unwrap();
        let _waits = enter(&slots);
        for _ in 0..10_000 {
            drop(enter(&slots));
        }
        assert!(slots.state().waiting.len() <= SWEEP, "{}", slots.state().waiting.len());
    }
}
