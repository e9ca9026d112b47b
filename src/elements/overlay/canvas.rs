//! Pictures to draw on, and their way onto a frame.

use cairo::{Context, Format, ImageSurface};
use gst::glib;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoInfo, VideoOverlayFormatFlags};
use gst_video::{VideoFrameExt, VideoFrameRef, VideoOverlayRectangle};

use super::layout::{self, Area, Size};

/// How much wider than high a frame's pixels are shown. Everything is placed and drawn as it is shown, with square pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape(f64);

impl Shape {
    pub fn of(info: &VideoInfo) -> Self {
        Self(f64::from(info.par().numer()) / f64::from(info.par().denom()))
    }

    /// The frame as it is shown.
    pub fn frame(self, info: &VideoInfo) -> Size {
        let (width, height) = (info.width() as i32, info.height() as i32);
        let width = if self.0 == 1.0 { width } else { layout::even(f64::from(width) * self.0).max(2) };
        Size { width, height }
    }

    /// Of the stored frame, for so many that are shown.
    fn columns(self, shown: i32) -> i32 {
        if self.0 == 1.0 { shown } else { layout::even(f64::from(shown) / self.0).max(2) }
    }

    /// Where in the stored frame an area is.
    pub fn stored(self, shown: Area) -> Area {
        if self.0 == 1.0 {
            return shown;
        }
        let x = layout::even(f64::from(shown.x) / self.0);
        Area::new(x, shown.y, self.columns(shown.width), shown.height)
    }
}

/// Pre-multiplied pixels in cairo's order: native-endian 32-bit words of alpha, red, green, blue.
pub struct Pixels {
    size: Size,
    data: Vec<u8>,
}

pub struct Canvas {
    pub cr: Context,
    surface: ImageSurface,
    size: Size,
}

impl Canvas {
    /// An empty, transparent picture that is shown in this size.
    pub fn new(shown: Size, shape: Shape) -> Result<Self, cairo::Error> {
        let size = Size { width: shape.columns(shown.width), ..shown };
        let surface = ImageSurface::create(Format::ARgb32, size.width, size.height)?;
        let cr = Context::new(&surface)?;
        cr.scale(f64::from(size.width) / f64::from(shown.width), 1.0);
        Ok(Self { cr, surface, size })
    }

    pub fn finish(self) -> Result<Pixels, cairo::Error> {
        let Self { cr, mut surface, size } = self;
        drop(cr);
        let stride = surface.stride() as usize;
        let data = surface.data().map_err(|_| cairo::Error::SurfaceFinished)?;
        debug_assert_eq!(stride, size.width as usize * 4);
        Ok(Pixels { size, data: data.to_vec() })
    }
}

/// The form of pixels that a frame takes best.
///
/// GStreamer's own blending turns RGB to YUV by one fixed matrix, limited-range BT.709. On a BT.601
/// frame, which all small ones are, or a full-range one the colours would be off; so for YUV frames
/// the drawing is converted here by the frame's own colorimetry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ink {
    /// As drawn; for RGB frames and for attached compositions.
    Rgb,
    Yuv {
        red: f64,
        blue: f64,
        full_range: bool,
    },
}

impl Ink {
    /// What to blend into frames of `info`.
    pub fn for_frame(info: &VideoInfo) -> Self {
        if info.is_rgb() {
            return Self::Rgb;
        }
        let (red, blue) = match info.colorimetry().matrix() {
            VideoColorMatrix::Bt709 => (0.2126, 0.0722),
            VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
            VideoColorMatrix::Smpte240m => (0.212, 0.087),
            VideoColorMatrix::Fcc => (0.30, 0.11),
            _ => (0.299, 0.114),
        };
        Self::Yuv { red, blue, full_range: info.colorimetry().range() == VideoColorRange::Range0_255 }
    }

    /// The pixels in this form, to be shared between frames.
    pub fn buffer(self, pixels: Pixels) -> gst::Buffer {
        let Size { width, height } = pixels.size;
        let data = match self {
            Self::Rgb => pixels.data,
            Self::Yuv { red, blue, full_range } => to_ayuv(pixels.data, red, blue, full_range),
        };
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let writable = buffer.get_mut().expect("nobody else has it yet");
        let flags = gst_video::VideoFrameFlags::empty();
        gst_video::VideoMeta::add(writable, flags, self.format(), width as u32, height as u32)
            .expect("four bytes a pixel, as allocated");
        buffer
    }

    fn format(self) -> VideoFormat {
        match self {
            Self::Rgb if cfg!(target_endian = "little") => VideoFormat::Bgra,
            Self::Rgb => VideoFormat::Argb,
            Self::Yuv { .. } => VideoFormat::Ayuv,
        }
    }

    /// Blends a picture of this ink into the frame.
    ///
    /// GStreamer's blending unpacks and packs each row it touches from one edge of the frame to the
    /// other, which for the narrow upright lines of a box is nearly all of its work. So it gets to
    /// see no more than the columns under the picture.
    ///
    /// # Errors
    /// If the picture cannot be read, or the frame's format cannot be blended into.
    pub fn blend(
        self,
        frame: &mut VideoFrameRef<&mut gst::BufferRef>,
        picture: &Picture,
    ) -> Result<(), glib::BoolError> {
        let Picture { buffer, area } = picture;
        let info = VideoInfo::builder(self.format(), area.width as u32, area.height as u32)
            .flags_if(gst_video::VideoFlags::PREMULTIPLIED_ALPHA, self == Self::Rgb)
            .build()?;
        let source = VideoFrameRef::from_buffer_ref_readable(buffer, &info)?;
        // From and up to whole chroma samples.
        let left = area.x.max(0) & !1;
        let right = ((area.right() + 1) & !1).min(frame.width() as i32);
        if left >= right {
            return Ok(());
        }
        let format = frame.format_info();
        // SAFETY: the struct is plain data. The copy is used while `frame` is borrowed and mapped,
        // and never unmapped. Each plane's pointer moves to column `left`, and the width shrinks
        // with it, so that no row reaches further than before.
        unsafe {
            let mut view = std::ptr::read(frame.as_ptr());
            for plane in 0..format.n_planes() {
                let component = format.plane().iter().position(|&of| of == plane).unwrap_or(0);
                let column = (left as usize) >> format.w_sub()[component];
                let bytes = column * format.pixel_stride()[component] as usize;
                view.data[plane as usize] = view.data[plane as usize].byte_add(bytes);
            }
            view.info.width = right - left;
            let source = source.as_ptr().cast_mut();
            glib::result_from_gboolean!(
                gst_video::ffi::gst_video_blend(&mut view, source, area.x - left, area.y, 1.0),
                "{:?} cannot be blended into",
                frame.format()
            )
        }
    }
}

/// A drawn picture and its place on the frame.
#[derive(Clone)]
pub struct Picture {
    pub buffer: gst::Buffer,
    pub area: Area,
}

impl Picture {
    /// The picture, drawn with [`Ink::Rgb`], as part of a composition.
    pub fn rectangle(&self) -> VideoOverlayRectangle {
        let Area { x, y, width, height } = self.area;
        let flags = VideoOverlayFormatFlags::PREMULTIPLIED_ALPHA;
        VideoOverlayRectangle::new_raw(&self.buffer, x, y, width as u32, height as u32, flags)
    }
}

/// Pre-multiplied native-endian ARGB to straight AYUV, in place.
fn to_ayuv(mut data: Vec<u8>, red: f64, blue: f64, full_range: bool) -> Vec<u8> {
    let green = 1.0 - red - blue;
    let (black, luma, chroma) = if full_range { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
    let mut last: Option<([u8; 4], [u8; 4])> = None;
    for pixel in data.as_chunks_mut::<4>().0 {
        let word = *pixel;
        // Plates and lines are large areas of one colour.
        if let Some((from, to)) = last
            && from == word
        {
            pixel.copy_from_slice(&to);
            continue;
        }
        let argb = u32::from_ne_bytes(word);
        let alpha = argb >> 24;
        let straight = |shift: u32| {
            if alpha == 0 { 0.0 } else { f64::from((argb >> shift) & 255) / f64::from(alpha) }
        };
        let (r, g, b) = (straight(16), straight(8), straight(0));
        let y = red * r + green * g + blue * b;
        let u = (b - y) / (2.0 * (1.0 - blue));
        let v = (r - y) / (2.0 * (1.0 - red));
        let byte = |value: f64| (value + 0.5).clamp(0.0, 255.0) as u8;
        let ayuv = [alpha as u8, byte(black + luma * y), byte(128.0 + chroma * u), byte(128.0 + chroma * v)];
        pixel.copy_from_slice(&ayuv);
        last = Some((word, ayuv));
    }
    data
}

/// Makes the unused byte of each pixel under `area` opaque, in formats that have one.
///
/// GStreamer's blending takes that byte for alpha. Cameras and screen grabs leave it at zero, and a
/// half-transparent plate would come out opaque.
pub fn fill_padding(frame: &mut VideoFrameRef<&mut gst::BufferRef>, area: Area) {
    let offset = match frame.format() {
        VideoFormat::Rgbx | VideoFormat::Bgrx => 3,
        VideoFormat::Xrgb | VideoFormat::Xbgr => 0,
        _ => return,
    };
    let stride = frame.plane_stride()[0] as usize;
    let (width, height) = (frame.width() as i32, frame.height() as i32);
    let Ok(data) = frame.plane_data_mut(0) else { return };
    for y in area.y.max(0)..area.bottom().min(height) {
        let row = y as usize * stride;
        let pixels = row + area.x.max(0) as usize * 4..row + area.right().clamp(0, width) as usize * 4;
        for pixel in data.get_mut(pixels).unwrap_or_default().as_chunks_mut::<4>().0 {
            pixel[offset] = 255;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ayuv(argb: u32, red: f64, blue: f64, full: bool) -> [u8; 4] {
        to_ayuv(argb.to_ne_bytes().to_vec(), red, blue, full).try_into().unwrap()
    }

    #[test]
    fn colours_follow_the_frames_matrix_and_range() {
        // ITU-R BT.601 and BT.709, limited range: the usual reference values of pure red.
        assert_eq!(ayuv(0xffff0000, 0.299, 0.114, false), [255, 81, 90, 240]);
        assert_eq!(ayuv(0xffff0000, 0.2126, 0.0722, false), [255, 63, 102, 240]);
        assert_eq!(ayuv(0xffffffff, 0.299, 0.114, false), [255, 235, 128, 128]);
        assert_eq!(ayuv(0xffffffff, 0.299, 0.114, true), [255, 255, 128, 128]);
        assert_eq!(ayuv(0xff000000, 0.299, 0.114, true), [255, 0, 128, 128]);
    }

    #[test]
    fn premultiplied_becomes_straight() {
        assert_eq!(ayuv(0x80808080, 0.299, 0.114, true), [128, 255, 128, 128]);
        assert_eq!(ayuv(0, 0.299, 0.114, false)[0], 0);
    }
}
