//! Clips made worse on their way to the detector, to see how long its scores hold: by GStreamer's own elements, in the pipeline
//! that scores them.

use std::{fmt, str::FromStr, sync::Mutex};

use anyhow::{Context, Result};
use gst::prelude::*;
use gst_video::prelude::*;
use serde::{Deserialize, Serialize};

/// What is done to a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    H264,
    Jpeg,
    Scale,
    Blur,
    Noise,
    Fps,
}

/// One way and degree of making clips worse, as `--degrade KIND=VALUE` says it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Degradation {
    pub kind: Kind,
    pub value: f64,
}

impl Kind {
    const ALL: [Self; 6] = [Self::H264, Self::Jpeg, Self::Scale, Self::Blur, Self::Noise, Self::Fps];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Jpeg => "jpeg",
            Self::Scale => "scale",
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::Fps => "fps",
        }
    }

    /// What its value means.
    pub fn unit(self) -> &'static str {
        match self {
            Self::H264 => "constant rate factor of x264",
            Self::Jpeg => "JPEG quality",
            Self::Scale => "part of width and height that is left",
            Self::Blur => "Gaussian blur, standard deviation in pixels",
            Self::Noise => "Gaussian noise in luma, standard deviation of 0..255",
            Self::Fps => "frames per second",
        }
    }

    /// The values that make sense, and whether they are whole numbers.
    fn values(self) -> (f64, f64, bool) {
        match self {
            Self::H264 => (0.0, 50.0, true),
            Self::Jpeg => (1.0, 100.0, true),
            Self::Scale => (0.05, 1.0, false),
            Self::Blur => (0.1, 20.0, false),
            Self::Noise => (0.1, 100.0, false),
            Self::Fps => (1.0, 120.0, true),
        }
    }
}

impl FromStr for Degradation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        let (name, value) = text.split_once('=').ok_or_else(|| format!("write KIND=VALUE; kinds are {kinds}"))?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        let kind = kind.ok_or_else(|| format!("{name:?} is no kind; kinds are {kinds}"))?;
        let (least, most, whole) = kind.values();
        match value.parse::<f64>() {
            Ok(value) if (least..=most).contains(&value) && (!whole || value.fract() == 0.0) => {
                Ok(Self { kind, value })
            }
            _ => {
                let number = if whole { "a whole number" } else { "a number" };
                Err(format!("{name} takes {number} from {least} to {most} ({})", kind.unit()))
            }
        }
    }
}

/// As in `--degrade`, but fit for the name of a folder.
impl fmt::Display for Degradation {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}-{}", self.kind.as_str(), self.value)
    }
}

impl Degradation {
    /// An element that does it to raw video.
    ///
    /// # Errors
    /// If GStreamer lacks what it takes.
    pub fn element(&self) -> Result<gst::Element> {
        let value = self.value;
        let middle = match self.kind {
            // One thread: the same clip becomes the same pixels on any machine.
            Kind::H264 => format!(
                "video/x-raw,format=I420 ! x264enc pass=qual quantizer={value} speed-preset=veryfast threads=1 ! h264parse ! avdec_h264"
            ),
            // From RGB, because the encoder takes YUV of whatever range for JPEG's full one.
            Kind::Jpeg => format!("video/x-raw,format=RGB ! jpegenc quality={value} ! jpegdec"),
            Kind::Scale => "videoscale name=scale ! capsfilter name=size".to_owned(),
            Kind::Blur => format!("gaussianblur sigma={value}"),
            Kind::Noise => "video/x-raw,format=I420 ! identity name=noise".to_owned(),
            Kind::Fps => format!("videorate ! video/x-raw,framerate={value}/1"),
        };
        let bin = gst::parse::bin_from_description(&format!("videoconvert ! {middle} ! videoconvert"), true)
            .with_context(|| format!("GStreamer cannot do {self}: install its good, bad and ugly plugins and libav"))?;
        let named = |name: &str| bin.by_name(name).expect("the description names it");
        match self.kind {
            Kind::Scale => scale(&named("scale"), &named("size"), value),
            Kind::Noise => add_noise(&named("noise"), value),
            _ => {}
        }
        Ok(bin.upcast())
    }
}

/// Has `filter` ask for `factor` of the size that comes to `scale`, in even numbers.
fn scale(scale: &gst::Element, filter: &gst::Element, factor: f64) {
    let filter = filter.downgrade();
    let sink = scale.static_pad("sink").expect("videoscale has a sink pad");
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(filter) = filter.upgrade()
            && let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
            && let Ok(video) = gst_video::VideoInfo::from_caps(caps.caps())
        {
            let side = |pixels: u32| ((f64::from(pixels) * factor / 2.0).round() as i32 * 2).max(16);
            let caps = gst::Caps::builder("video/x-raw")
                .field("width", side(video.width()))
                .field("height", side(video.height()))
                .build();
            filter.set_property("caps", caps);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Adds Gaussian noise, the same in each run, to the luma of the I420 frames that leave `element`.
fn add_noise(element: &gst::Element, deviation: f64) {
    let source = element.static_pad("src").expect("identity has a source pad");
    // Probes may be called by several threads, for all that GStreamer's types say.
    let random = Mutex::new(Random(0x5EED));
    source.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let video = pad.current_caps().and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
        if let (Some(video), Some(gst::PadProbeData::Buffer(buffer))) = (video, &mut info.data)
            && let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), &video)
        {
            let mut random = random.lock().expect("nothing panics while it holds the generator");
            let (width, stride) = (frame.width() as usize, frame.plane_stride()[0] as usize);
            let rows = frame.plane_data_mut(0).expect("I420 has a plane of luma").chunks_mut(stride);
            for value in rows.take(video.height() as usize).flat_map(|row| &mut row[..width]) {
                *value = (f64::from(*value) + deviation * random.normal()).round().clamp(0.0, 255.0) as u8;
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Xorshift64*.
struct Random(u64);

impl Random {
    /// Nearly normal, variance 1: the sum of twelve evenly distributed numbers (Irwin-Hall), here bytes of two words.
    fn normal(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..2 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
            sum += word.to_le_bytes()[2..].iter().map(|byte| i32::from(*byte)).sum::<i32>();
        }
        // Twelve bytes: mean 12 × 127.5, variance 12 × (256² − 1) / 12.
        f64::from(sum - 1530) / 255.998
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Degradation, String> {
        text.parse()
    }

    #[test]
    fn a_degradation_is_read_as_it_is_written_and_bad_ones_are_told() {
        assert_eq!(parse("h264=30"), Ok(Degradation { kind: Kind::H264, value: 30.0 }));
        assert_eq!(parse("scale=0.5").unwrap().to_string(), "scale-0.5");
        for (text, because) in [
            ("h264", "KIND=VALUE"),
            ("rain=3", "\"rain\" is no kind; kinds are h264, jpeg"),
            ("h264=60", "from 0 to 50"),
            ("h264=20.5", "a whole number"),
            ("scale=2", "from 0.05 to 1"),
            ("blur=much", "a number from 0.1"),
            ("noise=NaN", "a number"),
            ("fps=0", "from 1 to 120"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(because), "{error:?} does not say {because:?}");
        }
    }

    /// Frames of a test picture, 640×480, 30 fps, 1 s, as they come out; `None` if GStreamer lacks an element.
    fn degraded(text: &str) -> Option<Vec<(u32, u32, Vec<u8>)>> {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let source = gst::parse::bin_from_description(
            "videotestsrc num-buffers=30 pattern=zone-plate kx2=10 ky2=10 ! \
             capsfilter caps=video/x-raw,format=I420,width=640,height=480,framerate=30/1",
            true,
        );
        let source = source.unwrap();
        let sink = gst_app::AppSink::builder()
            .caps(&gst::Caps::builder("video/x-raw").field("format", "I420").build())
            .sync(false)
            .build();
        pipeline.add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        if text == "nothing" {
            source.link(&sink).unwrap();
        } else {
            let element = match parse(text).unwrap().element() {
                Ok(element) => element,
                Err(error) => {
                    eprintln!("SKIPPED: {error:#}");
                    return None;
                }
            };
            pipeline.add(&element).unwrap();
            gst::Element::link_many([source.upcast_ref(), &element, sink.upcast_ref()]).unwrap();
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frames = Vec::new();
        while let Ok(sample) = sink.pull_sample() {
            let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
            let frame = gst_video::VideoFrame::from_buffer_readable(sample.buffer_owned().unwrap(), &info).unwrap();
            let luma = frame.plane_data(0).unwrap()[..640.min(info.width() as usize) * 16].to_vec();
            frames.push((info.width(), info.height(), luma));
        }
        pipeline.set_state(gst::State::Null).unwrap();
        Some(frames)
    }

    /// Root of the mean squared difference of the first rows.
    fn change(degraded: &[(u32, u32, Vec<u8>)], clean: &[(u32, u32, Vec<u8>)]) -> f64 {
        let pairs = degraded[5].2.iter().zip(&clean[5].2);
        let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        (squares.sum::<f64>() / clean[5].2.len() as f64).sqrt()
    }

    #[test]
    fn every_kind_does_what_it_says_and_more_of_it_does_more() {
        let clean = degraded("nothing").unwrap();
        assert_eq!(clean.len(), 30);
        for (kind, little, much) in
            [("h264", "10", "45"), ("jpeg", "95", "5"), ("blur", "0.5", "4"), ("noise", "2", "20")]
        {
            let run = |value: &str| degraded(&format!("{kind}={value}"));
            let (Some(little), Some(much)) = (run(little), run(much)) else { continue };
            assert_eq!((little.len(), much.len()), (30, 30), "{kind}");
            assert_eq!((much[0].0, much[0].1), (640, 480), "{kind}");
            let (little, much) = (change(&little, &clean), change(&much, &clean));
            assert!(little > 0.0 && much > 1.5 * little, "{kind}: {little} and {much}");
        }
        let noisy = change(&degraded("noise=10").unwrap(), &clean);
        // The zone plate reaches black and white, where noise is cut off.
        assert!((7.0..10.5).contains(&noisy), "{noisy}");
        let small = degraded("scale=0.25").unwrap();
        assert_eq!((small.len(), small[0].0, small[0].1), (30, 160, 120));
        let slow = degraded("fps=10").unwrap();
        assert!((9..=11).contains(&slow.len()), "{}", slow.len());
    }

    #[test]
    fn noise_is_the_same_twice() {
        assert!(degraded("noise=7") == degraded("noise=7"));
    }
}
