//! An RTSP server on the loopback.

use std::path::Path;

use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPMediaFactory, RTSPServer};

/// Serves a clip to whoever comes, to each from its beginning; ends with the value.
pub struct Server {
    main_loop: gst::glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    pub url: String,
}

impl Server {
    /// An MP4 file with H.264, on that port; 0 for any.
    pub fn new(clip: &Path, port: u16) -> Self {
        let context = gst::glib::MainContext::new();
        let server = RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let factory = RTSPMediaFactory::new();
        factory.set_launch(&format!(
            "( filesrc location=\"{}\" ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )",
            clip.display()
        ));
        server.mount_points().unwrap().add_factory("/clip", factory);
        server.attach(Some(&context)).unwrap();
        let url = format!("rtsp://127.0.0.1:{}/clip", server.bound_port());
        let main_loop = gst::glib::MainLoop::new(Some(&context), false);
        let thread = {
            let main_loop = main_loop.clone();
            std::thread::spawn(move || {
                main_loop.context().with_thread_default(|| main_loop.run()).unwrap();
                drop(server);
            })
        };
        Self { main_loop, thread: Some(thread), url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.main_loop.quit();
        self.thread.take().unwrap().join().unwrap();
    }
}
