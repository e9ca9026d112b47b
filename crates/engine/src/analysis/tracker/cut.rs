//! Whether a new shot begins, told from thumbnails.
//!
//! Black bars, which would make any two pictures alike, are left out: what is compared is the part that shows something in either
//! of two thumbnails. Three measures are taken between a thumbnail and the one before; a cut is large in all three:
//!
//! - how far grey values moved in their places: much for a cut, but also for a camera flash or a fast pan;
//! - how unlike the pictures are once brightness and contrast are taken out (correlation): a flash or a fade keeps the
//!   picture's structure;
//! - how far their histograms are apart, brightness taken out: movement within a shot shifts pixels about but keeps
//!   their distribution.

/// Size of the thumbnails, in pixels: 16:9, whatever the frame's own shape.
pub const WIDTH: usize = 96;
pub const HEIGHT: usize = 54;
/// What is compared of them, without bars: columns, rows, and both.
const COLUMNS: usize = 32;
const ROWS: usize = 18;
const PIXELS: usize = COLUMNS * ROWS;

/// Rows and columns at the edges with no brighter grey value than this, …
const MAX_BAR: u8 = 24;
/// … and no more difference than this, are bars, …
const MAX_BAR_CONTRAST: u8 = 10;
/// … if they leave at least this many rows and columns.
const MIN_SHOWN: usize = 6;

// Set on 159 real clips of faces (15,716 pairs of frames): within a shot 99.9 % of neighbouring frames move by less than
// 11.9 grey values, correlate by more than 0.85, and have histograms less than 3.5 apart; of 25,122 joins of the end
// of one clip to the start of another, 95 % move by more than 28, correlate by less than 0.63, and are more than 9 apart.
// With the values below no cut is seen within a shot (also where only each second or fourth frame is looked at, but for
// one inset picture that does change), and 95 % of the joins are found: the others are of two clips from one studio.

/// Mean movement of a pixel's grey value, of 255.
const MIN_CHANGE: f32 = 12.0;
/// The same, as a multiple of the recent average: under a shaking camera everything moves all the time.
const MIN_CHANGE_RATIO: f32 = 3.0;
const MAX_CORRELATION: f32 = 0.65;
/// Distance of histograms (earth mover's), in grey values.
const MIN_HISTOGRAM_CHANGE: f32 = 3.0;
/// A picture that suddenly is brighter by this, in grey values, may be a camera's flash: it is waited for what follows …
const FLASH: f32 = 25.0;
/// … this many frames. A cut to a brighter shot is told that much later.
const FLASH_FRAMES: u32 = 2;
/// Below this standard deviation of grey values a picture shows nothing (black, white, fully faded), …
const BLANK: f32 = 4.0;
/// … and above this something again.
const NO_LONGER_BLANK: f32 = 6.0;
/// Weight of the newest frame in the recent average of changes.
const RECENT: f32 = 0.2;

/// Whether a picture goes on with the shot of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shot {
    Same,
    /// A flash, or a new shot that is much brighter: the next pictures tell.
    Doubtful,
    New,
}

/// Finds cuts in a row of thumbnails.
///
/// Hard cuts are found with the first frame of the new shot (up to two frames later if it is much brighter), a change
/// of shots through black or white as soon as the new shot shows. Flashes and fades within a shot are no cuts.
/// Dissolves are not found: their faces fade away, and the tracker loses them.
#[derive(Debug, Default)]
pub struct CutDetector {
    /// The newest thumbnail of the shot that showed something; empty at first.
    reference: Vec<u8>,
    /// Recent average of changes, in grey values; `None` at the start of a shot.
    usual_change: Option<f32>,
    /// Pictures that showed nothing came after the reference.
    blanked: bool,
    /// Frames that were waited for since a possible flash began.
    waited: u32,
}

impl CutDetector {
    /// What `picture` is, a grey thumbnail of [`WIDTH`] × [`HEIGHT`] pixels, row by row. One of another size is ignored.
    pub fn look(&mut self, picture: &[u8]) -> Shot {
        let Ok(picture) = <&Thumbnail>::try_from(picture) else { return Shot::Same };
        let shown = Shown::of(picture);
        let Ok(reference) = <&Thumbnail>::try_from(self.reference.as_slice()) else {
            if Light::of(&shown.cells(picture)).deviation < BLANK {
                self.blanked = true;
            } else {
                self.follow(picture, None);
            }
            return Shot::Same;
        };
        let either = shown.with(&Shown::of(reference));
        let (cells, reference) = (either.cells(picture), either.cells(reference));
        let light = Light::of(&cells);
        if light.deviation < if self.blanked { NO_LONGER_BLANK } else { BLANK } {
            self.blanked = true;
            return Shot::Same;
        }
        let before = Light::of(&reference);
        let change = mean_change(&cells, &reference);
        let unlike = correlation(&cells, &light, &reference, &before) < MAX_CORRELATION;
        // Both sides of a fade through black are dim, so that little changes between them but what is seen.
        let cut = unlike
            && (self.blanked
                || change > MIN_CHANGE.max(MIN_CHANGE_RATIO * self.usual_change.unwrap_or(0.0))
                    && histogram_change(&cells, &light, &reference, &before) > MIN_HISTOGRAM_CHANGE);
        if cut && light.mean - before.mean > FLASH && self.waited < FLASH_FRAMES {
            self.waited += 1;
            return Shot::Doubtful;
        }
        let usual = self.usual_change.map_or(change, |usual| usual + RECENT * (change - usual));
        self.follow(picture, (!cut).then_some(usual));
        if cut { Shot::New } else { Shot::Same }
    }

    /// Forgets the pictures seen: after a flush or a jump the next one is the first.
    pub fn reset(&mut self) {
        *self = Self { reference: std::mem::take(&mut self.reference), ..Self::default() };
        self.reference.clear();
    }

    fn follow(&mut self, picture: &Thumbnail, usual_change: Option<f32>) {
        self.reference.clear();
        self.reference.extend_from_slice(picture);
        self.usual_change = usual_change;
        self.blanked = false;
        self.waited = 0;
    }
}

type Thumbnail = [u8; WIDTH * HEIGHT];

/// The part of a thumbnail without black bars: columns and rows from the first to before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Shown {
    const ALL: Self = Self { left: 0, top: 0, right: WIDTH, bottom: HEIGHT };

    fn of(picture: &Thumbnail) -> Self {
        let is_bar = |values: &mut dyn Iterator<Item = u8>| {
            let (darkest, brightest) =
                values.fold((u8::MAX, 0), |(low, high), value| (low.min(value), high.max(value)));
            brightest <= MAX_BAR && brightest - darkest <= MAX_BAR_CONTRAST
        };
        let row_is_bar = |row: &usize| is_bar(&mut picture[row * WIDTH..][..WIDTH].iter().copied());
        let column_is_bar = |column: &usize| is_bar(&mut picture[*column..].iter().step_by(WIDTH).copied());
        let shown = Self {
            left: (0..WIDTH).take_while(column_is_bar).count(),
            top: (0..HEIGHT).take_while(row_is_bar).count(),
            right: WIDTH - (0..WIDTH).rev().take_while(column_is_bar).count(),
            bottom: HEIGHT - (0..HEIGHT).rev().take_while(row_is_bar).count(),
        };
        let enough = shown.left + MIN_SHOWN <= shown.right && shown.top + MIN_SHOWN <= shown.bottom;
        if enough { shown } else { Self::ALL }
    }

    /// The smallest part that holds both.
    fn with(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// This part of a thumbnail, scaled to [`COLUMNS`] × [`ROWS`].
    fn cells(&self, picture: &Thumbnail) -> [u8; PIXELS] {
        let span = |start: usize, end: usize, index: usize, cells: usize| {
            let (from, to) = (index * (end - start), (index + 1) * (end - start));
            start + from / cells..start + to.div_ceil(cells)
        };
        std::array::from_fn(|cell| {
            let rows = span(self.top, self.bottom, cell / COLUMNS, ROWS);
            let columns = span(self.left, self.right, cell % COLUMNS, COLUMNS);
            let count = (rows.len() * columns.len()) as u32;
            let line = |row: usize| &picture[row * WIDTH..][columns.clone()];
            let sum: u32 = rows.flat_map(line).map(|grey| u32::from(*grey)).sum();
            ((sum + count / 2) / count) as u8
        })
    }
}

/// Mean and standard deviation of grey values.
struct Light {
    mean: f32,
    deviation: f32,
}

impl Light {
    fn of(picture: &[u8; PIXELS]) -> Self {
        let sum: u32 = picture.iter().map(|&grey| u32::from(grey)).sum();
        let squares: u32 = picture.iter().map(|&grey| u32::from(grey).pow(2)).sum();
        let mean = sum as f32 / PIXELS as f32;
        Self { mean, deviation: (squares as f32 / PIXELS as f32 - mean * mean).max(0.0).sqrt() }
    }
}

fn mean_change(a: &[u8; PIXELS], b: &[u8; PIXELS]) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / PIXELS as f32
}

/// Pearson's correlation, -1..1. Both pictures must show something.
fn correlation(a: &[u8; PIXELS], light_a: &Light, b: &[u8; PIXELS], light_b: &Light) -> f32 {
    let products: u32 = a.iter().zip(b).map(|(a, b)| u32::from(*a) * u32::from(*b)).sum();
    let covariance = products as f32 / PIXELS as f32 - light_a.mean * light_b.mean;
    covariance / (light_a.deviation * light_b.deviation)
}

/// Earth mover's distance between the histograms, each shifted to mean zero, in grey values.
fn histogram_change(a: &[u8; PIXELS], light_a: &Light, b: &[u8; PIXELS], light_b: &Light) -> f32 {
    // In one dimension it is the mean distance of the sorted values; sorting is counting.
    let (mut sorted_a, mut sorted_b) = (*a, *b);
    sorted_a.sort_unstable();
    sorted_b.sort_unstable();
    let shift = light_a.mean - light_b.mean;
    let moved = sorted_a.iter().zip(&sorted_b).map(|(&a, &b)| (f32::from(a) - f32::from(b) - shift).abs());
    moved.sum::<f32>() / PIXELS as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    type Picture = Vec<u8>;

    /// A room with a dark and a bright half and a face at `x`; another `scene` has other walls.
    fn picture(scene: usize, x: usize) -> Picture {
        let grey = |i: usize| {
            let (column, row) = (i % WIDTH / 3, i / WIDTH / 3);
            if column.abs_diff(x) < 4 && row.abs_diff(9) < 5 {
                return 180;
            }
            match scene {
                0 => 40 + 3 * column as u8,
                1 => {
                    if row < 9 {
                        150
                    } else {
                        20
                    }
                }
                _ => {
                    if (column / 5) % 2 == 0 {
                        200
                    } else {
                        130
                    }
                }
            }
        };
        (0..WIDTH * HEIGHT).map(grey).collect()
    }

    fn lit(picture: &Picture, gain: f32, offset: f32) -> Picture {
        picture.iter().map(|&grey| (f32::from(grey) * gain + offset) as u8).collect()
    }

    const NONE: [usize; 0] = [];

    /// Indices of the pictures that were taken for cuts.
    fn cuts(pictures: &[Picture]) -> Vec<usize> {
        let mut detector = CutDetector::default();
        (0..pictures.len()).filter(|&index| detector.look(&pictures[index]) == Shot::New).collect()
    }

    #[test]
    fn a_cut_is_found_once_and_at_once() {
        let shots = [vec![picture(0, 10); 5], vec![picture(1, 10); 5], vec![picture(0, 20); 5]].concat();
        assert_eq!(cuts(&shots), [5, 10]);
    }

    #[test]
    fn a_cut_to_a_brighter_shot_is_in_doubt_at_once_and_found_two_frames_later() {
        let mut detector = CutDetector::default();
        let shots = [vec![picture(0, 10); 5], vec![picture(2, 10); 5]].concat();
        let found: Vec<_> = shots.iter().map(|picture| detector.look(picture)).collect();
        assert_eq!(found[..5], [Shot::Same; 5]);
        assert_eq!(found[5..], [Shot::Doubtful, Shot::Doubtful, Shot::New, Shot::Same, Shot::Same]);
    }

    /// A picture with black bars around the part that is left.
    fn barred(picture: &Picture, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> Picture {
        let (width, height) = (columns.len(), rows.len());
        let pixel = |i: usize| {
            let (column, row) = (i % WIDTH, i / WIDTH);
            if !columns.contains(&column) || !rows.contains(&row) {
                // As a codec leaves it.
                return (column + row) as u8 % 3;
            }
            picture[(row - rows.start) * HEIGHT / height * WIDTH + (column - columns.start) * WIDTH / width]
        };
        (0..WIDTH * HEIGHT).map(pixel).collect()
    }

    #[test]
    fn black_bars_hide_no_cut_and_make_none() {
        for (columns, rows) in [(0..96, 7..47), (12..84, 0..54), (33..63, 0..54), (12..84, 7..47)] {
            let shot = |scene, at| barred(&picture(scene, at), columns.clone(), rows.clone());
            let shots = [vec![shot(0, 10); 5], vec![shot(1, 10); 5], vec![shot(0, 20); 5]].concat();
            assert_eq!(cuts(&shots), [5, 10], "{columns:?} × {rows:?}");
            let moved: Vec<_> = (4..28).map(|at| shot(0, at)).collect();
            assert_eq!(cuts(&moved), NONE, "{columns:?} × {rows:?}");
        }
    }

    #[test]
    fn movement_is_no_cut() {
        let shot: Vec<_> = (4..28).chain((4..28).rev()).map(|x| picture(0, x)).collect();
        assert_eq!(cuts(&shot), NONE);
    }

    #[test]
    fn flashes_are_no_cuts() {
        let still = picture(0, 10);
        for flash in [lit(&still, 1.0, 100.0), lit(&still, 3.0, 0.0), lit(&still, 0.0, 255.0), picture(2, 10)] {
            for frames in 1..=FLASH_FRAMES as usize {
                let shot = [vec![still.clone(); 5], vec![flash.clone(); frames], vec![still.clone(); 5]].concat();
                assert_eq!(cuts(&shot), NONE, "{frames} frames");
            }
        }
    }

    /// `out` fades to black in 10 frames, `back` fades in.
    fn fade(out: &Picture, back: &Picture) -> Vec<Picture> {
        let steps = (0..=10).map(|step| step as f32 / 10.0);
        let dark = steps.clone().rev().map(|gain| lit(out, gain, 0.0));
        dark.chain(steps.map(|gain| lit(back, gain, 0.0))).collect()
    }

    #[test]
    fn a_fade_through_black_is_a_cut_only_if_another_shot_follows() {
        assert_eq!(cuts(&fade(&picture(0, 10), &picture(0, 10))), NONE);
        assert_eq!(cuts(&fade(&picture(0, 10), &picture(1, 10))).len(), 1);
    }

    #[test]
    fn black_white_and_pictures_of_another_size_are_no_cuts() {
        let mut detector = CutDetector::default();
        for picture in
            [picture(0, 10), vec![0; WIDTH * HEIGHT], vec![255; WIDTH * HEIGHT], vec![], vec![7; 3], picture(0, 10)]
        {
            assert_ne!(detector.look(&picture), Shot::New);
        }
    }

    #[test]
    fn after_a_reset_anything_is_the_first_picture() {
        let mut detector = CutDetector::default();
        detector.look(&picture(0, 10));
        detector.reset();
        assert_eq!(detector.look(&picture(1, 10)), Shot::Same);
        assert_eq!(detector.look(&picture(0, 10)), Shot::New);
    }
}
