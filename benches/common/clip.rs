//! Frames of the demo's real clip, at a wanted size, format and number of faces.

use std::path::Path;

use gst::prelude::*;
use gst_video::video_frame::{Readable, VideoFrame};
use gst_video::{VideoFormat, VideoInfo};

/// The clip's rate once decoded: the model's own, so that every frame is one that would be analysed.
const FPS: u32 = 15;
/// More than any cache holds at 1920×1080, so that pixels come from memory, as they do in a pipeline.
const FRAMES: usize = 16;

/// What frames look like.
#[derive(Clone, Copy)]
pub struct Form {
    pub width: u32,
    pub height: u32,
    pub format: VideoFormat,
    /// 1, or 4: the clip in each quarter.
    pub faces: usize,
}

impl Form {
    /// For example `720p-i420-1`.
    pub fn name(&self) -> String {
        format!("{}p-{}-{}", self.height, self.format.to_str().to_lowercase(), self.faces)
    }
}

/// Decodes the first frames of the clip.
pub fn frames(form: Form) -> Vec<VideoFrame<Readable>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips/WolfgangLanger_Pexels.mp4");
    assert!(file.is_file(), "{} is missing; install it with: make deps", file.display());

    let caps = |width: u32, height: u32, format: VideoFormat| {
        format!("video/x-raw,format={format},width={width},height={height},framerate={FPS}/1,pixel-aspect-ratio=1/1")
    };
    let Form { width, height, format, faces } = form;
    let source = format!("filesrc location=\"{}\" ! decodebin ! videoconvert ! videoscale ! videorate", file.display());
    let sink = "appsink name=frames sync=false max-buffers=2";
    let description = if faces == 1 {
        format!("{source} ! {} ! {sink}", caps(width, height, format))
    } else {
        assert_eq!(faces, 4, "frames have one face or four");
        let (half_width, half_height) = (width / 2, height / 2);
        format!(
            "{source} ! {} ! tee name=t
             compositor name=mix sink_1::xpos={half_width} sink_2::ypos={half_height}
                        sink_3::xpos={half_width} sink_3::ypos={half_height} ! videoconvert ! {} ! {sink}
             t. ! queue ! mix.sink_0  t. ! queue ! mix.sink_1  t. ! queue ! mix.sink_2  t. ! queue ! mix.sink_3",
            caps(half_width, half_height, VideoFormat::I420),
            caps(width, height, format)
        )
    };
    let pipeline = gst::parse::launch(&description).expect("GStreamer's base and good plugins are installed");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("several elements are a pipeline");
    let sink = pipeline.by_name("frames").and_downcast::<gst_app::AppSink>().expect("the description has an appsink");
    pipeline.set_state(gst::State::Playing).expect("the pipeline starts");

    let frames = (0..FRAMES).map(|_| {
        let sample = sink.pull_sample().unwrap_or_else(|_| panic!("the clip does not decode: {description}"));
        let info = VideoInfo::from_caps(sample.caps().expect("frames have caps")).expect("frames are raw video");
        // Copied out of the decoder's pool, which would run dry.
        let buffer = sample.buffer_owned().expect("a sample has a buffer").copy_deep().expect("there is memory");
        VideoFrame::from_buffer_readable(buffer, &info).expect("frames can be read")
    });
    let frames = frames.collect();
    pipeline.set_state(gst::State::Null).expect("the pipeline stops");
    frames
}
