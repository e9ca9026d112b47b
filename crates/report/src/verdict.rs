//! The words for what is said about a face.

use crate::words::words;

words! {
    /// What is said about a face.
    State {
        /// The window does not hold enough crops yet.
        Warming = "warming",
        Authentic = "authentic",
        /// Neither threshold is passed: "I don't know".
        Uncertain = "uncertain",
        Fake = "fake",
        /// The face cannot be judged; [`Reason`] says why.
        Rejected = "rejected",
    }
}

words! {
    /// Why a face is not judged.
    Reason {
        TooSmall = "too-small",
        Blurred = "blurred",
        TooDark = "too-dark",
        Profile = "profile",
        /// The face has not been found in the picture for a while.
        NotSeen = "not-seen",
        /// Too few frames are analysed for the window to fill, which takes a faster machine or
        /// fewer channels.
        TooFewFrames = "too-few-frames",
    }
}

impl State {
    /// Whether the state is a judgement by the model. Every other state, those of newer versions
    /// among them, says nothing about whether the face is real.
    pub fn is_judged(self) -> bool {
        matches!(self, Self::Authentic | Self::Uncertain | Self::Fake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_states_belong_together() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), reason);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn an_unknown_word_is_another_and_no_judgement() {
        let state: State = serde_json::from_str("\"bewildered\"").unwrap();
        assert_eq!((state, state.is_judged()), (State::Other, false));
        assert_eq!(serde_json::from_str::<Reason>("\"sunglasses\"").unwrap(), Reason::Other);
    }
}
