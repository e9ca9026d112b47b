//! GStreamer's video frames as the analysis sees them.

use gst_video::prelude::*;
use gst_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoFormat, VideoFrameFlags, VideoFrameRef, VideoInfo,
    VideoOrientationMethod, VideoTransferFunction,
};

use deepfake_engine::analysis::frame::{
    ColorMatrix, ColorRange, FrameError, FrameView, Orientation, PixelFormat, Plane, Primaries, Transfer,
};

/// Formats that can be analysed without conversion, the cheapest to read first.
pub const FORMATS: [VideoFormat; 23] = [
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yv12,
    VideoFormat::Yuy2,
    VideoFormat::Uyvy,
    VideoFormat::Y42b,
    VideoFormat::Y444,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Argb,
    VideoFormat::Abgr,
    VideoFormat::Gray8,
    VideoFormat::P01010le,
    VideoFormat::I42010le,
    VideoFormat::I42210le,
    VideoFormat::Rgb10a2Le,
    VideoFormat::Bgr10a2Le,
];

/// Shortest and longest side, in pixels, of a frame that can be analysed.
const MIN_SIDE: u32 = 16;
const MAX_SIDE: u32 = 8192;

/// Caps of every frame that can be analysed: [`FORMATS`] in system memory, from 16×16 to 8192×8192.
pub fn caps() -> gst::Caps {
    let sides = MIN_SIDE as i32..=MAX_SIDE as i32;
    gst_video::VideoCapsBuilder::new().format_list(FORMATS).width_range(sides.clone()).height_range(sides).build()
}

/// Whether frames of this form can be analysed, for a message that says more than that nothing was negotiated.
///
/// # Errors
/// [`FrameError::Size`] if they are too small or too large.
pub fn check(info: &VideoInfo) -> Result<(), FrameError> {
    let (width, height) = (info.width(), info.height());
    let fits = |side: u32| (MIN_SIDE..=MAX_SIDE).contains(&side);
    if fits(width) && fits(height) {
        return Ok(());
    }
    Err(FrameError::Size { width, height, min: MIN_SIDE, max: MAX_SIDE })
}

/// How the tags of a stream say that its pictures are to be turned when they are shown; `None` where they say nothing.
pub fn orientation(tags: &gst::TagListRef) -> Option<Orientation> {
    turned(VideoOrientationMethod::from_tag(tags)?)
}

/// What GStreamer's word for a turn means; `None` of those that name none.
pub fn turned(method: VideoOrientationMethod) -> Option<Orientation> {
    let (mirror_x, mirror_y, transpose) = match method {
        VideoOrientationMethod::Identity => (false, false, false),
        VideoOrientationMethod::_90r => (false, true, true),
        VideoOrientationMethod::_180 => (true, true, false),
        VideoOrientationMethod::_90l => (true, false, true),
        VideoOrientationMethod::Horiz => (true, false, false),
        VideoOrientationMethod::Vert => (false, true, false),
        VideoOrientationMethod::UlLr => (false, false, true),
        VideoOrientationMethod::UrLl => (true, true, true),
        _ => return None,
    };
    Some(Orientation { mirror_x, mirror_y, transpose })
}

/// The orientation that the tags of one stream ask for. Tags of the stream itself count more than those of all its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientations {
    stream: Option<Orientation>,
    global: Option<Orientation>,
}

impl Orientations {
    /// Takes note of more tags. Returns whether pictures are turned otherwise from now on.
    pub fn add(&mut self, tags: &gst::TagListRef) -> bool {
        let before = self.current();
        if let Some(orientation) = orientation(tags) {
            match tags.scope() {
                gst::TagScope::Global => self.global = Some(orientation),
                _ => self.stream = Some(orientation),
            }
        }
        self.current() != before
    }

    pub fn current(&self) -> Orientation {
        self.stream.or(self.global).unwrap_or_default()
    }
}

/// Views a mapped frame, whatever its strides, as it is shown: with square pixels, turned so, and of an interlaced one only the
/// first field. `pts` is its presentation time in nanoseconds.
///
/// # Errors
/// If the format is none of [`FORMATS`], the size is none that [can be analysed](check), or the buffer is too small for what its
/// caps promise.
pub fn view_turned<'a>(
    frame: &'a VideoFrameRef<&gst::BufferRef>,
    orientation: Orientation,
    pts: u64,
) -> Result<FrameView<'a>, FrameError> {
    let format = pixel_format(frame.format()).ok_or_else(|| FrameError::Format(frame.format().to_string()))?;
    let info = frame.info();
    check(info)?;
    let mut planes = [Plane { data: &[], stride: 0 }; 3];
    let planes = &mut planes[..format.planes()];
    for (component, plane) in planes.iter_mut().enumerate() {
        // By component, not by plane: YV12 stores V before U.
        let index = frame.format_info().plane()[component];
        let stride = usize::try_from(frame.plane_stride()[index as usize]).map_err(|_| FrameError::Upwards)?;
        *plane = Plane { data: frame.plane_data(index).unwrap_or_default(), stride };
    }
    let view = FrameView::new(format, frame.width(), frame.height(), planes, matrix(info), range(info), pts)?;
    let (transfer, primaries) = light(info);
    let aspect = info.par();
    let view = view.lit(transfer, primaries).shown(f64::from(aspect.numer()) / f64::from(aspect.denom()), orientation);
    Ok(if frame.flags().contains(VideoFrameFlags::INTERLACED) { view.field() } else { view })
}

/// As [`view_turned`], of a frame that is stored as it is shown.
///
/// # Errors
/// Those of `view_turned`.
pub fn view<'a>(frame: &'a VideoFrameRef<&gst::BufferRef>, pts: u64) -> Result<FrameView<'a>, FrameError> {
    view_turned(frame, Orientation::default(), pts)
}

fn pixel_format(format: VideoFormat) -> Option<PixelFormat> {
    Some(match format {
        VideoFormat::I420 => PixelFormat::I420,
        VideoFormat::Yv12 => PixelFormat::Yv12,
        VideoFormat::Nv12 => PixelFormat::Nv12,
        VideoFormat::Yuy2 => PixelFormat::Yuy2,
        VideoFormat::Uyvy => PixelFormat::Uyvy,
        VideoFormat::Y42b => PixelFormat::Y42b,
        VideoFormat::Y444 => PixelFormat::Y444,
        VideoFormat::Rgb => PixelFormat::Rgb,
        VideoFormat::Bgr => PixelFormat::Bgr,
        VideoFormat::Rgbx => PixelFormat::Rgbx,
        VideoFormat::Bgrx => PixelFormat::Bgrx,
        VideoFormat::Xrgb => PixelFormat::Xrgb,
        VideoFormat::Xbgr => PixelFormat::Xbgr,
        VideoFormat::Rgba => PixelFormat::Rgba,
        VideoFormat::Bgra => PixelFormat::Bgra,
        VideoFormat::Argb => PixelFormat::Argb,
        VideoFormat::Abgr => PixelFormat::Abgr,
        VideoFormat::Gray8 => PixelFormat::Gray8,
        VideoFormat::P01010le => PixelFormat::P010,
        VideoFormat::I42010le => PixelFormat::I42010,
        VideoFormat::I42210le => PixelFormat::I42210,
        VideoFormat::Rgb10a2Le => PixelFormat::Rgb10a2,
        VideoFormat::Bgr10a2Le => PixelFormat::Bgr10a2,
        _ => return None,
    })
}

fn matrix(info: &VideoInfo) -> ColorMatrix {
    match info.colorimetry().matrix() {
        VideoColorMatrix::Bt709 => ColorMatrix::Bt709,
        VideoColorMatrix::Bt2020 => ColorMatrix::Bt2020,
        _ => ColorMatrix::Bt601,
    }
}

fn range(info: &VideoInfo) -> ColorRange {
    match info.colorimetry().range() {
        VideoColorRange::Range0_255 => ColorRange::Full,
        _ => ColorRange::Limited,
    }
}

fn light(info: &VideoInfo) -> (Transfer, Primaries) {
    let colorimetry = info.colorimetry();
    let transfer = match colorimetry.transfer() {
        VideoTransferFunction::Smpte2084 => Transfer::Pq,
        VideoTransferFunction::AribStdB67 => Transfer::Hlg,
        _ => Transfer::Sdr,
    };
    let primaries = match colorimetry.primaries() {
        VideoColorPrimaries::Bt2020 => Primaries::Bt2020,
        _ => Primaries::Bt709,
    };
    (transfer, primaries)
}
