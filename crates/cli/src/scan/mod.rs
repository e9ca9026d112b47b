//! `deepfake scan`: videos of which nothing is known; a verdict for each face, with what it is worth.

mod compare;
mod finding;
mod inputs;
mod judge;
mod page;
mod pictures;
mod save;
mod table;
mod tally;
mod watch;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use deepfake_engine::inference::{ModelPackage, cores};
use sha2::{Digest, Sha256};

use crate::{detector::Detector, evaluate, files, journal::Journal, pool, progress::Watch, stop};
use finding::Finding;
use inputs::Input;
pub use judge::{Job, Judge, Setup};

/// Seconds of a live address that are looked at where nobody says.
const DEFAULT_LIVE_SECONDS: f64 = 60.0;
/// What --thorough judges with where nobody names a model.
const LARGE_MODEL: &str = "l40-large";
/// Name of the journal in the folder of the report.
const JOURNAL: &str = ".scan.journal";

const AFTER: &str = "\
Each file goes through filesrc ! decodebin ! deepfakedetect mode=sync, as in any application, so scores are those of a live
pipeline. A face's score is the calibrated mean of its windows' logits, with a 95 % interval from windows that share no
crop. A face whose score stays below the model's threshold, but that is called fake for 2 s or longer without a break,
looks fake in part.

What is not judged (no face, too small, turned away, too short) is said with its reason, and never counts as cleared.

What comes out:

  terminal            a row per file and face, then what follows and what does not
  --json              one object a line, described by `deepfake scan --schema`
  --report DIR        DIR/index.html and a page per file that need no network; DIR/results.jsonl as --json prints.
                      The same command again goes on where a stopped one was, and leaves out what is done
  --crops DIR         pictures of the faces: DIR/FILE/face-N/SECONDS-SCORE.jpg
  --save FILE|DIR     the video with boxes and verdicts drawn on it, without sound

--watch FOLDER scans what is in a folder and then whatever is put there, until it is stopped; pages and index in --report
are renewed each time. A file is taken when it has been closed or moved there.

--compare REFERENCE judges another video as well, looks for the moments at which it shows the same pictures, and puts the faces
of both beside each other on the page.

--thorough looks at every frame, as it is and mirrored, which takes about four times as long, and uses the model l40-large
where that is installed.

Exit code: 0 nothing found, 1 something looks fake, 2 something was not judged or an error, 130 stopped.

Examples:
  deepfake scan clip.mp4
  deepfake scan --report report incoming/ list-of-files.txt
  deepfake scan --json --seconds 20 https://example.org/live.m3u8 | jq .verdict
  curl -s https://example.org/clip.mp4 | deepfake scan -";

#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub struct Args {
    /// Video files, folders of them, lists (.txt, .m3u: one a line), addresses (http, https, rtsp, srt …), or - for standard
    /// input
    #[arg(value_name = "FILE|FOLDER|LIST|URL", required_unless_present_any = ["schema", "watch"])]
    inputs: Vec<String>,
    /// Model package: the name of an installed one, or a folder [default: that of deepfakedetect]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
    /// Write a page per file, and an index
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write pictures of the faces
    #[arg(long, value_name = "DIR")]
    crops: Option<PathBuf>,
    /// Write the video with boxes and verdicts drawn on it; a folder where there are several
    #[arg(long, value_name = "FILE.mp4|DIR")]
    save: Option<PathBuf>,
    /// Scan what is put into a folder, until stopped
    #[arg(long, value_name = "FOLDER", requires = "report")]
    watch: Option<PathBuf>,
    /// Show a reference beside each: the original, or the same person; frame by frame where it shows the same
    #[arg(long, value_name = "FILE|URL")]
    compare: Option<String>,
    /// Look at every frame, as it is and mirrored, with the large model if it is installed
    #[arg(long)]
    thorough: bool,
    /// Look at the first N seconds only [default: all; of live addresses 60]
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<f64>,
    /// Files worked on at once, a process each [default: one per core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// What to run the model on; one that does not work is an error here
    #[arg(long, value_name = "DEVICE", default_value = "cpu",
          value_parser = ["auto", "cpu", "cuda", "tensorrt", "openvino"])]
    device: String,
    /// Face detector: a file [default: that of deepfakedetect]
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Print the JSON Schema of what --json prints, and exit
    #[arg(long)]
    schema: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("seconds are a number above 0".into()),
    }
}

/// Exit code of a command that could not say anything, or not of everything.
const NOT_JUDGED: u8 = 2;

/// Runs the command. Its errors, too, exit with 2: 1 means that something looks fake.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.schema {
        files::print(include_str!("../../scan.schema.json"));
        return Ok(ExitCode::SUCCESS);
    }
    let scanned = Session::new(&args).and_then(|mut session| session.run(&args));
    match scanned {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) if error.is::<stop::Stopped>() => Err(error),
        Err(error) => {
            eprintln!("deepfake: {error:#}");
            Ok(ExitCode::from(NOT_JUDGED))
        }
    }
}

fn exit_code(findings: &[Finding]) -> u8 {
    if findings.iter().any(|finding| finding.verdict.is_fake()) {
        return 1;
    }
    let open = |finding: &Finding| finding.failed || finding.verdict == finding::Verdict::NotJudged;
    if findings.iter().any(open) { NOT_JUDGED } else { 0 }
}

/// Everything that one command scans.
struct Session {
    setup: Setup,
    package: ModelPackage,
    workers: usize,
    json: bool,
    save: Option<PathBuf>,
    journal: Option<Journal<Finding>>,
    /// All that the report tells of, by the stem of its pages.
    told: BTreeMap<String, Finding>,
    /// Something about the whole report could not be written, which was said.
    incomplete: bool,
    /// Keeps others out of the report.
    _lock: Option<fs::File>,
}

impl Session {
    fn new(args: &Args) -> Result<Self> {
        let mut notes = Vec::new();
        let model = match (&args.model, args.thorough) {
            (None, true) if ModelPackage::find(LARGE_MODEL).is_ok() => LARGE_MODEL.to_owned(),
            (given, thorough) => {
                let model = evaluate::model(given.as_deref())?;
                if thorough && given.is_none() {
                    notes.push(format!("the large model {LARGE_MODEL} is not installed; {model} judged"));
                }
                model
            }
        };
        // A broken model is said before hours of decoding.
        let package = ModelPackage::find(&model)?;
        let detector = match &args.detector {
            Some(file) => Some(file.canonicalize().with_context(|| format!("no file {}", file.display()))?),
            None => None,
        };
        let report = args.report.as_deref().map(ready).transpose()?;
        let compare = match &args.compare {
            Some(word) => {
                anyhow::ensure!(word != "-", "--compare takes a file or an address");
                let mut found = inputs::expand(std::slice::from_ref(word), Path::new(""))?;
                anyhow::ensure!(found.len() == 1, "--compare takes one video, and {word} names {}", found.len());
                found.pop()
            }
            None => None,
        };
        let setup = Setup {
            compare,
            detector: Detector { model, device: args.device.clone(), detector },
            seconds: args.seconds,
            report: report.clone(),
            crops: args.crops.as_deref().map(ready).transpose()?,
            thorough: args.thorough,
            notes,
        };
        let lock = report.as_deref().map(|folder| files::lock(folder, "scan", "--report")).transpose()?;
        let journal: Option<Journal<Finding>> = match &report {
            Some(folder) => Some(Journal::open(folder.join(JOURNAL), &evaluate::fingerprint(&setup, &package)?)?),
            None => None,
        };
        let told =
            journal.iter().flat_map(Journal::all).map(|(stem, finding)| (stem.clone(), finding.clone())).collect();
        Ok(Self {
            setup,
            package,
            workers: args.jobs.map_or_else(cores, usize::from),
            json: args.json,
            save: args.save.clone(),
            journal,
            told,
            incomplete: false,
            _lock: lock,
        })
    }

    /// Scans what the arguments name; the exit code.
    fn run(&mut self, args: &Args) -> Result<u8> {
        let spool = tempfile::tempdir().context("no room for temporary files")?;
        let mut code = 0;
        if !args.inputs.is_empty() {
            let findings = self.scan(inputs::expand(&args.inputs, spool.path())?)?;
            code = match exit_code(&findings) {
                0 if self.incomplete => NOT_JUDGED,
                code => code,
            };
            self.conclude(&findings);
        }
        if let Some(folder) = &args.watch {
            watch::folder(folder, &mut |inputs| {
                let findings = self.scan(inputs)?;
                self.conclude(&findings);
                Ok(())
            })?;
        }
        Ok(code)
    }

    fn scan(&mut self, inputs: Vec<Input>) -> Result<Vec<Finding>> {
        let several = inputs.len() > 1;
        let mut jobs = Vec::with_capacity(inputs.len());
        for input in inputs {
            let stem = stem(&input);
            let save = self.save.as_deref().map(|save| save_as(save, &stem, several)).transpose()?;
            jobs.push(Job { input, stem, save });
        }
        let mut output = Output::new(self.json, jobs.len());
        let mut todo = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            match self.known(job) {
                Some(finding) => output.add(index, finding),
                None => todo.push(index),
            }
        }
        if todo.len() < jobs.len() {
            eprintln!("{} of {} files are done already", jobs.len() - todo.len(), jobs.len());
        }
        let work: Vec<&Job> = todo.iter().map(|index| &jobs[*index]).collect();
        let watch = Watch::new(work.len(), "scanning");
        let (package, journal, told) = (&self.package, &mut self.journal, &mut self.told);
        // A disk that is full now may have room again when the next file is done.
        let mut unwritten = None;
        let done = pool::run_watched(
            &pool::Setup::Scan(self.setup.clone()),
            &work,
            self.workers,
            &mut |index, result: Result<Finding, String>| {
                let job = work[index];
                let finding = result.unwrap_or_else(|why| crashed(job, package, &why));
                if let (Some(journal), Some(path), false) = (&mut *journal, job.input.source.file(), finding.failed) {
                    unwritten = unwritten.take().or(journal.add(&job.stem, path, &finding).err());
                }
                told.insert(job.stem.clone(), finding.clone());
                watch.finished(index);
                watch.bar().suspend(|| output.add(todo[index], finding));
                Ok(())
            },
            &mut |index, at| watch.at(index, at),
        );
        watch.end();
        output.flush();
        // Also of a run that was stopped: what is done can be used.
        for error in unwritten.into_iter().chain(self.write_index().err()) {
            eprintln!("deepfake: {error:#}");
            self.incomplete = true;
        }
        done?;
        Ok(output.done.into_values().collect())
    }

    fn write_index(&self) -> Result<()> {
        let Some(folder) = &self.setup.report else { return Ok(()) };
        let findings: Vec<&Finding> = self.told.values().collect();
        let lines: String = findings.iter().map(|finding| json(finding) + "\n").collect();
        files::write(&folder.join("results.jsonl"), lines.as_bytes())?;
        files::write(&folder.join("index.html"), page::index(&findings).as_bytes())
    }

    fn conclude(&self, findings: &[Finding]) {
        if self.json {
            return;
        }
        files::print(&format!("\n{}", table::conclusion(findings)));
        if let Some(folder) = &self.setup.report {
            files::print(&format!("Report: {}\n", folder.join("index.html").display()));
        }
    }

    /// What an earlier run found, if all that this one is to write is still there.
    fn known(&self, job: &Job) -> Option<Finding> {
        let finding = self.journal.as_ref()?.known(&job.stem, job.input.source.file()?)?;
        let page = self.setup.report.as_ref()?.join(finding.page.as_deref()?);
        let crops = self.setup.crops.as_ref().is_none_or(|folder| folder.join(&job.stem).is_dir());
        (page.is_file() && crops && job.save.as_ref().is_none_or(|path| path.is_file())).then_some(finding)
    }
}

/// Where the annotated video goes: `save` itself, or a file in it where it is a folder or there are several.
fn save_as(save: &Path, stem: &str, several: bool) -> Result<PathBuf> {
    if !several && !save.is_dir() {
        return Ok(save.to_owned());
    }
    Ok(ready(save)?.join(format!("{stem}.mp4")))
}

/// A folder to write into, made if it is not there, by its full path.
fn ready(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("cannot use the folder {}", folder.display()))
}

/// What pages about an input are called: its name, made harmless, and a part of the whole path's checksum, since files of one
/// name lie in many folders.
fn stem(input: &Input) -> String {
    let (name, whole) = match &input.source {
        inputs::Source::File(path) => {
            let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
            (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), whole.display().to_string())
        }
        inputs::Source::Address(address) => (input.name.clone(), address.clone()),
    };
    let harmless: String =
        name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).take(60).collect();
    let sum = Sha256::digest(whole.as_bytes());
    format!("{}-{:02x}{:02x}{:02x}", harmless.trim_matches('-'), sum[0], sum[1], sum[2])
}

/// The finding about a file that took its worker process with it.
fn crashed(job: &Job, package: &ModelPackage, why: &str) -> Finding {
    Finding {
        schema: finding::SCHEMA,
        file: job.input.name.clone(),
        verdict: finding::Verdict::NotJudged,
        message: Some(why.to_owned()),
        failed: true,
        score: None,
        media: None,
        judged_share: 0.0,
        faces: Vec::new(),
        further_faces: 0,
        not_judged: Vec::new(),
        cuts: Vec::new(),
        model: judge::note(package),
        program: finding::Program {
            name: "deepfake".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            sha256: String::new(),
        },
        reference: None,
        scanned: finding::now(),
        page: None,
        notes: Vec::new(),
    }
}

fn json(finding: &Finding) -> String {
    serde_json::to_string(finding).expect("a finding holds nothing that JSON cannot say")
}

/// Findings, printed in the order in which files were given, each as soon as those before it are done.
struct Output {
    json: bool,
    done: BTreeMap<usize, Finding>,
    printed: usize,
    all: usize,
}

impl Output {
    fn new(json: bool, all: usize) -> Self {
        Self { json, done: BTreeMap::new(), printed: 0, all }
    }

    fn add(&mut self, index: usize, finding: Finding) {
        self.done.insert(index, finding);
        while self.done.contains_key(&self.printed) {
            self.print_next();
        }
    }

    fn print_next(&mut self) {
        if let Some(finding) = self.done.get(&self.printed) {
            files::print(&if self.json { json(finding) + "\n" } else { table::rows(finding) });
        }
        self.printed += 1;
    }

    /// Prints what waits for files that will not come: the run was stopped.
    fn flush(&mut self) {
        while self.printed < self.all {
            self.print_next();
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use finding::Verdict;
    use table::tests::{finding, judged};

    #[test]
    fn exit_codes_tell_fake_from_not_judged_from_nothing_found() {
        let nothing = judged("a", Verdict::NothingFound, 0.1);
        assert_eq!(exit_code(std::slice::from_ref(&nothing)), 0);
        assert_eq!(exit_code(&[judged("u", Verdict::Uncertain, 0.6)]), 0);
        assert_eq!(exit_code(&[nothing.clone(), finding("b")]), 2);
        let broken = Finding { failed: true, ..nothing };
        assert_eq!(exit_code(std::slice::from_ref(&broken)), 2);
        assert_eq!(exit_code(&[finding("b"), judged("c", Verdict::FakeInPart, 0.4), broken]), 1);
    }

    #[test]
    fn files_of_one_name_have_pages_of_their_own_and_no_name_leaves_the_folder() {
        let stem =
            |path: &str| super::stem(&Input { name: path.into(), source: inputs::Source::File(PathBuf::from(path)) });
        assert_ne!(stem("/a/clip.mp4"), stem("/b/clip.mp4"));
        assert!(stem("/a/clip.mp4").starts_with("clip-"));
        let odd = stem("/a/..%2f<b>\"x.mp4");
        assert!(odd.chars().all(|letter| letter.is_alphanumeric() || letter == '-'), "{odd}");
    }
}
