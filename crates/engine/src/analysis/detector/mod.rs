//! Finding faces on a small picture of the frame.
//!
//! The picture goes through an ONNX graph; what kind of detector it is shows in the names of its outputs.

mod centerface;
mod yunet;

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayViewD, ArrayViewMut4, Axis, s};

use super::AnalysisError;
use super::geometry::{Landmarks, Point, Rect};
use super::planar;
use super::sampler::ChannelOrder;
use crate::inference::graph::Outputs;
use crate::inference::{Device, DeviceRequest, Placement, SessionOptions, Worker};

/// Boxes that share more than this (intersection over union) are the same face, …
const SAME_FACE_IOU: f32 = 0.3;
/// … and those that share this much with the best one see it at the same place: their mean is taken.
const BLENDED_IOU: f32 = 0.6;
/// Cells down to this part of the threshold take part in that mean, though they make no face by themselves.
const BLENDED_CONFIDENCE: f32 = 0.5;
/// No picture is so wide by far, and sums and means of such numbers are still finite.
const FARTHEST_PIXEL: f32 = 1e6;
/// Sides of the picture are padded to a multiple of this, the coarsest stride of the graphs.
pub(super) const GRANULARITY: usize = 32;

/// One face as the detector sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    pub rect: Rect,
    /// `None` where faces come from upstream without landmarks.
    pub landmarks: Option<Landmarks>,
    /// 0..1
    pub confidence: f32,
}

/// A small picture of the whole frame: interleaved 8-bit pixels, `height` × `width` × 3.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    pub pixels: &'a [u8],
    pub width: usize,
    pub height: usize,
}

/// Why a graph's outputs are not a detector's.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    #[error(
        "the outputs {outputs:?} belong to no face detector known here; use CenterFace \
         (537, 538, 539, 540) or YuNet (cls_8, obj_8, bbox_8, kps_8, …)"
    )]
    Unknown { outputs: Vec<String> },
    #[error("the face detector's output {name} has the unexpected shape {shape:?}")]
    Shape { name: &'static str, shape: Vec<usize> },
}

impl DetectorError {
    fn shape(name: &'static str, shape: &[usize]) -> Self {
        Self::Shape { name, shape: shape.to_vec() }
    }
}

/// Which detector a graph is, and where among its outputs each map stands.
enum Decoder {
    /// Heatmap, size, offset, landmarks.
    CenterFace([usize; 4]),
    /// For each stride: class, object, box, landmarks.
    YuNet([(usize, [usize; 4]); 3]),
}

impl Decoder {
    fn of(outputs: &[String]) -> Result<Self, DetectorError> {
        let find = |name: &str| outputs.iter().position(|output| output == name);
        let all = |names: [&str; 4]| -> Option<[usize; 4]> {
            Some([find(names[0])?, find(names[1])?, find(names[2])?, find(names[3])?])
        };
        let scale = |stride: usize| {
            let names = ["cls", "obj", "bbox", "kps"].map(|map| format!("{map}_{stride}"));
            all(names.each_ref().map(String::as_str)).map(|maps| (stride, maps))
        };
        let centerface = || all(["537", "538", "539", "540"]).map(Self::CenterFace);
        let yunet = || Some(Self::YuNet([scale(8)?, scale(16)?, scale(32)?]));
        centerface().or_else(yunet).ok_or_else(|| DetectorError::Unknown { outputs: outputs.to_vec() })
    }

    fn decode(
        &self,
        maps: &[ArrayViewD<f32>],
        width: usize,
        height: usize,
        threshold: f32,
    ) -> Result<Vec<Detection>, DetectorError> {
        match self {
            Self::CenterFace(indices) => centerface::decode(indices.map(|index| maps[index].view()), threshold),
            Self::YuNet(scales) => {
                let mut faces = Vec::new();
                for (stride, indices) in scales {
                    let [class, object, boxes, landmarks] = indices.map(|index| maps[index].view());
                    let scale = yunet::Scale { stride: *stride, class, object, boxes, landmarks };
                    faces.extend(yunet::decode(&scale, width, height, threshold)?);
                }
                Ok(faces)
            }
        }
    }

    /// The faces of a picture of this width and height.
    fn faces(
        &self,
        maps: &[ArrayViewD<f32>],
        (width, height): (usize, usize),
        threshold: f32,
    ) -> Result<Vec<Detection>, DetectorError> {
        let least = threshold * BLENDED_CONFIDENCE;
        let mut faces = self.decode(maps, padded(width), padded(height), least)?;
        // Faces in the padding are none.
        let bounds = Rect::new(0.0, 0.0, width as f32, height as f32);
        faces.retain_mut(|face| {
            face.rect = face.rect.intersection(&bounds);
            face.rect.is_valid()
        });
        Ok(suppress(faces, threshold))
    }
}

/// Finds faces with an ONNX graph that is run by a worker shared in the process.
pub struct FaceDetector {
    worker: Arc<Worker>,
    decoder: Decoder,
    /// Of the tensor.
    memory: Vec<f32>,
}

impl FaceDetector {
    /// Loads the graph in `file`: CenterFace, or YuNet with dynamic input size.
    ///
    /// # Errors
    /// If the file is missing or no ONNX, the device will not load, or the graph is of no known detector.
    pub fn load(file: &Path, options: &SessionOptions) -> Result<Self, AnalysisError> {
        let device = match options.device {
            // TensorRT would build an engine, for minutes, for each new size of a picture: at the first frame and in mid-stream.
            DeviceRequest::TensorRt => DeviceRequest::Cuda,
            device => device,
        };
        let worker = Worker::shared(&[file], &SessionOptions { device, ..*options })?;
        let decoder =
            Decoder::of(&worker.graphs()[0].outputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>())?;
        Ok(Self { worker, decoder, memory: vec![] })
    }

    /// Whether pictures should come in few sizes, even if that makes them larger: all devices but the CPU prepare themselves for each
    /// size anew, TensorRT for minutes.
    pub fn wants_few_sizes(&self) -> bool {
        self.worker.placement().active != Some(Device::Cpu)
    }

    /// On what the graph runs right now. A device may be lost and come back.
    pub fn placement(&self) -> Placement {
        self.worker.placement()
    }

    /// Channel order that pictures must have.
    pub fn order(&self) -> ChannelOrder {
        match self.decoder {
            Decoder::CenterFace(_) => ChannelOrder::Rgb,
            Decoder::YuNet(_) => ChannelOrder::Bgr,
        }
    }

    /// Faces whose confidence is above `threshold`, best first, in pixels of the picture.
    ///
    /// # Errors
    /// If the graph fails or its outputs have unexpected shapes.
    pub fn detect(&mut self, picture: Picture, threshold: f32) -> Result<Vec<Detection>, AnalysisError> {
        let tensor = tensor(picture, &mut self.memory)?;
        let read = |maps: &Outputs| self.decoder.faces(maps, (picture.width, picture.height), threshold);
        Ok(self.worker.run(0, tensor.view().into_dyn(), read)??)
    }

    /// The faces in the graph's outputs for `picture`: the last step of [`detect`](Self::detect).
    ///
    /// # Errors
    /// If the outputs have unexpected shapes.
    pub fn faces(
        &self,
        maps: &[ArrayViewD<f32>],
        picture: Picture,
        threshold: f32,
    ) -> Result<Vec<Detection>, DetectorError> {
        self.decoder.faces(maps, (picture.width, picture.height), threshold)
    }
}

/// Makes of `picture` what the graphs take: [1, 3, H, W] of 0..255, black at the right and the bottom up to the next multiple of 32.
/// It lies in `memory`, which only ever grows: pictures come in several sizes.
///
/// # Errors
/// If OpenCV fails.
pub fn tensor<'a>(picture: Picture, memory: &'a mut Vec<f32>) -> Result<ArrayViewMut4<'a, f32>, AnalysisError> {
    let (height, width) = (padded(picture.height), padded(picture.width));
    memory.resize(3 * height * width, 0.0);
    let tensor = ArrayViewMut4::from_shape((1, 3, height, width), memory);
    let mut tensor = tensor.expect("as many numbers as the shape says");
    let mut planes = tensor.index_axis_mut(Axis(0), 0);
    // What an earlier picture has left there.
    planes.slice_mut(s![.., picture.height.., ..]).fill(0.0);
    planes.slice_mut(s![.., .., picture.width..]).fill(0.0);
    planar::split(picture.pixels, picture.width, planes)?;
    Ok(tensor)
}

fn padded(side: usize) -> usize {
    side.next_multiple_of(GRANULARITY)
}

/// The detection, unless a number in it makes no sense or its box is empty: graphs may say anything.
fn plausible(detection: Detection) -> Option<Detection> {
    // NaN is not near either.
    let is_near = |value: f32| value.abs() < FARTHEST_PIXEL;
    let Rect { x, y, width, height } = detection.rect;
    let mut points = detection.landmarks.iter().flatten();
    let near =
        [x, y, width, height].into_iter().all(is_near) && points.all(|point| is_near(point.x) && is_near(point.y));
    (near && detection.rect.is_valid()).then_some(detection)
}

/// One face for each group of overlapping boxes whose best is above `threshold`, best first. `boxes` go down to
/// [`BLENDED_CONFIDENCE`] of it.
///
/// A face lies at the mean of its group, weighted by confidence (Bazarevsky et al., "BlazeFace", arXiv:1907.05047, 3.4), counted
/// from where cells begin to take part: a box that comes, goes or becomes the best one by the noise of the pixels moves nothing.
fn suppress(mut boxes: Vec<Detection>, threshold: f32) -> Vec<Detection> {
    boxes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut faces: Vec<Detection> = Vec::new();
    while boxes.first().is_some_and(|best| best.confidence > threshold) {
        let best = boxes.remove(0);
        faces.push(blend(&best, &boxes, threshold * BLENDED_CONFIDENCE));
        boxes.retain(|face| best.rect.iou(&face.rect) < SAME_FACE_IOU);
    }
    faces
}

/// `best` with its box and landmarks at the mean of itself and those `others` that see it at the same place.
fn blend(best: &Detection, others: &[Detection], least: f32) -> Detection {
    let weight = |face: &Detection| face.confidence - least;
    let others = others.iter().filter(|face| best.rect.iou(&face.rect) >= BLENDED_IOU);
    let others: Vec<_> = others.map(|face| (face, weight(face))).collect();
    let total = weight(best) + others.iter().map(|(_, weight)| weight).sum::<f32>();
    let mean = |value: &dyn Fn(&Detection) -> f32| {
        let own = value(best);
        own + others.iter().map(|(face, weight)| weight * (value(face) - own)).sum::<f32>() / total
    };
    let landmarks = best.landmarks.map(|own| {
        let of = |face: &Detection, index: usize| face.landmarks.unwrap_or(own)[index];
        std::array::from_fn(|index| Point { x: mean(&|face| of(face, index).x), y: mean(&|face| of(face, index).y) })
    });
    let rect = Rect {
        x: mean(&|face| face.rect.x),
        y: mean(&|face| face.rect.y),
        width: mean(&|face| face.rect.width),
        height: mean(&|face| face.rect.height),
    };
    Detection { rect, landmarks, confidence: best.confidence }
}

#[cfg(test)]
#[path = "../../../../../tests/common/fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4, ArrayD};
    use proptest::prelude::*;

    use super::*;

    /// CenterFace maps of a 64×32 picture with one face: centre (42, 18), 20 wide, 24 high.
    fn centerface_maps() -> [Array4<f32>; 4] {
        let (row, column) = (4, 10);
        let mut maps = [1, 2, 2, 10].map(|channels| Array4::zeros((1, channels, 8, 16)));
        maps[0][[0, 0, row, column]] = 0.9;
        maps[1][[0, 0, row, column]] = (24.0f32 / 4.0).ln();
        maps[1][[0, 1, row, column]] = (20.0f32 / 4.0).ln();
        for index in 0..5 {
            maps[3][[0, 2 * index, row, column]] = 0.5;
            maps[3][[0, 2 * index + 1, row, column]] = 0.1 * index as f32;
        }
        maps
    }

    fn decode_centerface(maps: &[Array4<f32>; 4], threshold: f32) -> Result<Vec<Detection>, DetectorError> {
        centerface::decode(maps.each_ref().map(|map| map.view().into_dyn()), threshold)
    }

    #[test]
    fn centerface_maps_become_a_face() {
        let faces = decode_centerface(&centerface_maps(), 0.5).unwrap();
        let [face] = &faces[..] else { panic!("{faces:?}") };
        assert!((face.rect.center().x - 42.0).abs() < 1e-3 && (face.rect.center().y - 18.0).abs() < 1e-3);
        assert!((face.rect.width - 20.0).abs() < 1e-3 && (face.rect.height - 24.0).abs() < 1e-3);
        let landmarks = face.landmarks.unwrap();
        assert!((landmarks[2].x - (32.0 + 0.2 * 20.0)).abs() < 1e-3 && (landmarks[2].y - 18.0).abs() < 1e-3);
        assert!(decode_centerface(&centerface_maps(), 0.95).unwrap().is_empty());
    }

    #[test]
    fn maps_full_of_nonsense_give_no_face() {
        for nonsense in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for map in 1..4 {
                let mut maps = centerface_maps();
                maps[map].fill(nonsense);
                // An infinitely negative log size is an empty box.
                assert_eq!(decode_centerface(&maps, 0.5).unwrap(), [], "map {map} of {nonsense}");
            }
        }
        let mut maps = centerface_maps();
        maps[0].fill(f32::NAN);
        assert_eq!(decode_centerface(&maps, 0.5).unwrap(), []);
    }

    /// Found by `fuzz_centerface_maps`: the mean of a group was infinite.
    #[test]
    fn numbers_too_large_to_take_means_of_give_no_face() {
        for map in 1..4 {
            let mut maps = centerface_maps();
            maps[0].fill(4.0e35);
            maps[map].fill(if map == 1 { 80.0 } else { -3.0e37 });
            assert_eq!(decode_centerface(&maps, 0.5).unwrap(), [], "map {map}");
        }
        let mut maps = centerface_maps();
        maps[0] *= 4.0e35;
        assert_eq!(decode_centerface(&maps, 0.5).unwrap()[0].confidence, 1.0);
    }

    #[test]
    fn maps_of_other_shapes_are_an_error() {
        let mut maps = centerface_maps();
        maps[2] = Array4::zeros((1, 2, 8, 15));
        assert!(matches!(decode_centerface(&maps, 0.5), Err(DetectorError::Shape { name: "offset", .. })));
    }

    #[test]
    fn a_yunet_scale_becomes_a_face() {
        let (width, height, stride) = (64, 32, 8);
        let cell = 2 * 8 + 3;
        let map = |channels, values: &[f32]| {
            let mut map = Array3::<f32>::zeros((1, 32, channels));
            for (channel, value) in values.iter().enumerate() {
                map[[0, cell, channel]] = *value;
            }
            map.into_dyn()
        };
        let class = map(1, &[0.81]);
        let object = map(1, &[1.0]);
        let boxes = map(4, &[0.5, 0.25, 2f32.ln(), 3f32.ln()]);
        let landmarks = map(10, &[0.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0]);
        let scale = |boxes| yunet::Scale {
            stride,
            class: class.view(),
            object: object.view(),
            boxes,
            landmarks: landmarks.view(),
        };
        let faces = yunet::decode(&scale(boxes.view()), width, height, 0.5).unwrap();
        let [face] = &faces[..] else { panic!("{faces:?}") };
        assert!((face.confidence - 0.9).abs() < 1e-6);
        assert_eq!(face.rect, Rect::from_center(crate::analysis::geometry::Point { x: 28.0, y: 18.0 }, 16.0, 24.0));
        assert!(yunet::decode(&scale(class.view()), width, height, 0.5).is_err());
    }

    fn square(x: f32, confidence: f32) -> Detection {
        Detection { rect: Rect::new(x, 0.0, 10.0, 10.0), landmarks: Some([Point { x, y: 5.0 }; 5]), confidence }
    }

    #[test]
    fn overlapping_boxes_are_one_face() {
        // The one at 4 covers too little of the best to say where it is, and too much to be another face.
        let faces = suppress(vec![square(1.0, 0.5), square(0.0, 0.8), square(4.0, 0.7), square(30.0, 0.5)], 0.4);
        assert_eq!(faces, [square(1.0 / 3.0, 0.8), square(30.0, 0.5)]);
    }

    #[test]
    fn boxes_under_the_threshold_make_no_face() {
        assert_eq!(suppress(vec![square(0.0, 0.4), square(1.0, 0.3)], 0.4), []);
    }

    #[test]
    fn a_face_does_not_jump_when_another_cell_is_the_best() {
        let at = |first: f32, second: f32, third: f32| {
            let faces = suppress(vec![square(0.0, first), square(2.0, second), square(1.0, third)], 0.4);
            let [face] = &faces[..] else { panic!("{faces:?}") };
            assert_eq!(face.landmarks.unwrap()[0].x, face.rect.x);
            face.rect.x
        };
        assert!((at(0.801, 0.8, 0.3) - at(0.8, 0.801, 0.3)).abs() < 0.01);
        assert!((at(0.9, 0.2001, 0.5) - at(0.9, 0.2, 0.5)).abs() < 0.01, "where a cell begins to take part");
    }

    #[test]
    fn the_tensor_is_planar_and_padded_with_black() {
        let pixels: Vec<u8> = (0..5 * 2 * 3).collect();
        // Something larger has been there before.
        let mut memory = vec![1.0; 3 * 64 * 64];
        let tensor = tensor(Picture { pixels: &pixels, width: 5, height: 2 }, &mut memory).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 32, 32]);
        assert_eq!(tensor[[0, 1, 1, 4]], f32::from(pixels[(5 + 4) * 3 + 1]));
        assert_eq!(tensor[[0, 1, 1, 5]], 0.0);
        assert_eq!(tensor.sum(), pixels.iter().map(|v| f32::from(*v)).sum::<f32>());
    }

    #[test]
    fn detectors_are_known_by_their_outputs() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert!(matches!(Decoder::of(&names(&["537", "538", "539", "540"])), Ok(Decoder::CenterFace(_))));
        let yunet: Vec<String> = ["cls", "obj", "bbox", "kps"]
            .iter()
            .flat_map(|map| [8, 16, 32].map(|stride| format!("{map}_{stride}")))
            .collect();
        assert!(matches!(Decoder::of(&yunet), Ok(Decoder::YuNet(_))));
        assert!(matches!(Decoder::of(&names(&["logits"])), Err(DetectorError::Unknown { .. })));
    }

    /// What a graph may say of a picture of 64×32, and what it may not: sometimes a map has another shape, or none at all.
    fn any_map(shape: Vec<usize>) -> impl Strategy<Value = ArrayD<f32>> {
        let number = || prop_oneof![8 => -3.0..3.0f32, 1 => proptest::num::f32::ANY, 1 => 80.0..100.0f32];
        let other = proptest::collection::vec(0..10usize, 0..5);
        prop_oneof![40 => Just(shape), 1 => other].prop_flat_map(move |shape| {
            proptest::collection::vec(number(), shape.iter().product::<usize>())
                .prop_map(move |values| ArrayD::from_shape_vec(shape.clone(), values).unwrap())
        })
    }

    fn any_centerface() -> impl Strategy<Value = Vec<ArrayD<f32>>> {
        [1, 2, 2, 10].map(|channels| any_map(vec![1, channels, 8, 16])).into_iter().collect::<Vec<_>>()
    }

    fn any_yunet() -> impl Strategy<Value = Vec<ArrayD<f32>>> {
        let maps = |stride: usize| {
            let cells = (64 / stride) * (32 / stride);
            [1, 1, 4, 10].map(|channels| any_map(vec![1, cells, channels]))
        };
        [8, 16, 32].into_iter().flat_map(maps).collect::<Vec<_>>()
    }

    /// Any maps give an error or faces within the picture, and the same ones again.
    fn fuzz_maps(decoder: &Decoder, any_maps: impl Strategy<Value = Vec<ArrayD<f32>>>) {
        fuzz::check(300, (any_maps, 0.0..1.0f32), |(maps, threshold)| {
            let views: Vec<_> = maps.iter().map(|map| map.view()).collect();
            if let Ok(faces) = decoder.faces(&views, (60, 30), threshold) {
                for face in &faces {
                    prop_assert!(face.confidence > threshold);
                    prop_assert!(face.rect.is_valid(), "{face:?}");
                    prop_assert!(face.rect.x >= 0.0 && face.rect.right() <= 60.001, "{face:?}");
                    prop_assert!(face.rect.y >= 0.0 && face.rect.bottom() <= 30.001, "{face:?}");
                    let mut points = face.landmarks.iter().flatten();
                    prop_assert!(points.all(|point| point.x.is_finite() && point.y.is_finite()), "{face:?}");
                }
                prop_assert_eq!(&faces, &decoder.faces(&views, (60, 30), threshold).unwrap());
            }
            Ok(())
        });
    }

    #[test]
    fn fuzz_centerface_maps() {
        fuzz_maps(&Decoder::CenterFace([0, 1, 2, 3]), any_centerface());
    }

    #[test]
    fn fuzz_yunet_maps() {
        fuzz_maps(&Decoder::YuNet([(8, [0, 1, 2, 3]), (16, [4, 5, 6, 7]), (32, [8, 9, 10, 11])]), any_yunet());
    }
}
