//! Glue between GStreamer and the drawing: properties, negotiation, and what happens to a buffer.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::{
    CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION as OVERLAY_FEATURE, VideoFrameRef, VideoInfo,
    VideoOverlayComposition, VideoOverlayCompositionMeta, VideoRegionOfInterestMeta,
};

use super::canvas::{self, Ink, Picture, Pixels, Shape};
use super::heat::Veil;
use super::history::History;
use super::label::{Label, Metrics, Parts};
use super::layout::{self, Area, Place, Size, Wish};
use super::outline::{self, Pen, Stroke};
use super::theme;
use crate::elements::frame;
use deepfake_report::State as Verdict;
use deepfake_report::{FaceReport, FrameReport, meta};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("deepfakeoverlay", gst::DebugColorFlags::empty(), Some("Overlay of deepfake verdicts"))
});

/// A stream that has run this long without a report is warned of.
const SILENCE: gst::ClockTime = gst::ClockTime::from_seconds(5);
/// More detectors than this are not told apart: names that change without end must not cost memory.
const DETECTORS_MAX: usize = 16;
/// More faces than this are not drawn: nobody could read them, and a broken report must not stall
/// the stream.
const FACES_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq)]
struct Settings {
    show_box: bool,
    show_label: bool,
    show_window: bool,
    show_history: bool,
    show_where: bool,
    font: String,
    scale: f64,
    history_seconds: u32,
    /// Milliseconds; 0 for never.
    expire: u32,
    /// Name of the element whose reports are drawn; `None` for all.
    detector: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            show_box: true,
            show_label: true,
            show_window: true,
            show_history: true,
            show_where: false,
            font: "Sans".into(),
            scale: 1.0,
            history_seconds: 10,
            expire: 500,
            detector: None,
        }
    }
}

/// How drawings reach the picture, decided anew for every caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Downstream said in its caps that it takes compositions; whether it draws them is still to be
    /// asked.
    Ask,
    Attach,
    Blend,
}

/// Content of one rectangle of the composition; equal ones look the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    Veil(Veil),
    Stroke(Stroke),
    Label(Label),
}

type Scene = Vec<(Content, Area)>;

struct State {
    info: VideoInfo,
    way: Way,
    ink: Ink,
    shape: Shape,
    /// The settings that `metrics` and `drawn` were made with.
    settings: Settings,
    metrics: Metrics,
    pen: Pen,
    detectors: Vec<Detector>,
    /// Where the label of each face was in the frame before.
    places: HashMap<Key, Place>,
    drawn: Option<Drawn>,
}

/// The last scene and its pictures, in the same order.
struct Drawn {
    scene: Scene,
    pictures: Vec<Picture>,
    /// Made when first attached.
    composition: Option<VideoOverlayComposition>,
}

impl Drawn {
    fn composition(&mut self) -> &VideoOverlayComposition {
        let pictures = &self.pictures;
        self.composition.get_or_insert_with(|| pictures.iter().map(Picture::rectangle).collect())
    }
}

/// What is remembered of the reports of one element.
struct Detector {
    element: Option<String>,
    history: History,
}

/// A face among those of all detectors: the detector's place in [`State::detectors`], `None` for a
/// face that nobody judged, and the track.
type Key = (Option<usize>, u32);

/// A face to be drawn.
struct Face<'a> {
    area: Area,
    state: Option<Verdict>,
    key: Option<Key>,
    report: Option<&'a FaceReport>,
}

impl State {
    fn new(info: VideoInfo, way: Way, settings: Settings) -> Self {
        let (metrics, pen) = measures(&info, &settings);
        Self {
            ink: ink(&info, way),
            shape: Shape::of(&info),
            info,
            way,
            settings,
            metrics,
            pen,
            detectors: Vec::new(),
            places: HashMap::new(),
            drawn: None,
        }
    }

    fn set_way(&mut self, way: Way) {
        self.way = way;
        self.ink = ink(&self.info, way);
        self.drawn = None;
    }

    fn set_settings(&mut self, settings: Settings) {
        (self.metrics, self.pen) = measures(&self.info, &settings);
        self.settings = settings;
        self.drawn = None;
    }

    /// As it is shown.
    fn frame(&self) -> Size {
        self.shape.frame(&self.info)
    }

    /// What is to be seen: contents and their places.
    fn scene(&mut self, mut faces: Vec<Face>) -> Scene {
        // The most important faces get room for their labels first, and are painted last.
        faces.sort_by_key(|face| (std::cmp::Reverse(theme::rank(face.state)), face.key));
        faces.truncate(FACES_MAX);

        let frame = self.frame();
        let span = self.settings.history_seconds;
        let labels: Vec<[Option<Label>; 2]> = faces
            .iter()
            .map(|face| match (face.report, face.key) {
                (Some(report), Some((Some(detector), _))) => {
                    let history = &self.detectors[detector].history;
                    let newest = history.newest().unwrap_or(0);
                    let full = self.metrics.label(report, history.samples(report.track_id), newest, span);
                    let compact = full.as_ref().and_then(|full| self.metrics.compact(full));
                    [full, compact]
                }
                (_, Some((_, id))) => [None, self.metrics.plain(id as i32)],
                (_, None) => [None, None],
            })
            .collect();
        let wishes: Vec<_> = faces
            .iter()
            .zip(&labels)
            .map(|(face, [full, compact])| {
                // A full label that covers much of a small picture hides more than it tells.
                let modest =
                    |size: &Size| size.width * 100 <= frame.width * 45 && size.height * 100 <= frame.height * 40;
                Wish {
                    face: face.area,
                    forms: [full.as_ref().map(Label::size).filter(modest), compact.as_ref().map(Label::size)],
                    before: face.key.and_then(|key| self.places.get(&key).copied()),
                    important: face.state == Some(Verdict::Fake),
                }
            })
            .collect();
        let areas: Vec<_> = faces.iter().map(|face| face.area).collect();
        let places = layout::place(frame, self.metrics.gap() + self.pen.casing, &areas, &wishes);

        self.places = faces.iter().zip(&places).filter_map(|(face, place)| Some((face.key?, (*place)?))).collect();
        let mut scene = Scene::new();
        if self.settings.show_where {
            let veiled = faces.iter().rev().filter_map(|face| Some((Veil::over(face.report?, face.area)?, face.area)));
            scene.extend(veiled.map(|(veil, area)| (Content::Veil(veil), area)));
        }
        if self.settings.show_box {
            for face in faces.iter().rev() {
                let strokes = outline::strokes(face.area, frame, face.state, self.pen);
                scene.extend(strokes.into_iter().map(|(stroke, area)| (Content::Stroke(stroke), area)));
            }
        }
        for (place, mut forms) in places.into_iter().zip(labels) {
            if let Some(place) = place
                && let Some(label) = forms[place.form].take()
            {
                let parts = label.split(&self.metrics, place.area);
                scene.extend(parts.into_iter().map(|(part, area)| (Content::Label(part), area)));
            }
        }
        scene
    }

    /// The scene as pictures; those of before if nothing changed.
    fn draw(&mut self, scene: Scene) -> Result<&mut Drawn, cairo::Error> {
        if !self.drawn.as_ref().is_some_and(|drawn| drawn.scene == scene) {
            // What was drawn before and is still in the scene, if elsewhere, is not drawn again.
            let mut known: HashMap<Content, gst::Buffer> = self.drawn.take().map_or_else(HashMap::new, |drawn| {
                drawn
                    .scene
                    .into_iter()
                    .zip(drawn.pictures)
                    .map(|((content, _), picture)| (content, picture.buffer))
                    .collect()
            });
            let mut pictures = Vec::with_capacity(scene.len());
            for (content, area) in &scene {
                let buffer = match known.get(content) {
                    Some(buffer) => buffer.clone(),
                    None => {
                        let buffer = self.ink.buffer(self.paint(content)?);
                        known.insert(content.clone(), buffer.clone());
                        buffer
                    }
                };
                pictures.push(Picture { buffer, area: self.shape.stored(*area) });
            }
            self.drawn = Some(Drawn { scene, pictures, composition: None });
        }
        Ok(self.drawn.as_mut().expect("just made"))
    }

    /// The place of the element of this name among the detectors.
    fn detector(&mut self, element: Option<&str>) -> usize {
        if let Some(index) = self.detectors.iter().position(|known| known.element.as_deref() == element) {
            return index;
        }
        if self.detectors.len() >= DETECTORS_MAX {
            self.forget();
        }
        self.detectors.push(Detector { element: element.map(Into::into), history: History::default() });
        self.detectors.len() - 1
    }

    fn forget(&mut self) {
        self.detectors.clear();
        self.places.clear();
    }

    fn paint(&self, content: &Content) -> Result<Pixels, cairo::Error> {
        match content {
            Content::Veil(veil) => veil.paint(self.shape),
            Content::Stroke(stroke) => stroke.paint(self.shape),
            Content::Label(label) => label.paint(&self.metrics, self.shape),
        }
    }
}

fn ink(info: &VideoInfo, way: Way) -> Ink {
    if way == Way::Blend { Ink::for_frame(info) } else { Ink::Rgb }
}

/// Text and strokes grow with the picture, but never below what can be read.
fn measures(info: &VideoInfo, settings: &Settings) -> (Metrics, Pen) {
    let short = f64::from(info.width().min(info.height()));
    let em = ((short * 0.0235).max(10.0) * settings.scale).clamp(4.0, 400.0);
    let parts = Parts { text: settings.show_label, window: settings.show_window, history: settings.show_history };
    (Metrics::new(&settings.font, em, parts), Pen::new(em))
}

#[derive(Default)]
pub struct DeepfakeOverlay {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    /// Downstream listed the caps feature but does not draw compositions: until it reconfigures, it
    /// is not offered again.
    refused: Mutex<bool>,
    silence: Mutex<Silence>,
}

/// Waits for the first report.
#[derive(Default)]
struct Silence {
    /// Running time of the first frame without one.
    since: Option<gst::ClockTime>,
    /// A report has come, or the warning has been posted.
    is_over: bool,
}

/// Why a frame cannot be drawn on.
#[derive(Debug, thiserror::Error)]
enum DrawError {
    #[error("a buffer came before its caps")]
    NoCaps,
    #[error("cannot draw: {0}")]
    Cairo(#[from] cairo::Error),
    #[error("cannot map a frame for writing: it is smaller than its caps say, or not in system memory")]
    Map,
    #[error("cannot blend: {0}")]
    Blend(#[from] glib::BoolError),
}

#[glib::object_subclass]
impl ObjectSubclass for DeepfakeOverlay {
    const NAME: &'static str = "GstDeepfakeOverlay";
    type Type = super::DeepfakeOverlay;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for DeepfakeOverlay {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let flag = |name, nick, blurb, default| {
                glib::ParamSpecBoolean::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .default_value(default)
                    .mutable_playing()
                    .build()
            };
            vec![
                flag(
                    "show-box",
                    "Show box",
                    "Draw a box around each face, in the colour and line of its state",
                    defaults.show_box,
                ),
                flag(
                    "show-label",
                    "Show label",
                    "Write the verdict, the score and the track's number beside each face",
                    defaults.show_label,
                ),
                flag(
                    "show-window",
                    "Show window filling",
                    "Draw a ring that tells how many of the crops that a verdict needs are there",
                    defaults.show_window,
                ),
                flag(
                    "show-history",
                    "Show history",
                    "Draw the score of the last history-seconds as a strip for each face",
                    defaults.show_history,
                ),
                flag(
                    "show-where",
                    "Show where",
                    "Veil the parts of an uncertain or fake face that look changed; needs attach-where=true on deepfakedetect, \
                     and a model that says where",
                    defaults.show_where,
                ),
                glib::ParamSpecString::builder("font")
                    .nick("Font")
                    .blurb("Pango font description, such as \"Inter, Sans\"; a size in it is ignored, see scale")
                    .default_value(Some(defaults.font.as_str()))
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("scale")
                    .nick("Scale")
                    .blurb(
                        "Size of text and lines relative to the default, which follows the shorter side of the picture",
                    )
                    .minimum(0.25)
                    .maximum(8.0)
                    .default_value(defaults.scale)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("history-seconds")
                    .nick("History seconds")
                    .blurb("Seconds of score that the history strip spans")
                    .minimum(1)
                    .maximum(600)
                    .default_value(defaults.history_seconds)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecString::builder("detector")
                    .nick("Detector")
                    .blurb("Name of the deepfakedetect whose reports are drawn; unset = those of all")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("expire")
                    .nick("Expire")
                    .blurb(
                        "Hide what was found in a frame that is more than this many milliseconds from the one shown; \
                         0 = never",
                    )
                    .default_value(defaults.expire)
                    .mutable_playing()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock().unwrap();
        // GObject has checked types and ranges.
        match pspec.name() {
            "show-box" => settings.show_box = value.get().unwrap(),
            "show-label" => settings.show_label = value.get().unwrap(),
            "show-window" => settings.show_window = value.get().unwrap(),
            "show-history" => settings.show_history = value.get().unwrap(),
            "show-where" => settings.show_where = value.get().unwrap(),
            "font" => {
                settings.font = value.get::<Option<String>>().unwrap().unwrap_or_else(|| Settings::default().font);
            }
            "scale" => settings.scale = value.get().unwrap(),
            "history-seconds" => settings.history_seconds = value.get().unwrap(),
            "detector" => settings.detector = value.get().unwrap(),
            "expire" => settings.expire = value.get().unwrap(),
            name => unreachable!("no property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock().unwrap();
        match pspec.name() {
            "show-box" => settings.show_box.to_value(),
            "show-label" => settings.show_label.to_value(),
            "show-window" => settings.show_window.to_value(),
            "show-history" => settings.show_history.to_value(),
            "show-where" => settings.show_where.to_value(),
            "font" => settings.font.to_value(),
            "scale" => settings.scale.to_value(),
            "history-seconds" => settings.history_seconds.to_value(),
            "detector" => settings.detector.to_value(),
            "expire" => settings.expire.to_value(),
            name => unreachable!("no property {name}"),
        }
    }
}

impl GstObjectImpl for DeepfakeOverlay {}

impl ElementImpl for DeepfakeOverlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Deepfake overlay",
                "Filter/Editor/Video",
                "Draws the verdicts of deepfakedetect: boxes, words, scores and their history",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let mut caps = frame::caps();
            let mut attached = caps.clone();
            for index in 0..attached.size() {
                // System memory has to be named once there is another feature; without it these
                // caps match nobody's.
                let features = gst::CapsFeatures::new([gst::CAPS_FEATURE_MEMORY_SYSTEM_MEMORY, OVERLAY_FEATURE]);
                attached.make_mut().set_features(index, Some(features));
            }
            caps.merge(attached);
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).expect("a valid template")
                })
                .collect()
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for DeepfakeOverlay {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        meta::register();
        *self.refused.lock().unwrap() = false;
        *self.silence.lock().unwrap() = Silence::default();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *self.state.lock().unwrap() = None;
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let offer = !*self.refused.lock().unwrap();
        let mut transformed = gst::Caps::new_empty();
        let writable = transformed.get_mut().expect("nobody else has it yet");
        for (structure, features) in caps.iter_with_features() {
            let mut other = features.to_owned();
            match direction {
                // With what arrives, compositions can leave too …
                gst::PadDirection::Sink => {
                    if offer && !features.is_any() && !features.contains(OVERLAY_FEATURE) {
                        other.add(OVERLAY_FEATURE);
                        writable.append_structure_full(structure.to_owned(), Some(other));
                    }
                    writable.append_structure_full(structure.to_owned(), Some(features.to_owned()));
                }
                // … and where they may leave, they need not have arrived.
                _ => {
                    writable.append_structure_full(structure.to_owned(), Some(features.to_owned()));
                    if features.contains(OVERLAY_FEATURE) {
                        other.remove(OVERLAY_FEATURE);
                        writable.append_structure_full(structure.to_owned(), Some(other));
                    }
                }
            }
        }
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&transformed, gst::CapsIntersectMode::First),
            None => transformed,
        })
    }

    fn fixate_caps(&self, direction: gst::PadDirection, caps: &gst::Caps, othercaps: gst::Caps) -> gst::Caps {
        let attaching = othercaps.iter_with_features().find(|(_, features)| features.contains(OVERLAY_FEATURE)).map(
            |(structure, features)| {
                let mut caps = gst::Caps::new_empty();
                caps.get_mut()
                    .expect("nobody else has it yet")
                    .append_structure_full(structure.to_owned(), Some(features.to_owned()));
                caps
            },
        );
        self.parent_fixate_caps(direction, caps, attaching.unwrap_or(othercaps))
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(incaps).map_err(|_| gst::loggable_error!(CAT, "No video caps: {incaps}"))?;
        let has = |caps: &gst::Caps| caps.features(0).is_some_and(|features| features.contains(OVERLAY_FEATURE));
        let way = match (has(incaps), has(outcaps)) {
            // What came attached has to stay attached: so downstream draws compositions, or nobody
            // does.
            (true, _) => Way::Attach,
            (false, true) => Way::Ask,
            (false, false) => Way::Blend,
        };
        gst::debug!(CAT, imp = self, "{incaps}: {way:?}");
        let settings = self.settings.lock().unwrap().clone();
        let mut guard = self.state.lock().unwrap();
        let mut state = State::new(info, way, settings);
        // Another size or another way of drawing is no reason to forget the scores.
        if let Some(before) = guard.take() {
            state.detectors = before.detectors;
        }
        *guard = Some(state);
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if matches!(event.type_(), gst::EventType::FlushStop | gst::EventType::StreamStart)
            && let Some(state) = self.state.lock().unwrap().as_mut()
        {
            state.forget();
        }
        self.parent_sink_event(event)
    }

    fn src_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Reconfigure {
            // Whoever is downstream now may think otherwise.
            *self.refused.lock().unwrap() = false;
        }
        self.parent_src_event(event)
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = self.settings.lock().unwrap().clone();
        let reports = match &settings.detector {
            Some(name) => meta::read_from(buffer, name).into_iter().collect(),
            None => meta::read_all(buffer),
        };
        // Whoever wants one detector's faces does not want others'.
        let has_regions = settings.detector.is_none() && buffer.meta::<VideoRegionOfInterestMeta>().is_some();
        let has_faces = !reports.is_empty() || has_regions;
        self.watch_silence(buffer, has_faces);
        if !has_faces {
            return Ok(gst::FlowSuccess::Ok);
        }
        self.decide_way();
        // Posted without a lock: whoever gets the message may read or set properties.
        self.draw(buffer, &reports, settings).map_err(|error| {
            let flow = match error {
                DrawError::NoCaps => gst::FlowError::NotNegotiated,
                _ => gst::FlowError::Error,
            };
            match error {
                DrawError::NoCaps => gst::element_imp_error!(self, gst::CoreError::Negotiation, ["{error}"]),
                DrawError::Map => gst::element_imp_error!(self, gst::ResourceError::Write, ["{error}"]),
                _ => gst::element_imp_error!(self, gst::LibraryError::Failed, ["{error}"]),
            }
            flow
        })?;
        Ok(gst::FlowSuccess::Ok)
    }
}

impl DeepfakeOverlay {
    fn draw(&self, buffer: &mut gst::BufferRef, reports: &[FrameReport], settings: Settings) -> Result<(), DrawError> {
        let mut guard = self.state.lock().unwrap();
        let state = guard.as_mut().ok_or(DrawError::NoCaps)?;
        if state.settings != settings {
            state.set_settings(settings);
        }
        let frame = state.frame();
        let mut faces = Vec::new();
        let history_ns = u64::from(state.settings.history_seconds) * gst::ClockTime::SECOND.nseconds();
        for report in reports {
            let detector = state.detector(report.element.as_deref());
            state.detectors[detector].history.push(report, history_ns);
            if self.is_expired(buffer, report, state.settings.expire) {
                gst::trace!(CAT, imp = self, "Report of {} ns is too old for {:?}", report.pts, buffer.pts());
            } else {
                faces.extend(report.faces.iter().filter_map(|face| judged(face, detector, frame)));
            }
        }
        if reports.is_empty() {
            faces.extend(
                buffer
                    .iter_meta::<VideoRegionOfInterestMeta>()
                    .filter_map(|region| unjudged(&region, &state.info, frame)),
            );
        }
        let scene = state.scene(faces);
        if scene.is_empty() {
            return Ok(());
        }
        let (way, ink, info) = (state.way, state.ink, state.info.clone());
        let drawn = state.draw(scene)?;
        if way == Way::Attach {
            attach(buffer, drawn.composition());
            return Ok(());
        }
        let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer, &info).map_err(|_| DrawError::Map)?;
        for picture in &drawn.pictures {
            canvas::fill_padding(&mut frame, picture.area);
            ink.blend(&mut frame, picture)?;
        }
        Ok(())
    }

    /// Warns once of a stream in which nothing has been found for a while because nobody looks.
    fn watch_silence(&self, buffer: &gst::BufferRef, has_faces: bool) {
        {
            let mut silence = self.silence.lock().unwrap();
            silence.is_over |= has_faces;
            if silence.is_over {
                return;
            }
            let Some(now) = self.running_time(buffer) else { return };
            let since = *silence.since.get_or_insert(now);
            silence.is_over = now.saturating_sub(since) >= SILENCE;
            if !silence.is_over {
                return;
            }
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Failed,
            (
                "No report of a deepfakedetect has come for {} seconds: nothing is drawn. Put a deepfakedetect before \
                 the overlay, check that its model is loaded (its property stats says so), and that detector, if set, \
                 is its name.",
                SILENCE.seconds()
            )
        );
    }

    fn running_time(&self, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
        let segment = self.obj().segment();
        segment.downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?)
    }

    /// Asks downstream, once per caps, whether it draws compositions. Caps alone do not tell:
    /// whoever takes any caps, takes this feature too.
    fn decide_way(&self) {
        if !self.state.lock().unwrap().as_ref().is_some_and(|state| state.way == Way::Ask) {
            return;
        }
        let src = self.obj().src_pad().clone();
        let caps = src.current_caps();
        let mut query = gst::query::Allocation::new(caps.as_ref(), false);
        let attach =
            src.peer_query(&mut query) && query.find_allocation_meta::<VideoOverlayCompositionMeta>().is_some();
        gst::debug!(CAT, imp = self, "Downstream {} compositions", if attach { "draws" } else { "does not draw" });
        if let Some(state) = self.state.lock().unwrap().as_mut() {
            state.set_way(if attach { Way::Attach } else { Way::Blend });
        }
        if !attach {
            // Blend, and take the empty promise out of the caps.
            *self.refused.lock().unwrap() = true;
            self.obj().reconfigure_src();
        }
    }

    /// Whether `report` is more than `expire` milliseconds away from `buffer`.
    ///
    /// Some encoders shift timestamps and segment together, so the buffer's running time counts as
    /// well as its PTS.
    fn is_expired(&self, buffer: &gst::BufferRef, report: &FrameReport, expire: u32) -> bool {
        let Some(pts) = buffer.pts() else { return false };
        if expire == 0 {
            return false;
        }
        let expire = gst::ClockTime::from_mseconds(expire.into()).nseconds();
        let is_far = |time: gst::ClockTime, reported: u64| time.nseconds().abs_diff(reported) > expire;
        let running = self.running_time(buffer);
        is_far(pts, report.pts)
            && running.is_none_or(|running| is_far(running, report.pts) && is_far(running, report.time()))
    }
}

/// Adds the composition to what others may have attached before.
fn attach(buffer: &mut gst::BufferRef, composition: &VideoOverlayComposition) {
    if let Some(mut meta) = buffer.meta_mut::<VideoOverlayCompositionMeta>() {
        let all: VideoOverlayComposition = meta.overlay().iter().chain(composition.iter()).collect();
        meta.set_overlay(&all);
    } else {
        VideoOverlayCompositionMeta::add(buffer, composition);
    }
}

fn judged(face: &FaceReport, detector: usize, frame: Size) -> Option<Face<'_>> {
    Some(Face {
        area: layout::face_area(face, frame)?,
        state: Some(face.state),
        key: Some((Some(detector), face.track_id)),
        report: Some(face),
    })
}

fn unjudged(roi: &VideoRegionOfInterestMeta, info: &VideoInfo, frame: Size) -> Option<Face<'static>> {
    if roi.roi_type() != meta::ROI_TYPE {
        return None;
    }
    let (x, y, width, height) = roi.rect();
    let edges = [x, y, x.saturating_add(width), y.saturating_add(height)].map(f64::from);
    let (across, down) = (f64::from(info.width()), f64::from(info.height()));
    let area = layout::area([edges[0] / across, edges[1] / down, edges[2] / across, edges[3] / down], frame)?;
    // Zero is what an id is that nobody set.
    let track_id = u32::try_from(roi.id()).ok().filter(|&id| id > 0);
    Some(Face { area, state: None, key: track_id.map(|id| (None, id)), report: None })
}
