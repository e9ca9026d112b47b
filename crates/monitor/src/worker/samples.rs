//! Feeds to try the monitor on: video files in a loop, as MPEG-TS over SRT on loopback.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gst::prelude::*;

/// Serves each file at a port of its own, counted from `port`, until the process is ended.
///
/// # Errors
/// If a file is no H.264 in MP4, or a port is taken.
pub fn serve(port: u16, files: &[PathBuf]) -> anyhow::Result<()> {
    gst::init()?;
    if files.is_empty() {
        bail!("no files to serve");
    }
    let feeds: Vec<_> = files.iter().zip(port..).map(|(file, port)| feed(file, port)).collect::<Result<_, _>>()?;
    let (broke, wait) = std::sync::mpsc::channel();
    for (feed, file) in feeds.iter().zip(files) {
        let (again, broke, file) = (feed.downgrade(), broke.clone(), file.clone());
        let bus = feed.bus().context("a pipeline has a bus")?;
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::SegmentDone(_) => {
                    if let Some(feed) = again.upgrade() {
                        feed.call_async(|feed| drop(feed.seek_simple(gst::SeekFlags::SEGMENT, gst::ClockTime::ZERO)));
                    }
                }
                gst::MessageView::Error(error) => drop(broke.send(format!("{}: {}", file.display(), error.error()))),
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
        feed.set_state(gst::State::Paused)?;
        feed.state(gst::ClockTime::from_seconds(10)).0?;
        feed.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::SEGMENT, gst::ClockTime::ZERO)?;
        feed.set_state(gst::State::Playing)?;
    }
    for (file, port) in files.iter().zip(port..) {
        println!("srt://127.0.0.1:{port}  {}", file.display());
    }
    match wait.recv() {
        Ok(why) => bail!(why),
        Err(_) => bail!("all feeds are gone"),
    }
}

fn feed(file: &Path, port: u16) -> anyhow::Result<gst::Pipeline> {
    let description = format!(
        "filesrc name=file ! qtdemux ! h264parse config-interval=-1 ! mpegtsmux alignment=7 \
         ! srtsink uri=srt://127.0.0.1:{port}?mode=listener wait-for-connection=false"
    );
    let pipeline =
        gst::parse::launch(&description)?.downcast::<gst::Pipeline>().map_err(|_| anyhow::anyhow!("no pipeline"))?;
    let source = pipeline.by_name("file").context("the file's element is there")?;
    source.set_property("location", file.to_str().context("the file's name is no text")?);
    Ok(pipeline)
}
