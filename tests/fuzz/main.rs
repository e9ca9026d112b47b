//! What comes from outside may be anything: random and damaged values for all that reads it.
//!
//!     cargo test fuzz                  seconds
//!     make fuzz                        ten minutes of the processor for each test, or DEEPFAKE_FUZZ_SECONDS
//!
//! What a face detector's graph may say is tried in `src/analysis/detector/mod.rs`, since nobody else sees its decoders. What was once
//! found stands beside these as a test of its own.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/fuzz.rs"]
mod fuzz;
mod package;
mod report;
mod tracker;

use proptest::prelude::*;

/// A change to some bytes, at a place that is given as a share of their length.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Overwrite(prop::sample::Index, u8),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |index: &prop::sample::Index| index.index(bytes.len() + 1);
        let range = |index, length: usize| place(index)..(place(index) + length).min(bytes.len());
        match self {
            Self::Cut(index) => bytes.truncate(place(index)),
            Self::Remove(index, length) => drop(bytes.drain(range(index, *length))),
            Self::Repeat(index, length) => {
                let range = range(index, *length);
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, part);
            }
            Self::Insert(index, part) => {
                let place = place(index);
                bytes.splice(place..place, part.iter().copied());
            }
            Self::Overwrite(index, byte) => {
                let place = place(index);
                if let Some(old) = bytes.get_mut(place) {
                    *old = *byte;
                }
            }
        }
    }
}

/// One to four changes; what is inserted is one of `words` or any bytes.
fn any_damage(words: &'static [&'static str]) -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<prop::sample::Index>;
    let part = prop_oneof![
        prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..9),
    ];
    let one = prop_oneof![
        1 => index().prop_map(Damage::Cut),
        2 => (index(), 0..40usize).prop_map(|(index, length)| Damage::Remove(index, length)),
        2 => (index(), 0..40usize).prop_map(|(index, length)| Damage::Repeat(index, length)),
        4 => (index(), part).prop_map(|(index, part)| Damage::Insert(index, part)),
        4 => (index(), any::<u8>()).prop_map(|(index, byte)| Damage::Overwrite(index, byte)),
    ];
    prop::collection::vec(one, 1..5)
}

fn damaged(bytes: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    damage.iter().for_each(|damage| damage.apply(&mut bytes));
    bytes
}
