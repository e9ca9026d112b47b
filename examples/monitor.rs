//! An application in Rust that watches a video for fakes: reads each frame's report off the buffers of an appsink,
//! and the alerts off the bus.
//!
//!   filesrc ! decodebin ! videoconvert ! deepfakedetect ! appsink
//!                                             |
//!                                             bus: deepfake-alert
//!
//!     cargo run --release --example monitor -- talk.mp4 [MODEL]
//!
//! The elements are linked into the program; an application that only wants to read metadata of the installed
//! plugin calls `report::meta::register()` instead of `plugin_register_static()`.

use std::process::ExitCode;

use deepfake_report::{message, meta};
use gst::prelude::*;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: monitor VIDEO [MODEL]");
        return ExitCode::from(2);
    };
    match watch(&file, std::env::args().nth(2)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(file: &str, model: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstdeepfake::plugin_register_static()?;

    let pipeline = gst::parse::launch(
        "filesrc name=file ! decodebin ! videoconvert ! deepfakedetect name=detect \
         mode=sync on-error=fail ! appsink name=sink sync=false",
    )?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("several elements make a pipeline");
    pipeline.by_name("file").expect("named so above").set_property("location", file);
    if let Some(model) = model {
        pipeline.by_name("detect").expect("named so above").set_property("model", model);
    }
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("named so above");
    sink.set_callbacks(
        // Called from the streaming thread, for each frame.
        gst_app::AppSinkCallbacks::builder()
            .new_sample(|sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let Some(report) = sample.buffer().and_then(meta::read) else { return Ok(gst::FlowSuccess::Ok) };
                for face in report.faces {
                    let pts = gst::ClockTime::from_nseconds(report.pts);
                    let score = face.score.map_or(String::new(), |score| format!(" {score:.2}"));
                    println!(
                        "meta {pts} face {} at {:.2},{:.2} {}{score}",
                        face.track_id,
                        face.x,
                        face.y,
                        face.state.as_str()
                    );
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );

    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let mut result = Ok(());
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => {
                result = Err(error.error().into());
                break;
            }
            gst::MessageView::Warning(warning) => eprintln!("{}", warning.error()),
            gst::MessageView::Element(element) => {
                if let Some(alert) = element.structure().filter(|fields| fields.name() == message::ALERT) {
                    let (action, kind) = (alert.get::<&str>("action")?, alert.get::<&str>("kind")?);
                    println!("alert {action}: {kind} of face {}", alert.get::<u32>("track_id")?);
                }
            }
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    result
}
