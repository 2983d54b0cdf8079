//! Pieces of an output that several threads make, written in order.
//!
//! Pieces are handed out in order, and whoever finishes the next one to be written writes it, and those that wait behind it: it lies
//! in that thread's cache, and nobody waits for others before all is done.

use std::{
    collections::BTreeMap,
    io::Write,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::error::RingError;
use super::params::CHUNK_BYTES;

type Piece = Vec<[u8; CHUNK_BYTES]>;

/// Has `make` fill pieces `0..count` and writes them in order. Every error ends the work; one of them is returned.
pub(super) fn in_order(
    count: usize,
    sink: &mut (impl Write + Send),
    make: impl Fn(usize, &mut Piece) -> Result<(), RingError> + Sync,
) -> Result<(), RingError> {
    let turn = AtomicUsize::new(0);
    let sink = Mutex::new(sink);
    let queue = Mutex::new(Queue::default());
    let work = || {
        let mut output = Piece::new();
        loop {
            let piece = turn.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return;
            }
            output.clear();
            let made = make(piece, &mut output);
            if let Err(error) = made.and_then(|()| put(&queue, &sink, piece, &mut output)) {
                lock(&queue).failed = Some(error);
                turn.store(count, Ordering::Relaxed);
                return;
            }
        }
    };
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            scope.spawn(|_| work());
        }
        work();
    });
    let failed = lock(&queue).failed.take();
    failed.map_or(Ok(()), Err)
}

#[derive(Default)]
struct Queue {
    /// The piece that is written next.
    next: usize,
    /// Pieces that are finished and not written.
    finished: BTreeMap<usize, Piece>,
    /// Whether somebody is writing. The queue is not locked meanwhile: the sink may do what it likes.
    writing: bool,
    /// Memory of pieces that are written.
    spare: Vec<Piece>,
    failed: Option<RingError>,
}

/// Takes a piece, with other memory for it, and writes all that are due unless another thread is at it.
fn put<W: Write>(
    queue: &Mutex<Queue>,
    sink: &Mutex<&mut W>,
    piece: usize,
    output: &mut Piece,
) -> Result<(), RingError> {
    let mut state = lock(queue);
    let other = state.spare.pop().unwrap_or_default();
    state.finished.insert(piece, mem::replace(output, other));
    if state.writing {
        return Ok(());
    }
    state.writing = true;
    loop {
        let next = state.next;
        let Some(due) = state.finished.remove(&next) else {
            state.writing = false;
            return Ok(());
        };
        drop(state);
        lock(sink).write_all(due.as_flattened())?;
        state = lock(queue);
        state.next += 1;
        state.spare.push(due);
    }
}

/// A panic of another thread leaves nothing half done that is used afterwards: it goes on through the scope.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn pieces_come_out_in_order_whoever_is_late() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut written = Vec::new();
            pool.unwrap().install(|| {
                in_order(50, &mut written, |piece, output| {
                    // The first of every seven is the slowest.
                    std::thread::sleep(std::time::Duration::from_millis(u64::from(piece % 7 == 0)));
                    output.extend([[piece as u8; CHUNK_BYTES]; 2]);
                    Ok(())
                })
                .unwrap();
            });
            let (chunks, rest) = written.as_chunks::<CHUNK_BYTES>();
            assert!(rest.is_empty());
            assert_eq!(chunks.len(), 100);
            for (place, chunk) in chunks.iter().enumerate() {
                assert_eq!(*chunk, [(place / 2) as u8; CHUNK_BYTES]);
            }
        }
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let made = AtomicUsize::new(0);
        let error = in_order(1_000_000, &mut io::sink(), |piece, _| {
            made.fetch_add(1, Ordering::Relaxed);
            match piece {
                3 => Err(RingError::malformed("piece", "the fourth")),
                _ => Ok(()),
            }
        });
        assert!(error.unwrap_err().to_string().contains("the fourth"));
        assert!(made.load(Ordering::Relaxed) < 1_000_000);
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_fails_ends_it_too() {
        let fill = |_: usize, output: &mut Piece| {
            output.push([0; CHUNK_BYTES]);
            Ok(())
        };
        in_order(100, &mut Full, fill).unwrap_err();
    }
}
