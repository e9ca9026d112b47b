//! Whole frames are searched in turns.
//!
//! A search of a whole frame takes several times as long as all else that is done to it. Channels that start together, as those of a
//! mosaic do, would do theirs together ever after, and shed what came due meanwhile. Whoever finds others at it searches a frame or two
//! later instead, and from then on at another time than they.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::inference::cores;

static SEARCHES: AtomicUsize = AtomicUsize::new(0);

/// Leave to search a whole frame, until it is dropped.
pub struct Turn(());

impl Turn {
    /// `None` while others search on half of the cores.
    pub fn take() -> Option<Self> {
        let most = (cores() / 2).max(1);
        let add = |searches| (searches < most).then_some(searches + 1);
        SEARCHES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok().then(|| Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        SEARCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_free_again_when_it_is_over() {
        let turns: Vec<_> = std::iter::from_fn(Turn::take).collect();
        assert!((1..=cores()).contains(&turns.len()));
        assert!(Turn::take().is_none());
        drop(turns);
        assert!(Turn::take().is_some());
    }
}
