//! The words for what is said about a face.

use serde::{Deserialize, Serialize};

/// What is said about a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// The window does not hold enough crops yet.
    Warming,
    Authentic,
    /// Neither threshold is passed: "I don't know".
    Uncertain,
    Fake,
    /// The face cannot be judged; [`Reason`] says why.
    Rejected,
}

/// Why a face cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    TooSmall,
    Blurred,
    TooDark,
    Profile,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Warming, Self::Authentic, Self::Uncertain, Self::Fake, Self::Rejected];

    /// The word used in metadata, messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warming => "warming",
            Self::Authentic => "authentic",
            Self::Uncertain => "uncertain",
            Self::Fake => "fake",
            Self::Rejected => "rejected",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::TooSmall, Self::Blurred, Self::TooDark, Self::Profile];

    /// The word used in metadata, messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooSmall => "too-small",
            Self::Blurred => "blurred",
            Self::TooDark => "too-dark",
            Self::Profile => "profile",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_states_belong_together() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
