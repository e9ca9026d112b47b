//! What one analysed frame costs, by the number of its faces, its size, and the model.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use deepfake_engine::analysis::analyzer::{Analyzer, AnalyzerSettings};
use deepfake_engine::analysis::detector::{Detection, FaceDetector};
use deepfake_engine::analysis::follower::FollowerSettings;
use deepfake_engine::analysis::frame::FrameView;
use deepfake_engine::analysis::geometry::Rect;
use deepfake_engine::analysis::quality::QualityLimits;
use deepfake_engine::inference::{DeviceRequest, Model, ModelPackage, SessionOptions, places};
use gst_video::VideoFormat;
use gst_video::video_frame::{Readable, VideoFrame};
use gstdeepfake::elements::frame;
use ndarray::ArrayD;
use plotters::prelude::*;

use super::common::clip::{self, Form};
use super::common::graph::Graph;
use super::common::plot::{self, Curve};
use super::common::{cpu, page};

const OPTIONS: SessionOptions = SessionOptions { device: DeviceRequest::Cpu, require_device: true, threads: 1 };
const MODELS: [&str; 2] = ["l40", "cnn-lstm"];
const SIZES: [(u32, u32); 5] = [(640, 360), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)];
const FACES: [usize; 6] = [1, 2, 4, 8, 12, 16];
const STEP: u64 = 66_666_667;

/// Every crop is judged, whatever it shows.
const NO_LIMITS: QualityLimits = QualityLimits { min_face_size: 0.0, min_sharpness: 0.0, min_luma: 0.0, max_turn: 1.0 };

/// How often a frame is analysed for one figure, after as many for warming up as fill the window.
struct Effort {
    frames: usize,
    warm_up: usize,
}

/// What a frame with one face costs with a model, in milliseconds.
struct OfModel {
    name: String,
    cost: f64,
    /// With the detector on every second frame.
    half: f64,
    /// The encoder's graph by itself.
    graph: f64,
}

pub fn run(measuring: bool) -> Result<(), Box<dyn Error>> {
    let effort = if measuring { Effort { frames: 60, warm_up: 40 } } else { Effort { frames: 1, warm_up: 1 } };
    let (sizes, faces): (&[_], &[_]) = if measuring { (&SIZES, &FACES) } else { (&SIZES[..1], &FACES[..2]) };
    let usual = Form { width: 1280, height: 720, format: VideoFormat::I420, faces: 1 };
    let frames = clip::frames(usual);

    let (mut by_faces, mut by_size, mut by_model) = (vec![], vec![], vec![]);
    for model in MODELS {
        let points: Result<Vec<_>, Box<dyn Error>> =
            faces.iter().map(|&count| Ok((count as f64, given_faces(model, &frames, count, &effort)?))).collect();
        by_faces.push(Curve { name: model.into(), points: points? });
    }
    for &(width, height) in sizes {
        let form = Form { width, height, ..usual };
        let frames = clip::frames(form);
        let megapixels = f64::from(width * height) / 1e6;
        let mut costs = vec![];
        for model in MODELS {
            costs.push(found_faces(model, &frames, &effort)?);
        }
        by_size.push((form, megapixels, costs));
    }
    for name in packages()? {
        let graph = encoder_graph(&name, &effort)?;
        let (all, half) = (found_faces(&name, &frames, &effort)?, cost(&name, &frames, &effort, None, 1, 2)?);
        by_model.push(OfModel { name, cost: all, half, graph });
    }
    if !measuring {
        return Ok(());
    }
    draw(&by_faces, &by_size, &by_model)?;
    Ok(page::put(&told(&by_faces, &by_size, &by_model))?)
}

/// The repository's own packages.
fn packages() -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = vec![];
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"))? {
        let entry = entry?;
        if entry.path().join("model.toml").is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// With the detector on every frame, or every `detect_interval`-th.
fn analyzer(model: &str, detect_interval: u32) -> Result<Analyzer, Box<dyn Error>> {
    let settings = AnalyzerSettings {
        follower: FollowerSettings { detect_interval, ..FollowerSettings::default() },
        quality: NO_LIMITS,
        fake_threshold: None,
        authentic_threshold: None,
        hysteresis: None,
        attach_where: false,
    };
    let detector = FaceDetector::load(&places::find_detector("centerface.onnx")?, &OPTIONS)?;
    Ok(Analyzer::new(Model::load(ModelPackage::find(model)?, &OPTIONS)?, Some(detector), settings))
}

/// Milliseconds of processor time for a frame: the mean over as many frames as new faces are looked for once in; of those means the
/// median.
fn cost(
    model: &str,
    frames: &[VideoFrame<Readable>],
    effort: &Effort,
    given: Option<&[Detection]>,
    faces: usize,
    detect_interval: u32,
) -> Result<f64, Box<dyn Error>> {
    let mut analyzer = analyzer(model, detect_interval)?;
    let refs: Vec<_> = frames.iter().map(VideoFrame::<Readable>::as_video_frame_ref).collect();
    let mut times = vec![];
    let there_and_back = (0..refs.len()).chain((1..refs.len() - 1).rev()).cycle();
    for (turn, index) in there_and_back.take(effort.warm_up + effort.frames).enumerate() {
        let view: FrameView = frame::view(&refs[index], turn as u64 * STEP)?;
        let began = cpu::now();
        let report = analyzer.analyze(&view, given)?;
        let took = cpu::now() - began;
        if report.faces.len() != faces {
            return Err(format!("{} faces are followed where there are {faces}", report.faces.len()).into());
        }
        if turn >= effort.warm_up {
            times.push(took);
        }
    }
    let cycle = FollowerSettings::default().discovery_interval.div_ceil(STEP).next_multiple_of(detect_interval.into());
    let mean = |times: &[u64]| times.iter().sum::<u64>() as f64 / times.len() as f64;
    let mut means: Vec<f64> = times.chunks(cycle as usize).map(mean).collect();
    means.sort_unstable_by(f64::total_cmp);
    Ok(means[means.len() / 2] / 1e6)
}

/// A frame with one face, which is looked for.
fn found_faces(model: &str, frames: &[VideoFrame<Readable>], effort: &Effort) -> Result<f64, Box<dyn Error>> {
    cost(model, frames, effort, None, 1, 1)
}

/// A frame with `count` faces beside each other; without looking for them, which costs the same for any number.
fn given_faces(
    model: &str,
    frames: &[VideoFrame<Readable>],
    count: usize,
    effort: &Effort,
) -> Result<f64, Box<dyn Error>> {
    let given: Vec<_> = (0..count)
        .map(|index| {
            let (x, y) = ((index % 4) as f32 * 300.0 + 80.0, (index / 4) as f32 * 170.0 + 20.0);
            Detection { rect: Rect::new(x, y, 110.0, 140.0), landmarks: None, confidence: 1.0 }
        })
        .collect();
    cost(model, frames, effort, Some(&given), count, 1)
}

/// The encoder's graph by itself, one crop, in milliseconds.
fn encoder_graph(model: &str, effort: &Effort) -> Result<f64, Box<dyn Error>> {
    let package = ModelPackage::find(model)?;
    let mut graph = Graph::load(&package.graphs.all()[0].file.path);
    let input = ArrayD::zeros(vec![1, 3, package.input.height, package.input.width]);
    let mut times: Vec<_> = (0..effort.frames + 5)
        .map(|_| {
            let began = cpu::now();
            graph.run(&input);
            cpu::now() - began
        })
        .skip(5.min(effort.frames))
        .collect();
    times.sort_unstable();
    Ok(times[times.len() / 2] as f64 / 1e6)
}

/// Slope and start of the straight line nearest to the points.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>()
        / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
    (slope, y - slope * x)
}

fn sizes_of(model: usize, by_size: &[(Form, f64, Vec<f64>)]) -> Vec<(f64, f64)> {
    by_size.iter().map(|(_, megapixels, costs)| (*megapixels, costs[model])).collect()
}

fn told(by_faces: &[Curve], by_size: &[(Form, f64, Vec<f64>)], by_model: &[OfModel]) -> String {
    let mut part = "# How the cost of a frame grows\n\n\
                    Milliseconds of processor time for one analysed frame, medians; OpenCV and ONNX Runtime on one thread. Multiply \
                    by the model's rate (15 a second) for what a channel takes. Drawn in `out/bench-growth.svg`.\n\n\
                    ## By faces, 1280×720, without looking for them\n\n| faces |"
        .to_string();
    by_faces.iter().for_each(|curve| _ = write!(part, " {} |", curve.name));
    part.push_str("\n|---:|---:|---:|\n");
    for (index, (faces, _)) in by_faces[0].points.iter().enumerate() {
        let _ = write!(part, "| {faces} |");
        by_faces.iter().for_each(|curve| _ = write!(part, " {:.2} |", curve.points[index].1));
        part.push('\n');
    }
    part.push('\n');
    for curve in by_faces {
        let (slope, _) = line(&curve.points);
        let graph = by_model.iter().find(|of| of.name == curve.name).map_or(f64::NAN, |of| of.graph);
        let _ = writeln!(
            part,
            "{}: {slope:.2} ms for each face, of which the encoder's graph is {graph:.2} ms when run by itself; the rest is the crop, \
             the quality gate, the head, and caches that several crops at once do not fit into. On a CPU a batch saves nothing: \
             the line is straight.\n",
            curve.name
        );
    }
    part.push_str("## By resolution, one face\n\n| frame | megapixels |");
    MODELS.iter().for_each(|model| _ = write!(part, " {model} |"));
    part.push_str("\n|---|---:|---:|---:|\n");
    for (form, megapixels, costs) in by_size {
        let _ = write!(part, "| {}×{} | {megapixels:.2} |", form.width, form.height);
        costs.iter().for_each(|cost| _ = write!(part, " {cost:.2} |"));
        part.push('\n');
    }
    part.push('\n');
    for (index, model) in MODELS.iter().enumerate() {
        let (slope, begin) = line(&sizes_of(index, by_size));
        let _ = writeln!(
            part,
            "{model}: {begin:.2} ms and {slope:.3} ms for each megapixel. The graphs see pictures of one size whatever the frame's; \
             what grows is reading the frame once for the detector's small picture, and the larger part of it that a face is cut \
             from.\n"
        );
    }
    part.push_str(
        "## By model, 1280×720, one face\n\n\
         | model | a frame | encoder's graph alone | all else | with detect-interval=2 | channels on two cores | with detect-interval=2 |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let channels = |cost: f64| (2.0 * 1000.0 / 15.0 / cost).floor();
    for OfModel { name, cost, half, graph } in by_model {
        let _ = writeln!(
            part,
            "| {name} | {cost:.2} | {graph:.2} | {:.2} | {half:.2} | {} | {} |",
            cost - graph,
            channels(*cost),
            channels(*half)
        );
    }
    part.push_str(
        "\n*All else* is the detector's graph for the greater part, the same for every model, and the head. *Channels* are worked \
         out: two cores do nothing else, frames come decoded, and each channel is analysed 15 times a second. Boxes between two \
         detections move on as they moved before.\n",
    );
    part
}

fn draw(by_faces: &[Curve], by_size: &[(Form, f64, Vec<f64>)], by_model: &[OfModel]) -> Result<(), Box<dyn Error>> {
    plot::register_font();
    let file = page::file("bench-growth.svg")?;
    let root = SVGBackend::new(&file, (1500, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((1, 3));
    let sizes = MODELS.iter().enumerate();
    let sizes: Vec<_> =
        sizes.map(|(index, model)| Curve { name: (*model).into(), points: sizes_of(index, by_size) }).collect();
    plot::curves(&areas[0], "Faces (not looked for), 1280×720", ["faces", "ms per frame"], by_faces)?;
    plot::curves(&areas[1], "Resolution, one face", ["megapixels", "ms per frame"], &sizes)?;

    // Bars: the encoder's graph, and all else on top.
    let area = &areas[2];
    let text = |size: i32| (plot::FONT, size).into_font().color(&plot::INK);
    area.draw(&Text::new("Model, 1280×720, one face: ms per frame", (70, 20), text(18)))?;
    let longest = by_model.iter().map(|of| of.cost).fold(0.0, f64::max);
    let at = |ms: f64| 170 + (ms / longest * 250.0) as i32;
    for (index, OfModel { name, cost, graph, .. }) in by_model.iter().enumerate() {
        let y = 70 + 46 * index as i32;
        area.draw(&Text::new(name.clone(), (20, y + 6), text(14)))?;
        area.draw(&Rectangle::new([(at(0.0), y), (at(*graph), y + 26)], plot::BLUE.filled()))?;
        area.draw(&Rectangle::new([(at(*graph), y), (at(*cost), y + 26)], plot::VERMILLION.filled()))?;
        area.draw(&Text::new(format!("{cost:.1}"), (at(*cost) + 6, y + 6), text(14)))?;
    }
    let y = 80 + 46 * by_model.len() as i32;
    for (x, color, what) in [(20, plot::BLUE, "encoder's graph"), (200, plot::VERMILLION, "all else")] {
        area.draw(&Rectangle::new([(x, y), (x + 14, y + 14)], color.filled()))?;
        area.draw(&Text::new(what, (x + 22, y), text(14)))?;
    }
    root.present()?;
    println!("out/bench-growth.svg");
    Ok(())
}
