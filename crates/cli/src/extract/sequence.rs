//! One track's crops on their way to disk.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use deepfake_engine::analysis::{
    alignment::Similarity,
    cropper::{CropSpec, Place},
    geometry::Point,
    tracker::Track,
};
use serde::{Deserialize, Serialize};

/// What is known of one crop. Boxes and points are in pixels; the centre of the top-left pixel is (0.5, 0.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// Presentation time in the clip, ns.
    pub pts: u64,
    /// The followed (smoothed) face in the frame: x, y, width, height.
    #[serde(rename = "box")]
    pub face: [f32; 4],
    /// The square of the frame that an upright crop shows: x, y, side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<[f32; 3]>,
    /// Of an aligned crop: the 2 × 3 matrix that takes points of the frame to points of the crop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<[[f64; 3]; 2]>,
    /// Five points in the frame: eyes, nose, mouth corners; of each pair the one on the picture's left first.
    pub landmarks: Option<[[f32; 2]; 5]>,
    /// The same in the crop.
    pub landmarks_crop: Option<[[f32; 2]; 5]>,
    /// Of the face detector, 0..1.
    pub confidence: f32,
}

impl Crop {
    /// Of the crop that lies at `place`.
    pub fn new(pts: u64, track: &Track, spec: &CropSpec, place: &Place) -> Self {
        let face = &track.rect;
        let (part, matrix) = match *place {
            Place::Upright(part) => (Some([part.x, part.y, part.width]), None),
            Place::Turned(Similarity { a, b, x0, y0 }) => (None, Some([[a, -b, x0], [b, a, y0]])),
        };
        let plain = |points: [Point; 5]| points.map(|point| [point.x, point.y]);
        Self {
            pts,
            face: [face.x, face.y, face.width, face.height],
            part,
            matrix,
            landmarks: track.landmarks.map(plain),
            landmarks_crop: track.landmarks.map(|points| plain(points.map(|point| spec.to_crop(place, point)))),
            confidence: track.confidence,
        }
    }
}

/// A growing sequence of crops of one size, kept in a file and not in memory: a clip may be hours long.
pub struct Sequence {
    spool: BufWriter<File>,
    path: PathBuf,
    size: usize,
    pub crops: Vec<Crop>,
}

impl Sequence {
    /// An empty one of `size`×`size` crops whose pixels wait in `folder`.
    pub fn new(folder: &Path, id: u32, size: u32) -> Result<Self> {
        let path = folder.join(format!("track-{id:04}.raw"));
        let spool = File::options().read(true).write(true).create_new(true).open(&path);
        let spool = BufWriter::new(spool.with_context(|| format!("cannot write {}", path.display()))?);
        Ok(Self { spool, path, size: size as usize, crops: Vec::new() })
    }

    /// Appends a crop: `size` × `size` × 3 bytes.
    pub fn push(&mut self, pixels: &[u8], crop: Crop) -> Result<()> {
        debug_assert_eq!(pixels.len(), self.size * self.size * 3);
        self.spool.write_all(pixels).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.crops.push(crop);
        Ok(())
    }

    /// Writes the pixels as a NumPy array of bytes, T × size × size × 3, and forgets the spool.
    pub fn finish(self, npy: &Path) -> Result<Vec<Crop>> {
        let Self { spool, path, size, crops } = self;
        let write = || -> Result<()> {
            let mut pixels = spool.into_inner()?;
            pixels.seek(SeekFrom::Start(0))?;
            let length = (crops.len() * size * size * 3) as u64;
            let mut file = File::options().read(true).write(true).create_new(true).open(npy)?;
            // Zeroes, then the pixels over them: the header comes first and must know how many crops there are.
            ndarray_npy::write_zeroed_npy::<u8, _>(&file, [crops.len(), size, size, 3])?;
            file.seek(SeekFrom::End(-(length as i64)))?;
            std::io::copy(&mut BufReader::new(pixels), &mut file)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", npy.display()))?;
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(crops)
    }

    /// Throws the crops away.
    pub fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(pts: u64) -> Crop {
        Crop { pts, face: [0.0; 4], part: None, matrix: None, landmarks: None, landmarks_crop: None, confidence: 1.0 }
    }

    #[test]
    fn pixels_come_back_from_the_array_as_they_were_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut sequence = Sequence::new(folder.path(), 7, 4).unwrap();
        let pixels: Vec<Vec<u8>> = (0..5u8).map(|t| (0..48).map(|i| t * 50 + i).collect()).collect();
        for (t, pixels) in pixels.iter().enumerate() {
            sequence.push(pixels, crop(t as u64)).unwrap();
        }
        let npy = folder.path().join("track-0007.npy");
        let crops = sequence.finish(&npy).unwrap();
        assert_eq!(crops.iter().map(|crop| crop.pts).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let array: ndarray::Array4<u8> = ndarray_npy::read_npy(&npy).unwrap();
        assert_eq!(array.shape(), [5, 4, 4, 3]);
        assert_eq!(array.into_raw_vec_and_offset().0, pixels.concat());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the array is left");
    }

    #[test]
    fn a_discarded_sequence_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut sequence = Sequence::new(folder.path(), 1, 2).unwrap();
        sequence.push(&[9; 12], crop(0)).unwrap();
        sequence.discard().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
