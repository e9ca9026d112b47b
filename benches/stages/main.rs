//! What each stage of an analysed frame costs, in processor time.
//!
//!     make bench
//!
//! Criterion measures; `summary.rs` then writes `out/bench.md` and `out/bench.png`. Frames are those of the demo's real
//! clip. The model is `l40`; `DEEPFAKE_BENCH_MODEL` names another, or the folder of one. Everything, graphs and
//! OpenCV too, runs on one thread.
//!
//! The stages up to the tracker and the crops are measured through the same functions that [`Analyzer::analyze`] calls. Looking for
//! new faces is done in one of some frames only: what it costs is measured by itself.
//! What is only found by taking a graph's time off (`around-…`) is measured in pairs, one run with and one without, so
//! that both see the same state of the machine.

#[path = "../common/mod.rs"]
mod common;
mod summary;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Bencher, Criterion};
use gst_video::VideoFormat;
use gst_video::video_frame::{Readable, VideoFrame};
use ndarray::{Array4, ArrayD, ArrayViewD, Axis};

use common::clip::{self, Form};
use common::cpu::{self, CpuTime};
use common::graph::Graph;
use deepfake_engine::analysis::analyzer::{Analyzer, AnalyzerSettings};
use deepfake_engine::analysis::cropper::{CropSpec, Cropper};
use deepfake_engine::analysis::detector::{self, Detection, FaceDetector, Picture};
use deepfake_engine::analysis::follower::window::{self, Levels, Window as Part};
use deepfake_engine::analysis::follower::{FOLLOWING_SIZE, FollowerSettings, thumbnail};
use deepfake_engine::analysis::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use deepfake_engine::analysis::geometry::Rect;
use deepfake_engine::analysis::planar;
use deepfake_engine::analysis::quality::{QualityGate, QualityLimits};
use deepfake_engine::analysis::sampler::{ChannelOrder, Sampler};
use deepfake_engine::analysis::tracker::cut::CutDetector;
use deepfake_engine::analysis::tracker::{Tracker, TrackerSettings};
use deepfake_engine::analysis::window::Window;
use deepfake_engine::inference::package::Graphs;
use deepfake_engine::inference::{DeviceRequest, Encoded, InferenceError, Model, ModelPackage, SessionOptions, places};
use deepfake_report::meta;
use gstdeepfake::elements::frame;

const OPTIONS: SessionOptions = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
const SIZES: [(u32, u32); 2] = [(1280, 720), (1920, 1080)];
const FORMATS: [VideoFormat; 3] = [VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Rgb];
const FACES: [usize; 2] = [1, 4];
/// The frame for which the issue of speed was decided: one face, 1280×720, the commonest format.
const USUAL: Form = Form { width: 1280, height: 720, format: VideoFormat::I420, faces: 1 };
/// Nanoseconds between two frames at 15 Hz.
const STEP: u64 = 66_666_667;

/// What analyses: the installed detector and model, and their graphs once more without anything around them.
struct Parts {
    package: ModelPackage,
    crop_spec: CropSpec,
    detector_file: PathBuf,
    detector: FaceDetector,
    model: Model,
    detector_graph: Graph,
    encoder_graph: Graph,
    head_graph: Graph,
}

impl Parts {
    fn load() -> Result<Self, Box<dyn std::error::Error>> {
        let name = std::env::var("DEEPFAKE_BENCH_MODEL").unwrap_or_else(|_| "l40".into());
        let package = ModelPackage::find(&name)?;
        let Graphs::Split { encoder, head, .. } = &package.graphs else {
            return Err("only models with an encoder and a head have these stages".into());
        };
        let detector_file = places::find_detector("centerface.onnx")?;
        Ok(Self {
            crop_spec: package.input.crop_spec(),
            detector: FaceDetector::load(&detector_file, &OPTIONS)?,
            model: Model::load(package.clone(), &OPTIONS)?,
            detector_graph: Graph::load(&detector_file),
            encoder_graph: Graph::load(&encoder.graph.file.path),
            head_graph: Graph::load(&head.file.path),
            detector_file,
            package,
        })
    }

    /// A new analyzer. Its graphs' workers are the ones that [`Parts`] holds already.
    fn analyzer(&self) -> Result<Analyzer, Box<dyn std::error::Error>> {
        let settings = AnalyzerSettings {
            follower: FollowerSettings::default(),
            quality: QualityLimits::default(),
            fake_threshold: None,
            authentic_threshold: None,
            hysteresis: None,
            attach_where: false,
        };
        let model = Model::load(self.package.clone(), &OPTIONS)?;
        Ok(Analyzer::new(model, Some(FaceDetector::load(&self.detector_file, &OPTIONS)?), settings))
    }
}

/// A picture of a part of a frame, as the detector sees it.
struct Seen {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Seen {
    fn of(frame: &FrameView, part: &Part, order: ChannelOrder) -> Self {
        let (width, height) = (part.width(), part.height());
        let pixels = Sampler::default().sample(frame, &part.part(), width, height, order).expect("samples").to_vec();
        Self { pixels, width: width as usize, height: height as usize }
    }

    fn picture(&self) -> Picture<'_> {
        Picture { pixels: &self.pixels, width: self.width, height: self.height }
    }
}

/// What is made of a frame on its way.
struct Made {
    /// What the detector sees of the frame: around its faces, and where new ones are looked for.
    windows: Vec<Part>,
    followed: Vec<Seen>,
    discovery: Seen,
    /// In pixels of the frame.
    faces: Vec<Detection>,
    crops: Vec<Vec<u8>>,
}

impl Made {
    /// # Panics
    /// If the detector does not find as many faces as the frame has.
    fn of(parts: &mut Parts, frame: &FrameView, count: usize) -> Self {
        let order = parts.detector.order();
        let discovery = Seen::of(frame, &discovery(frame), order);
        let mut faces = parts.detector.detect(discovery.picture(), 0.5).expect("the detector runs");
        assert_eq!(faces.len(), count, "the detector does not find the clip's faces");
        let scale = frame.width as f32 / discovery.width as f32;
        for face in &mut faces {
            let points = face.landmarks.iter_mut().flatten();
            points.flat_map(|point| [&mut point.x, &mut point.y]).for_each(|value| *value *= scale);
            let Rect { x, y, width, height } = face.rect;
            face.rect = Rect::new(x * scale, y * scale, width * scale, height * scale);
        }
        let mut tracker = Tracker::new(TrackerSettings::default());
        tracker.update(0, &faces);
        let levels = Levels::of(frame, FOLLOWING_SIZE);
        let expected = tracker.expected(STEP);
        let mut windows: Vec<_> = expected.filter_map(|(rect, reach)| levels.window(&rect, reach)).collect();
        window::join(&mut windows);
        let mut cropper = Cropper::default();
        let crop = |face: &Detection| {
            cropper.crop(frame, &face.rect, face.landmarks.as_ref(), &parts.crop_spec).expect("crops").to_vec()
        };
        let crops = faces.iter().map(crop).collect();
        let followed = windows.iter().map(|window| Seen::of(frame, window, order)).collect();
        Self { windows, followed, discovery, faces, crops }
    }
}

/// Where new faces are looked for.
fn discovery(frame: &FrameView) -> Part {
    Levels::of(frame, FollowerSettings::default().detection_size).usual()
}

/// New faces are looked for in one of so many analysed frames.
fn discovery_period() -> u64 {
    FollowerSettings::default().discovery_interval.div_ceil(STEP)
}

/// Indices of frames for ever, forwards and backwards, so that there is no jump.
fn there_and_back(count: usize) -> impl Iterator<Item = usize> {
    (0..count).chain((1..count - 1).rev()).cycle()
}

/// Processor time of the first thing without that of the second; at least a nanosecond each, since criterion takes no zero, which
/// the difference of two large times on a busy machine may be.
fn difference(iterations: u64, mut whole: impl FnMut() -> (u64, u64)) -> u64 {
    let (with, without) = (0..iterations).map(|_| whole()).fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    with.saturating_sub(without).max(iterations)
}

fn timed<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let began = cpu::now();
    let made = work();
    (cpu::now() - began, made)
}

/// The stages whose cost depends on the frame's size and format, and the whole.
fn of_frames(c: &mut Criterion<CpuTime>, parts: &mut Parts, form: Form) {
    let frames = clip::frames(form);
    let refs: Vec<_> = frames.iter().map(VideoFrame::<Readable>::as_video_frame_ref).collect();
    let views: Vec<_> = refs.iter().map(|frame| frame::view(frame, 0).expect("frames can be viewed")).collect();
    let made: Vec<_> = views.iter().map(|view| Made::of(parts, view, form.faces)).collect();
    let name = form.name();

    c.benchmark_group("cut").bench_function(&name, |b| {
        let (mut sampler, mut cut, mut next) =
            (Sampler::default(), CutDetector::default(), there_and_back(views.len()));
        b.iter(|| cut.look(&thumbnail(&mut sampler, &views[next.next().unwrap()]).unwrap()));
    });
    let order = parts.detector.order();
    c.benchmark_group("picture").bench_function(&name, |b| {
        let (mut sampler, mut next) = (Sampler::default(), there_and_back(views.len()));
        b.iter(|| {
            let index = next.next().unwrap();
            for part in &made[index].windows {
                sampler.sample(&views[index], &part.part(), part.width(), part.height(), order).unwrap();
            }
        });
    });
    c.benchmark_group("discovery-picture").bench_function(&name, |b| {
        let (mut sampler, mut next) = (Sampler::default(), there_and_back(views.len()));
        b.iter(|| {
            let frame = &views[next.next().unwrap()];
            let part = discovery(frame);
            sampler.sample(frame, &part.part(), part.width(), part.height(), order).unwrap()[0]
        });
    });

    c.benchmark_group("crop").bench_function(&name, |b| {
        let mut cropper = Cropper::default();
        let mut next = there_and_back(views.len());
        b.iter(|| {
            let index = next.next().unwrap();
            for face in &made[index].faces {
                cropper.crop(&views[index], &face.rect, face.landmarks.as_ref(), &parts.crop_spec).unwrap();
            }
        });
    });

    let mut analyzer = parts.analyzer().expect("what loaded once loads again");
    let count = Cell::new(0u64);
    let mut next = there_and_back(views.len());
    let mut analyze = || {
        let mut frame = views[next.next().unwrap()];
        frame.pts = count.get() * STEP;
        count.set(count.get() + 1);
        analyzer.analyze(&frame, None).expect("the analysis succeeds")
    };
    // From here on every frame runs all three graphs for every face.
    let warm = (0..2 * parts.package.window.frames).map(|_| analyze()).last().unwrap();
    assert_eq!(warm.faces.len(), form.faces);
    assert!(warm.faces.iter().all(|face| face.window_fill == face.window_size && face.score.is_some()), "{warm:#?}");

    c.benchmark_group("analyze").bench_function(&name, |b| b.iter(&mut analyze));
    let inputs = inputs(parts, &made[0]);
    c.benchmark_group("analyze-without-graphs").bench_function(&name, |b| {
        b.iter_custom(|iterations| {
            difference(iterations, || {
                let discovers = count.get().is_multiple_of(discovery_period());
                (timed(&mut analyze).0, timed(|| run_graphs(parts, &inputs, discovers)).0)
            })
        });
    });
}

/// What the three graphs take for one frame.
struct Inputs {
    followed: Vec<ArrayD<f32>>,
    discovery: ArrayD<f32>,
    crops: Array4<f32>,
    windows: ArrayD<f32>,
}

fn inputs(parts: &mut Parts, made: &Made) -> Inputs {
    let crops = batch(&parts.crop_spec, &made.crops);
    let features = parts.model.encode(crops.clone().view_mut()).expect("the encoder runs");
    let windows: Vec<_> = features.iter().map(|encoded| window(parts, encoded)).collect();
    let views: Vec<_> = windows.iter().map(|window| window.features()).collect();
    Inputs {
        followed: made.followed.iter().map(|seen| tensor(seen.picture())).collect(),
        discovery: tensor(made.discovery.picture()),
        crops,
        windows: ndarray::stack(Axis(0), &views).expect("equal shapes").into_dyn(),
    }
}

fn run_graphs(parts: &mut Parts, inputs: &Inputs, discovers: bool) {
    inputs.followed.iter().for_each(|window| parts.detector_graph.run(window));
    if discovers {
        parts.detector_graph.run(&inputs.discovery);
    }
    parts.encoder_graph.run(&inputs.crops.clone().into_dyn());
    parts.head_graph.run(&inputs.windows);
}

fn batch(spec: &CropSpec, crops: &[Vec<u8>]) -> Array4<f32> {
    let (width, height) = (spec.width as usize, spec.height as usize);
    let mut batch = Array4::zeros((crops.len(), 3, height, width));
    for (crop, planes) in crops.iter().zip(batch.outer_iter_mut()) {
        planar::split(crop, width, planes).expect("crops of one size");
    }
    batch
}

fn tensor(picture: Picture) -> ArrayD<f32> {
    detector::tensor(picture, &mut vec![]).expect("pictures become tensors").to_owned().into_dyn()
}

fn views_of(maps: &[ArrayD<f32>]) -> Vec<ArrayViewD<'_, f32>> {
    maps.iter().map(|map| map.view()).collect()
}

/// A full window.
fn window(parts: &Parts, crop: &Encoded) -> Window {
    let mut window = Window::new(parts.package.window.frames, parts.package.window.rate_hz);
    (0..window.size()).for_each(|index| window.push(index as u64 * STEP, crop));
    window
}

/// The stages whose cost depends on the number of faces alone: they see only what was made of the frame.
fn of_faces(c: &mut Criterion<CpuTime>, parts: &mut Parts, faces: usize) {
    let frames = clip::frames(Form { faces, ..USUAL });
    let refs: Vec<_> = frames.iter().map(VideoFrame::<Readable>::as_video_frame_ref).collect();
    let views: Vec<_> = refs.iter().map(|frame| frame::view(frame, 0).expect("frames can be viewed")).collect();
    let made: Vec<_> = views.iter().map(|view| Made::of(parts, view, faces)).collect();
    let inputs = inputs(parts, &made[0]);
    let mut bench = |stage: &str, run: &mut dyn FnMut(&mut Bencher<CpuTime>)| {
        c.benchmark_group(stage).bench_function(faces.to_string(), run);
    };
    let frame_indices = || there_and_back(made.len());

    bench("tensor", &mut |b| {
        let (mut memory, mut next) = (vec![], frame_indices());
        b.iter(|| {
            for seen in &made[next.next().unwrap()].followed {
                detector::tensor(seen.picture(), &mut memory).unwrap();
            }
        });
    });
    bench("graph-detector", &mut |b| {
        b.iter(|| inputs.followed.iter().for_each(|window| parts.detector_graph.run(window)));
    });
    let maps_of = |parts: &mut Parts, seen: &Seen| parts.detector_graph.outputs(&tensor(seen.picture()));
    let maps: Vec<Vec<_>> =
        made.iter().map(|made| made.followed.iter().map(|seen| maps_of(parts, seen)).collect()).collect();
    let tensors: Vec<Vec<_>> =
        made.iter().map(|made| made.followed.iter().map(|seen| tensor(seen.picture())).collect()).collect();
    bench("decode", &mut |b| {
        let mut next = frame_indices();
        b.iter(|| {
            let index = next.next().unwrap();
            for (seen, maps) in made[index].followed.iter().zip(&maps[index]) {
                parts.detector.faces(&views_of(maps), seen.picture(), 0.25).unwrap();
            }
        });
    });
    bench("around-detector", &mut |b| {
        let (mut memory, mut next) = (vec![], frame_indices());
        b.iter_custom(|iterations| {
            difference(iterations, || {
                let index = next.next().unwrap();
                let (mut whole, mut rest) = (0, 0);
                for ((seen, maps), input) in made[index].followed.iter().zip(&maps[index]).zip(&tensors[index]) {
                    whole += timed(|| parts.detector.detect(seen.picture(), 0.25).unwrap()).0;
                    rest += timed(|| {
                        detector::tensor(seen.picture(), &mut memory).unwrap();
                        parts.detector_graph.run(input);
                        parts.detector.faces(&views_of(maps), seen.picture(), 0.25).unwrap()
                    })
                    .0;
                }
                (whole, rest)
            })
        });
    });
    bench("graph-discovery", &mut |b| b.iter(|| parts.detector_graph.run(&inputs.discovery)));
    let maps = maps_of(parts, &made[0].discovery);
    bench("discovery", &mut |b| {
        let mut memory = vec![];
        b.iter(|| {
            let picture = made[0].discovery.picture();
            detector::tensor(picture, &mut memory).unwrap();
            parts.detector.faces(&views_of(&maps), picture, 0.15).unwrap()
        });
    });
    bench("tracker", &mut |b| {
        let (mut tracker, mut pts, mut next) = (Tracker::new(TrackerSettings::default()), 0, frame_indices());
        b.iter(|| {
            pts += STEP;
            tracker.update(pts, &made[next.next().unwrap()].faces).len()
        });
    });
    bench("quality", &mut |b| {
        let (mut gate, mut next) = (QualityGate::default(), frame_indices());
        let limits = QualityLimits::default();
        b.iter(|| {
            let made = &made[next.next().unwrap()];
            for (face, crop) in made.faces.iter().zip(&made.crops) {
                assert_eq!(limits.rejects(&face.rect, face.landmarks.as_ref()), None);
                gate.rejects(crop, parts.crop_spec.width, parts.crop_spec.order, &limits).unwrap();
            }
        });
    });
    bench("pack", &mut |b| {
        let mut next = frame_indices();
        b.iter(|| batch(&parts.crop_spec, &made[next.next().unwrap()].crops));
    });
    bench("graph-encoder", &mut |b| {
        let crops = inputs.crops.clone().into_dyn();
        b.iter(|| parts.encoder_graph.run(&crops));
    });
    bench("around-encoder", &mut |b| {
        let raw = inputs.crops.clone().into_dyn();
        b.iter_custom(|iterations| {
            difference(iterations, || {
                let mut crops = inputs.crops.clone();
                (timed(|| parts.model.encode(crops.view_mut()).unwrap()).0, timed(|| parts.encoder_graph.run(&raw)).0)
            })
        });
    });
    let features = parts.model.encode(inputs.crops.clone().view_mut()).expect("the encoder runs");
    let mut windows: Vec<_> = features.iter().map(|encoded| window(parts, encoded)).collect();
    bench("window", &mut |b| {
        let mut pts = STEP * windows[0].size() as u64;
        b.iter(|| {
            pts += STEP;
            for (window, encoded) in windows.iter_mut().zip(&features) {
                window.push(pts, encoded);
            }
            windows.iter().map(|window| window.features()[[0, 0]]).sum::<f32>()
        });
    });
    bench("graph-head", &mut |b| b.iter(|| parts.head_graph.run(&inputs.windows)));
    let full: Vec<_> = windows.iter().map(Window::features).collect();
    bench("around-head", &mut |b| {
        b.iter_custom(|iterations| {
            difference(iterations, || {
                (timed(|| parts.model.head(&full).unwrap()).0, timed(|| parts.head_graph.run(&inputs.windows)).0)
            })
        });
    });

    // Faces that are followed but hidden right now go through nothing but book-keeping. The frame is tiny, so that
    // looking for cuts in it costs next to nothing.
    let grey = [128; 32 * 18];
    let planes = [Plane { data: &grey, stride: 32 }];
    let blank =
        FrameView::new(PixelFormat::Gray8, 32, 18, &planes, ColorMatrix::default(), ColorRange::Full, 0).unwrap();
    let mut analyzer = parts.analyzer().expect("what loaded once loads again");
    let side = |index: usize| index as f32 * 8.0;
    let given: Vec<_> = (0..faces)
        .map(|index| Detection { rect: Rect::new(side(index), 4.0, 7.0, 9.0), landmarks: None, confidence: 1.0 })
        .collect();
    let report = analyzer.analyze(&blank, Some(&given)).expect("the analysis succeeds");
    assert_eq!(report.faces.len(), faces);
    bench("report", &mut |b| b.iter(|| analyzer.analyze(&blank, Some(&[])).unwrap()));

    let mut analyzer = parts.analyzer().expect("what loaded once loads again");
    let reports = views.iter().cycle().zip(0..).map(|(view, index)| {
        let mut frame = *view;
        frame.pts = index * STEP;
        analyzer.analyze(&frame, None).expect("the analysis succeeds")
    });
    let report = reports.take(2 * parts.package.window.frames).last().unwrap();
    let report = meta::Attachable::new(Arc::new(report));
    bench("meta", &mut |b| {
        b.iter_batched_ref(
            || frames[0].buffer().copy(),
            |buffer| report.attach(buffer.get_mut().unwrap(), USUAL.width, USUAL.height).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

fn main() -> ExitCode {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    gst::init().expect("GStreamer starts");
    gstdeepfake::plugin_register_static().expect("the plugin registers");
    let mut parts = match Parts::load() {
        Ok(parts) => parts,
        Err(error) => {
            let is_missing = matches!(error.downcast_ref(), Some(InferenceError::NotInstalled { .. }));
            eprintln!("{}{error}", if measuring { "" } else { "SKIPPED: " });
            return ExitCode::from(u8::from(measuring || !is_missing));
        }
    };
    // What is measured is one core's work, not how well it is spread.
    opencv::core::set_num_threads(1).expect("OpenCV can do without threads");

    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    for faces in FACES {
        of_faces(&mut criterion, &mut parts, faces);
    }
    // As a test, one of each is enough.
    let (sizes, formats) = if measuring { (&SIZES[..], &FORMATS[..]) } else { (&SIZES[..1], &FORMATS[..1]) };
    for &(width, height) in sizes {
        for &format in formats {
            for faces in FACES {
                of_frames(&mut criterion, &mut parts, Form { width, height, format, faces });
            }
        }
    }
    criterion.final_summary();
    if !measuring {
        return ExitCode::SUCCESS;
    }
    match summary::write(&parts.package.full_name(), discovery_period()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
