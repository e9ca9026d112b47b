//! One file through the live element, in a worker process.

use std::{
    collections::HashSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use deepfake_engine::{analysis::frame::Orientation, inference::ModelPackage};
use deepfake_report::{FrameReport, meta};
use gst::prelude::*;
use gstdeepfake::elements::frame;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    compare::{self, Pair, Reference, Thumbnails},
    finding::{self, Finding, Media, ModelNote, Program, ReferenceNote, SCHEMA, Verdict},
    inputs::{Input, Source},
    page,
    pictures::{Album, Picture, Pictures},
    save::Saver,
    tally::{Sum, Tally},
};
use crate::{
    decode::Decoder,
    detector::{Detector, Warm},
    files,
    frames::{self, Frames},
    pool::At,
    stop,
};

/// Ways through a file that --thorough takes: plain and mirrored, each over the frames on the model's grid of times and over
/// those between.
const PASSES: u8 = 4;

/// What a worker process is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub detector: Detector,
    /// Look at no more than this many seconds of each.
    pub seconds: Option<f64>,
    /// Folder for pages.
    pub report: Option<PathBuf>,
    /// Folder for pictures of faces.
    pub crops: Option<PathBuf>,
    /// What is shown beside each.
    pub compare: Option<Input>,
    /// Look at every frame, and at mirrored ones as well.
    pub thorough: bool,
    /// Said in every finding.
    pub notes: Vec<String>,
}

/// One file to judge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub input: Input,
    /// What files about it are called, without an ending.
    pub stem: String,
    /// Where the video goes with boxes and verdicts drawn on it.
    pub save: Option<PathBuf>,
}

/// Judges files, one after the other.
pub struct Judge {
    setup: Setup,
    model: ModelNote,
    /// P(fake) from which a face is called fake, and up to which nothing was found.
    thresholds: (f64, f64),
    program: Program,
    /// Looked at once, with the first file.
    reference: Option<Reference>,
    _warm: Warm,
}

/// What [`Judge::watch`] saw of a file.
struct Watched {
    tally: Tally,
    album: Album,
    thumbnails: Thumbnails,
    media: Media,
    /// What ended it before its end.
    broken: Option<String>,
    notes: Vec<String>,
}

/// One way through a file.
#[derive(Default)]
struct Pass {
    mirrored: bool,
    /// Pictures are stored on their side.
    transposed: bool,
    /// Times of frames that are left out, since they were analysed before.
    skip: Arc<HashSet<u64>>,
    /// Of this many passes it is which.
    which: (u8, u8),
}

/// Frames of a pass, and what came of them.
struct Seen {
    tally: Tally,
    media: Media,
    broken: Option<String>,
    /// Times of frames that were analysed.
    analysed: HashSet<u64>,
    transposed: bool,
}

impl Judge {
    /// Starts an element with the model once, so that what makes every file fail is said at once.
    pub fn new(setup: Setup) -> Result<Self> {
        let package = ModelPackage::find(&setup.detector.model)?;
        let calibration = &package.calibration;
        Ok(Self {
            model: note(&package),
            thresholds: (calibration.fake_threshold.into(), calibration.authentic_threshold.into()),
            program: program()?,
            reference: None,
            _warm: setup.detector.warm()?,
            setup,
        })
    }

    /// Judges one file. Whatever is wrong with it is part of the finding.
    ///
    /// # Errors
    /// Only if the user asked to stop.
    pub fn file(&mut self, job: &Job, at: &mut dyn FnMut(At)) -> Result<Finding> {
        let watched = self.look_at_reference().and_then(|()| self.watch(job, at));
        let (finding, album) = match watched {
            Ok(watched) => {
                let sum = watched.tally.finish(watched.media.seconds);
                let mut finding = self.finding(&job.input, sum, watched.broken);
                finding.media = Some(watched.media);
                finding.notes.extend(watched.notes);
                finding.reference = self.reference.as_ref().map(|reference| {
                    let alignment = compare::align(&watched.thumbnails, &reference.thumbnails);
                    ReferenceNote {
                        file: reference.input.name.clone(),
                        verdict: reference.verdict,
                        score: reference.score,
                        offset: alignment.map(|alignment| alignment.offset),
                        matched: alignment.map_or(0.0, |alignment| alignment.matched),
                    }
                });
                (finding, Some(watched.album))
            }
            Err(error) if error.is::<stop::Stopped>() => return Err(error),
            Err(error) => (self.failed(&job.input, &format!("{error:#}")), None),
        };
        Ok(self.written(job, finding, album))
    }

    /// Judges the reference of --compare, once.
    fn look_at_reference(&mut self) -> Result<()> {
        let (Some(input), None) = (&self.setup.compare, &self.reference) else { return Ok(()) };
        let job = Job { input: input.clone(), stem: String::new(), save: None };
        let seen =
            self.watch(&job, &mut |_| {}).with_context(|| format!("the reference {} cannot be used", input.name))?;
        let start = seen.tally.start().unwrap_or_default();
        let sum = seen.tally.finish(seen.media.seconds);
        self.reference = Some(Reference {
            input: input.clone(),
            start,
            timeline: sum.faces.first().map(|face| face.timeline.clone()).unwrap_or_default(),
            verdict: sum.verdict,
            score: sum.score,
            thumbnails: seen.thumbnails,
            album: seen.album,
            faces: sum.faces.iter().map(|face| face.track_id).collect(),
        });
        Ok(())
    }

    fn watch(&self, job: &Job, at: &mut dyn FnMut(At)) -> Result<Watched> {
        let passes = if self.setup.thorough { PASSES } else { 1 };
        let (mut album, mut thumbnails) = (Album::new(), Thumbnails::default());
        let pictures = self.setup.report.is_some() || self.setup.crops.is_some();
        let (mut saver, mut unsaved) = (None, None);
        let first = Pass { which: (0, passes), ..Pass::default() };
        let seen = self.pass(&job.input, &first, at, &mut |sample, orientation, tally, report| {
            // A video that cannot be written is no reason not to judge.
            if let (Some(path), None) = (&job.save, &unsaved) {
                let saved = match &mut saver {
                    Some(saver) => Saver::push(saver, sample),
                    None => Saver::new(path).and_then(|new| saver.insert(new).push(sample)),
                };
                unsaved = saved.err();
            }
            let Some(time) = seconds(sample, tally.start()) else { return Ok(()) };
            let small = self.setup.compare.is_some() && thumbnails.wants(time);
            let report = report.filter(|report| pictures && album.wants(time, report));
            if (small || report.is_some())
                && let Some((_, frame)) = Frames::default().next(sample, orientation)?
            {
                frame.view(|view| {
                    if small {
                        thumbnails.take(time, view)?;
                    }
                    report.map_or(Ok(()), |report| album.take(time, view, report))
                })?;
            }
            Ok(())
        })?;
        let Seen { mut tally, mut media, mut broken, analysed, transposed } = seen;
        if let (Some(saver), None) = (saver, &unsaved) {
            unsaved = saver.finish().err();
        }
        if let Some(error) = unsaved {
            broken = Some(broken.map_or(String::new(), |broken| broken + "; ") + &format!("{error:#}"));
        }
        let mut notes = Vec::new();
        if passes > 1 && job.input.source.file().is_none() {
            notes.push("an address is looked at once: thorough is for files".to_owned());
        } else if passes > 1 {
            let none = Arc::default();
            let skip = Arc::new(analysed);
            let further = [
                Pass { mirrored: true, transposed, skip: none, which: (1, passes) },
                Pass { mirrored: false, transposed, skip: skip.clone(), which: (2, passes) },
                Pass { mirrored: true, transposed, skip, which: (3, passes) },
            ];
            for pass in further {
                let other = self.pass(&job.input, &pass, at, &mut |_, _, _, _| Ok(()))?;
                tally.merge(&other.tally, pass.which.0, pass.mirrored.then_some(usize::from(transposed)));
            }
            notes.push("thorough: every frame as it is and mirrored; scores are means of all".to_owned());
        }
        if let Source::File(path) = &job.input.source {
            media.bytes = Some(path.metadata()?.len());
            media.sha256 = Some(sha256(path)?);
        }
        Ok(Watched { tally, album, thumbnails, media, broken, notes })
    }

    /// Goes through a file; `each` is handed every frame, with its report where that is new.
    fn pass(
        &self,
        input: &Input,
        pass: &Pass,
        at: &mut dyn FnMut(At),
        each: &mut dyn FnMut(&gst::Sample, Orientation, &Tally, Option<&FrameReport>) -> Result<()>,
    ) -> Result<Seen> {
        let mut middle = Vec::new();
        if pass.mirrored {
            // Across as it is shown, which is up and down in a picture that is stored on its side.
            let method = if pass.transposed { "vertical-flip" } else { "horizontal-flip" };
            let flip = gst::ElementFactory::make("videoflip").property_from_str("method", method);
            middle.push(flip.build().context("--thorough needs videoflip: install gstreamer1.0-plugins-good")?);
        }
        let element = self.setup.detector.element()?;
        if !pass.skip.is_empty() {
            let skip = pass.skip.clone();
            let entry = element.static_pad("sink").expect("deepfakedetect has a sink pad");
            entry.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let pts = info.buffer().and_then(|buffer| buffer.pts()).map(gst::ClockTime::nseconds);
                match pts {
                    // Not `Drop`: with GStreamer 1.22 that is a critical in the log for each frame.
                    Some(pts) if skip.contains(&pts) => gst::PadProbeReturn::Handled,
                    _ => gst::PadProbeReturn::Ok,
                }
            });
        }
        middle.push(element);
        let caps = frame::caps();
        let mut decoder = match &input.source {
            Source::File(path) => Decoder::open(path, &caps, &middle)?,
            Source::Address(address) => Decoder::open_address(address, &input.name, &caps, &middle)?,
        };
        let limit = self.setup.seconds.or(input.source.is_endless().then_some(super::DEFAULT_LIVE_SECONDS));
        let mut tally = Tally::new(self.thresholds.0, self.thresholds.1, self.model.window_seconds);
        let (mut media, mut broken, mut analysed) = (Media::default(), None, HashSet::new());
        let (mut first, mut said) = (None, 0.0);
        loop {
            let sample = match decoder.next() {
                Ok(Some(sample)) => sample,
                Ok(None) => break,
                Err(error) if error.is::<stop::Stopped>() => return Err(error),
                // What came before still counts.
                Err(error) if media.frames > 0 => {
                    broken = Some(format!("reading stopped after {:.1} s: {error:#}", media.seconds));
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some(buffer) = sample.buffer() else { continue };
            media.frames += 1;
            if media.frames == 1
                && let Some(info) = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok())
            {
                (media.width, media.height) = (info.width(), info.height());
                let fps = info.fps();
                media.fps = if fps.denom() > 0 { f64::from(fps.numer()) / f64::from(fps.denom()) } else { 0.0 };
            }
            if let Some(pts) = buffer.pts() {
                let start = *first.get_or_insert(pts);
                let end = pts + buffer.duration().unwrap_or_default();
                media.seconds = media.seconds.max(end.saturating_sub(start).nseconds() as f64 / 1e9);
            }
            let report = meta::read(buffer).filter(|report| tally.add(report));
            if report.is_some()
                && let Some(pts) = buffer.pts()
            {
                analysed.insert(pts.nseconds());
            }
            each(&sample, decoder.orientation(), &tally, report.as_ref())?;
            if media.seconds - said >= 0.5 {
                said = media.seconds;
                let all = limit.or(decoder.duration().map(|duration| duration.nseconds() as f64 / 1e9));
                let part = all.map_or(0.0, |all| (media.seconds / all).clamp(0.0, 1.0));
                let (which, of) = (f64::from(pass.which.0), f64::from(pass.which.1.max(1)));
                at(At { part: (which + part) / of, seconds: which * media.seconds + media.seconds });
            }
            if limit.is_some_and(|limit| media.seconds >= limit) {
                break;
            }
        }
        Ok(Seen { tally, media, broken, analysed, transposed: decoder.orientation().transpose })
    }

    fn finding(&self, input: &Input, sum: Sum, broken: Option<String>) -> Finding {
        Finding {
            schema: SCHEMA,
            file: input.name.clone(),
            verdict: sum.verdict,
            failed: broken.is_some(),
            message: broken.or_else(|| sum.why_not()),
            score: sum.score,
            media: None,
            judged_share: sum.judged_share,
            further_faces: sum.further_faces,
            faces: sum.faces,
            not_judged: sum.gaps,
            cuts: sum.cuts,
            model: self.model.clone(),
            program: self.program.clone(),
            reference: None,
            scanned: finding::now(),
            page: None,
            notes: self.setup.notes.clone(),
        }
    }

    fn failed(&self, input: &Input, why: &str) -> Finding {
        let sum = Tally::new(1.0, 0.0, 1.0).finish(0.0);
        // The row names the file already.
        let path = input.source.file().map(|path| path.display().to_string());
        let names = [Some(&input.name), path.as_ref()];
        let why = names.into_iter().flatten().find_map(|name| why.strip_prefix(&format!("{name}: "))).unwrap_or(why);
        debug_assert_eq!(sum.verdict, Verdict::NotJudged);
        self.finding(input, sum, Some(why.to_owned()))
    }

    /// Pictures of the highest face, each beside one of the reference: of the same frame, where it shows the same.
    fn pairs(&self, finding: &Finding, album: &Album, reference: &Reference) -> Result<Vec<Pair>> {
        let own = finding.faces.first().and_then(|face| album.of(face.track_id));
        let own = own.map(Pictures::all).unwrap_or_default();
        let offset = finding.reference.as_ref().and_then(|note| note.offset);
        match (offset, &reference.input.source) {
            (Some(offset), Source::File(path)) => same_moments(&own, path, reference, offset),
            (Some(offset), Source::Address(_)) => Ok(compare::near_moments(&own, reference, offset)),
            (None, _) => Ok(compare::other_moments(&own, reference)),
        }
    }

    /// Writes page and pictures; a disk that is full is a message of this file.
    fn written(&self, job: &Job, mut finding: Finding, album: Option<Album>) -> Finding {
        let mut write = || -> Result<()> {
            if let Some(folder) = &self.setup.crops
                && let Some(album) = &album
            {
                write_crops(&folder.join(&job.stem), &finding, album)?;
            }
            if let Some(folder) = &self.setup.report {
                let name = format!("{}.html", job.stem);
                finding.page = Some(name.clone());
                let pairs = match (&album, &self.reference) {
                    (Some(album), Some(reference)) => self.pairs(&finding, album, reference)?,
                    _ => Vec::new(),
                };
                files::write(&folder.join(name), page::file(&finding, album.as_ref(), &pairs).as_bytes())?;
            }
            Ok(())
        };
        if let Err(error) = write() {
            finding.page = None;
            finding.failed = true;
            let before = finding.message.take().map(|message| format!("{message}; ")).unwrap_or_default();
            finding.message = Some(format!("{before}{error:#}"));
        }
        finding
    }
}

/// Seconds from `start`, a running time, to the frame in `sample`.
fn seconds(sample: &gst::Sample, start: Option<u64>) -> Option<f64> {
    let time = frames::running_time(sample, sample.buffer()?)?;
    Some(time.checked_sub(start?)? as f64 / 1e9)
}

/// Looks through the reference once more, for the frames that show what `own` pictures show.
fn same_moments(own: &[&Picture], path: &Path, reference: &Reference, offset: f64) -> Result<Vec<Pair>> {
    let wanted = own.iter().step_by(own.len().div_ceil(compare::MAX_PAIRS).max(1));
    let mut wanted = wanted.filter(|picture| picture.time + offset > -compare::MAX_APART).peekable();
    let mut decoder = Decoder::open(path, &frame::caps(), &[])?;
    let (mut cutter, mut pairs) = (Album::new(), Vec::new());
    let mut before: Option<(f64, gst::Sample)> = None;
    while wanted.peek().is_some()
        && let Some(sample) = decoder.next()?
    {
        let Some(time) = seconds(&sample, Some(reference.start)) else { continue };
        while let Some(picture) = wanted.next_if(|picture| picture.time + offset <= time) {
            let at = picture.time + offset;
            let nearer = before.as_ref().filter(|(earlier, _)| at - earlier < time - at);
            let (time, sample) = nearer.map_or((time, &sample), |(earlier, sample)| (*earlier, sample));
            if (time - at).abs() > compare::MAX_APART {
                continue;
            }
            let Some((_, frame)) = Frames::default().next(sample, decoder.orientation())? else { continue };
            let jpeg = frame.view(|view| cutter.same_place(view, picture))?;
            let other = Picture { time, score: reference.score_at(time), jpeg, ..(*picture).clone() };
            pairs.push(((*picture).clone(), other));
        }
        before = Some((time, sample));
    }
    Ok(pairs)
}

/// A folder a face: `face-1/0012.300-0.831.jpg`, the time in seconds and the score.
fn write_crops(folder: &Path, finding: &Finding, album: &Album) -> Result<()> {
    for face in &finding.faces {
        let Some(pictures) = album.of(face.track_id) else { continue };
        let folder = folder.join(format!("face-{}", face.track_id));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for picture in pictures.all() {
            let score = picture.score.unwrap_or_default();
            let name = format!("{:08.3}-{score:.3}.jpg", picture.time);
            files::write(&folder.join(name), &picture.jpeg)?;
        }
    }
    Ok(())
}

pub fn note(package: &ModelPackage) -> ModelNote {
    let metric = |name: &str| package.metrics.get(name);
    let graphs = package.graphs.all();
    let named = graphs.into_iter().map(|graph| {
        let name = graph.file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, graph.file.sha256.clone())
    });
    ModelNote {
        name: package.name.clone(),
        version: package.version.clone(),
        licence: package.licence.clone(),
        sha256: named.collect(),
        // As the text of the description, not as the nearest double: .8233 and not .823300004.
        fake_threshold: decimal(package.calibration.fake_threshold),
        nothing_found_threshold: decimal(package.calibration.authentic_threshold),
        window_seconds: package.window.frames as f64 / package.window.rate_hz,
        false_alarms: metric("fpr_at_fake_threshold").and_then(toml::Value::as_float),
        hits: metric("tpr_at_fake_threshold").and_then(toml::Value::as_float),
        measured_on: metric("on").and_then(toml::Value::as_str).map(str::to_owned),
    }
}

fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn program() -> Result<Program> {
    Ok(Program {
        name: "deepfake".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        sha256: sha256(Path::new(files::THIS_PROGRAM))?,
    })
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            count => hasher.update(&block[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
