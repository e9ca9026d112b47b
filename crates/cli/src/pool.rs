//! Worker processes: one clip at a time each, as many at once as there are cores.
//!
//! Processes and not threads, because inside one process all elements share one inference session
//! (its scores would then depend on which clips run side by side), and because a decoder that crashes
//! on a broken file takes one clip with it and not the run.
//!
//! The command starts itself as `deepfake worker`. Parent and worker speak JSON Lines: the parent writes the
//! [`Setup`], then a job a line; the worker answers each line with one [`Answer`]. A closed stdin means
//! "stop now", so that workers never outlive their parent.

use std::{
    io::{BufRead, BufReader, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{evaluate, extract, files, scan, stop};

/// What a worker is told before its first job.
#[derive(Serialize, Deserialize)]
pub enum Setup {
    Extract(extract::Setup),
    Evaluate(evaluate::Setup),
    Scan(scan::Setup),
}

/// A worker's answer to one line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer<T> {
    /// How far this job is; another answer follows.
    At(At),
    Done(T),
    /// This job failed; the next may succeed.
    Failed(String),
    /// No job can succeed: ONNX Runtime is missing, the disk is full.
    Hopeless(String),
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct At {
    /// Part of the job that is done, 0..1; 0 where nobody knows.
    pub part: f64,
    /// Seconds of video that are done.
    pub seconds: f64,
}

/// An error after which trying other clips is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Hopeless(pub anyhow::Error);

/// Does all `jobs` in `workers` processes and hands each result, with its job's index, to `finished` in the order of
/// their ends.
///
/// # Errors
/// [`stop::Stopped`] if the user asked to stop; a worker's reason if no job can succeed; an error of `finished`.
pub fn run<J, R>(
    setup: &Setup,
    jobs: &[J],
    workers: usize,
    mut finished: impl FnMut(usize, Result<R, String>) -> Result<()>,
) -> Result<()>
where
    J: Serialize + Sync,
    R: DeserializeOwned + Send,
{
    run_watched(setup, jobs, workers, &mut finished, &mut |_, _| {})
}

/// As [`run`]; `at` is told how far each job is.
pub fn run_watched<J, R>(
    setup: &Setup,
    jobs: &[J],
    workers: usize,
    finished: &mut dyn FnMut(usize, Result<R, String>) -> Result<()>,
    at: &mut dyn FnMut(usize, At),
) -> Result<()>
where
    J: Serialize + Sync,
    R: DeserializeOwned + Send,
{
    let setup = serde_json::to_string(setup)?;
    let next = AtomicUsize::new(0);
    let inputs: Arc<Mutex<Inputs>> = Arc::default();
    let close = inputs.clone();
    stop::on_ask(move || close.lock().unwrap().close());

    let (sender, results) = mpsc::channel::<(usize, Answer<R>)>();
    let mut outcome = Ok(());
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            let (sender, next, inputs, setup) = (sender.clone(), &next, &inputs, &setup);
            scope.spawn(move || {
                if let Err(error) = serve(setup, jobs, next, inputs, &sender) {
                    let _ = sender.send((usize::MAX, Answer::Hopeless(format!("{error:#}"))));
                }
            });
        }
        drop(sender);
        for (index, answer) in results {
            let result = match answer {
                Answer::At(part) => {
                    at(index, part);
                    Ok(())
                }
                Answer::Done(result) => finished(index, Ok(result)),
                Answer::Failed(reason) => finished(index, Err(reason)),
                Answer::Hopeless(reason) => Err(anyhow!(reason)),
            };
            if outcome.is_ok() && result.is_err() {
                outcome = result;
                inputs.lock().unwrap().close();
            }
        }
    });
    stop::check()?;
    outcome
}

/// The workers' standard inputs; closing them stops all.
#[derive(Default)]
struct Inputs {
    closed: bool,
    open: Vec<(u32, Arc<Mutex<Option<ChildStdin>>>)>,
}

impl Inputs {
    fn close(&mut self) {
        self.closed = true;
        for (_, input) in self.open.drain(..) {
            input.lock().unwrap().take();
        }
    }
}

/// One worker process as its parent sees it.
struct Worker {
    child: Child,
    input: Arc<Mutex<Option<ChildStdin>>>,
    output: BufReader<std::process::ChildStdout>,
}

impl Worker {
    /// Starts a process and sets it up; `None` if the run is being stopped.
    fn start(setup: &str, inputs: &Mutex<Inputs>) -> Result<Option<Self>> {
        let mut inputs = inputs.lock().unwrap();
        if inputs.closed {
            return Ok(None);
        }
        let mut child = Command::new(files::THIS_PROGRAM)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker process")?;
        let input = Arc::new(Mutex::new(child.stdin.take()));
        let output = BufReader::new(child.stdout.take().expect("stdout was asked for"));
        inputs.open.push((child.id(), input.clone()));
        drop(inputs);
        let mut worker = Self { child, input, output };
        match worker.ask::<()>(setup, &mut |_| {}) {
            Ok(Answer::Done(()) | Answer::At(_)) => Ok(Some(worker)),
            Ok(Answer::Failed(reason) | Answer::Hopeless(reason)) => bail!(reason),
            Err(_) if stop::check().is_err() => Ok(None),
            Err(error) => Err(error).context("a worker process did not start"),
        }
    }

    /// Sends a line and waits for its answer; `at` is told how far it is meanwhile.
    fn ask<R: DeserializeOwned>(&mut self, line: &str, at: &mut dyn FnMut(At)) -> Result<Answer<R>> {
        match &mut *self.input.lock().unwrap() {
            Some(input) => writeln!(input, "{line}")?,
            None => bail!("stopped"),
        }
        loop {
            let mut answer = String::new();
            self.output.read_line(&mut answer)?;
            if answer.is_empty() {
                let status = self.child.wait()?;
                bail!("the worker process ended in the middle of it ({status})");
            }
            match serde_json::from_str(&answer).with_context(|| format!("a worker answered {:?}", answer.trim_end()))? {
                Answer::At(part) => at(part),
                answer => return Ok(answer),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input.lock().unwrap().take();
        let _ = self.child.wait();
    }
}

/// Takes jobs until none is left or the run is stopped. A worker that dies is replaced.
fn serve<J: Serialize, R: DeserializeOwned>(
    setup: &str,
    jobs: &[J],
    next: &AtomicUsize,
    inputs: &Mutex<Inputs>,
    sender: &mpsc::Sender<(usize, Answer<R>)>,
) -> Result<()> {
    let mut worker = None;
    loop {
        let index = next.fetch_add(1, Ordering::SeqCst);
        let Some(job) = jobs.get(index) else { return Ok(()) };
        if worker.is_none() {
            worker = Worker::start(setup, inputs)?;
        }
        let Some(alive) = &mut worker else { return Ok(()) };
        let answer = alive.ask(&serde_json::to_string(job)?, &mut |at| {
            let _ = sender.send((index, Answer::At(at)));
        });
        if inputs.lock().unwrap().closed {
            // A job that got through in the last moment still counts.
            if let Ok(done @ Answer::Done(_)) = answer {
                let _ = sender.send((index, done));
            }
            return Ok(());
        }
        let answer = answer.unwrap_or_else(|error| {
            let dead = worker.take().map(|dead| dead.child.id());
            inputs.lock().unwrap().open.retain(|(id, _)| Some(*id) != dead);
            Answer::Failed(format!("{error:#}"))
        });
        if sender.send((index, answer)).is_err() {
            return Ok(());
        }
    }
}

/// `deepfake worker`: the other end. Reads jobs until stdin closes.
pub fn worker() -> Result<()> {
    let mut answers = std::fs::File::from(take_stdout()?);
    let (sender, lines) = mpsc::channel::<String>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        stop::ask();
    });

    let Ok(setup) = lines.recv() else { return Ok(()) };
    match serde_json::from_str(&setup).context("the first line is no set-up; `deepfake worker` is started by others")? {
        Setup::Extract(setup) => {
            work(extract::Extractor::new(setup), &lines, &mut answers, |extractor, job, _| extractor.clip(job))
        }
        Setup::Evaluate(setup) => {
            work(evaluate::Scorer::new(setup), &lines, &mut answers, |scorer, clip: &PathBuf, _| scorer.clip(clip))
        }
        Setup::Scan(setup) => work(scan::Judge::new(setup), &lines, &mut answers, |judge, job, at| judge.file(job, at)),
    }
}

fn work<S, J: DeserializeOwned, R: Serialize>(
    state: Result<S>,
    lines: &mpsc::Receiver<String>,
    answers: &mut impl Write,
    mut one: impl FnMut(&mut S, &J, &mut dyn FnMut(At)) -> Result<R>,
) -> Result<()> {
    let mut state = match state {
        Ok(state) => {
            say(answers, &Answer::Done(()))?;
            state
        }
        Err(error) => return say(answers, &Answer::<()>::Hopeless(format!("{error:#}"))),
    };
    for line in lines {
        let result = one(&mut state, &serde_json::from_str(&line)?, &mut |at| {
            // A parent that is gone is noticed when the answer is written.
            let _ = say(answers, &Answer::<R>::At(at));
        });
        let answer = match result {
            Ok(result) => Answer::Done(result),
            Err(error) if error.is::<Hopeless>() => Answer::Hopeless(format!("{error:#}")),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        say(answers, &answer)?;
    }
    Ok(())
}

fn say<T: Serialize>(answers: &mut impl Write, answer: &Answer<T>) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    match answers.write_all(line.as_bytes()) {
        // The parent is gone: nobody is left to be told.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Keeps stdout for answers alone: a library that prints would break the protocol, so file descriptor 1 goes to stderr.
fn take_stdout() -> Result<OwnedFd> {
    let own = std::io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both descriptors are open; nothing was written to stdout yet.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot point stdout at stderr");
    }
    Ok(own)
}
