//! As many analyses at a time as there are cores, in the order in which they asked.
//!
//! The system would let all of them go on a little at a time, and the longest, in which a whole frame is searched for new faces,
//! would end so late that its channel sheds the next frames although there is time for all.

use std::sync::{Condvar, Mutex, MutexGuard};

use deepfake_engine::inference::cores;

/// See the [module](self).
pub struct Gate {
    counts: Mutex<Counts>,
    changed: Condvar,
}

/// Of all that ever came.
struct Counts {
    asked: u64,
    gone: u64,
}

/// Leave to be inside, until it is dropped.
pub struct Inside<'a>(&'a Gate);

impl Gate {
    pub const fn new() -> Self {
        Self { counts: Mutex::new(Counts { asked: 0, gone: 0 }), changed: Condvar::new() }
    }

    /// Waits until fewer than there are cores are inside, and everybody who asked before is or has been.
    pub fn enter(&self) -> Inside<'_> {
        self.enter_of(cores() as u64)
    }

    fn enter_of(&self, most: u64) -> Inside<'_> {
        let mut counts = self.counts();
        let number = counts.asked;
        counts.asked += 1;
        while number >= counts.gone + most {
            counts = self.changed.wait(counts).expect("nothing panics while it holds the counts");
        }
        Inside(self)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nothing panics while it holds the counts")
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.counts().gone += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_are_inside_than_may_be_and_all_come_in() {
        let (gate, inside, been) = (Gate::new(), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _inside = gate.enter_of(3);
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        been.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(been.into_inner(), 8 * 500);
    }

    #[test]
    fn who_asks_first_is_inside_first() {
        let (gate, order) = (Gate::new(), Mutex::new(vec![]));
        let first = gate.enter_of(1);
        std::thread::scope(|scope| {
            for number in 0..5 {
                let (gate, order) = (&gate, &order);
                scope.spawn(move || {
                    let _inside = gate.enter_of(1);
                    order.lock().unwrap().push(number);
                });
                while gate.counts().asked < number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_panic_inside_lets_the_next_in() {
        let gate = Gate::new();
        let panicked = std::panic::catch_unwind(|| {
            let _inside = gate.enter_of(1);
            panic!("of a test");
        });
        assert!(panicked.is_err());
        drop(gate.enter_of(1));
    }
}
