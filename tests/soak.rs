//! Many channels of `deepfakedetect` in one process, to all of which something happens all the time.
//!
//!     make soak                        half an hour, or DEEPFAKE_SOAK_SECONDS
//!     cargo test --test soak           ten seconds
//!
//! With DEEPFAKE_SOAK_CONTROL=1 the same happens to `identity` in the element's place: what memory does then is not the element's.

mod common;
#[path = "common/foreign.rs"]
mod foreign;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use common::{Package, clip, faces, heap_bytes, init, model, rtsp};
use foreign::ForeignEnvironment;
use gst::prelude::*;

/// A number that is random enough.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// Where a channel's frames come from, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// Frames of a size that changes.
    Camera,
    /// Some frames are shorter than their size, some are stamped hours away, and the clock jumps.
    BrokenCamera,
    /// Shots that change behind black bars; tags turn the picture, and its pixels change their shape.
    Broadcast,
    /// A file, of which some compressed frames are cut off or have wrong bytes.
    DamagedFile,
    /// The server, which goes away and comes back.
    Network(&'static str),
}

const CHANNELS: [Source; 8] = [
    Source::Camera,
    Source::Camera,
    Source::Broadcast,
    Source::BrokenCamera,
    Source::BrokenCamera,
    Source::DamagedFile,
    Source::Network("tcp"),
    Source::Network("udp"),
];

/// What is counted of a pipeline.
#[derive(Default)]
struct Count {
    came: u64,
    went: u64,
    /// Frames that came and neither went before the next one nor were caught inside by a flush or a stop.
    lost: u64,
    /// Frames that went without having come last.
    strange: u64,
    /// The PTS of the frame that is inside.
    inside: Option<Option<gst::ClockTime>>,
}

struct Channel {
    source: Source,
    pipeline: gst::Pipeline,
    count: Arc<Mutex<Count>>,
    /// Of the pipelines that were here before.
    total: Count,
    /// Of those and of this one before it was last stopped.
    analysed: u64,
    restarts: u64,
    /// When it may start again after an error.
    again: Option<Instant>,
}

impl Channel {
    fn new(source: Source, model: &Package, url: &str) -> Self {
        let count = Arc::default();
        let pipeline = build(source, model, url, &count);
        Self { source, pipeline, count, total: Count::default(), analysed: 0, restarts: 0, again: None }
    }

    fn detect(&self) -> gst::Element {
        self.pipeline.by_name("detect").unwrap()
    }

    /// Of a camera. The pixels of a broadcast change their shape, too.
    fn set_width(&self, width: u64) {
        if let Some(filter) = self.pipeline.by_name("caps") {
            let mut caps = size(width).parse::<gst::Caps>().unwrap();
            if self.source == Source::Broadcast {
                let aspects = [(1, 1), (16, 11), (12, 11), (64, 45)];
                let (across, down) = aspects[width as usize / 16 % aspects.len()];
                caps.make_mut().set("pixel-aspect-ratio", gst::Fraction::new(across, down));
            }
            filter.set_property("caps", caps);
        }
    }

    /// Also where it plays already.
    fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    fn stop(&mut self, state: gst::State) {
        if !is_control() {
            let stats: gst::Structure = self.detect().property("stats");
            self.analysed += stats.get::<u64>("analysed").unwrap();
        }
        let pipeline = self.pipeline.clone();
        STOPPING.fetch_add(1, Ordering::SeqCst);
        let change = move || {
            pipeline.set_state(state).unwrap();
            drop(pipeline);
            STOPPING.fetch_sub(1, Ordering::SeqCst);
        };
        match self.source {
            // With its server gone rtspsrc 1.22 may take minutes to stop. Nobody waits for it meanwhile.
            Source::Network(_) => drop(std::thread::spawn(change)),
            _ => change(),
        }
    }

    fn is_camera(&self) -> bool {
        matches!(self.source, Source::Camera | Source::BrokenCamera | Source::Broadcast)
    }

    /// The channel goes, and another comes in its place.
    fn replace(&mut self, model: &Package, url: &str) {
        self.stop(gst::State::Null);
        self.total = self.counted();
        self.count = Arc::default();
        self.pipeline = build(self.source, model, url, &self.count);
    }

    fn counted(&self) -> Count {
        let (old, new) = (&self.total, self.count.lock().unwrap());
        Count {
            came: old.came + new.came,
            went: old.went + new.went,
            lost: old.lost + new.lost,
            strange: old.strange + new.strange,
            inside: None,
        }
    }

    fn tell(&self) -> String {
        let Count { came, went, lost, .. } = self.counted();
        format!(
            "{:?}: {came} frames came, {went} went, {lost} lost, {} analysed; {} starts after an error or the end",
            self.source, self.analysed, self.restarts
        )
    }

    /// Reads the bus. Sources may fail, and are then started again; the element may not, and warns only where frames are broken.
    #[track_caller]
    fn look_after(&mut self, model: &Package, url: &str) {
        let bus = self.pipeline.bus().unwrap();
        let (detect, mut failed) = (self.detect(), false);
        while let Some(message) = bus.pop() {
            let ours = message.src() == Some(detect.upcast_ref());
            match message.view() {
                gst::MessageView::Error(error) => {
                    let expected = !ours && !self.is_camera();
                    assert!(expected, "{:?}: {}", self.source, error.error());
                    failed = true;
                }
                gst::MessageView::Warning(warning) if ours => {
                    // Eight channels may be more than this machine can analyse, which it has to say.
                    let busy = warning.error().matches(gst::ResourceError::Busy);
                    assert!(busy || self.source == Source::BrokenCamera, "{}", warning.error());
                }
                gst::MessageView::Eos(_) => failed = true,
                _ => {}
            }
        }
        if failed && self.again.is_none() {
            self.again = Some(Instant::now() + Duration::from_millis(300));
        }
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.again = None;
            self.restarts += 1;
            self.replace(model, url);
            self.play();
        }
    }
}

/// Whether the element is to be left out.
fn is_control() -> bool {
    static CONTROL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("DEEPFAKE_SOAK_CONTROL").is_some());
    *CONTROL
}

fn size(width: u64) -> String {
    format!("video/x-raw,format=I420,width={width},height={},framerate=30/1", width * 3 / 4)
}

/// A pipeline for that source, which stands still.
fn build(source: Source, model: &Package, url: &str, count: &Arc<Mutex<Count>>) -> gst::Pipeline {
    let camera = format!(
        "videotestsrc is-live=true pattern=ball ! capsfilter name=caps caps={} ! identity name=before",
        size(160)
    );
    let decode = "h264parse name=damage ! video/x-h264,stream-format=byte-stream ! \
                  avdec_h264 max-threads=1 max-errors=-1 ! identity name=before";
    let frames = match source {
        Source::Camera | Source::BrokenCamera | Source::Broadcast => camera,
        Source::DamagedFile => {
            let file = clip("single_face.mp4");
            format!("filesrc location=\"{}\" ! qtdemux ! {decode} sync=true", file.display())
        }
        Source::Network(protocol) => format!(
            "rtspsrc location={url} protocols={protocol} latency=100 timeout=1000000 tcp-timeout=1000000 ! \
             rtph264depay ! {decode}"
        ),
    };
    let detect = match is_control() {
        true => "identity name=detect".to_owned(),
        false => format!(
            "deepfakedetect name=detect mode=async device=cpu threads=1 model={} {} detection-size=64",
            model.path(),
            faces()
        ),
    };
    let pipeline = gst::parse::launch(&format!("{frames} ! {detect} ! fakesink sync=false"));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    if source == Source::BrokenCamera {
        break_frames(&pipeline.by_name("before").unwrap().static_pad("src").unwrap());
    }
    if source == Source::Broadcast {
        cut(&pipeline.by_name("before").unwrap().static_pad("src").unwrap());
    }
    if source == Source::DamagedFile {
        damage(&pipeline.by_name("damage").unwrap().static_pad("src").unwrap());
    }
    count_frames(&pipeline.by_name("detect").unwrap(), count);
    pipeline
}

/// Keeps account of what comes into the element and goes out of it.
fn count_frames(detect: &gst::Element, count: &Arc<Mutex<Count>>) {
    let on = |pad: &str, types, probe: fn(&mut Count, &gst::PadProbeInfo)| {
        let count = count.clone();
        detect.static_pad(pad).unwrap().add_probe(types, move |_, info| {
            probe(&mut count.lock().unwrap(), info);
            gst::PadProbeReturn::Ok
        });
    };
    on("sink", gst::PadProbeType::BUFFER, |count, info| {
        count.came += 1;
        count.lost += u64::from(count.inside.is_some());
        count.inside = Some(info.buffer().unwrap().pts());
    });
    on("src", gst::PadProbeType::BUFFER, |count, info| {
        count.went += 1;
        count.strange += u64::from(count.inside.take() != Some(info.buffer().unwrap().pts()));
    });
    // A frame that is inside when the stream is flushed or stopped goes no further, as it must; a stream that was stopped
    // begins with this event.
    on("sink", gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH, |count, info| {
        if matches!(info.event().unwrap().type_(), gst::EventType::FlushStop | gst::EventType::StreamStart) {
            count.inside = None;
        }
    });
}

/// Puts black bars above and below each picture, a new shot between them every second or so, and turns the stream now and then.
fn cut(pad: &gst::Pad) {
    const TURNS: [&str; 4] = ["rotate-0", "rotate-90", "rotate-180", "flip-rotate-270"];
    let state = Mutex::new((Random(9), 0));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let mut state = state.lock().unwrap();
        let (random, shot) = &mut *state;
        if random.one_in(30) {
            *shot = random.below(200);
        }
        if random.one_in(60) {
            let mut tags = gst::TagList::new();
            let turn = TURNS[random.below(4) as usize];
            tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&turn, gst::TagMergeMode::Replace);
            pad.push_event(gst::event::Tag::new(tags));
        }
        let buffer = info.buffer_mut().unwrap().make_mut();
        let mut bytes = buffer.map_writable().unwrap();
        // Of I420 the luma comes first.
        let luma = bytes.len() * 2 / 3;
        for (index, byte) in bytes[..luma].iter_mut().enumerate() {
            let is_bar = !(luma / 8..luma * 7 / 8).contains(&index);
            *byte = if is_bar { 16 } else { byte.wrapping_add(*shot as u8) };
        }
        drop(bytes);
        gst::PadProbeReturn::Ok
    });
}

/// Cuts off one frame in fifty, stamps some wrongly, and has the clock jump by up to an hour now and then.
fn break_frames(pad: &gst::Pad) {
    let state = Mutex::new((Random(7), 0));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut state = state.lock().unwrap();
        let (random, offset) = &mut *state;
        if random.one_in(100) {
            *offset = random.below(3600) * gst::ClockTime::SECOND.nseconds();
        }
        let buffer = info.buffer_mut().unwrap().make_mut();
        // One in thirty is stamped wrongly, and the next one rightly again.
        let stray = if random.one_in(30) { random.below(7200) * gst::ClockTime::SECOND.nseconds() } else { 0 };
        let pts = buffer.pts().map(|pts| pts + gst::ClockTime::from_nseconds(*offset + stray));
        buffer.set_pts(pts);
        if random.one_in(50) {
            let size = buffer.size() as u64;
            buffer.set_size(random.below(size) as usize);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Cuts off or overwrites one compressed frame in ten.
fn damage(pad: &gst::Pad) {
    let random = Mutex::new(Random(8));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut random = random.lock().unwrap();
        if random.one_in(10) {
            let mut bytes = info.buffer().unwrap().map_readable().unwrap().to_vec();
            if random.one_in(2) {
                bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
            }
            for _ in 0..random.below(20) {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.below(256) as u8;
            }
            let buffer = info.buffer_mut().unwrap().make_mut();
            buffer.replace_all_memory(gst::Memory::from_slice(bytes));
        }
        gst::PadProbeReturn::Ok
    });
}

/// The RTSP server, in a process of its own, which can be killed. It ends with its standard input.
struct Server {
    process: Child,
    url: String,
}

/// Set for the process that is to be the server: its port.
const SERVER_PORT: &str = "DEEPFAKE_SOAK_SERVER";

impl Server {
    fn start(port: u16) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_server", "--ignored", "--nocapture"])
            .env(SERVER_PORT, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = lines.filter_map(|line| Some(line[line.find("rtsp://")?..].to_string())).next();
        Self { process, url: url.expect("the server says where it is") }
    }

    fn port(&self) -> u16 {
        self.url.trim_end_matches("/clip").rsplit(':').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    /// It has no time to say goodbye to anybody.
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
#[ignore = "is the server of the test below, which starts it"]
fn the_server() {
    let Ok(port) = std::env::var(SERVER_PORT) else { return };
    init();
    let server = rtsp::Server::new(&clip("WolfgangLanger_Pexels.mp4"), port.parse().unwrap());
    println!("{}", server.url);
    let _ = std::io::stdin().read(&mut [0]);
}

/// Pipelines that are being stopped by threads that nobody waits for.
static STOPPING: AtomicUsize = AtomicUsize::new(0);

/// Bytes of memory.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    /// What somebody has asked for and not given back. The rest is libraries, stacks and parts of pages.
    heap: u64,
}

impl Memory {
    /// Has the holes of whole pages given back first: the C library keeps those that large blocks leave between small ones, up to 30 MiB
    /// now and none a minute later, whoever asked for the blocks.
    fn now() -> Self {
        // SAFETY: it touches only what nobody has asked for.
        unsafe { libc::malloc_trim(0) };
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: Vec<u64> = pages.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
        Self { resident: pages[1] * 4096, heap: heap_bytes() as u64 }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
        write!(
            f,
            "{:.1} MiB, {:.1} asked for; {threads} threads, {} stopping",
            mib(self.resident),
            mib(self.heap),
            STOPPING.load(Ordering::SeqCst)
        )
    }
}

/// What memory comes back to: a tenth of the time there was less. It goes up and down with the channels that are just being stopped,
/// rtspsrc's for minutes; the very least is where two of those are gone at once.
fn floor(memory: &[Memory]) -> Memory {
    let tenth = |bytes: fn(&Memory) -> u64| {
        let mut values: Vec<_> = memory.iter().map(bytes).collect();
        values.sort_unstable();
        values[values.len() / 10]
    };
    Memory { resident: tenth(|memory| memory.resident), heap: tenth(|memory| memory.heap) }
}

/// Channels come, go, stop, start, are flushed, change their size and their model; frames are damaged and cut off, clocks jump,
/// and the network is lost.
#[test]
fn eight_channels_lose_no_frame_and_no_memory() {
    // With an arena for each thread, memory would grow for minutes only because the arenas differ.
    // SAFETY: no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    init();
    let seconds = std::env::var("DEEPFAKE_SOAK_SECONDS").map_or(10, |seconds| seconds.parse().unwrap());
    let library = deepfake_engine::inference::runtime::get().unwrap().path().to_owned();
    let _other_user = (!is_control()).then(|| ForeignEnvironment::new(&library));
    let models = [model("one"), model("two")];
    let first = Server::start(0);
    let url = first.url.clone();
    let (port, mut server) = (first.port(), Some(first));
    let mut channels = CHANNELS.map(|source| Channel::new(source, &models[0], &url));
    channels.iter().for_each(Channel::play);

    let (began, whole) = (Instant::now(), Duration::from_secs(seconds));
    // The server is there for the first three quarters of each of these.
    let period = (whole / 4).min(Duration::from_secs(40));
    let mut last_measured = began;
    let (mut random, mut memory, mut kills, mut told, mut since) = (Random(42), Vec::<Memory>::new(), 0, 0, 0);
    while began.elapsed() < whole {
        let is_wanted = (began.elapsed().as_secs_f64() / period.as_secs_f64()).fract() < 0.75;
        if is_wanted && server.is_none() {
            server = Some(Server::start(port));
        } else if server.take_if(|_| !is_wanted).is_some() {
            kills += 1;
        }
        let channel = &mut channels[random.below(8) as usize];
        // Others need longer than a camera until frames flow, and cannot be started a second time: a pipeline from a description
        // links the pads that a source adds but once.
        let is_camera = channel.is_camera();
        if is_camera || random.one_in(10) {
            match random.below(8) {
                0 if is_camera => channel.stop(gst::State::Null),
                1 if is_camera => channel.stop(gst::State::Ready),
                2 | 3 => channel.set_width(64 + 16 * random.below(12)),
                4 if is_control() => {}
                5 if is_control() => {}
                4 => channel.detect().set_property("model", models[random.below(2) as usize].path()),
                5 => channel.detect().set_property("detect-interval", 1 + random.below(3) as u32),
                // A channel that is just starting does not seek. The network does not either: rtspsrc 1.22 may wait for itself for ever
                // when it is stopped meanwhile.
                6 if !matches!(channel.source, Source::Network(_)) => {
                    _ = channel.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO)
                }
                _ => channel.replace(&models[0], &url),
            }
            if channel.again.is_none() {
                channel.play();
            }
        }
        channels.iter_mut().for_each(|channel| channel.look_after(&models[0], &url));
        if last_measured.elapsed() >= Duration::from_millis(500) {
            last_measured = Instant::now();
            memory.push(Memory::now());
        }
        if began.elapsed().as_secs() / 60 > told {
            told += 1;
            println!("{told} min: {}; the server was killed {kills} times", floor(&memory[since..]));
            since = memory.len();
            channels.iter().for_each(|channel| println!("  {}", channel.tell()));
        }
        // The pace of the changes, not a wait for anything.
        std::thread::sleep(Duration::from_millis(50));
    }
    channels.iter_mut().for_each(|channel| channel.stop(gst::State::Null));

    let third = memory.len() / 3;
    let [settled, at_end] = [1, 2].map(|part| floor(&memory[part * third..(part + 1) * third]));
    println!(
        "{seconds} s: at least {settled} in the second third, {at_end} in the last; {kills} losses of the network",
    );
    let mut analysed = 0;
    for channel in &channels {
        println!("  {}", channel.tell());
        let count = channel.counted();
        assert_eq!((count.lost, count.strange), (0, 0), "{:?}", channel.source);
        assert!(count.went > 0, "{:?} gave nothing", channel.source);
        analysed += channel.analysed;
    }
    assert!((analysed > 0 || is_control()) && kills >= 3, "{analysed} analysed, {kills} losses");
    // In less than a minute not all is loaded yet that ever will be; frames that were kept would be twice as much as this.
    let slack = if seconds < 60 { 32 << 20 } else { 0 };
    let grown = |before: u64, after: u64| after.saturating_sub(before + slack) as f64 / before as f64;
    let (heap, resident) = (grown(settled.heap, at_end.heap), grown(settled.resident, at_end.resident));
    assert!(heap < 0.02, "memory that somebody asked for and has not given back has grown by {heap:.3} of itself");
    // How full the pages between are changes by more than that, without the element too.
    assert!(resident < 0.1, "resident memory has grown by {resident:.3} of itself");
}
