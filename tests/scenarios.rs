//! What players do to a pipeline (seek, scrub, pause, step, change the rate, go on after the end, stop and start) with all three
//! elements in it. Every action comes to its end, nobody complains, and analysis goes on afterwards.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{clip, faces, init, model};
use deepfake_report::{FrameReport, meta};
use gst::prelude::*;

const TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(60);
const FLUSH: gst::SeekFlags = gst::SeekFlags::FLUSH;

struct Player {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    /// PTS of the newest frame behind all three elements, and its report.
    newest: Arc<Mutex<Option<(gst::ClockTime, Option<FrameReport>)>>>,
}

impl Player {
    fn new(mode: &str, model: &str, log: &Path) -> Self {
        init();
        let description = format!(
            "filesrc location=\"{}\" ! decodebin name=decode deepfakedetect name=detect post-messages=true \
             mode={mode} device=cpu model={model} {} ! \
             deepfakeoverlay ! deepfakelog location=\"{}\" ! fakesink name=sink sync=false",
            clip("single_face.mp4").display(),
            faces(),
            log.display()
        );
        let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
        // A pipeline from a description links the pads that a source adds but once, and this one is started several times.
        let detect = pipeline.by_name("detect").unwrap().static_pad("sink").unwrap();
        pipeline.by_name("decode").unwrap().connect_pad_added(move |_, pad| {
            let _ = pad.link(&detect);
        });
        let newest = Arc::new(Mutex::new(None));
        let seen = newest.clone();
        let pad = pipeline.by_name("sink").unwrap().static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let buffer = info.buffer().unwrap();
            *seen.lock().unwrap() = buffer.pts().map(|pts| (pts, meta::read(buffer)));
            gst::PadProbeReturn::Ok
        });
        let bus = pipeline.bus().unwrap();
        Self { pipeline, bus, newest }
    }

    /// Waits for a message of this kind. Errors and warnings are none that is waited for.
    #[track_caller]
    fn wait_for(&self, kind: gst::MessageType) {
        let kinds = [kind, gst::MessageType::Error, gst::MessageType::Warning];
        let message = self.bus.timed_pop_filtered(TIMEOUT, &kinds).unwrap_or_else(|| panic!("no {kind:?} came"));
        assert_eq!(message.type_(), kind, "{message:?}");
    }

    #[track_caller]
    fn set_state(&self, state: gst::State) {
        self.pipeline.set_state(state).unwrap();
        let (change, reached, _) = self.pipeline.state(TIMEOUT);
        assert_eq!((change, reached), (Ok(gst::StateChangeSuccess::Success), state));
    }

    /// Seeks while paused. The frame that is shown is the one that was asked for.
    #[track_caller]
    fn seek(&self, flags: gst::SeekFlags, rate: f64, milliseconds: u64) {
        let to = gst::ClockTime::from_mseconds(milliseconds);
        let (start, stop) = if rate > 0.0 { (to, gst::ClockTime::NONE) } else { (gst::ClockTime::ZERO, Some(to)) };
        while self.bus.pop_filtered(&[gst::MessageType::AsyncDone]).is_some() {}
        self.pipeline.seek(rate, flags, gst::SeekType::Set, start, gst::SeekType::Set, stop).unwrap();
        self.wait_for(gst::MessageType::AsyncDone);
        let (pts, _) = self.newest.lock().unwrap().clone().expect("a frame has come");
        let off = pts.nseconds().abs_diff(to.nseconds());
        assert!(off < 150_000_000, "asked for {to}, got {pts}");
    }

    #[track_caller]
    fn play_to_the_end(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self.wait_for(gst::MessageType::Eos);
    }

    /// Plays, at the speed of the clock, until a frame has been analysed.
    #[track_caller]
    fn play_until_analysed(&self) {
        self.pipeline.by_name("sink").unwrap().set_property("sync", true);
        self.pipeline.set_state(gst::State::Playing).unwrap();
        let is_report = |message: &gst::Message| message.has_name("deepfake-report");
        while self.bus.pop_filtered(&[gst::MessageType::Element]).is_some() {}
        while !is_report(&self.bus.timed_pop_filtered(TIMEOUT, &[gst::MessageType::Element]).expect("a report")) {}
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn play(mode: &str) {
    let model = model("tiny");
    let folder = tempfile::tempdir().unwrap();
    let player = Player::new(mode, &model.path(), &folder.path().join("reports.jsonl"));
    player.set_state(gst::State::Paused);

    // Scrub: to places nearby and far away, forwards and back.
    let accurate = FLUSH | gst::SeekFlags::ACCURATE;
    for milliseconds in [1000, 200, 2000, 2040, 2000, 0, 700] {
        player.seek(accurate, 1.0, milliseconds);
    }
    // Pause and go on.
    for _ in 0..5 {
        player.set_state(gst::State::Playing);
        player.set_state(gst::State::Paused);
    }
    // Frame by frame.
    for _ in 0..3 {
        let before = player.newest.lock().unwrap().clone().unwrap().0;
        let step = gst::event::Step::new(gst::format::Buffers::from_u64(1), 1.0, true, false);
        assert!(player.pipeline.send_event(step));
        player.wait_for(gst::MessageType::StepDone);
        player.wait_for(gst::MessageType::AsyncDone);
        assert!(player.newest.lock().unwrap().clone().unwrap().0 > before);
    }
    // Fast, slow, and to the end of each.
    for rate in [2.0, 0.5] {
        player.seek(accurate, rate, 500);
        player.play_to_the_end();
        player.set_state(gst::State::Paused);
    }
    // Backwards, and on from the end.
    player.seek(accurate, -1.0, 1500);
    player.play_to_the_end();
    player.set_state(gst::State::Paused);
    player.seek(accurate, 1.0, 0);
    player.play_until_analysed();

    // Stop and start, from each state.
    for state in [gst::State::Ready, gst::State::Null, gst::State::Paused, gst::State::Null] {
        player.set_state(state);
        player.set_state(gst::State::Playing);
    }
    player.play_until_analysed();
    player.wait_for(gst::MessageType::Eos);
}

#[test]
fn a_player_may_do_anything_while_frames_wait_for_their_analysis() {
    play("sync");
}

#[test]
fn a_player_may_do_anything_while_frames_are_analysed_beside_the_stream() {
    play("async");
}
