//! Enumerations that travel as words.

/// An enumeration whose variants are words in metadata, messages and JSON. A word that this version
/// does not know is read as `Other`: a newer element may say more than an older reader understands.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// A word of a newer version, which says nothing to this one.
            Other,
        }

        impl $name {
            /// All that this version knows, without [`Other`](Self::Other).
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word used in metadata, messages and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other => "other",
                }
            }

            /// The reverse of [`as_str`](Self::as_str); [`Other`](Self::Other) for a word that is
            /// not known.
            pub fn parse(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<str>::deserialize(deserializer).map(|word| Self::parse(&word))
            }
        }
    };
}

pub(crate) use words;
