//! `FrameView`: one video frame, borrowed, in whatever format it came.

use super::geometry::Rect;

/// Memory layout of a frame. The names are GStreamer's, without the byte order: samples of 10 and 16 bits are
/// little-endian.
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
    /// 10 bits in the lower ones of 16.
    I42010,
    /// 10 bits in the upper ones of 16.
    P010,
    /// 10 bits in the lower ones of 16.
    I42210,
    /// 10 bits each in 32, red in the lowest.
    Rgb10a2,
    /// 10 bits each in 32, blue in the lowest.
    Bgr10a2,
    /// 10 bits in the lower ones of 16.
    Gray10,
    Gray16,
}

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// In a byte each.
    Eight,
    /// In the lower 10 of 16 bits.
    Lower10,
    /// In the upper 10 of 16 bits.
    Upper10,
    /// Three of 10 bits in 32.
    Packed10,
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

/// How light became numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// BT.709 and all that a television of its time shows alike.
    #[default]
    Sdr,
    /// BT.2100 PQ (SMPTE ST 2084).
    Pq,
    /// BT.2100 HLG (ARIB STD-B67).
    Hlg,
}

/// Which red, green and blue are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Primaries {
    /// BT.709 or near it.
    #[default]
    Bt709,
    Bt2020,
}

/// How a stored picture is to be turned so that up is up, as cameras that were held sideways or mirror their picture say.
///
/// A shown picture is made of the stored one by mirroring it, left and right, top and bottom, and then swapping its axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orientation {
    pub mirror_x: bool,
    pub mirror_y: bool,
    pub transpose: bool,
}

/// A part of a frame, 0..1 of its width and height. Of more than pixels' precision, so that whole pixels stay whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// One plane of a frame: `stride` bytes from a row to the next.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
}

/// A borrowed video frame: nothing is copied or converted until a part of it is sampled.
///
/// Everything about faces is counted in pixels of the frame *as it is shown*: upright, and square. Only the
/// [sampler](super::sampler) knows how that picture is stored; boxes come from there and go back by
/// [`from_stored`](Self::from_stored) and [`to_stored`](Self::to_stored).
///
/// Planes stand in the order of the format's components: Y, U, V for Y42B, Y444, I420 *and* YV12 (the view's
/// maker swaps them), Y and interleaved UV for NV12, one plane for all others.
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    pub format: PixelFormat,
    /// As it is shown.
    pub width: u32,
    /// As it is shown.
    pub height: u32,
    pub matrix: ColorMatrix,
    pub range: ColorRange,
    pub transfer: Transfer,
    pub primaries: Primaries,
    /// Running presentation time in nanoseconds.
    pub pts: u64,
    orientation: Orientation,
    /// Samples of luma, or RGB pixels, in a row of the planes, and rows.
    stored: (u32, u32),
    /// The same of both fields.
    coded: (u32, u32),
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
    #[error(
        "frames of {width}x{height} cannot be analysed: sizes from {min}x{min} to {max}x{max} are accepted; put a videoscale before the element"
    )]
    Size { width: u32, height: u32, min: u32, max: u32 },
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
    pub fn depth(self) -> Depth {
        match self {
            Self::I42010 | Self::I42210 | Self::Gray10 => Depth::Lower10,
            Self::P010 | Self::Gray16 => Depth::Upper10,
            Self::Rgb10a2 | Self::Bgr10a2 => Depth::Packed10,
            _ => Depth::Eight,
        }
    }

    pub fn is_grey(self) -> bool {
        matches!(self, Self::Gray8 | Self::Gray10 | Self::Gray16)
    }

    /// Bytes of a pixel, and which of them are red, green and blue. `None` if it is not RGB.
    pub fn rgb_order(self) -> Option<(usize, [usize; 3])> {
        Some(match self {
            Self::Rgb => (3, [0, 1, 2]),
            Self::Bgr => (3, [2, 1, 0]),
            Self::Rgbx | Self::Rgba => (4, [0, 1, 2]),
            Self::Bgrx | Self::Bgra => (4, [2, 1, 0]),
            Self::Xrgb | Self::Argb => (4, [1, 2, 3]),
            Self::Xbgr | Self::Abgr => (4, [3, 2, 1]),
            // Once they are unpacked.
            Self::Rgb10a2 => (3, [0, 1, 2]),
            Self::Bgr10a2 => (3, [2, 1, 0]),
            _ => return None,
        })
    }

    /// Number of planes of memory.
    pub fn planes(self) -> usize {
        match self {
            Self::I420 | Self::Yv12 | Self::Y42b | Self::Y444 | Self::I42010 | Self::I42210 => 3,
            Self::Nv12 | Self::P010 => 2,
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
            (Self::I42010, 1 | 2) => (half_w * 2, half_h),
            (Self::P010, 1) => (half_w * 4, half_h),
            (Self::I42210, 1 | 2) => (half_w * 2, h),
            (Self::I42010 | Self::P010 | Self::I42210 | Self::Gray10 | Self::Gray16, _) => (w * 2, h),
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
        Ok(Self {
            format,
            width,
            height,
            matrix,
            range,
            transfer: Transfer::default(),
            primaries: Primaries::default(),
            pts,
            orientation: Orientation::default(),
            stored: (width, height),
            coded: (width, height),
            planes: all,
        })
    }

    /// The same frame, whose light is to be read so.
    pub fn lit(self, transfer: Transfer, primaries: Primaries) -> Self {
        Self { transfer, primaries, ..self }
    }

    /// The same frame, whose stored pixels are `aspect` times as wide as high, and which is to be turned so when shown.
    pub fn shown(self, aspect: f64, orientation: Orientation) -> Self {
        // Beyond that the proportions are a mistake of somebody.
        let aspect = if (0.125..=8.0).contains(&aspect) { aspect } else { 1.0 };
        let (width, height) = ((f64::from(self.width) * aspect).round().max(1.0) as u32, self.height);
        let (width, height) = if orientation.transpose { (height, width) } else { (width, height) };
        Self { width, height, orientation, ..self }
    }

    /// The first field of an interlaced frame, with the frame's proportions: two fields at once show what moves twice.
    pub fn field(self) -> Self {
        let planes = self.planes.map(|plane| Plane { stride: 2 * plane.stride, ..plane });
        Self { planes, stored: (self.stored.0, self.stored.1.div_ceil(2)), ..self }
    }

    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Samples of luma, or RGB pixels, in a row of the planes, and rows.
    pub fn stored_size(&self) -> (u32, u32) {
        self.stored
    }

    /// From pixels of the frame as it came, in which others count, to pixels of the shown one.
    pub fn from_coded(&self, rect: &Rect) -> Rect {
        self.from_stored(&Share::of(rect, self.coded))
    }

    /// From pixels of the shown frame to shares of the stored one.
    pub fn to_stored(&self, rect: &Rect) -> Share {
        self.orientation.to_stored(Share::of(rect, (self.width, self.height)))
    }

    /// From shares of the stored frame to pixels of the shown one.
    pub fn from_stored(&self, share: &Share) -> Rect {
        let Share { x, y, width, height } = self.orientation.to_shown(*share);
        let (across, down) = (f64::from(self.width), f64::from(self.height));
        Rect::new((x * across) as f32, (y * down) as f32, (width * across) as f32, (height * down) as f32)
    }

    pub fn plane(&self, index: usize) -> Plane<'a> {
        self.planes[index]
    }

    /// The frame's brightness as it is stored, with every n-th row alone, but at least `rows` of them: enough where all is
    /// averaged to a few pixels. Colours are left out where they are planes of their own.
    pub fn rough(&self, rows: u32) -> Self {
        let (width, height) = self.stored;
        let step = (height / rows).max(1);
        let format = match (self.format.planes(), self.format.depth()) {
            (1, _) => self.format,
            (_, Depth::Lower10) => PixelFormat::Gray10,
            (_, Depth::Upper10) => PixelFormat::Gray16,
            _ => PixelFormat::Gray8,
        };
        let [mut first, ..] = self.planes;
        first.stride *= step as usize;
        let height = height.div_ceil(step);
        Self {
            format,
            width,
            height,
            transfer: Transfer::default(),
            primaries: Primaries::default(),
            orientation: Orientation::default(),
            stored: (width, height),
            coded: (width, height),
            planes: [first, Plane { data: &[], stride: 0 }, Plane { data: &[], stride: 0 }],
            ..*self
        }
    }

    /// The whole frame as a box.
    pub fn bounds(&self) -> Rect {
        Rect::new(0.0, 0.0, self.width as f32, self.height as f32)
    }
}

impl Share {
    fn of(rect: &Rect, (width, height): (u32, u32)) -> Self {
        let (across, down) = (f64::from(width), f64::from(height));
        Self {
            x: f64::from(rect.x) / across,
            y: f64::from(rect.y) / down,
            width: f64::from(rect.width) / across,
            height: f64::from(rect.height) / down,
        }
    }
}

impl Orientation {
    /// From the shown picture to the stored one.
    fn to_stored(self, Share { x, y, width, height }: Share) -> Share {
        let (x, y, width, height) = if self.transpose { (y, x, height, width) } else { (x, y, width, height) };
        self.mirrored(Share { x, y, width, height })
    }

    fn to_shown(self, share: Share) -> Share {
        let Share { x, y, width, height } = self.mirrored(share);
        if self.transpose { Share { x: y, y: x, width: height, height: width } } else { Share { x, y, width, height } }
    }

    fn mirrored(self, share: Share) -> Share {
        Share {
            x: if self.mirror_x { 1.0 - share.x - share.width } else { share.x },
            y: if self.mirror_y { 1.0 - share.y - share.height } else { share.y },
            ..share
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_go_to_the_stored_frame_and_back() {
        let data = vec![0; 64 * 48];
        let planes = [Plane { data: &data, stride: 64 }];
        let frame =
            FrameView::new(PixelFormat::Gray8, 64, 48, &planes, ColorMatrix::Bt601, ColorRange::Full, 0).unwrap();
        for bits in 0..8 {
            let orientation = Orientation { mirror_x: bits & 1 > 0, mirror_y: bits & 2 > 0, transpose: bits & 4 > 0 };
            let shown = frame.shown(1.5, orientation);
            assert_eq!((shown.width, shown.height), if bits < 4 { (96, 48) } else { (48, 96) });
            let face = Rect::new(6.0, 12.0, 24.0, 12.0);
            let stored = shown.to_stored(&face);
            let (width, height) = if bits < 4 { (0.25, 0.25) } else { (0.125, 0.5) };
            assert!((stored.width - width).abs() < 1e-6 && (stored.height - height).abs() < 1e-6, "{stored:?}");
            let back = shown.from_stored(&stored);
            assert!((back.x - face.x).abs() < 1e-4 && (back.y - face.y).abs() < 1e-4, "{orientation:?}: {back:?}");
            assert_eq!((back.width, back.height), (face.width, face.height));
        }
        assert_eq!(frame.shown(f64::NAN, Orientation::default()).width, 64);
    }
}
