//! `FrameView`: one video frame, borrowed, in whatever format it came.

use super::geometry::Rect;

/// Memory layout of a frame. The names are GStreamer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    I420,
    Yv12,
    Nv12,
    Yuy2,
    Uyvy,
    Y42b,
    Y444,
    Rgb,
    Bgr,
    Rgbx,
    Bgrx,
    Xrgb,
    Xbgr,
    Rgba,
    Bgra,
    Argb,
    Abgr,
    Gray8,
}

/// Luma weights of a YUV frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColorMatrix {
    #[default]
    Bt601,
    Bt709,
    Bt2020,
}

/// Value range of a YUV or grey frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColorRange {
    /// 16..235 luma, 16..240 chroma.
    #[default]
    Limited,
    /// 0..255.
    Full,
}

/// One plane of a frame: `stride` bytes from a row to the next.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
}

/// A borrowed video frame: nothing is copied or converted until a part of it is sampled.
///
/// Planes stand in the order of the format's components: Y, U, V for Y42B, Y444, I420 *and* YV12 (the view's
/// maker swaps them), Y and interleaved UV for NV12, one plane for all others.
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub matrix: ColorMatrix,
    pub range: ColorRange,
    /// Running presentation time in nanoseconds.
    pub pts: u64,
    planes: [Plane<'a>; 3],
}

/// Why planes cannot be viewed as a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("{0} frames cannot be analysed; put a videoconvert before the element")]
    Format(String),
    #[error("frames stored from the bottom up cannot be analysed; put a videoconvert before the element")]
    Upwards,
    #[error("a frame of {width}x{height} has no pixels")]
    Empty { width: u32, height: u32 },
    #[error("{format:?} has {expected} plane(s), {given} given")]
    Planes { format: PixelFormat, expected: usize, given: usize },
    #[error(
        "plane {plane} of a {width}x{height} {format:?} frame needs {needed} bytes a row and {rows} rows; stride is {stride}, length {length}"
    )]
    TooShort {
        plane: usize,
        format: PixelFormat,
        width: u32,
        height: u32,
        needed: usize,
        rows: usize,
        stride: usize,
        length: usize,
    },
}

impl ColorMatrix {
    /// Weights of red and blue in luma: ITU-R BT.601, BT.709, BT.2020 (non-constant luminance).
    pub fn luma_weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }

    /// Weights of U and V in each of red, green and blue; luma's is 1.
    pub fn chroma_weights(self) -> [[f32; 2]; 3] {
        let (kr, kb) = self.luma_weights();
        let kg = 1.0 - kr - kb;
        [[0.0, 2.0 * (1.0 - kr)], [-2.0 * kb * (1.0 - kb) / kg, -2.0 * kr * (1.0 - kr) / kg], [2.0 * (1.0 - kb), 0.0]]
    }
}

impl ColorRange {
    /// Luma of black.
    pub fn black(self) -> f32 {
        match self {
            Self::Limited => 16.0,
            Self::Full => 0.0,
        }
    }

    /// What brings luma and chroma to 0..255 and ±127.5.
    pub fn scales(self) -> (f32, f32) {
        match self {
            Self::Limited => (255.0 / 219.0, 255.0 / 224.0),
            Self::Full => (1.0, 1.0),
        }
    }
}

impl PixelFormat {
    /// Bytes of a pixel, and which of them are red, green and blue. `None` if it is not RGB.
    pub fn rgb_order(self) -> Option<(usize, [usize; 3])> {
        Some(match self {
            Self::Rgb => (3, [0, 1, 2]),
            Self::Bgr => (3, [2, 1, 0]),
            Self::Rgbx | Self::Rgba => (4, [0, 1, 2]),
            Self::Bgrx | Self::Bgra => (4, [2, 1, 0]),
            Self::Xrgb | Self::Argb => (4, [1, 2, 3]),
            Self::Xbgr | Self::Abgr => (4, [3, 2, 1]),
            _ => return None,
        })
    }

    /// Number of planes of memory.
    pub fn planes(self) -> usize {
        match self {
            Self::I420 | Self::Yv12 | Self::Y42b | Self::Y444 => 3,
            Self::Nv12 => 2,
            _ => 1,
        }
    }

    /// Bytes a row and number of rows that plane `plane` of a `width`×`height` frame needs at least.
    fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (w, h) = (width as usize, height as usize);
        let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
        match (self, plane) {
            (Self::I420 | Self::Yv12, 1 | 2) => (half_w, half_h),
            (Self::Nv12, 1) => (half_w * 2, half_h),
            (Self::Y42b, 1 | 2) => (half_w, h),
            (Self::I420 | Self::Yv12 | Self::Nv12 | Self::Y42b | Self::Y444 | Self::Gray8, _) => (w, h),
            (Self::Yuy2 | Self::Uyvy, _) => (half_w * 4, h),
            (Self::Rgb | Self::Bgr, _) => (w * 3, h),
            _ => (w * 4, h),
        }
    }
}

impl<'a> FrameView<'a> {
    /// Checks that the planes are large enough for every pixel that will be read.
    ///
    /// # Errors
    /// [`FrameError`] if the frame is empty, has another number of planes than its format, or a plane is too short.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        planes: &[Plane<'a>],
        matrix: ColorMatrix,
        range: ColorRange,
        pts: u64,
    ) -> Result<Self, FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::Empty { width, height });
        }
        if planes.len() != format.planes() {
            return Err(FrameError::Planes { format, expected: format.planes(), given: planes.len() });
        }
        for (index, plane) in planes.iter().enumerate() {
            let (needed, rows) = format.plane_size(index, width, height);
            // The last row of a sub-frame may be cut right after its last pixel.
            if plane.stride < needed || plane.data.len() < plane.stride * (rows - 1) + needed {
                return Err(FrameError::TooShort {
                    plane: index,
                    format,
                    width,
                    height,
                    needed,
                    rows,
                    stride: plane.stride,
                    length: plane.data.len(),
                });
            }
        }
        let mut all = [Plane { data: &[], stride: 0 }; 3];
        all[..planes.len()].copy_from_slice(planes);
        Ok(Self { format, width, height, matrix, range, pts, planes: all })
    }

    pub fn plane(&self, index: usize) -> Plane<'a> {
        self.planes[index]
    }

    /// The frame's brightness with every n-th row alone, but at least `rows` of them: enough where all is averaged to a few pixels.
    /// Colours are left out where they are planes of their own.
    pub fn rough(&self, rows: u32) -> Self {
        let step = (self.height / rows).max(1);
        let planar = self.format.planes() > 1;
        let format = if planar { PixelFormat::Gray8 } else { self.format };
        let [mut first, ..] = self.planes;
        first.stride *= step as usize;
        let height = self.height.div_ceil(step);
        Self {
            format,
            height,
            planes: [first, Plane { data: &[], stride: 0 }, Plane { data: &[], stride: 0 }],
            ..*self
        }
    }

    /// The whole frame as a box.
    pub fn bounds(&self) -> Rect {
        Rect::new(0.0, 0.0, self.width as f32, self.height as f32)
    }
}
