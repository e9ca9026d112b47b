//! GStreamer's video frames as the analysis sees them.

use gst_video::prelude::*;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameRef, VideoInfo};

use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, FrameError, FrameView, PixelFormat, Plane};

/// Formats that can be analysed without conversion, the cheapest to read first.
pub const FORMATS: [VideoFormat; 18] = [
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
];

/// Caps of every frame that can be analysed: [`FORMATS`] in system memory, from 16×16 to 7680×4320.
pub fn caps() -> gst::Caps {
    gst_video::VideoCapsBuilder::new().format_list(FORMATS).width_range(16..=7680).height_range(16..=4320).build()
}

/// Views a mapped frame, whatever its strides. `pts` is its presentation time in nanoseconds.
///
/// # Errors
/// If the format is none of [`FORMATS`], or the buffer is too small for what its caps promise.
pub fn view<'a>(frame: &'a VideoFrameRef<&gst::BufferRef>, pts: u64) -> Result<FrameView<'a>, FrameError> {
    let format = pixel_format(frame.format()).ok_or_else(|| FrameError::Format(frame.format().to_string()))?;
    let info = frame.info();
    let mut planes = [Plane { data: &[], stride: 0 }; 3];
    let planes = &mut planes[..format.planes()];
    for (component, plane) in planes.iter_mut().enumerate() {
        // By component, not by plane: YV12 stores V before U.
        let index = frame.format_info().plane()[component];
        let stride = usize::try_from(frame.plane_stride()[index as usize]).map_err(|_| FrameError::Upwards)?;
        *plane = Plane { data: frame.plane_data(index).unwrap_or_default(), stride };
    }
    FrameView::new(format, frame.width(), frame.height(), planes, matrix(info), range(info), pts)
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
