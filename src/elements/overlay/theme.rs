//! What each state looks like and is called: colour, line and mark, so that no meaning depends on
//! colour alone.

use deepfake_report::{Reason, State};

/// Red, green, blue, 0..1.
pub type Color = (f64, f64, f64);

const fn rgb(hex: u32) -> Color {
    (((hex >> 16) & 255) as f64 / 255.0, ((hex >> 8) & 255) as f64 / 255.0, (hex & 255) as f64 / 255.0)
}

/// Text of the first rank.
pub const INK: Color = rgb(0xffffff);
/// Text of the second rank.
pub const INK_DIM: Color = rgb(0xb9c0c8);
/// Plates and the casing around lines.
pub const PLATE: Color = rgb(0x0b0e12);
pub const PLATE_ALPHA: f64 = 0.74;
pub const CASING_ALPHA: f64 = 0.45;

/// The stroke of a box between its corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// Corners only.
    None,
    Solid,
    Heavy,
    Dashed,
    Dotted,
    DashDotted,
}

/// The sign inside a label's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    Tick,
    Question,
    Exclamation,
    Dots,
    Bar,
}

/// How one state is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub color: Color,
    pub line: Line,
    pub mark: Mark,
}

/// The look of `state`; `None` is a face that nobody judged.
///
/// Colours are those of Okabe and Ito, "Color Universal Design" (2008).
pub const fn look(state: Option<State>) -> Look {
    match state {
        Some(State::Warming) => Look { color: rgb(0x56b4e9), line: Line::Dotted, mark: Mark::Dots },
        Some(State::Authentic) => Look { color: rgb(0x009e73), line: Line::Solid, mark: Mark::Tick },
        Some(State::Uncertain) => Look { color: rgb(0xf0e442), line: Line::Dashed, mark: Mark::Question },
        Some(State::Fake) => Look { color: rgb(0xd55e00), line: Line::Heavy, mark: Mark::Exclamation },
        Some(State::Rejected) => Look { color: rgb(0xb0b0b0), line: Line::DashDotted, mark: Mark::Bar },
        None | Some(_) => Look { color: rgb(0xffffff), line: Line::None, mark: Mark::Bar },
    }
}

/// The state in words.
pub const fn words(state: State, reason: Option<Reason>) -> &'static str {
    match (state, reason) {
        (State::Warming, _) => "Warming up",
        (State::Authentic, _) => "Authentic",
        (State::Uncertain, _) => "Uncertain",
        (State::Fake, _) => "Fake",
        (State::Rejected, Some(Reason::TooSmall)) => "Too small",
        (State::Rejected, Some(Reason::Blurred)) => "Blurred",
        (State::Rejected, Some(Reason::TooDark)) => "Too dark",
        (State::Rejected, Some(Reason::Profile)) => "Profile view",
        (State::Rejected, Some(Reason::NotSeen)) => "Not seen",
        _ => "Not judged",
    }
}

/// Which labels get room first when there is not enough for all: greater is more important.
pub const fn rank(state: Option<State>) -> u8 {
    match state {
        Some(State::Fake) => 5,
        Some(State::Uncertain) => 4,
        Some(State::Authentic) => 3,
        Some(State::Warming) => 2,
        Some(State::Rejected) => 1,
        None | Some(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_states_share_a_colour_a_line_or_a_word() {
        for (i, &a) in State::ALL.iter().enumerate() {
            for &b in &State::ALL[i + 1..] {
                assert_ne!(look(Some(a)).color, look(Some(b)).color);
                assert_ne!(look(Some(a)).line, look(Some(b)).line);
                assert_ne!(look(Some(a)).mark, look(Some(b)).mark);
                assert_ne!(words(a, None), words(b, None));
            }
        }
    }

    #[test]
    fn states_differ_in_lightness_too() {
        let luma = |c: Color| 0.2126 * c.0 + 0.7152 * c.1 + 0.0722 * c.2;
        let mut lumas: Vec<_> = State::ALL.iter().map(|&s| luma(look(Some(s)).color)).collect();
        lumas.sort_by(f64::total_cmp);
        // Greyscale prints and achromats: fake and uncertain, the two that matter, lie far apart.
        assert!(luma(look(Some(State::Uncertain)).color) - luma(look(Some(State::Fake)).color) > 0.3);
        assert!(lumas.first() < lumas.last());
    }
}
