//! Model packages and their graphs: what a good one gives, and what each kind of broken one says.

mod common;

use std::path::PathBuf;

use common::{Package, data, example_model, sha256, table};
use deepfake_engine::inference::graph::Outputs;
use deepfake_engine::inference::package::Graphs;
use deepfake_engine::inference::{Device, DeviceRequest, InferenceError, Model, ModelPackage, SessionOptions, Worker};
use ndarray::{Array2, Array4, ArrayD, IxDyn};

const ONE_THREAD: SessionOptions = SessionOptions { device: DeviceRequest::Cpu, require_device: false, threads: 1 };

/// What the tests here do with a package.
trait Loads {
    fn load(&self) -> Result<Model, InferenceError>;
    /// Loads, and must fail with a message that names a file of this very package and holds all of `parts`.
    fn fails(&self, parts: &[&str]);
}

impl Loads for Package {
    fn load(&self) -> Result<Model, InferenceError> {
        Model::load(self.read()?, &ONE_THREAD)
    }

    #[track_caller]
    fn fails(&self, parts: &[&str]) {
        let error = self.load().map(drop).expect_err("the package is broken").to_string();
        assert!(error.starts_with(&self.dir.path().display().to_string()), "{error}");
        for part in parts {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }
}

/// One crop of one colour.
fn crops(colors: &[[f32; 3]]) -> Array4<f32> {
    Array4::from_shape_fn((colors.len(), 3, 16, 16), |(crop, channel, _, _)| colors[crop][channel])
}

#[track_caller]
fn assert_near(have: &[f32], want: &[f32]) {
    assert_eq!(have.len(), want.len(), "{have:?} {want:?}");
    for (have, want) in have.iter().zip(want) {
        assert!((have - want).abs() < 1e-5, "{have} is not {want}");
    }
}

fn features(model: &Model, colors: &[[f32; 3]]) -> Array2<f32> {
    let encoded = model.encode(crops(colors).view_mut()).unwrap();
    let length = model.feature_length();
    Array2::from_shape_vec((colors.len(), length), encoded.into_iter().flat_map(|one| one.feature).collect()).unwrap()
}

// What a good package gives.

#[test]
fn a_sequence_model_encodes_crops_and_scores_windows() {
    let model = Package::sequence().load().unwrap();
    assert_eq!(model.package().full_name(), "tiny@1.0");
    assert_eq!(model.device(), Device::Cpu);
    assert_eq!(model.placement().reason, None);
    let encoded = model.encode(crops(&[[255.0, 0.0, 51.0], [0.0, 127.5, 0.0]]).view_mut()).unwrap();
    assert_near(&encoded[0].feature, &[1.0, 0.0, 0.2]);
    assert_near(&encoded[1].feature, &[0.0, 0.5, 0.0]);
    assert_eq!(encoded[0].frame_logit, None);
    // Mean red minus mean green over the window.
    let window = features(&model, &[[255.0, 0.0, 0.0], [255.0, 255.0, 0.0]]);
    assert_near(&model.head(&[window.view()]).unwrap(), &[0.5]);
}

#[test]
fn a_second_output_of_the_encoder_scores_single_crops() {
    let package =
        Package::sequence().change("feature_length = 3", "feature_length = 3\nframe_output = \"frame_scores\"");
    let encoded = package.load().unwrap().encode(crops(&[[255.0, 51.0, 0.0], [0.0, 255.0, 9.0]]).view_mut()).unwrap();
    assert_near(&[encoded[0].frame_logit.unwrap(), encoded[1].frame_logit.unwrap()], &[0.8, -1.0]);
}

/// The tiny package whose graphs also say where a crop was changed and how.
fn with_where_and_kinds() -> Package {
    let encoder = table("encoder", "encoder-where.onnx", "crops", "features");
    let head = table("head", "head-kinds.onnx", "windows", "scores");
    Package::new(
        "sequence",
        &format!(
            "{encoder}feature_length = 3\nwhere_output = \"where\"\n\
             {head}kinds_output = \"kinds\"\nkinds = [\"swap\", \"lips\", \"moustache-2\"]\n"
        ),
    )
}

#[test]
fn an_encoder_may_say_where_and_a_head_how_a_face_was_changed() {
    let model = with_where_and_kinds().load().unwrap();
    assert_eq!(model.package().kinds(), ["swap", "lips", "moustache-2"]);
    let mut crops = crops(&[[0.0, 255.0, 0.0]; 2]);
    // The second crop's upper right is red.
    crops.slice_mut(ndarray::s![1, 0, ..4, 12..]).fill(255.0);
    let encoded = model.encode(crops.view_mut()).unwrap();
    assert_eq!(encoded[0].where_map, Some(Array2::zeros((4, 4))));
    let map = encoded[1].where_map.as_ref().unwrap();
    assert_eq!((map.dim(), map.sum(), map[[0, 3]]), ((4, 4), 1.0, 1.0));

    let red = features(&model, &[[255.0, 51.0, 0.0]; 4]);
    let green = features(&model, &[[0.0, 255.0, 102.0]; 2]);
    let scored = model.judge(&[green.view(), red.view()]).unwrap();
    assert_near(&[scored[0].logit, scored[1].logit], &[-1.0, 0.8]);
    assert_near(&scored[0].kinds, &[0.0, 1.0, 0.4]);
    assert_near(&scored[1].kinds, &[1.0, 0.2, 0.0]);

    let plain = Package::sequence().load().unwrap();
    assert!(plain.package().kinds().is_empty());
    assert_eq!(plain.encode(self::crops(&[[0.0; 3]]).view_mut()).unwrap()[0].where_map, None);
    assert!(plain.judge(&[red.view()]).unwrap()[0].kinds.is_empty());
}

#[test]
fn windows_of_different_lengths_are_scored_in_the_order_given() {
    let model = Package::sequence().load().unwrap();
    let windows = [
        features(&model, &[[255.0, 0.0, 0.0]; 4]),
        features(&model, &[[0.0, 255.0, 0.0]; 2]),
        features(&model, &[[51.0, 0.0, 0.0]; 4]),
        features(&model, &[[0.0, 51.0, 0.0]; 3]),
    ];
    let views: Vec<_> = windows.iter().map(|window| window.view()).collect();
    assert_near(&model.head(&views).unwrap(), &[1.0, -1.0, 0.2, -0.2]);
    assert_eq!(model.head(&[]).unwrap(), Vec::<f32>::new());
    assert!(model.encode(crops(&[]).view_mut()).unwrap().is_empty());
}

#[test]
fn range_mean_and_deviation_are_applied_per_channel() {
    let package = Package::sequence()
        .change("margin = 1.3", "margin = 1.3\nrange = [-1.0, 1.0]\nmean = [0.0, 0.5, -1.0]\nstd = [1.0, 0.5, 2.0]");
    let encoded = package.load().unwrap().encode(crops(&[[0.0, 255.0, 127.5]]).view_mut()).unwrap();
    assert_near(&encoded[0].feature, &[-1.0, 1.0, 0.5]);
}

#[test]
fn any_feature_may_be_named() {
    let package = Package::sequence().change("margin = 1.3", "margin = 1.3\nfeature = \"rgb-noise-residual-2\"");
    assert_eq!(package.load().unwrap().package().input.feature, "rgb-noise-residual-2");
}

/// The tiny package with `file` in the encoder's place on one device.
fn with_file_on(device: &str, file: &str) -> Package {
    let bytes = std::fs::read(data(file)).unwrap();
    let other = format!("[encoder.on.{device}]\nfile = \"{file}\"\nsha256 = \"{}\"\n[head]", sha256(&bytes));
    let package = Package::sequence().change("[head]", &other);
    std::fs::write(package.dir.path().join(file), bytes).unwrap();
    package
}

#[test]
fn a_device_may_have_a_file_of_its_own() {
    with_file_on("cpu", "encoder-nan.onnx").fails(&["encoder-nan.onnx"]);
    let model = with_file_on("cuda", "encoder-nan.onnx").load().unwrap();
    assert_near(&features(&model, &[[255.0, 0.0, 51.0]]).into_raw_vec_and_offset().0, &[1.0, 0.0, 0.2]);
    let device = with_file_on("cuda", "encoder-nan.onnx").change("on.cuda", "on.abacus");
    device.fails(&["abacus", "cpu", "cuda", "tensorrt", "openvino"]);
    let package = with_file_on("cuda", "encoder-nan.onnx");
    std::fs::write(package.dir.path().join("encoder-nan.onnx"), "other").unwrap();
    package.fails(&["encoder-nan.onnx", "sha256"]);
    let outside = with_file_on("cuda", "encoder-nan.onnx").change("file = \"encoder-nan", "file = \"../encoder-nan");
    outside.fails(&["encoder.on.cuda.file", "not the name of a file inside"]);
}

#[test]
fn the_fake_class_may_be_the_first() {
    let model = Package::sequence().change("fake_index = 1", "fake_index = 0").load().unwrap();
    let window = features(&model, &[[255.0, 0.0, 0.0]; 2]);
    assert_near(&model.head(&[window.view()]).unwrap(), &[-1.0]);
}

#[test]
fn a_whole_graph_gives_what_encoder_and_head_give() {
    let whole = table("whole", "whole.onnx", "windows", "scores");
    let whole = Package::new("sequence", &whole).load().unwrap();
    let split = Package::sequence().load().unwrap();
    let colors = [[255.0, 0.0, 0.0], [102.0, 51.0, 7.0], [3.0, 204.0, 9.0]];
    let score = |model: &Model| model.head(&[features(model, &colors).view()]).unwrap();
    assert_eq!(whole.feature_length(), 3 * 16 * 16);
    assert_near(&score(&whole), &score(&split));
}

#[test]
fn a_frame_model_takes_the_mean_over_the_window() {
    let package = Package::new("frame", &table("encoder", "encoder.onnx", "crops", "frame_scores"));
    let model = package.load().unwrap();
    let encoded = model.encode(crops(&[[255.0, 0.0, 0.0], [0.0, 51.0, 0.0]]).view_mut()).unwrap();
    assert_near(&[encoded[0].frame_logit.unwrap(), encoded[1].frame_logit.unwrap()], &[1.0, -0.2]);
    let window = features(&model, &[[255.0, 0.0, 0.0], [0.0, 51.0, 0.0]]);
    assert_near(&model.head(&[window.view()]).unwrap(), &[0.4]);
}

#[test]
fn softmax_in_the_graph_gives_the_same_logits() {
    let package = Package::sequence();
    let head = table("head", "head.onnx", "windows", "scores");
    let softmax = table("head", "head-softmax.onnx", "windows", "scores");
    std::fs::copy(data("head-softmax.onnx"), package.dir.path().join("head-softmax.onnx")).unwrap();
    let package = package.change(&head, &softmax).change("fake_index = 1", "fake_index = 1\nsoftmax = true");
    let model = package.load().unwrap();
    let window = features(&model, &[[255.0, 51.0, 0.0]; 2]);
    assert_near(&model.head(&[window.view()]).unwrap(), &[0.8]);
}

#[test]
fn a_head_of_one_fixed_window_scores_several() {
    let package = Package::sequence();
    let head = table("head", "head.onnx", "windows", "scores");
    let fixed = table("head", "head-fixed.onnx", "windows", "scores");
    std::fs::copy(data("head-fixed.onnx"), package.dir.path().join("head-fixed.onnx")).unwrap();
    let package = package
        .change(&head, &fixed)
        .change("fake_index = 1", "fake_index = 0\nsoftmax = true")
        .change("least_frames = 2", "least_frames = 4");
    let model = package.load().unwrap();
    let windows = [features(&model, &[[255.0, 0.0, 0.0]; 4]), features(&model, &[[51.0, 9.0, 9.0]; 4])];
    assert_near(&model.head(&[windows[0].view(), windows[1].view()]).unwrap(), &[1.0, 0.2]);
    package.change("least_frames = 4", "least_frames = 3").fails(&["window.least_frames", "windows of 4 crops only"]);
}

#[test]
fn a_logit_becomes_a_probability() {
    let model =
        Package::sequence().change("[output]", "[calibration]\nslope = 2.0\nbias = -1.0\n[output]").load().unwrap();
    assert_near(&[model.probability(0.5), model.probability(1.0)], &[0.5, 0.731_058_6]);
    assert_eq!(model.probability(1e30), 1.0);
    assert_eq!(model.probability(-1e30), 0.0);
}

#[test]
fn one_thread_gives_the_same_bits_twice() {
    let picture =
        Array4::from_shape_fn((3, 3, 16, 16), |(n, c, y, x)| ((n * 71 + c * 37 + y * 13 + x * 7) % 256) as f32);
    let run = || Package::sequence().load().unwrap().encode(picture.clone().view_mut()).unwrap();
    assert_eq!(run(), run());
}

#[test]
fn the_documented_example_is_a_valid_description() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(example_model(), dir.path().join("model.toml")).unwrap();
    // All of it is read before the first graph is looked for.
    let error = ModelPackage::load(dir.path()).unwrap_err();
    assert!(matches!(&error, InferenceError::File { path, .. } if path.ends_with("encoder.onnx")), "{error}");
}

// Workers.

#[test]
fn the_same_graphs_share_a_worker_and_others_do_not() {
    let file = data("encoder.onnx");
    let worker =
        |files: &[&PathBuf], threads| Worker::shared(files, &SessionOptions { threads, ..ONE_THREAD }).unwrap();
    let first = worker(&[&file], 1);
    assert!(std::sync::Arc::ptr_eq(&first, &worker(&[&file], 1)));
    assert!(!std::sync::Arc::ptr_eq(&first, &worker(&[&file], 2)));
    assert!(!std::sync::Arc::ptr_eq(&first, &worker(&[&file, &data("head.onnx")], 1)));
    // The same bytes in another place are the same graph.
    let package = Package::sequence();
    assert!(std::sync::Arc::ptr_eq(&first, &worker(&[&package.dir.path().join("encoder.onnx")], 1)));
}

#[test]
fn many_threads_may_use_one_worker() {
    let worker = Worker::shared(&[data("encoder.onnx")], &ONE_THREAD).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let worker = &worker;
            scope.spawn(move || {
                for turn in 0..50 {
                    let red = (thread * 50 + turn) as f32;
                    let check = |outputs: &Outputs| {
                        assert_near(outputs[0].as_slice().unwrap(), &[red, 0.0, 0.0]);
                        assert_near(outputs[1].as_slice().unwrap(), &[0.0, red]);
                    };
                    worker.run(0, crops(&[[red, 0.0, 0.0]]).view().into_dyn(), check).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_worker_refuses_an_input_of_another_shape() {
    let worker = Worker::shared(&[data("encoder.onnx")], &ONE_THREAD).unwrap();
    for shape in [&[1, 3, 16][..], &[1, 3, 16, 17], &[1, 4, 16, 16], &[0, 3, 16, 16]] {
        let error = worker.run(0, ArrayD::zeros(IxDyn(shape)).view(), |_| ()).unwrap_err();
        assert!(matches!(&error, InferenceError::Input { .. }), "{error}");
        assert!(error.to_string().contains("[?, 3, 16, 16]"), "{error}");
    }
}

#[test]
fn two_models_live_in_one_process() {
    let sequence = Package::sequence().load().unwrap();
    let frame = Package::new("frame", &table("encoder", "encoder.onnx", "crops", "frame_scores")).load().unwrap();
    let colors = [[255.0, 51.0, 0.0]; 2];
    assert_near(&sequence.head(&[features(&sequence, &colors).view()]).unwrap(), &[0.8]);
    assert_near(&frame.head(&[features(&frame, &colors).view()]).unwrap(), &[0.8]);
    drop(sequence);
    assert_near(&frame.head(&[features(&frame, &colors).view()]).unwrap(), &[0.8]);
}

#[test]
fn a_device_that_does_not_work_falls_back_loudly_or_fails_if_required() {
    let cuda = SessionOptions { device: DeviceRequest::Cuda, ..ONE_THREAD };
    let model = Model::load(Package::sequence().read().unwrap(), &cuda).unwrap();
    if model.device() == Device::Cuda {
        eprintln!("SKIPPED: CUDA works on this machine");
        return;
    }
    assert_eq!(model.device(), Device::Cpu);
    assert!(model.placement().reason.unwrap().contains("cuda does not work"), "{:?}", model.placement().reason);
    // Even though a worker that fell back is at hand.
    let required = SessionOptions { require_device: true, ..cuda };
    let error = Model::load(Package::sequence().read().unwrap(), &required).unwrap_err();
    assert!(matches!(&error, InferenceError::Device { device: Device::Cuda, .. }), "{error}");
    // Who asks for the CPU gets it without a complaint.
    assert_eq!(Package::sequence().load().unwrap().placement().reason, None);
}

// Broken packages: the folder and its description.

#[test]
fn an_unknown_model_is_reported_with_the_places_searched() {
    let error = ModelPackage::find("no-such-model").unwrap_err().to_string();
    for part in ["no-such-model", "/usr/share/gst-plugin-deepfake/models/no-such-model", "DEEPFAKE_PATH"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_without_a_description_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let error = ModelPackage::find(dir.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("model.toml cannot be read: it does not exist"), "{error}");
    let missing = dir.path().join("x");
    let error = ModelPackage::find(missing.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("its folder does not exist"), "{error}");
}

#[test]
fn a_description_that_is_not_toml_is_reported_with_the_line() {
    Package::sequence().change("[input]", "[input").fails(&["model.toml", "line 5"]);
    let package = Package::sequence();
    package.read().unwrap();
    std::fs::write(package.dir.path().join("model.toml"), [0xff, 0xfe, 0]).unwrap();
    assert!(ModelPackage::load(package.dir.path()).unwrap_err().to_string().contains("not UTF-8"));
    std::fs::write(package.dir.path().join("model.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(ModelPackage::load(package.dir.path()).unwrap_err().to_string().contains("more than"));
}

#[test]
fn keys_too_many_too_few_or_of_another_kind_are_reported() {
    Package::sequence().change("margin", "margins").fails(&["unknown field `margins`", "line"]);
    Package::sequence().change("width = 16", "").fails(&["missing field `width`"]);
    Package::sequence().change("[output]", "[outputs]").fails(&["unknown field `outputs`"]);
    Package::sequence().change("width = 16", "width = \"16\"").fails(&["invalid type", "width"]);
    Package::sequence().change("\"sequence\"", "\"video\"").fails(&["unknown variant `video`", "sequence"]);
    Package::sequence()
        .change("margin", "alignment = \"mesh\"\nmargin")
        .fails(&["unknown variant `mesh`", "five-point"]);
    Package::sequence().change("margin", "color = \"gray\"\nmargin").fails(&["unknown variant `gray`", "rgb"]);
}

#[test]
fn values_that_make_no_sense_are_reported_with_their_key() {
    for (from, to, key) in [
        ("\"tiny\"", "\"a b\"", "model.name"),
        ("\"1.0\"", "\"\"", "model.version"),
        ("width = 16", "width = 8", "input.width"),
        ("height = 16", "height = 100000", "input.height"),
        ("margin = 1.3", "margin = nan", "input.margin"),
        ("margin = 1.3", "margin = 0.5", "input.margin"),
        ("margin = 1.3", "", "input.margin"),
        ("margin = 1.3", "margin = 1.3\nalignment = \"five-point\"", "input.margin"),
        ("margin = 1.3", "margin = 1.3\nrange = [1.0, 0.0]", "input.range"),
        ("margin = 1.3", "margin = 1.3\nstd = [1.0, 0.0, 1.0]", "input.std"),
        ("margin = 1.3", "margin = 1.3\nmean = [1.0, inf, 1.0]", "input.mean"),
        ("margin = 1.3", "margin = 1.3\nfeature = \"\"", "input.feature"),
        ("margin = 1.3", "margin = 1.3\nfeature = \"Noise residual\"", "input.feature"),
        ("margin = 1.3", "margin = 1.3\nfeature = \"rgb-\"", "input.feature"),
        ("frames = 4", "frames = 0", "window.frames"),
        ("rate_hz = 15.0", "rate_hz = 0.0", "window.rate_hz"),
        ("least_frames = 2", "least_frames = 5", "window.least_frames"),
        ("least_frames = 2", "least_frames = 0", "window.least_frames"),
        ("feature_length = 3", "", "encoder.feature_length"),
        ("feature_length = 3", "feature_length = 0", "encoder.feature_length"),
        ("fake_index = 1", "fake_index = 2", "output.fake_index"),
        ("[output]", "[calibration]\nslope = -1.0\n[output]", "calibration.slope"),
        ("[output]", "[calibration]\nbias = nan\n[output]", "calibration.bias"),
        ("[output]", "[calibration]\nfake_threshold = 1.5\n[output]", "calibration.fake_threshold"),
        ("[output]", "[calibration]\nauthentic_threshold = 0.8\n[output]", "calibration.authentic_threshold"),
        ("[output]", "[calibration]\nhysteresis = 0.6\n[output]", "calibration.hysteresis"),
    ] {
        Package::sequence().change(from, to).fails(&["model.toml: ", key]);
    }
}

#[test]
fn tables_that_do_not_fit_the_kind_are_reported() {
    let whole = table("whole", "whole.onnx", "windows", "scores");
    Package::sequence().change("[output]", &format!("{whole}[output]")).fails(&["model.kind", "[whole]"]);
    Package::sequence().change("\"sequence\"", "\"frame\"").fails(&["model.kind", "[head]"]);
    let frame = Package::new("frame", &table("encoder", "encoder.onnx", "crops", "frame_scores"));
    frame
        .change("output = \"frame_scores\"", "output = \"frame_scores\"\nfeature_length = 3")
        .fails(&["encoder.feature_length"]);
}

#[test]
fn files_outside_the_folder_are_refused() {
    for file in ["../encoder.onnx", "/etc/passwd", "sub/encoder.onnx", "..", ""] {
        let package = Package::sequence().change("\"encoder.onnx\"", &format!("{file:?}"));
        package.fails(&["encoder.file", "inside the package's folder"]);
    }
}

#[test]
fn a_file_that_is_missing_or_no_file_is_reported() {
    let package = Package::sequence();
    std::fs::remove_file(package.dir.path().join("head.onnx")).unwrap();
    package.fails(&["head.onnx cannot be read"]);
    std::fs::create_dir(package.dir.path().join("head.onnx")).unwrap();
    package.fails(&["head.onnx", "not a regular file"]);
}

#[test]
fn a_file_of_absurd_size_is_refused_unread() {
    // Files full of holes: they take no room.
    for (file, bytes) in [("model.toml", 3 << 20), ("head.onnx", (1 << 30) + 1)] {
        let package = Package::sequence();
        package.read().unwrap();
        std::fs::File::options().write(true).open(package.dir.path().join(file)).unwrap().set_len(bytes).unwrap();
        let error = ModelPackage::load(package.dir.path()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(&format!("{bytes} bytes, more than")), "{error}");
    }
}

#[test]
fn a_description_that_is_no_plain_file_is_not_waited_for() {
    let package = Package::sequence();
    let path = package.dir.path().join("model.toml");
    let fifo = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a string that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(ModelPackage::load(package.dir.path()).is_err());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(ModelPackage::load(package.dir.path()).is_err());
}

/// A graph may name files that hold its weights. Those have no checksum, and could be any file of the machine.
#[test]
fn a_graph_reads_no_other_files() {
    for place in ["weights.b", "../../a.b", "/dev/zero"] {
        let mut package = Package::with_encoder("encoder-external.onnx", "weighted");
        let path = package.dir.path().join("encoder-external.onnx");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(9).position(|bytes| bytes == b"weights.b").unwrap();
        bytes[at..at + 9].copy_from_slice(place.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(package.dir.path().join("weights.b"), [0; 12]).unwrap();
        let old = package.toml.lines().find(|line| line.starts_with("sha256")).unwrap().to_owned();
        package = package.change(&old, &format!("sha256 = \"{}\"", sha256(&bytes)));
        package.fails(&["encoder-external.onnx is not a usable ONNX graph"]);
    }
}

#[test]
fn a_wrong_checksum_is_reported_with_both() {
    let package = Package::sequence();
    let path = package.dir.path().join("head.onnx");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    package.fails(&["head.onnx", "sha256", "expected"]);
    let digits = table("head", "head.onnx", "windows", "scores");
    let digits = digits.lines().nth(2).unwrap().to_owned();
    Package::sequence().change(&digits, "sha256 = \"abc\"").fails(&["head.sha256", "sha256sum head.onnx"]);
}

// Broken packages: the graphs.

#[test]
fn a_corrupt_graph_is_reported() {
    let package = Package::sequence();
    let old = table("encoder", "encoder.onnx", "crops", "features");
    let (unusable, cut) =
        ("encoder.onnx is not a usable ONNX graph", &std::fs::read(data("encoder.onnx")).unwrap()[..200]);
    let damaged =
        [(&b""[..], "it is empty"), (b"this is no graph", unusable), (&[0xff; 4096], unusable), (cut, unusable)];
    for (bytes, complaint) in damaged {
        std::fs::write(package.dir.path().join("encoder.onnx"), bytes).unwrap();
        let line = old.lines().nth(2).unwrap();
        let toml = package.toml.replace(line, &format!("sha256 = \"{}\"", sha256(bytes)));
        let package = Package { dir: tempfile::tempdir().unwrap(), toml };
        std::fs::write(package.dir.path().join("encoder.onnx"), bytes).unwrap();
        std::fs::copy(data("head.onnx"), package.dir.path().join("head.onnx")).unwrap();
        package.fails(&["encoder.onnx", complaint]);
    }
}

#[test]
fn names_that_the_graph_does_not_have_are_reported_with_those_it_has() {
    Package::sequence().change("input = \"crops\"", "input = \"x\"").fails(&["encoder.input", "called `crops`"]);
    Package::sequence().change("output = \"features\"", "output = \"x\"").fails(&["encoder.output", "`features`"]);
    Package::sequence().change("input = \"windows\"", "input = \"x\"").fails(&["head.input", "called `windows`"]);
    Package::sequence().change("output = \"scores\"", "output = \"x\"").fails(&["head.output", "`scores`"]);
    let frame = "feature_length = 3\nframe_output = \"x\"";
    Package::sequence().change("feature_length = 3", frame).fails(&["encoder.frame_output", "`frame_scores`"]);
}

#[test]
fn shapes_that_do_not_fit_are_reported() {
    Package::sequence()
        .change("width = 16", "width = 32")
        .fails(&["encoder.input", "[?, 3, 16, 16], not [?, 3, 16, 32]"]);
    Package::with_encoder("encoder-20.onnx", "features").fails(&["encoder.input", "[?, 3, 20, 20]"]);
    Package::with_encoder("encoder-nhwc.onnx", "features").fails(&["encoder.input", "[?, 16, 16, 3]"]);
    Package::with_encoder("encoder-batch-1.onnx", "features").fails(&["encoder.input", "[1, 3, 16, 16]"]);
    Package::sequence().change("feature_length = 3", "feature_length = 4").fails(&[
        "encoder.feature_length",
        "is 4",
        "[?, 3]",
    ]);
    // Class scores of three classes.
    let frame = Package::new("frame", &table("encoder", "encoder.onnx", "crops", "features"));
    frame.fails(&["encoder.output", "[?, 3], not [N], [N, 1] or [N, 2]"]);
}

#[test]
fn a_shape_that_only_shows_when_run_is_reported_when_the_model_is_loaded() {
    Package::with_encoder("encoder-untold.onnx", "features").fails(&["encoder.feature_length", "[1, 2], not [1, 3]"]);
}

#[test]
fn outputs_that_are_no_map_and_no_kinds_are_reported() {
    let package = with_where_and_kinds;
    package().change("\"where\"", "\"x\"").fails(&["encoder.where_output", "no output `x`", "`where`"]);
    package().change("\"where\"", "\"features\"").fails(&["encoder.where_output", "[?, 3], not [N, g, g]"]);
    package().change("\"kinds\"", "\"x\"").fails(&["head.kinds_output", "no output `x`", "`kinds`"]);
    package().change("\"kinds\"", "\"scores\"").fails(&["head.kinds_output", "[?, 2], not [N, 3]"]);
    package().change(", \"moustache-2\"", "").fails(&["head.kinds_output", "[?, 3], not [N, 2]"]);
    package().change("\"lips\"", "\"swap\"").fails(&["head.kinds", "`swap` stands there twice"]);
    package().change("\"lips\"", "\"Lips!\"").fails(&["head.kinds", "`Lips!` is no name"]);
    package().change("kinds = [\"swap\", \"lips\", \"moustache-2\"]\n", "").fails(&["head.kinds", "missing"]);
    package().change("kinds_output = \"kinds\"\n", "").fails(&["head.kinds_output", "missing"]);
    // Of values from 0 to 255 the grey picture's cells are 127.5.
    package()
        .change("margin = 1.3", "margin = 1.3\nrange = [0.0, 255.0]")
        .fails(&["encoder.where_output", "127.5, which is not within 0..1"]);

    let with_encoder = |file: &str, output: &str| {
        let encoder = table("encoder", file, "crops", "features");
        let head = table("head", "head.onnx", "windows", "scores");
        let graphs = format!("{encoder}feature_length = 3\nwhere_output = \"{output}\"\n{head}");
        Package::new("sequence", &graphs)
    };
    with_encoder("encoder-where-nan.onnx", "broken").fails(&["encoder-where-nan.onnx", "`broken` holds NaN"]);
    with_encoder("encoder-where-untold.onnx", "part").fails(&["encoder.where_output", "[1, 4, 3], not [1, g, g]"]);

    let frame = table("encoder", "encoder.onnx", "crops", "frame_scores");
    Package::new("frame", &format!("{frame}where_output = \"features\"\n"))
        .fails(&["encoder.where_output", "frame model"]);
}

#[test]
fn graphs_of_another_form_are_reported() {
    Package::with_encoder("encoder-double.onnx", "features").fails(&["encoder-double.onnx", "Float64, not float32"]);
    Package::with_encoder("encoder-two-inputs.onnx", "scaled").fails(&["2 inputs (crops, factor), not one"]);
}

#[test]
fn broken_weights_are_reported_when_the_model_is_loaded() {
    Package::with_encoder("encoder-nan.onnx", "broken").fails(&["encoder-nan.onnx", "`broken` holds NaN"]);
}

#[test]
fn logits_that_are_called_probabilities_are_reported() {
    let package = Package::sequence().change("fake_index = 1", "fake_index = 1\nsoftmax = true");
    // A grey picture gives 0.5 and 0.5, which could be probabilities: only this range shows that they are none.
    package.change("margin = 1.3", "margin = 1.3\nrange = [0.0, 255.0]").fails(&["output.softmax", "no probabilities"]);
}

#[test]
fn crops_and_windows_of_another_size_are_refused() {
    let model = Package::sequence().load().unwrap();
    let error = model.encode(Array4::zeros((1, 3, 16, 17)).view_mut()).unwrap_err();
    assert!(matches!(error, InferenceError::Input { .. }), "{error}");
    for shape in [(0, 3), (5, 3), (2, 4)] {
        let error = model.head(&[Array2::zeros(shape).view()]).unwrap_err();
        assert!(matches!(error, InferenceError::Input { .. }), "{error}");
    }
}

#[test]
fn a_package_knows_its_graphs() {
    let package = Package::sequence().read().unwrap();
    let Graphs::Split { encoder, head, .. } = &package.graphs else { panic!("{:?}", package.graphs) };
    assert_eq!(encoder.feature_length, 3);
    assert!(head.file.path.ends_with("head.onnx") && head.file.path.is_absolute());
}

#[test]
fn every_package_of_the_repository_loads_and_runs() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut packages: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("model.toml").is_file())
        .collect();
    packages.sort();
    assert!(!packages.is_empty());
    for path in packages {
        // Loading runs each graph once and refuses what is not finite.
        let model = Model::load(ModelPackage::load(&path).unwrap(), &ONE_THREAD).unwrap();
        assert_eq!(Some(model.package().name.as_str()), path.file_name().and_then(|name| name.to_str()));
    }
}
