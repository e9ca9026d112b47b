//! A worker process, as the supervisor holds it.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::protocol::{self, FromWorker, ToWorker};

/// Messages that may wait for a worker. One that does not read so many hangs, and is replaced for
/// its silence.
const WAITING: usize = 256;

/// What comes from worker number `slot`; `generation` tells it from those that had the place
/// before.
#[derive(Debug)]
pub struct Heard {
    pub slot: usize,
    pub generation: u64,
    pub what: What,
}

// Few wait at a time, and most are the large ones.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum What {
    Said(FromWorker),
    /// A line of its standard error.
    Printed(String),
    /// The process is gone, or talks nonsense.
    Gone(String),
}

/// Dropping it kills the process.
pub struct Process {
    tell: mpsc::Sender<ToWorker>,
    pub id: Option<u32>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Process {
    /// Starts `program worker`. What it says goes to `heard`.
    ///
    /// # Errors
    /// If there is no such program, or no process more.
    pub fn start(program: &Path, slot: usize, generation: u64, heard: &mpsc::Sender<Heard>) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for the supervisor, which ends its workers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three were asked for as pipes");
        };
        let (tell, mut told) = mpsc::channel::<ToWorker>(WAITING);
        tokio::spawn(async move {
            while let Some(message) = told.recv().await {
                if protocol::send(&mut stdin, &message).await.is_err() {
                    return;
                }
            }
        });
        let say = {
            let heard = heard.clone();
            move |what| {
                let heard = heard.clone();
                async move { heard.send(Heard { slot, generation, what }).await.is_ok() }
            }
        };
        let printing = say.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                if !printing(What::Printed(String::from_utf8_lossy(&line).into_owned())).await {
                    return;
                }
            }
        });
        let id = child.id();
        let (end, ended) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let listen = async {
                loop {
                    match protocol::receive::<FromWorker>(&mut stdout).await {
                        Ok(Some(message)) => {
                            if !say(What::Said(message)).await {
                                return String::new();
                            }
                        }
                        Ok(None) => return String::new(),
                        Err(error) => return format!("it said something that is no message: {error}"),
                    }
                }
            };
            let why = tokio::select! {
                why = listen => why,
                _ = ended => "it was ended".into(),
            };
            let why = finish(&mut child, why).await;
            say(What::Gone(why)).await;
        });
        Ok(Self { tell, id, end: Some(end) })
    }

    /// Hands a message over. `false` if so many wait already that the worker must hang.
    pub fn tell(&self, message: ToWorker) -> bool {
        self.tell.try_send(message).is_ok()
    }

    /// Kills the process; [`What::Gone`] follows.
    pub fn kill(&mut self) {
        self.end.take();
    }
}

/// Kills what is left of the process, and says how it ended.
async fn finish(child: &mut Child, why: String) -> String {
    // One that ended by itself is given the moment to say how.
    let limit = std::time::Duration::from_millis(if why.is_empty() { 500 } else { 0 });
    let status = match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        _ => {
            child.kill().await.ok();
            "killed".into()
        }
    };
    if why.is_empty() { status } else { format!("{why}; {status}") }
}
