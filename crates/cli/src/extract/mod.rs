//! `deepfake extract`: clips in, a sequence of face crops per followed face out, by the code that runs live.

mod sequence;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use deepfake_engine::{
    analysis::{
        AnalysisError,
        cropper::{Alignment, CropSpec, Cropper},
        detector::FaceDetector,
        follower::{FaceFollower, FollowerSettings},
        sampler::ChannelOrder,
        window::Grid,
    },
    inference::{DeviceRequest, SessionOptions, places},
};
use gstdeepfake::elements::frame;
use serde::{Deserialize, Serialize};

use crate::{
    clips::{self, Clip},
    decode::Decoder,
    files,
    frames::Frames,
    pool,
    progress::Progress,
    stop::Stopped,
};
use sequence::{Crop, Sequence};

/// Side of the square that is cropped where the user says nothing, as a multiple of the face box's longer side.
const MARGIN: f32 = 1.6;
/// Version of the files' form.
const SCHEMA: u32 = 1;

const AFTER: &str = "\
What comes out, for each clip and each face followed in it:

  DIR/SPLIT/LABEL/CLIP/track-0001.npy   crops: uint8, T x SIZE x SIZE x 3, RGB
  DIR/SPLIT/LABEL/CLIP/track-0001.json  per crop: time, box, landmarks, confidence, and the part of the frame it shows
                                        (with five-point alignment the matrix from frame to crop); the clip's labels
  DIR/SPLIT/LABEL/CLIP/clip.json        marks the clip as done; a clip without a face has only this
  DIR/manifest.csv                      one row a track:
      npy,json,file,split,label,method,dataset,group   paths from DIR; the clip's columns of the list
      track,crops,first_pts,last_pts                    id, number of crops, time of first and last (ns)
      face_px,confidence                                median longer side of the box; mean of the detector

Faces are found, followed, timed and cropped by the code of `deepfakedetect`. The run may be stopped with Ctrl-C and
goes on where it was when the same command is given again. Exit code 1: all clips failed, or the list is bad.

Examples:
  deepfake extract --clips clips.csv --split train --size 192 --margin 1.6 --out crops
  deepfake extract --clips folder-with-real-and-fake --size 128 --margin 1.3 --rate 0 --out crops
  deepfake extract --clips clips.csv --alignment five-point --size 150 --out aligned-crops";

#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    list: clips::ListArgs,
    /// Side of a crop in pixels
    #[arg(long, value_name = "PX", default_value_t = 192, value_parser = clap::value_parser!(u32).range(16..=1024))]
    size: u32,
    /// How faces lie in the crops: upright in their box, or turned so that eyes, nose and mouth have fixed places
    #[arg(long, value_name = "HOW", default_value = "box",
          value_parser = PossibleValuesParser::new(["box", "five-point"]).map(alignment))]
    alignment: Alignment,
    /// Side of the square that is cropped, as a multiple of the face box's longer side; not with five-point [default: 1.6]
    #[arg(long, value_name = "X", value_parser = margin)]
    margin: Option<f32>,
    /// Crops a second, taken on the grid of times that runs live; 0 takes every frame
    #[arg(long, value_name = "HZ", default_value_t = 15.0, value_parser = rate)]
    rate: f64,
    /// Drop faces of which there are fewer crops than this
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    least: u32,
    /// Face detector: a file, or the name of an installed one
    #[arg(long, value_name = "FILE", default_value = "centerface.onnx")]
    detector: String,
    /// Where to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Clips worked on at once, a process each [default: one per core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

fn alignment(word: String) -> Alignment {
    if word == "five-point" { Alignment::FivePoint } else { Alignment::Box }
}

fn margin(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.5..=5.0).contains(&value) => Ok(value),
        _ => Err("a margin is a number from 0.5 to 5".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=240.0).contains(&value) => Ok(value),
        _ => Err("a rate is a number from 0 to 240".into()),
    }
}

/// What decides on the crops; the same for all clips of a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    size: u32,
    #[serde(default)]
    alignment: Alignment,
    /// Only of upright crops.
    margin: Option<f32>,
    rate_hz: f64,
    least: u32,
    /// File name of the face detector.
    detector: String,
}

/// What a worker process is told.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    settings: Settings,
    detector: PathBuf,
}

/// One clip to do: `folder` is made when it is done, out of `partial`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    clip: Clip,
    folder: PathBuf,
    partial: PathBuf,
}

/// What marks a clip as done: `clip.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    settings: Settings,
    #[serde(flatten)]
    about: About,
    /// Size of the clip's file: another size is another clip.
    bytes: u64,
    /// Frames decoded, and those of them that were on the grid.
    frames: u64,
    frames_taken: u64,
    tracks: Vec<TrackRecord>,
    /// Followed faces with too few crops.
    dropped: u32,
}

/// The clip a track was seen in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    file: String,
    split: String,
    label: clips::Label,
    method: String,
    dataset: String,
    group: String,
    width: u32,
    height: u32,
    /// 0 where the container does not say.
    fps: f64,
    /// The decoder's pixel format, and its colorimetry in GStreamer's words.
    format: String,
    colorimetry: String,
}

/// One track as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrackRecord {
    track: u32,
    crops: usize,
    first_pts: u64,
    last_pts: u64,
    face_px: f32,
    confidence: f32,
}

/// `track-0001.json`.
#[derive(Serialize)]
struct TrackFile<'a> {
    schema: u32,
    track: u32,
    size: u32,
    alignment: Alignment,
    margin: Option<f32>,
    rate_hz: f64,
    #[serde(flatten)]
    about: &'a About,
    crops: &'a [Crop],
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let margin = match (args.alignment, args.margin) {
        (Alignment::Box, margin) => Some(margin.unwrap_or(MARGIN)),
        (Alignment::FivePoint, None) => None,
        (Alignment::FivePoint, Some(_)) => bail!("--margin is of no use with --alignment five-point: leave it out"),
    };
    let clips = clips::read(&args.list.clips, args.list.root.as_deref(), None)?;
    // Folders are named after clips of all splits, so that runs of one split after the other agree.
    let names = folder_names(&clips);
    let clips = clips::read(&args.list.clips, args.list.root.as_deref(), args.list.split.as_deref())?;
    let detector = find_detector(&args.detector)?;
    let settings = Settings {
        size: args.size,
        alignment: args.alignment,
        margin,
        rate_hz: args.rate,
        least: args.least,
        detector: detector.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };

    let out = &args.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let out = &out.canonicalize().with_context(|| format!("cannot use the folder {}", out.display()))?;
    let _lock = files::lock(out, "extract", "--out")?;
    let partial = out.join(".partial");
    // Whatever an earlier run left half done.
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot clear {}", partial.display()))?;
    }

    let mut jobs = Vec::new();
    for clip in &clips {
        let split = if clip.split.is_empty() { "all" } else { &clip.split };
        let folder = out.join(split).join(clip.label.as_str()).join(&names[clip.file.as_str()]);
        if !is_done(&folder, clip, &settings)? {
            let partial = partial.join(jobs.len().to_string());
            jobs.push(Job { clip: clip.clone(), folder, partial });
        }
    }
    if jobs.len() < clips.len() {
        eprintln!("{} of {} clips are done already", clips.len() - jobs.len(), clips.len());
    }
    check_space(out, &jobs, &settings)?;

    let workers = args.jobs.map_or_else(deepfake_engine::inference::cores, usize::from);
    let progress = Progress::new(jobs.len(), "extracting");
    let mut failed: Vec<(&str, String)> = Vec::new();
    let (mut tracks, mut crops, mut without) = (0, 0, 0);
    let setup = pool::Setup::Extract(Setup { settings: settings.clone(), detector });
    let outcome = pool::run(&setup, &jobs, workers, |index, result: Result<Record, String>| {
        match result {
            Ok(record) => {
                tracks += record.tracks.len();
                crops += record.tracks.iter().map(|track| track.crops).sum::<usize>();
                without += usize::from(record.tracks.is_empty());
            }
            Err(reason) => failed.push((&jobs[index].clip.file, reason)),
        }
        progress.step(&format!("{tracks} faces, {crops} crops, {} failed", failed.len()));
        Ok(())
    });
    progress.finish();
    let _ = fs::remove_dir_all(&partial);
    // Also of a run that was stopped: what is done can be used.
    let rows = write_manifest(out);
    outcome?;
    let rows = rows?;

    files::print(&format!(
        "{rows} tracks in {} ({tracks} new, of {crops} crops)\n",
        out.join("manifest.csv").display()
    ));
    if without > 0 {
        files::print(&format!(
            "{without} clip(s) without a face that could be followed for {} crops\n",
            settings.least
        ));
    }
    if !failed.is_empty() {
        eprintln!("{} clip(s) failed; the next run tries them again:", failed.len());
        failed.sort();
        failed.iter().for_each(|(file, reason)| eprintln!("  {file}: {reason}"));
        if failed.len() == clips.len() {
            bail!("all {} clip(s) failed", clips.len());
        }
    }
    Ok(())
}

/// The file of a detector given as a path or as a name.
fn find_detector(given: &str) -> Result<PathBuf> {
    let path = Path::new(given);
    if path.is_file() {
        return Ok(path.canonicalize()?);
    }
    Ok(places::find_detector(given)?)
}

/// A folder name for each clip: its file's stem, and more of the path where two clips of one split and label share it.
fn folder_names(clips: &[Clip]) -> HashMap<String, String> {
    let stem = |clip: &Clip| Path::new(&clip.file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut counts: HashMap<_, usize> = HashMap::new();
    for clip in clips {
        *counts.entry((&clip.split, clip.label, stem(clip))).or_default() += 1;
    }
    let name = |clip: &Clip| {
        if counts[&(&clip.split, clip.label, stem(clip))] == 1 {
            return stem(clip);
        }
        // With the ending: a.mp4 and a.mov may lie side by side.
        clip.file.trim_start_matches(['/', '.']).replace('_', "__").replace('/', "_")
    };
    clips.iter().map(|clip| (clip.file.clone(), name(clip))).collect()
}

/// Whether the clip's folder is whole and was made from this file with these settings.
fn is_done(folder: &Path, clip: &Clip, settings: &Settings) -> Result<bool> {
    let marker = folder.join("clip.json");
    let Ok(text) = fs::read_to_string(&marker) else { return Ok(false) };
    let Ok(record) = serde_json::from_str::<Record>(&text) else { return Ok(false) };
    if record.settings != *settings {
        bail!(
            "{} was made with other settings ({:?}, now {settings:?}); choose another --out, or delete the old crops",
            folder.display(),
            record.settings
        );
    }
    Ok(record.schema == SCHEMA && clip.path.metadata().is_ok_and(|metadata| metadata.len() == record.bytes))
}

/// Room that is left free for everybody else.
const RESERVE: u64 = 256 << 20;
/// Clips whose length is looked up to estimate that of all.
const SAMPLE: usize = 16;

/// Refuses to begin what will fill the disk.
fn check_space(out: &Path, jobs: &[Job], settings: &Settings) -> Result<()> {
    let mut lengths = Vec::new();
    for job in jobs.iter().step_by(jobs.len().div_ceil(SAMPLE).max(1)) {
        let length = Decoder::open(&job.clip.path, &frame::caps(), &[])
            .and_then(|mut decoder| Ok((decoder.next()?, decoder.duration())));
        match length {
            Ok((Some(_), Some(length))) => lengths.push(length.mseconds() as f64 / 1000.0),
            Err(error) if error.is::<Stopped>() => return Err(error),
            // A broken clip is told when its turn comes.
            _ => {}
        }
    }
    if lengths.is_empty() {
        return Ok(());
    }
    let seconds = lengths.iter().sum::<f64>() / lengths.len() as f64 * jobs.len() as f64;
    let rate = if settings.rate_hz > 0.0 { settings.rate_hz } else { 30.0 };
    let needed = (seconds * rate) as u64 * u64::from(settings.size).pow(2) * 3;
    let free = files::free_space(out)?;
    if needed + RESERVE > free {
        let giga = |bytes: u64| bytes as f64 / 1e9;
        bail!(
            "the crops of {} clips need about {:.1} GB, and {} has {:.1} GB free; make room, choose another --out, or \
             take a smaller --size or --rate",
            jobs.len(),
            giga(needed + RESERVE),
            out.display(),
            giga(free)
        );
    }
    Ok(())
}

/// Writes `manifest.csv` from the markers of all clips in the folder; returns the number of rows.
fn write_manifest(out: &Path) -> Result<usize> {
    let mut rows = BTreeMap::new();
    for folder in clip_folders(out)? {
        let Ok(text) = fs::read_to_string(folder.join("clip.json")) else { continue };
        let record: Record = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; delete its folder", folder.join("clip.json").display()))?;
        let inside = folder.strip_prefix(out).unwrap_or(&folder).to_string_lossy().into_owned();
        let about = &record.about;
        for track in &record.tracks {
            let path = format!("{inside}/track-{:04}", track.track);
            let row = [
                format!("{path}.npy"),
                format!("{path}.json"),
                about.file.clone(),
                about.split.clone(),
                about.label.as_str().to_owned(),
                about.method.clone(),
                about.dataset.clone(),
                about.group.clone(),
                track.track.to_string(),
                track.crops.to_string(),
                track.first_pts.to_string(),
                track.last_pts.to_string(),
                format!("{:.1}", track.face_px),
                format!("{:.3}", track.confidence),
            ];
            rows.insert(path, row);
        }
    }
    let columns = [
        "npy",
        "json",
        "file",
        "split",
        "label",
        "method",
        "dataset",
        "group",
        "track",
        "crops",
        "first_pts",
        "last_pts",
        "face_px",
        "confidence",
    ];
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows.values() {
        writer.write_record(row)?;
    }
    files::write(&out.join("manifest.csv"), &writer.into_inner()?)?;
    Ok(rows.len())
}

/// Every `SPLIT/LABEL/CLIP` folder.
fn clip_folders(out: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![out.to_owned()];
    for _level in ["split", "label", "clip"] {
        let mut deeper = Vec::new();
        for folder in folders {
            let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
                    deeper.push(entry.path());
                }
            }
        }
        folders = deeper;
    }
    Ok(folders)
}

/// Does clips, one after the other, in a worker process.
pub struct Extractor {
    settings: Settings,
    detector: PathBuf,
    options: SessionOptions,
    /// Keeps the inference session alive between clips.
    _warm: FaceDetector,
}

impl Extractor {
    pub fn new(setup: Setup) -> Result<Self> {
        // One thread, since there is a process per core; and the same crops on every machine.
        let options = SessionOptions { device: DeviceRequest::Cpu, require_device: false, threads: 1 };
        let warm = FaceDetector::load(&setup.detector, &options)?;
        Ok(Self { settings: setup.settings, detector: setup.detector, options, _warm: warm })
    }

    /// Does one clip. Its folder appears when it is whole, or not at all.
    pub fn clip(&mut self, job: &Job) -> Result<Record> {
        let result = self.attempt(job);
        if result.is_err() {
            let _ = fs::remove_dir_all(&job.partial);
        }
        result.map_err(|error| if is_disk_full(&error) { anyhow!(pool::Hopeless(error)) } else { error })
    }

    fn attempt(&mut self, job: &Job) -> Result<Record> {
        let Settings { size, alignment, margin, rate_hz, least, .. } = self.settings;
        let folder = &job.partial;
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let spec =
            CropSpec { width: size, height: size, alignment, margin: margin.unwrap_or(1.0), order: ChannelOrder::Rgb };
        let mut follower =
            FaceFollower::new(Some(FaceDetector::load(&self.detector, &self.options)?), FollowerSettings::default());
        let mut cropper = Cropper::default();
        let mut grid = (rate_hz > 0.0).then(|| Grid::new(rate_hz));
        let mut decoder = Decoder::open(&job.clip.path, &frame::caps(), &[])?;
        let mut sequences: BTreeMap<u32, Sequence> = BTreeMap::new();
        let mut frames = Frames::default();
        let (mut frames_seen, mut frames_taken) = (0, 0);
        let mut about = None;

        while let Some(sample) = decoder.next()? {
            let Some((moment, frame)) = frames.next(&sample, decoder.orientation())? else { continue };
            frames_seen += 1;
            about.get_or_insert_with(|| describe(&job.clip, frame.info()));
            if moment.jump {
                follower.reset();
                grid.iter_mut().for_each(Grid::reset);
            }
            // As the element does it: faces are looked for in the frames on the grid, and in no other.
            if grid.as_mut().is_some_and(|grid| !grid.take(moment.pts)) {
                continue;
            }
            frames_taken += 1;
            frame.view(|view| {
                for track in follower.follow(view)?.iter().filter(|track| track.seen) {
                    let landmarks = track.landmarks.as_ref();
                    let pixels = match cropper.crop(view, &track.rect, landmarks, &spec) {
                        Err(AnalysisError::Outside | AnalysisError::NoLandmarks) => continue,
                        pixels => pixels?,
                    };
                    let place = spec.place(&track.rect, landmarks)?;
                    let sequence = match sequences.entry(track.id) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => new.insert(Sequence::new(folder, track.id, size)?),
                    };
                    sequence.push(pixels, Crop::new(view.pts, track, &spec, &place))?;
                }
                Ok(())
            })?;
        }
        let Some(about) = about else { bail!("{} holds no frame", job.clip.path.display()) };

        let (mut tracks, mut dropped) = (Vec::new(), 0);
        for (id, sequence) in sequences {
            if sequence.crops.len() < least as usize {
                sequence.discard()?;
                dropped += 1;
                continue;
            }
            let crops = sequence.finish(&folder.join(format!("track-{id:04}.npy")))?;
            let file =
                TrackFile { schema: SCHEMA, track: id, size, alignment, margin, rate_hz, about: &about, crops: &crops };
            write_json(&folder.join(format!("track-{id:04}.json")), &file)?;
            tracks.push(summarize(id, &crops));
        }
        let record = Record {
            schema: SCHEMA,
            settings: self.settings.clone(),
            about,
            bytes: job.clip.path.metadata()?.len(),
            frames: frames_seen,
            frames_taken,
            tracks,
            dropped,
        };
        write_json(&folder.join("clip.json"), &record)?;
        publish(folder, &job.folder)?;
        Ok(record)
    }
}

fn describe(clip: &Clip, info: &gst_video::VideoInfo) -> About {
    About {
        file: clip.file.clone(),
        split: clip.split.clone(),
        label: clip.label,
        method: clip.method.clone(),
        dataset: clip.dataset.clone(),
        group: clip.group.clone(),
        width: info.width(),
        height: info.height(),
        fps: f64::from(info.fps().numer()) / f64::from(info.fps().denom()),
        format: info.format().to_string(),
        colorimetry: info.colorimetry().to_string(),
    }
}

fn summarize(track: u32, crops: &[Crop]) -> TrackRecord {
    let mut sides: Vec<f32> = crops.iter().map(|crop| crop.face[2].max(crop.face[3])).collect();
    sides.sort_by(f32::total_cmp);
    TrackRecord {
        track,
        crops: crops.len(),
        first_pts: crops.first().map_or(0, |crop| crop.pts),
        last_pts: crops.last().map_or(0, |crop| crop.pts),
        face_px: sides[sides.len() / 2],
        confidence: crops.iter().map(|crop| crop.confidence).sum::<f32>() / crops.len() as f32,
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_vec(value)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Gives a whole folder its name, in the place of an outdated one.
fn publish(partial: &Path, folder: &Path) -> Result<()> {
    let cause = || format!("cannot make the folder {}", folder.display());
    fs::create_dir_all(folder.parent().expect("a clip's folder lies in its label's")).with_context(cause)?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(cause)?;
    }
    fs::rename(partial, folder).with_context(cause)
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(file: &str, label: clips::Label) -> Clip {
        Clip {
            file: file.into(),
            path: file.into(),
            label,
            split: "train".into(),
            method: String::new(),
            dataset: String::new(),
            group: file.into(),
        }
    }

    #[test]
    fn folders_are_named_by_stem_and_by_path_only_where_stems_clash() {
        use clips::Label::{Fake, Real};
        let clips = [
            clip("real/a.mp4", Real),
            clip("fake/a.mp4", Fake),
            clip("x/b_c.mp4", Fake),
            clip("x_b/c.mp4", Fake),
            clip("y/c.mp4", Fake),
            clip("y/c.mov", Fake),
        ];
        let names = folder_names(&clips);
        let found: Vec<_> = clips.iter().map(|clip| names[&clip.file].as_str()).collect();
        assert_eq!(found, ["a", "a", "b_c", "x__b_c.mp4", "y_c.mp4", "y_c.mov"]);
    }

    #[test]
    fn a_full_disk_is_told_from_a_bad_clip() {
        let full = anyhow!(std::io::Error::from(std::io::ErrorKind::StorageFull)).context("cannot write x");
        assert!(is_disk_full(&full));
        assert!(!is_disk_full(&anyhow!("x is no video")));
    }

    #[test]
    fn a_folder_is_locked_for_a_second_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = files::lock(folder.path(), "extract", "--out").unwrap();
        assert!(files::lock(folder.path(), "extract", "--out").unwrap_err().to_string().contains("another"));
        drop(first);
        files::lock(folder.path(), "extract", "--out").unwrap();
    }

    #[test]
    fn a_crop_too_many_for_the_disk_is_refused_with_figures() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/clips/single_face.mp4");
        if !path.exists() {
            eprintln!("SKIPPED: {} is not there; `make deps` fetches it", path.display());
            return;
        }
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            size: 1 << 20,
            alignment: Alignment::Box,
            margin: Some(1.6),
            rate_hz: 15.0,
            least: 1,
            detector: "centerface.onnx".into(),
        };
        let job = Job { clip: Clip { path, ..clip("a", clips::Label::Real) }, folder: "f".into(), partial: "p".into() };
        let error = check_space(folder.path(), &[job], &settings).unwrap_err().to_string();
        assert!(error.contains("GB free") && error.contains("--size"), "{error}");
    }
}
