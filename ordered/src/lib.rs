//! Work of several threads whose results are taken in order.
//!
//! Invariants: pieces are taken in order, one at a time, so the schedule cannot change a result; no more are in flight than there
//! are slots; nobody waits for a barrier.

use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Computes pieces `0..count` in parallel, and hands each finished slot to `take` in the order of the pieces.
///
/// Every thread of the pool computes one piece after the other; piece p lies in slot p modulo their number, and whoever
/// finishes the piece that is next takes it, and all that wait behind it, while the others go on. So nobody waits for
/// anybody, except for a slot when one piece is slower than all slots together. `take` must not use the pool: the thread
/// could be given another part of this walk, which waits for what is being taken.
///
/// # Errors
/// The error of the lowest piece that has one; those behind it are not taken.
///
/// # Panics
/// Where there is no slot, and when `compute` or `take` does.
pub fn walk<S: Send, E: Send>(
    count: usize,
    slots: &mut [S],
    compute: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
    take: impl FnMut(&mut S, usize) -> Result<(), E> + Send,
) -> Result<(), E> {
    let ring = slots.len();
    assert!(ring > 0 || count == 0, "pieces and no slot to make them in");
    let slots: Vec<Mutex<&mut S>> = slots.iter_mut().map(Mutex::new).collect();
    let take = Mutex::new(take);
    let next = AtomicUsize::new(0);
    let (order, freed) = (Mutex::new(Order::new(ring)), Condvar::new());

    let work = || {
        let _guard = StopOnPanic(&order, &freed);
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                break;
            }
            let full = |order: &mut Order<E>| !order.stopped && piece >= order.taken + ring;
            let wait = freed.wait_while(lock(&order), full);
            if wait.unwrap_or_else(PoisonError::into_inner).stopped {
                break;
            }
            let outcome = compute(&mut lock(&slots[piece % ring]), piece);
            let mut now = lock(&order);
            now.finished[piece % ring] = Some(outcome);
            if now.taking {
                continue;
            }
            now.taking = true;
            while let Some(outcome) = now.next() {
                let piece = now.taken;
                drop(now);
                let slot = &mut lock(&slots[piece % ring]);
                let outcome = outcome.and_then(|()| (*lock(&take))(slot, piece));
                now = lock(&order);
                now.taken += 1;
                if let Err(error) = outcome {
                    (now.stopped, now.error) = (true, Some(error));
                }
                freed.notify_all();
            }
            now.taking = false;
        }
    };
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            scope.spawn(|_| work());
        }
        work();
    });
    let order = order.into_inner().unwrap_or_else(PoisonError::into_inner);
    order.error.map_or(Ok(()), Err)
}

/// How far a walk is.
struct Order<E> {
    /// Pieces that were taken, or failed.
    taken: usize,
    /// Whether somebody takes.
    taking: bool,
    /// By slot: what became of the piece in it, until it is taken.
    finished: Vec<Option<Result<(), E>>>,
    /// Nobody goes on.
    stopped: bool,
    error: Option<E>,
}

impl<E> Order<E> {
    fn new(slots: usize) -> Self {
        Self {
            taken: 0,
            taking: false,
            finished: (0..slots).map(|_| None).collect(),
            stopped: false,
            error: None,
        }
    }

    /// The outcome of the piece that is to be taken, when it is there.
    fn next(&mut self) -> Option<Result<(), E>> {
        let slot = self.taken % self.finished.len();
        match self.stopped {
            true => None,
            false => self.finished[slot].take(),
        }
    }
}

/// Lets the others go when one panics: they would wait for its piece.
struct StopOnPanic<'a, E>(&'a Mutex<Order<E>>, &'a Condvar);

impl<E> Drop for StopOnPanic<'_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.0).stopped = true;
            self.1.notify_all();
        }
    }
}

/// What a panic leaves behind is not looked at, so it may be half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(work)
    }

    #[test]
    fn pieces_are_taken_in_order_whoever_is_late() {
        for (threads, slots) in [(1, 1), (2, 1), (2, 4), (7, 3), (7, 20)] {
            let mut taken = Vec::new();
            let compute = |slot: &mut usize, piece: usize| {
                // The first of every seven is the slowest.
                thread::sleep(Duration::from_millis(u64::from(piece.is_multiple_of(7))));
                *slot = piece;
                Ok::<_, usize>(())
            };
            let outcome = on(threads, || {
                walk(50, &mut vec![0; slots], compute, |slot, piece| {
                    assert_eq!(*slot, piece);
                    taken.push(piece);
                    Ok(())
                })
            });
            assert_eq!(outcome, Ok(()));
            assert_eq!(taken, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_error_of_the_lowest_piece_ends_it() {
        for threads in [1, 2, 7] {
            let made = AtomicUsize::new(0);
            let mut end = 0;
            let compute = |_: &mut (), piece: usize| {
                made.fetch_add(1, Ordering::Relaxed);
                if [3, 4, 6].contains(&piece) {
                    Err(piece)
                } else {
                    Ok(())
                }
            };
            let outcome = on(threads, || {
                walk(1_000_000, &mut [(); 9], compute, |(), piece| {
                    end = piece + 1;
                    Ok(())
                })
            });
            assert_eq!((outcome, end), (Err(3), 3));
            assert!(made.into_inner() <= 3 + 9 + threads);
        }
    }

    #[test]
    fn an_error_of_taking_ends_it_too() {
        let take = |(): &mut (), piece: usize| if piece == 5 { Err("full") } else { Ok(()) };
        let outcome = on(3, || walk(100, &mut [(); 4], |(), _| Ok(()), take));
        assert_eq!(outcome, Err("full"));
    }

    #[test]
    fn a_panic_in_one_piece_ends_it() {
        for slots in [1, 2, 5] {
            for threads in [1, 2, 4] {
                let outcome = std::panic::catch_unwind(|| {
                    let compute = |_: &mut i32, piece: usize| {
                        assert_ne!(piece, 3);
                        Ok::<_, ()>(())
                    };
                    on(threads, || {
                        walk(90, &mut vec![0; slots], compute, |_, _| Ok(()))
                    })
                });
                assert!(outcome.is_err());
            }
        }
    }
}
