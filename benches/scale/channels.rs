//! Many channels of 720p at 25 frames a second in one process, on two cores.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_video::VideoFormat;

use super::common::clip::{self, Form};
use super::common::{cpu, page};

const FORM: Form = Form { width: 1280, height: 720, format: VideoFormat::I420, faces: 1 };
const FRAME: Duration = Duration::from_millis(40);
const CORES: usize = 2;
/// For [`Seen::bars`].
const MAX_BYTES: u64 = 500 << 20;

/// Where frames come from.
#[derive(Clone, Copy, PartialEq)]
enum Input<'a> {
    /// From memory, decoded before.
    Decoded,
    /// Each channel decodes this file of H.264.
    Encoded(&'a Path),
}

/// What was seen of some channels.
struct Seen {
    channels: usize,
    lost: u64,
    /// Analyses that were done, and those that were due.
    done: u64,
    due: u64,
    /// Processor time of all channels together, in seconds a second.
    load: f64,
    /// What everybody else on the machine took of these cores meanwhile, in seconds a second.
    others: f64,
    resident: u64,
    /// Of the streaming thread's own work for a frame, the slowest channel's, in nanoseconds.
    p99: u64,
}

/// Takes some frames for each number of channels, and reports.
pub fn run(measuring: bool) -> Result<(), Box<dyn Error>> {
    let seconds = std::env::var("DEEPFAKE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let watch = Duration::from_secs(if measuring { seconds } else { 1 });
    let (models, counts): (&[_], &[_]) =
        if measuring { (&["l40", "cnn-lstm"], &[1, 2, 4, 8, 16]) } else { (&["cnn-lstm"], &[2]) };
    let cores = stay_on(CORES)?;
    let frames = clip::frames(FORM);
    let frames: Vec<gst::Buffer> = frames.into_iter().map(|frame| frame.into_buffer()).collect();
    // Encoding it takes longer than all of a test.
    let file = if measuring { Some(encoded(Path::new(env!("CARGO_TARGET_TMPDIR")))?) } else { None };

    let mut part = format!(
        "# Many channels\n\n\
         1280×720, 25 frames a second, one face in each; `mode=async threads=1`, one process on {cores} core(s), each row watched for \
         {} s after all models had been loaded and windows had been filled. *Done* are analyses that took place, of those that the \
         model's grid (15 a second) asked for; the others were shed. *Cores* is processor time of the whole process, all it \
         does; *others* is what the rest of the machine took of the same cores meanwhile: only where that is near 0 do the \
         shares of *done* and the p99 say what two cores can do. Memory includes the program and 22 MB of decoded frames.\n\n",
        watch.as_secs()
    );
    for model in models {
        for input in std::iter::once(Input::Decoded).chain(file.as_deref().map(Input::Encoded)) {
            let _ = writeln!(
                part,
                "## {model}, {}\n\n\
                 | channels | lost | done | of due | cores | a channel | others | p99 ms | MB |\n\
                 |---:|---:|---:|---:|---:|---:|---:|---:|---:|",
                if input == Input::Decoded { "frames from memory" } else { "H.264 decoded by each channel" }
            );
            let mut rows = vec![];
            for &count in counts {
                let seen = watch_channels(count, model, input, &frames, watch)?;
                let _ = writeln!(
                    part,
                    "| {} | {} | {:.1} % | {} | {:.2} | {:.3} | {:.2} | {:.2} | {} |",
                    seen.channels,
                    seen.lost,
                    100.0 * seen.share(),
                    seen.due,
                    seen.load,
                    seen.load / count as f64,
                    seen.others,
                    seen.p99 as f64 / 1e6,
                    seen.resident >> 20
                );
                rows.push(seen);
            }
            let _ = writeln!(part, "\n{}", explained(&rows));
        }
    }
    if measuring { Ok(page::put(&part)?) } else { Ok(()) }
}

impl Seen {
    fn share(&self) -> f64 {
        self.done as f64 / self.due.max(1) as f64
    }
}

/// What follows from the rows: what one channel needs where nothing is shed, hence how many two cores can carry; and the bar.
fn explained(rows: &[Seen]) -> String {
    // Where some are shed the rest looks cheaper than it is.
    let whole = rows.iter().filter(|seen| seen.share() > 0.99).max_by_key(|seen| seen.channels);
    let capacity = whole.map_or("No row had every analysis done.".into(), |seen| {
        let each = seen.load / seen.channels as f64;
        format!(
            "With every analysis done a channel takes {each:.3} of a core: two cores carry {:.0} channels, idle otherwise.",
            (CORES as f64 / each).floor()
        )
    });
    let bar = rows.iter().find(|seen| seen.channels == 8).map_or(String::new(), |seen| {
        let kept = |is| if is { "kept" } else { "missed" };
        format!(
            " Bars at 8 channels: no frame lost {}; every due analysis done {} ({:.1} %); at most 500 MB {} ({} MB).",
            kept(seen.lost == 0),
            kept(seen.share() > 0.999),
            100.0 * seen.share(),
            kept(seen.resident <= MAX_BYTES),
            seen.resident >> 20
        )
    });
    format!("{capacity}{bar}\n")
}

/// Keeps the process on the first `count` cores that it may use, and returns how many that are.
fn stay_on(count: usize) -> Result<usize, Box<dyn Error>> {
    // SAFETY: plain memory, for which zero is a value, and two system calls that read and write it.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut allowed) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        let cores: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &allowed)).take(count).collect();
        let mut wanted: libc::cpu_set_t = std::mem::zeroed();
        cores.iter().for_each(|core| libc::CPU_SET(*core, &mut wanted));
        if libc::sched_setaffinity(0, size, &wanted) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(cores.len())
    }
}

/// The demo's clip as 720p25 H.264, made once.
fn encoded(folder: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let file = folder.join("channels-720p25.mp4");
    if file.is_file() {
        return Ok(file);
    }
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/clips/WolfgangLanger_Pexels.mp4");
    let part = folder.join("channels.part");
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! decodebin ! videoscale ! videoconvert ! videorate ! \
         video/x-raw,format=I420,width={},height={},framerate=25/1 ! x264enc speed-preset=veryfast bitrate=3000 ! h264parse ! \
         mp4mux ! filesink location=\"{}\"",
        clip.display(),
        FORM.width,
        FORM.height,
        part.display()
    ))?;
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null)?;
    if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
        return Err(error.error().to_string().into());
    }
    std::fs::rename(part, &file)?;
    Ok(file)
}

struct Channel {
    pipeline: gst::Pipeline,
    detect: gst::Element,
    /// Frames that came into the element, and went out of it.
    frames: Arc<[AtomicU64; 2]>,
}

impl Channel {
    fn new(model: &str, input: Input) -> Result<Self, Box<dyn Error>> {
        let source = match input {
            Input::Decoded => format!(
                "appsrc name=in is-live=true format=time max-buffers=25 \
                 caps=video/x-raw,format=I420,width={},height={},framerate=25/1",
                FORM.width, FORM.height
            ),
            Input::Encoded(file) => format!(
                "filesrc location=\"{}\" ! qtdemux ! h264parse ! avdec_h264 max-threads=1 ! identity sync=true",
                file.display()
            ),
        };
        let pipeline = gst::parse::launch(&format!(
            "{source} ! deepfakedetect name=detect mode=async device=cpu threads=1 on-error=fail model={model} ! \
             fakesink sync=false"
        ))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "several elements are a pipeline")?;
        let detect = pipeline.by_name("detect").expect("it is described");
        let frames = Arc::new([const { AtomicU64::new(0) }; 2]);
        for (index, pad) in ["sink", "src"].into_iter().enumerate() {
            let frames = frames.clone();
            let pad = detect.static_pad(pad).expect("it has two pads");
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                frames[index].fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        Ok(Self { pipeline, detect, frames })
    }

    fn number(&self, name: &str) -> u64 {
        self.detect.property::<gst::Structure>("stats").get(name).expect("it is part of the statistics")
    }

    fn check(&self) -> Result<(), Box<dyn Error>> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        match bus.pop_filtered(&[gst::MessageType::Error]).as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(error.error().to_string().into()),
            _ => Ok(()),
        }
    }
}

fn watch_channels(
    count: usize,
    model: &str,
    input: Input,
    frames: &[gst::Buffer],
    watch: Duration,
) -> Result<Seen, Box<dyn Error>> {
    // What the rows before have freed must not be counted again.
    // SAFETY: the allocator may be asked for this at any time.
    unsafe { libc::malloc_trim(0) };
    let channels = (0..count).map(|_| Channel::new(model, input)).collect::<Result<Vec<_>, _>>()?;
    for channel in &channels {
        channel.pipeline.set_state(gst::State::Playing)?;
    }
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        if input == Input::Decoded {
            scope.spawn(|| feed(&channels, frames, &over));
        }
        let seen = watch_playing(&channels, watch);
        over.store(true, Ordering::Relaxed);
        seen
    });
    for channel in &channels {
        channel.pipeline.set_state(gst::State::Null)?;
        let [came, went] = [0, 1].map(|side| channel.frames[side].load(Ordering::Relaxed));
        // One may be inside when the channel stops.
        if came > went + 1 {
            return Err(format!("{came} frames came and only {went} went").into());
        }
    }
    seen
}

/// A frame for each channel every 40 ms, one channel after the other, as from cameras that know nothing of each other.
fn feed(channels: &[Channel], frames: &[gst::Buffer], over: &AtomicBool) {
    let sources: Vec<gst_app::AppSrc> =
        channels.iter().filter_map(|channel| channel.pipeline.by_name("in").and_downcast()).collect();
    let there_and_back: Vec<_> = frames.iter().chain(frames[1..frames.len() - 1].iter().rev()).collect();
    let began = Instant::now();
    for index in 0_u32.. {
        for (channel, source) in sources.iter().enumerate() {
            let due = began + FRAME * index + FRAME * channel as u32 / sources.len() as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                return;
            }
            let mut buffer = there_and_back[(index as usize + 3 * channel) % there_and_back.len()].copy();
            let head = buffer.make_mut();
            head.set_pts(gst::ClockTime::from_nseconds(FRAME.as_nanos() as u64 * u64::from(index)));
            head.set_duration(gst::ClockTime::from_nseconds(FRAME.as_nanos() as u64));
            let _ = source.push_buffer(buffer);
        }
    }
}

fn watch_playing(channels: &[Channel], watch: Duration) -> Result<Seen, Box<dyn Error>> {
    // Until all models are loaded; then windows fill: 40 crops at 15 Hz.
    let began = Instant::now();
    while channels.iter().any(|channel| channel.number("analysed") == 0) {
        channels.iter().try_for_each(Channel::check)?;
        if began.elapsed() > Duration::from_secs(60) {
            return Err("no analysis within a minute".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep((watch / 3).min(Duration::from_secs(3)));

    let total = |name: &str| channels.iter().map(|channel| channel.number(name)).sum::<u64>();
    let counted = || [total("analysed"), total("shed"), total("failed")];
    let (counted_before, cpu_before, busy_before, began) = (counted(), cpu::now(), busy()?, Instant::now());
    std::thread::sleep(watch);
    let seconds = began.elapsed().as_secs_f64();
    let load = (cpu::now() - cpu_before) as f64 / 1e9 / seconds;
    let busy = (busy()? - busy_before) / seconds;
    let counted = counted();
    let [done, shed, failed] = std::array::from_fn(|index| counted[index] - counted_before[index]);
    channels.iter().try_for_each(Channel::check)?;
    let lost = |channel: &Channel| {
        let [came, went] = [0, 1].map(|side| channel.frames[side].load(Ordering::Relaxed));
        came.saturating_sub(went + 1)
    };
    Ok(Seen {
        channels: channels.len(),
        lost: channels.iter().map(lost).sum(),
        done,
        due: done + shed + failed,
        load,
        others: (busy - load).max(0.0),
        resident: resident()?,
        p99: channels.iter().map(|channel| channel.number("stream-time-p99")).max().unwrap_or(0),
    })
}

/// Seconds that the cores of this process have been busy so far, whoever kept them so.
fn busy() -> Result<f64, Box<dyn Error>> {
    // SAFETY: as in `stay_on`.
    let allowed = unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed);
        allowed
    };
    // SAFETY: asks the system for a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let stat = std::fs::read_to_string("/proc/stat")?;
    let mut busy = 0.0;
    for line in stat.lines() {
        let Some((name, numbers)) = line.split_once(' ') else { continue };
        let Some(core) = name.strip_prefix("cpu").and_then(|core| core.parse::<usize>().ok()) else { continue };
        // SAFETY: `core` is one that the system has.
        if unsafe { libc::CPU_ISSET(core, &allowed) } {
            // user, nice, system, (idle, waiting for disks,) interrupts, soft interrupts, stolen
            let numbers: Vec<f64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            busy += [0, 1, 2, 5, 6, 7].iter().filter_map(|index| numbers.get(*index)).sum::<f64>();
        }
    }
    Ok(busy / ticks)
}

fn resident() -> Result<u64, Box<dyn Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split_whitespace().nth(1).ok_or("/proc/self/statm has another form")?.parse()?;
    Ok(pages * 4096)
}
